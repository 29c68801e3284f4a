"""One call after another, each timed from before it is sent until its answer has been read."""

import asyncio
import time
from collections.abc import Callable

__all__ = ["ClosedLoop"]


class ClosedLoop:
    """For what answers in a callback: `send` starts a call, `on_answer` ends it."""

    def __init__(self, send: Callable[[], object]) -> None:
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._left = 0
        self._gap_s = 0.0
        self._started_at = 0.0
        self._calls: list[tuple[float, float]] = []
        self._done: asyncio.Future[None] | None = None

    async def run(self, count: int, gap_s: float = 0.0) -> list[tuple[float, float]]:
        """Make so many calls; return of each when it began and how long it took, in seconds.

        `gap_s` lies between an answer and the next call.
        """
        self._left, self._calls, self._done = count, [], self._loop.create_future()
        self._gap_s = gap_s
        self._next()
        await self._done
        return self._calls

    def _next(self) -> None:
        self._left -= 1
        self._started_at = time.monotonic()
        self._send()

    def on_answer(self) -> None:
        """Take the answer to the last call."""
        self._calls.append((self._started_at, time.monotonic() - self._started_at))
        if self._left > 0 and self._gap_s:
            self._loop.call_later(self._gap_s, self._next)
        elif self._left > 0:
            # Not from here: what the other side of the callback still has to do is not ours.
            self._loop.call_soon(self._next)
        elif self._done is not None and not self._done.done():
            self._done.set_result(None)
