"""Network namespaces: one is open for each service, so that entering it takes one system call.

Python has os.setns() from 3.12; on 3.11 it is reached through ctypes. PyDLL keeps the interpreter's
lock meanwhile: between the two calls no other thread of ours can run.
"""

import ctypes
import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["Namespace", "entered", "own_namespace"]

_CLONE_NEWNET = 0x40000000
_NS_GET_NSTYPE = 0xB703  # ioctl, linux/nsfs.h
_libc = ctypes.PyDLL(None, use_errno=True)


class Namespace:
    """An open network namespace. Close it."""

    def __init__(self, path: Path) -> None:
        """Raises OSError where there is none."""
        self.path, self._name = path, str(path)
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        if not _is_network_namespace(self.fd):
            os.close(self.fd)
            raise OSError(errno.EINVAL, "netns: not a network namespace", str(path))
        self.inode = os.fstat(self.fd).st_ino

    @property
    def workload(self) -> str:
        """What a daemon reads off a process in it: `net:[4026531840]`."""
        return f"net:[{self.inode}]"

    def is_current(self) -> bool:
        """Return whether the path still names this namespace.

        The descriptor keeps a deleted one alive, and a server started there hears nobody.
        """
        try:
            return os.stat(self._name).st_ino == self.inode  # noqa: PTH116 (50 us less, when cold)
        except OSError:
            return False

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.fd)


def _is_network_namespace(fd: int) -> bool:
    try:
        return fcntl.ioctl(fd, _NS_GET_NSTYPE) == _CLONE_NEWNET
    except OSError:
        return False


def own_namespace() -> Namespace:
    """Return the calling thread's own."""
    return Namespace(Path("/proc/thread-self/ns/net"))


@contextmanager
def entered(there: Namespace, *, home: Namespace) -> Iterator[None]:
    """Be in `there` meanwhile: the calling thread only. Raises OSError (EPERM: not root)."""
    _set(there.fd)
    try:
        yield
    finally:
        try:
            _set(home.fd)
        except OSError as error:
            # Lost in a pod: every socket from now on would be the pod's.
            raise SystemExit(f"cannot return to the controller's namespace: {error}") from error


def _set(fd: int) -> None:
    if _libc.setns(fd, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")
