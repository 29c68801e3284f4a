"""Keeps what is known of a kind of object equal to what the API server has.

Lists once, then watches from there. Whatever ends a watch (its time, silence, an API server that
restarts), it is taken up from the version seen last; only where that is too old, all is listed
anew, and what has gone meanwhile is told as deleted. So its user is told of every change to the
present, though not of every step on the way.

A watch may be told to rest: `pace` says when, and why.
"""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Protocol

from wangell_controller.kube.api import Happenings, Listed, Selection
from wangell_controller.kube.backoff import Backoff
from wangell_controller.kube.errors import GoneError, KubeError, UnavailableError
from wangell_controller.kube.resources import key_of
from wangell_controller.kube.valve import Valve

__all__ = ["OnChange", "Watched", "WatchedApi", "object_key"]

log = logging.getLogger(__name__)

# An API server that restarts is away for seconds; one that is overloaded is not to be stormed.
RETRY_S_MIN, RETRY_S_MAX = 0.1, 10.0

# Called with the key, the object before, and the object now; None: there was, or is, none.
OnChange = Callable[[str, dict[str, Any] | None, dict[str, Any] | None], None]


class WatchedApi(Protocol):
    """What watching needs of the API server."""

    async def list(self, selection: Selection) -> Listed:
        """Return all objects of the selection."""

    def watch(self, selection: Selection, version: str, valve: Valve) -> AsyncIterator[Happenings]:
        """Yield what happens after `version`, all at once that the valve lets through."""


class Watched:
    """The objects of one selection, by `namespace/name`; by `name` where there is no namespace."""

    def __init__(self, api: WatchedApi, selection: Selection, on_change: OnChange) -> None:
        """`on_change` must not block."""
        self._objects: dict[str, dict[str, Any]] = {}
        self.objects: Mapping[str, dict[str, Any]] = self._objects
        self.whole = asyncio.Event()
        "Set once all objects have been told"
        self._api = api
        self._selection = selection
        self._on_change = on_change
        self._valve = Valve()
        self._hurries_until = -math.inf
        self._version: str | None = None
        self._backoff = Backoff(RETRY_S_MIN, RETRY_S_MAX)
        self._was_away = False

    async def follow(self) -> None:
        """List and watch, for as long as it is let. Raises nothing that is the API server's."""
        while True:
            try:
                if self._version is None:
                    await self._list()
                    self.whole.set()
                if not await self._watch():
                    await self._pause("it ended at once")
            except GoneError as error:
                self._version = None
                await self._pause(f"to be listed anew: {error}")
            except KubeError as error:
                await self._pause(str(error), is_away=isinstance(error, UnavailableError))

    def hurry(self, for_s: float) -> None:
        """Read at once what has come, and rest no more for so long."""
        self._hurries_until = max(self._hurries_until, self._now() + for_s)
        self._valve.open()

    def rest(self, for_s: float) -> None:
        """Read nothing for so long; a rest is not made longer by another."""
        if self._hurries_until <= self._now():
            self._valve.shut(for_s)

    async def _list(self) -> None:
        listed = await self._api.list(self._selection)
        found = {object_key(each): each for each in listed.objects}
        for key in self._objects.keys() - found.keys():
            self._tell(key, None)
        for key, each in found.items():
            if _version_of(self._objects.get(key)) != _version_of(each):
                self._tell(key, each)
        self._version = listed.version

    async def _watch(self) -> bool:
        """Watch until it ends; return whether it was of use."""
        assert self._version is not None
        began_at = self._now()
        async for happenings in self._api.watch(self._selection, self._version, self._valve):
            self._backoff.reset()
            for kind, each in happenings:
                self._version = _version_of(each)
                if kind != "BOOKMARK":
                    self._tell(object_key(each), None if kind == "DELETED" else each)
        return self._now() - began_at > 1.0

    def _tell(self, key: str, after: dict[str, Any] | None) -> None:
        before = self._objects.pop(key, None)
        if after is not None:
            # Who set which field is half of an object, and read by nobody here.
            after["metadata"].pop("managedFields", None)
            self._objects[key] = after
        if before is not None or after is not None:
            self._on_change(key, before, after)

    async def _pause(self, why: str, *, is_away: bool = False) -> None:
        if self._was_away and not is_away:
            # One that is back says no at first: it has its own rules and versions to read.
            self._backoff.reset()
        self._was_away = is_away
        delay_s = self._backoff.next_s()
        log.warning("%s: watched again in %.1f s: %s", self._name, delay_s, why)
        await asyncio.sleep(delay_s)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    @property
    def _name(self) -> str:
        return self._selection.resource.plural


def object_key(each: Mapping[str, Any]) -> str:
    """Return the key by which an object is known."""
    metadata = each["metadata"]
    namespace = metadata.get("namespace")
    return key_of(namespace, metadata["name"]) if namespace else str(metadata["name"])


def _version_of(each: Mapping[str, Any] | None) -> str | None:
    return None if each is None else each["metadata"]["resourceVersion"]
