"""What a daemon that ended left attached, read through the kernel's ids: no file, no pinning.

Its program goes on holding until ours replaces it, so a restart has no gap; what it held and
nobody read is still in its ring buffer.
"""

import os
import struct
from collections.abc import Callable, Iterator

from wangell_daemon.datapath.objects import MapInfo, entries, open_maps_of
from wangell_daemon.datapath.rings import Ring

__all__ = ["Predecessor"]

_SERVICE = struct.Struct("=IHH")  # struct service: slot, mode, is_restricted
_SLOT = struct.Struct("=I")
# Map, key bytes, value bytes: other sizes are another version's, and nothing is taken from it.
_SIZES = {"services": (20, _SERVICE.size), "sources": (40, 4), "activity": (_SLOT.size, 16)}


class Predecessor:
    """The maps of an attached program of ours, held open until `close`."""

    def __init__(self, maps: dict[str, MapInfo]) -> None:
        self._maps = maps

    @classmethod
    def open(cls, program_id: int) -> "Predecessor | None":
        """Return it, or None where its maps are not shaped like ours."""
        found = cls(open_maps_of(program_id))
        if all(
            name in found._maps
            and (found._maps[name].key_bytes, found._maps[name].value_bytes) == sizes
            for name, sizes in _SIZES.items()
        ):
            return found
        found.close()
        return None

    def services(self) -> Iterator[tuple[bytes, int, int, bool]]:
        """Each frontend (a struct frontend), its slot, its mode, and whether it is restricted."""
        for key, value in entries(self._maps["services"]):
            slot, mode, is_restricted = _SERVICE.unpack(value)
            yield key, slot, mode, bool(is_restricted)

    def sources(self) -> Iterator[bytes]:
        """Each struct source."""
        for key, _ in entries(self._maps["sources"]):
            yield key

    def activity(self) -> Iterator[tuple[int, bytes]]:
        """Each slot that has seen a packet, and its struct activity."""
        for key, value in entries(self._maps["activity"]):
            if any(value):
                yield _SLOT.unpack(key)[0], value

    def drain(self, on_held: Callable[[bytes], None]) -> None:
        """Hand over the events of `held` that were not read."""
        if "held" in self._maps:
            ring = Ring(self._maps["held"].fd, on_held)
            ring.consume()
            ring.close()

    def close(self) -> None:
        """Let the maps go; the kernel frees them once the program is replaced."""
        for each in self._maps.values():
            os.close(each.fd)
        self._maps = {}
