"""One daemon an interface: a lock that ends with the process, however it ends."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

__all__ = ["AlreadyServedError", "only_daemon_of", "serves_another"]

LOCK_DIR = Path("/run/wangell-daemon")


class AlreadyServedError(RuntimeError):
    """Another daemon serves the interface."""


@contextlib.contextmanager
def only_daemon_of(interface: str) -> Iterator[None]:
    """Hold the interface's lock. Raises AlreadyServedError."""
    LOCK_DIR.mkdir(exist_ok=True)
    with _path(interface).open("a+") as lock:
        if not _take(lock):
            lock.seek(0)
            raise AlreadyServedError(
                f"another daemon (pid {lock.read().strip()}) serves {interface}; stop it first"
            )
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def serves_another(interface: str) -> bool:
    """Whether a daemon serves another interface of this network namespace."""
    mine = _path(interface)
    return any(
        not _is_free(path) for path in LOCK_DIR.glob(f"{_namespace()}-*.lock") if path != mine
    )


def _path(interface: str) -> Path:
    return LOCK_DIR / f"{_namespace()}-{interface}.lock"


def _namespace() -> int:
    # Namespaces have interfaces of the same names.
    return Path("/proc/self/ns/net").stat().st_ino


def _is_free(path: Path) -> bool:
    with path.open("a+") as lock:
        # Shared: a daemon that starts this very moment must not be told that it is the second.
        return _take(lock, fcntl.LOCK_SH)


def _take(lock: TextIO, kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
