"""Who leads: one controller lowers services and writes the table, the others stand by.

A file lock here, a Lease in Kubernetes. The kernel takes the lock from a process that ends, however
it ends, and wakes who waits for it: a successor leads in the same millisecond, and nothing polls.
"""

import asyncio
import fcntl
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

__all__ = ["FileLeadership", "Leadership"]


class Leadership(Protocol):
    """One candidate's view."""

    def campaign(self, on_leading: Callable[[], None]) -> bool:
        """Return whether this one leads now; if not, `on_leading` is called once it does."""

    def has_successor(self) -> bool:
        """Whether another stands by to lead after this one."""

    def close(self) -> None:
        """Lead no more, or wait no more. The end of the process does it as well."""


class FileLeadership:
    """Among the controllers that share a run directory. Close it."""

    def __init__(self, run_dir: Path) -> None:
        """Raises OSError where the directory cannot be written."""
        self._lock = (run_dir / "leader").open("a")
        # Everybody who stands by holds it shared, so a leader that leaves knows of them.
        self._bench = (run_dir / "standby").open("a")
        self._loop = asyncio.get_running_loop()
        self._on_leading: Callable[[], None] = lambda: None
        self._waits = self._is_closed = False

    def campaign(self, on_leading: Callable[[], None]) -> bool:
        """Return whether this one leads now; if not, `on_leading` is called once it does."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(self._bench, fcntl.LOCK_SH)
            self._on_leading, self._waits = on_leading, True
            # A daemon: what ends us must not wait for a thread that waits for somebody else's end.
            threading.Thread(target=self._wait, name="leadership", daemon=True).start()
            return False
        return True

    def has_successor(self) -> bool:
        """Whether another stands by to lead after this one."""
        try:
            fcntl.flock(self._bench, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(self._bench, fcntl.LOCK_UN)
        return False

    def close(self) -> None:
        """Lead no more, or wait no more. The end of the process does it as well."""
        self._is_closed = True
        self._bench.close()
        if not self._waits:
            self._lock.close()

    def _wait(self) -> None:
        """Wait in a thread, whose the lock's file is until it has the lock.

        Closed by another thread, the descriptor's number would soon be another file's, and that
        one be locked here (seen: a standby that hung on a lock nobody knew of).
        """
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        if self._is_closed:
            self._lock.close()
            return
        with suppress(RuntimeError):  # The loop is closed, and the process about to end.
            self._loop.call_soon_threadsafe(self._lead)

    def _lead(self) -> None:
        self._waits = False
        if self._is_closed:
            self._lock.close()
            return
        fcntl.flock(self._bench, fcntl.LOCK_UN)
        self._on_leading()
