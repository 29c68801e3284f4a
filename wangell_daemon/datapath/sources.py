"""Which sources may call a frontend: the kernel's trie of ranges, and what of it is whose."""

import contextlib
from collections.abc import Collection
from typing import Any

from wangell_daemon.packets import source_key

__all__ = ["Sources"]

_FRONTEND = slice(4, 24)  # of a struct source


class Sources:
    """The map `sources`. Frontends are bytes, struct frontend; sources are networks as text."""

    def __init__(self, table: Any) -> None:
        self._table = table
        self._held: dict[bytes, set[bytes]] = {}  # the struct sources of each restricted frontend

    def __contains__(self, frontend: bytes) -> bool:
        """Whether it is restricted: perhaps to nobody."""
        return frontend in self._held

    def restrict(self, frontend: bytes) -> None:
        """From now on only those that are named may call it."""
        self._held.setdefault(frontend, set())

    def adopt(self, source: bytes) -> None:
        """Take over a predecessor's struct source."""
        self._add(source[_FRONTEND], source)

    def replace(self, frontend: bytes, sources: Collection[str]) -> None:
        """Name all that may call it. New ones are let in before old ones are shut out.

        Raises OSError where there is no room for one more.
        """
        held = self._held.get(frontend, set())
        wanted = {source_key(frontend, each) for each in sources}
        for source in wanted - held:
            self._add(frontend, source)
        for source in held - wanted:
            self._delete(frontend, source)

    def forget(self, frontend: bytes) -> None:
        """It is restricted no more. The map `services` says so already."""
        for source in list(self._held.get(frontend, ())):
            self._delete(frontend, source)
        self._held.pop(frontend, None)

    def _add(self, frontend: bytes, source: bytes) -> None:
        try:
            self._table[self._table.Key.from_buffer_copy(source)] = self._table.Leaf(1)
        except Exception as error:  # BCC's own
            raise OSError(f"no room for one more range of sources: {error}") from error
        self._held.setdefault(frontend, set()).add(source)

    def _delete(self, frontend: bytes, source: bytes) -> None:
        with contextlib.suppress(KeyError):
            del self._table[self._table.Key.from_buffer_copy(source)]
        self._held[frontend].discard(source)
