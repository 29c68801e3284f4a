"""Looks at services one at a time each, again and again until the present is as it should be.

Level-triggered: however many events there were, there is one look, and it reads the present. A look
that fails comes again after a back-off of its own; no service waits for another's.
"""

import asyncio
import enum
import functools
import logging
from collections.abc import Awaitable, Callable

from wangell_controller.kube.backoff import Backoff
from wangell_controller.kube.errors import ConflictError, KubeError

__all__ = ["Outcome", "Reconciler"]

log = logging.getLogger(__name__)

# Looks at a time. The API server gives a client that it does not know some tens of requests.
LOOKS_MAX = 8
RETRY_S_MIN, RETRY_S_MAX = 0.1, 60.0


class Outcome(enum.Enum):
    """What a look came to."""

    DONE = "done"  # All is as it should be, as far as is known now.
    AGAIN = "again"  # Something is under way that tells no event: look again after a back-off.


class Reconciler:
    """Keys, each looked at when it should be. Call `close` at the end."""

    def __init__(self, look: Callable[[str], Awaitable[Outcome]]) -> None:
        """`look` may raise KubeError."""
        self._look = look
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[str, None] = {}
        "In order; those that are looked at just now, too, if they are to be looked at again"
        self._running: dict[str, asyncio.Task[None]] = {}
        self._start_handle: asyncio.Handle | None = None
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._backoffs: dict[str, Backoff] = {}

    def hurry(self, key: str) -> None:
        """Look at it now; something has happened."""
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        self._waiting[key] = None
        if self._start_handle is None:  # Events come in heaps: one look for the heap.
            self._start_handle = self._loop.call_soon(self._start)

    def forget(self, key: str) -> None:
        """There is no such service any more."""
        self._backoffs.pop(key, None)
        self._waiting.pop(key, None)
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()

    async def close(self) -> None:
        """Look at nothing more; what is being looked at is left where it is."""
        self._waiting.clear()
        for timer in self._timers.values():
            timer.cancel()
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    def _start(self) -> None:
        self._start_handle = None
        free = [key for key in self._waiting if key not in self._running]
        for key in free[: LOOKS_MAX - len(self._running)]:
            del self._waiting[key]
            task = self._running[key] = self._loop.create_task(self._run(key))
            task.add_done_callback(functools.partial(self._end, key))

    def _end(self, key: str, task: asyncio.Task[None]) -> None:
        del self._running[key]
        self._start()
        if not task.cancelled():
            task.result()  # Raises what is no KubeError: a mistake of ours, which the loop tells.

    async def _run(self, key: str) -> None:
        try:
            outcome = await self._look(key)
        except ConflictError as error:  # The object was not as we had seen it: we will.
            log.debug("%s: looked at again: %s", key, error)
            outcome = Outcome.AGAIN
        except KubeError as error:
            log.warning("%s: not as it should be: %s", key, error)
            outcome = Outcome.AGAIN
        if outcome is Outcome.AGAIN:
            self._look_later(key)
        else:
            self._backoffs.pop(key, None)

    def _look_later(self, key: str) -> None:
        if key in self._waiting:  # Sooner than that.
            return
        backoff = self._backoffs.setdefault(key, Backoff(RETRY_S_MIN, RETRY_S_MAX))
        self._timers[key] = self._loop.call_later(backoff.next_s(), self.hurry, key)
