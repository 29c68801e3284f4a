"""Writes each WangellService's status, soon after it has changed, and never for a wake to wait."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from wangell_controller.kube.backoff import Backoff
from wangell_controller.kube.errors import KubeError, NotFoundError
from wangell_controller.kube.lease import LeaseLostError
from wangell_controller.kube.resources import WANGELL_SERVICES, split_key

__all__ = ["StatusApi", "Statuses"]

log = logging.getLogger(__name__)

# A wake takes 0.2 s, 0.4 on a busy node, and is one change for whoever reads.
WRITE_AFTER_S = 0.5
# A busy service's latest request is another each second, and so may be what keeps it awake; nobody
# needs to know either that well.
REQUEST_EVERY_S = 10.0
RETRY_S_MIN, RETRY_S_MAX = 0.5, 30.0
# Writes at a time: 1,000 services that change at once must not crowd wakes out of the API server.
WRITES_MAX = 4
_LAZY = ("latestRequest", "awake")


class StatusApi(Protocol):
    """What writing statuses needs of the API server."""

    async def merge(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Change some fields."""


class Statuses:
    """Told of every change of a service; writes once for all that come together."""

    def __init__(
        self, api: StatusApi, read: Callable[[str], tuple[Mapping[str, Any], Mapping[str, Any]]]
    ) -> None:
        """`read` returns a service's status as it should be and as it is. Raises KeyError."""
        self._api = api
        self._read = read
        self._loop = asyncio.get_running_loop()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._written_at: dict[str, float] = {}
        self._turns = asyncio.Semaphore(WRITES_MAX)

    def write_soon(self, key: str) -> None:
        """Something of it has changed."""
        self._begin_in(key, WRITE_AFTER_S)

    async def aclose(self) -> None:
        """Write what is still to be written, and no more."""
        for key in list(self._timers):
            self._timers.pop(key).cancel()
            self._begin(key)
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _begin_in(self, key: str, wait_s: float) -> None:
        """Once, by then at the latest: what can wait must not make wait what comes after it.

        A timer of 10 s for the latest request alone kept a phase out of its status for as long.
        """
        timer, due = self._timers.get(key), self._loop.time() + wait_s
        if timer is not None:
            if timer.when() <= due:
                return
            timer.cancel()
        self._timers[key] = self._loop.call_at(due, self._begin, key)

    def _begin(self, key: str) -> None:
        self._timers.pop(key, None)
        if key in self._tasks:
            self.write_soon(key)
            return
        task = self._tasks[key] = self._loop.create_task(self._write(key))
        task.add_done_callback(lambda _: self._tasks.pop(key))

    async def _write(self, key: str) -> None:
        backoff = Backoff(RETRY_S_MIN, RETRY_S_MAX)
        while True:
            try:
                wanted, present = self._read(key)
            except KeyError:
                self._written_at.pop(key, None)
                return
            if not self._is_due(key, wanted, present):
                return
            try:
                async with self._turns:
                    await self._api.merge(_path(key), _patch(wanted, present))
            except (NotFoundError, LeaseLostError):  # In the second case the next leader's to say.
                return
            except KubeError as error:
                log.warning("%s: status not written yet: %s", key, error)
                await asyncio.sleep(backoff.next_s())
            else:
                self._written_at[key] = self._loop.time()
                return

    def _is_due(self, key: str, wanted: Mapping[str, Any], present: Mapping[str, Any]) -> bool:
        if wanted == present:
            return False
        changed = {name for name in (*wanted, *present) if wanted.get(name) != present.get(name)}
        wait_s = self._written_at.get(key, 0.0) + REQUEST_EVERY_S - self._loop.time()
        if changed.issubset(_LAZY) and wait_s > 0:
            self._begin_in(key, wait_s)
            return False
        return True


def _path(key: str) -> str:
    return WANGELL_SERVICES.path(*split_key(key), sub="status")


def _patch(wanted: Mapping[str, Any], present: Mapping[str, Any]) -> dict[str, Any]:
    """A merge leaves what it does not name: what is to go is named with null."""
    return {"status": {**dict.fromkeys(present, None), **wanted}}
