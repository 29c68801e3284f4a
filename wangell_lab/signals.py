"""Signals end a lab in order: SIGTERM and SIGHUP unwind as Ctrl-C does; the end is undisturbed."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

__all__ = ["undisturbed", "unwinding"]


@contextmanager
def unwinding() -> Iterator[None]:
    """SIGTERM and SIGHUP raise SystemExit(128 + number), so that every `with` is left properly.

    Only where they would have killed the process: a caller's own handlers stay.
    """
    defaults = [
        each
        for each in (signal.SIGTERM, signal.SIGHUP)
        if _is_main_thread() and signal.getsignal(each) is signal.SIG_DFL
    ]
    for each in defaults:
        signal.signal(each, _exit)
    try:
        yield
    finally:
        for each in defaults:
            signal.signal(each, signal.SIG_DFL)


@contextmanager
def undisturbed() -> Iterator[None]:
    """A second Ctrl-C does not cut the cleaning up short. It takes a second or so."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if _is_main_thread() else ()
    before = {each: signal.signal(each, signal.SIG_IGN) for each in signals}
    try:
        yield
    finally:
        for each, disposition in before.items():
            signal.signal(each, disposition)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _exit(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
