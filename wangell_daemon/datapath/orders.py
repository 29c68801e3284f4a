"""Elements of the handover's maps by packets of our own, which the ruleset takes for orders.

A transaction of nftables walks through every chain of every table: 1 ms beside kube-proxy's
iptables rules for 5,000 services, and it waits while kube-proxy writes its own, 20 ms and more. A
rule that meets a packet changes a map on the spot: 0.05 ms, whatever else the ruleset holds.

An order is a TCP segment from the replica's address and port to the frontend's, marked so that the
chain `orders` takes it: what it asks for is in the urgent pointer. It never leaves this host.
"""

import enum
import errno
import socket
import struct
from collections.abc import Iterable

from wangell_daemon.packets import V4_MAPPED

__all__ = ["Order", "Orders"]

MARK = 0x77616E67  # "wang"; handover.nft has it, too
_TCP = struct.Struct("!HHIIBBHHH")
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_LENGTH = _IPV4.size + _TCP.size


class Order(enum.IntEnum):
    """What a segment asks for: `tcp urgptr` in handover.nft."""

    END = 1
    HERE = 2
    AWAY = 3
    RENEW_HERE = 4
    RENEW_AWAY = 5


class Orders:
    """Of this network namespace. Both ends are bytes, struct frontend; IPv4."""

    def __init__(self) -> None:
        """Raises OSError."""
        self._raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self._raw.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
        # By lo there is a route to every address; what no chain takes is a martian there: dropped.
        self._raw.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")

    def give(self, order: Order, frontends: Iterable[bytes], replica: bytes) -> None:
        """Carried out when it returns. Raises OSError: EAFNOSUPPORT before anything was done."""
        packets = [(_packet(order, each, replica), _ipv4(each)) for each in frontends]
        for packet, destination in packets:
            try:
                self._raw.sendto(packet, (socket.inet_ntoa(destination), 0))
            except PermissionError:  # Dropped by the chain, which has carried it out.
                continue
            raise OSError(
                errno.ENOENT, "the chain `orders` of nftables' table inet wangell is gone"
            )

    def close(self) -> None:
        """Close the socket."""
        self._raw.close()


def _packet(order: Order, frontend: bytes, replica: bytes) -> bytes:
    ends = _ipv4(replica), _ipv4(frontend)
    head = _IPV4.pack(0x45, 0, _LENGTH, 0, 0, 64, socket.IPPROTO_TCP, 0, *ends)
    return head + _TCP.pack(_port(replica), _port(frontend), 0, 0, 5 << 4, 0, 0, 0, order)


def _ipv4(end: bytes) -> bytes:
    if not end.startswith(V4_MAPPED):
        raise OSError(errno.EAFNOSUPPORT, "handovers are of IPv4 alone")
    return end[12:16]


def _port(end: bytes) -> int:
    return int.from_bytes(end[16:18], "big")
