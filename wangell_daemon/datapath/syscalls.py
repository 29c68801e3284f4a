"""The bpf() system call where BCC has no function for it, by ctypes. x86_64 and aarch64."""

import ctypes
import os
import platform
from typing import Any

__all__ = ["CLONE_NEWNET", "bpf", "in_network_namespace"]

_NR_BPF = {"x86_64": 321, "aarch64": 280}
CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_NR = _NR_BPF.get(platform.machine(), -1)


def bpf(command: int, attributes: ctypes.Structure) -> int:
    """Run bpf(command, attributes). Returns what it returns; raises OSError."""
    result: int = _libc.syscall(_NR, command, ctypes.byref(attributes), ctypes.sizeof(attributes))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def in_network_namespace(namespace_fd: int, work: Any) -> Any:
    """Return `work()`, run by this thread inside that network namespace; it comes back after."""
    with open("/proc/thread-self/ns/net", "rb") as here:  # noqa: PTH123 (a descriptor is wanted)
        _setns(namespace_fd)
        try:
            return work()
        finally:
            _setns(here.fileno())


def _setns(namespace_fd: int) -> None:
    if _libc.setns(namespace_fd, CLONE_NEWNET) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
