"""The bpf() system call where BCC has no function for it, by ctypes. x86_64 and aarch64."""

import ctypes
import os
import platform
import socket
from typing import Any

__all__ = ["CLONE_NEWNET", "bpf", "in_network_namespace", "source_address_in"]

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


def source_address_in(namespace: str) -> str:
    """Return the IPv4 address that a network namespace (a path) sends from. Raises OSError."""
    namespace_fd = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return str(in_network_namespace(namespace_fd, _source_address))
    finally:
        os.close(namespace_fd)


def _source_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route:
        route.connect(("192.0.2.1", 9))  # TEST-NET-1: nothing is sent, only the route is looked up
        return str(route.getsockname()[0])


def _setns(namespace_fd: int) -> None:
    if _libc.setns(namespace_fd, CLONE_NEWNET) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
