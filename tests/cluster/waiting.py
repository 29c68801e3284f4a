"""For the few things that announce nothing: ask again until it is so. Everything else is waited for
by its own event.
"""

import threading
import time
from collections.abc import Callable

# A probe here costs a process; 20 a second are felt neither by the machine nor by who waits.
INTERVAL_S = 0.05


def until(probe: Callable[[], bool], what: str, *, timeout_s: float) -> None:
    """Return once `probe` is true; TimeoutError says what did not come."""
    deadline = time.monotonic() + timeout_s
    never = threading.Event()
    while not probe():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not in {timeout_s:.0f} s")
        never.wait(INTERVAL_S)


def pause(seconds: float) -> None:
    """Let the machine come to rest: for measurements, and never for something that is to happen."""
    threading.Event().wait(seconds)
