"""Network namespaces: made, entered, listed, removed. Named as `ip netns` names them.

Entering is setns(2) on the calling thread only, so threads may be in different namespaces. It is
never `ip netns exec`, which mounts a fresh /sys and hides tracefs and bpffs from what it starts.
"""

import ctypes
import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyroute2 import netns

from wangell_lab.errors import LabError

__all__ = ["NETNS_DIRECTORY", "Namespace"]

NETNS_DIRECTORY = Path("/run/netns")
CLONE_NEWNET = 0x40000000

# os.setns came with Python 3.12; Debian 12 has 3.11.
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Namespace:
    """A named network namespace; it may not exist yet, or not any more."""

    name: str

    @property
    def path(self) -> Path:
        """The file that keeps it alive, as `nsenter --net=` wants it."""
        return NETNS_DIRECTORY / self.name

    def create(self) -> None:
        """Make it. Raises FileExistsError."""
        netns.create(self.name)

    def remove(self) -> None:
        """Remove its name; the kernel ends it when the last process leaves. Absent is fine."""
        with suppress(FileNotFoundError):
            netns.remove(self.name)

    @property
    def identity(self) -> tuple[int, int] | None:
        """Device and inode, as in /proc/PID/ns/net. None: it does not exist."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    @contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread is in this namespace meanwhile. Sockets made there stay there."""
        here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            there = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                _setns(there)
            finally:
                os.close(there)
            try:
                yield
            finally:
                _setns(here)
        finally:
            os.close(here)

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """Return a socket that lives here, for use from anywhere."""
        with self.entered():
            return socket.socket(family, kind, protocol)

    def popen(self, argv: Sequence[str], **options: Any) -> "subprocess.Popen[bytes]":
        """Start a process here; `options` as for subprocess.Popen.

        It is here from its first instruction on: one that `nsenter` brought would for a moment be
        where nobody looks for it.
        """
        with self.entered():
            return subprocess.Popen(argv, **options)

    def run(
        self, argv: Sequence[str], *, given: str = "", check: bool = False
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command here with `given` as its input; return its status and output.

        Raises LabError with what it said where it fails and `check` is set.
        """
        with self.entered():
            done = subprocess.run(argv, input=given, capture_output=True, text=True, check=False)
        if check and done.returncode != 0:
            raise LabError(f"{argv[0]}: status {done.returncode}: {done.stderr.strip()}")
        return done


def _setns(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"setns: {os.strerror(error)}")
