"""An event loop whose clock stands still while anything can run, and jumps when nothing can."""

import asyncio
import contextlib
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["run", "settle"]

T = TypeVar("T")


class _Selector:
    """Waits for nothing: a wait becomes a jump."""

    def __init__(self) -> None:
        self.real = selectors.DefaultSelector()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        events = self.real.select(0)
        if not events and timeout is None:
            raise AssertionError("everything waits, and nothing will come")
        if not events and timeout:
            self.now += timeout
        return events

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)  # type: ignore[arg-type]

    def time(self) -> float:
        return self._virtual.now


def run(story: Coroutine[Any, Any, T]) -> T:
    """Run it to its end; whatever it leaves running is cancelled, and what failed unseen fails."""
    failures: list[BaseException] = []
    loop = _Loop()

    def on_exception(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        failures.append(context.get("exception") or RuntimeError(context["message"]))

    loop.set_exception_handler(on_exception)
    try:
        result = loop.run_until_complete(story)
    finally:
        _cancel_all(loop)
        loop.close()
    if failures:
        raise failures[0]
    return result


async def settle(seconds: float = 0.0) -> None:
    """Return when all that can be done by then is done."""
    await asyncio.sleep(seconds)
    for _ in range(50):
        await asyncio.sleep(0)


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if not tasks:
        return
    with contextlib.suppress(asyncio.CancelledError):
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
