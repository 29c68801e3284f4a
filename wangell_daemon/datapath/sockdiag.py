"""A listener's queue and its connections, read by netlink's sock_diag in the server's namespace.

On the wake path: 30 us, against pyroute2's 1.5 ms.
"""

import enum
import os
import socket
import struct
from collections.abc import Iterator

from wangell_daemon.datapath.netlink import (
    DONE,
    DUMP,
    ERROR,
    REPLY_BYTES,
    errno_of,
    message,
    split,
)
from wangell_daemon.datapath.syscalls import in_network_namespace

__all__ = ["Caller", "Connections", "Listener"]

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_REQUEST = struct.Struct(
    "=BBBxI"
)  # the head of struct inet_diag_req_v2; struct inet_diag_sockid follows
_SOCKET_ID_BYTES = 48
_MESSAGE = struct.Struct("=BBBB48sIII")  # struct inet_diag_msg up to wqueue

# include/net/tcp_states.h
_LISTEN, _TIME_WAIT, _CLOSE, _BOUND_INACTIVE = 10, 6, 7, 13
_NOT_LIVE = 1 << _LISTEN | 1 << _TIME_WAIT | 1 << _CLOSE | 1 << _BOUND_INACTIVE | 1
_LIVE = 0xFFFF & ~_NOT_LIVE
_SYN_SENT = 2
_NO_COOKIE = b"\xff" * 8


class Caller(enum.Enum):
    """What a caller's own socket is in."""

    WAITING = "waiting"  # Its SYN has no answer yet.
    ANSWERED = "answered"
    GONE = "gone"


class Listener:
    """The listening sockets of one port in one network namespace. Raises OSError throughout."""

    def __init__(self, namespace: str, port: int) -> None:
        """`namespace` is a path such as /proc/PID/ns/net."""
        self._port = port
        namespace_fd = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._netlink: socket.socket = in_network_namespace(namespace_fd, _open_netlink)
        finally:
            os.close(namespace_fd)

    def room(self) -> int:
        """How many more connections the accept queue takes; 1 where nothing listens (any more)."""
        rooms = [backlog - queued for queued, backlog in self._queues()]
        return max(0, *rooms) if rooms else 1

    def connections(self) -> int:
        """How many connections live: also half-open, unaccepted and closing ones."""
        return sum(1 for _ in self._sockets(_LIVE))

    def close(self) -> None:
        """Let the namespace go."""
        self._netlink.close()

    def _queues(self) -> Iterator[tuple[int, int]]:
        for found in self._sockets(1 << _LISTEN):
            yield found[6], found[7]  # rqueue: waiting for accept(); wqueue: the backlog

    def _sockets(self, states: int) -> Iterator[tuple[int, ...]]:
        for family in (socket.AF_INET, socket.AF_INET6):
            socket_id = struct.pack("!H", self._port).ljust(_SOCKET_ID_BYTES, b"\0")
            body = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, states) + socket_id
            self._netlink.send(message(_SOCK_DIAG_BY_FAMILY, body, flags=DUMP))
            yield from self._replies()

    def _replies(self) -> Iterator[tuple[int, ...]]:
        while True:
            for kind, body in split(self._netlink.recv(REPLY_BYTES)):
                if kind == DONE:
                    return
                if kind == ERROR:
                    code = errno_of(body)
                    raise OSError(code, os.strerror(code))
                yield _MESSAGE.unpack_from(body)


class Connections:
    """Callers of this very network namespace. Raises OSError throughout."""

    def __init__(self) -> None:
        self._netlink = _open_netlink()

    def caller(self, flow: bytes) -> Caller:
        """Return what the caller's socket of a struct flow (IPv4) is in."""
        ends = flow[32:36] + flow[12:16].ljust(16, b"\0") + flow[28:32].ljust(16, b"\0")
        body = _REQUEST.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, 0xFFFF)
        socket_id = ends + bytes(4) + _NO_COOKIE
        self._netlink.send(message(_SOCK_DIAG_BY_FAMILY, body + socket_id))
        for kind, reply in split(self._netlink.recv(REPLY_BYTES)):
            if kind == _SOCK_DIAG_BY_FAMILY:
                state = _MESSAGE.unpack_from(reply)[1]
                if state == _SYN_SENT:
                    return Caller.WAITING
                # Where the caller has gone, a listener on its port may be found instead.
                return Caller.GONE if state in (_LISTEN, _CLOSE) else Caller.ANSWERED
        return Caller.GONE

    def close(self) -> None:
        """Close the socket."""
        self._netlink.close()


def _open_netlink() -> socket.socket:
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG)
    netlink.settimeout(1.0)  # the kernel answers within the call; this only bounds the unforeseen
    return netlink
