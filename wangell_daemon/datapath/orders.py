"""Elements of nftables' maps and sets by packets of our own, which the ruleset takes for orders.

A transaction of nftables walks through every chain of every table: 1 ms beside kube-proxy's
iptables rules for 5,000 services, and it waits while kube-proxy writes its own, 20 ms and more. A
rule that meets a packet changes a map on the spot: 0.05 ms, whatever else the ruleset holds.

An order is a TCP segment from the replica's address and port to the frontend's, marked so that the
chain `orders` takes it: what it asks for is in the urgent pointer. It never leaves this host. Its
sequence numbers are the password: whoever has CAP_NET_RAW on the node, as every pod of its network
does by default, may mark packets, but reads no ruleset, and sees no packet that is dropped there.
"""

import enum
import errno
import secrets
import socket
import struct
from collections.abc import Iterable
from pathlib import Path

from wangell_daemon.packets import V4_MAPPED

__all__ = ["MARK", "Order", "Orders", "Password", "draw_password", "rules_with"]

Password = tuple[int, int]
"Of 32 bits each: `tcp sequence` and `tcp ackseq` in the rules."

MARK = 0x77616E67  # "wang"; the rules have it, too
_TCP = struct.Struct("!HHIIBBHHH")
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_LENGTH = _IPV4.size + _TCP.size


class Order(enum.IntEnum):
    """What a segment asks for: `tcp urgptr` in handover.nft, from HOLD on in own_calls.nft."""

    END = 1
    HERE = 2
    AWAY = 3
    RENEW_HERE = 4
    RENEW_AWAY = 5
    HOLD = 6
    LET_PASS = 7
    LIVE = 8


def draw_password() -> Password:
    """Another for each daemon."""
    return secrets.randbits(32), secrets.randbits(32)


def rules_with(password: Password, file: Path) -> str:
    """The rules of a file, which take orders with this password."""
    sequence, ackseq = password
    return f"define sequence = {sequence}\ndefine ackseq = {ackseq}\n{file.read_text()}"


class Orders:
    """Of this network namespace. Both ends are bytes, struct frontend; IPv4."""

    def __init__(self, password: Password) -> None:
        """`password` is what the chain was written with. Raises OSError."""
        self._password = password
        self._raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self._raw.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
        # By lo there is a route to every address; what no chain takes is a martian there: dropped.
        self._raw.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")

    def give(self, order: Order, frontends: Iterable[bytes], replica: bytes | None = None) -> None:
        """Carried out when it returns. Raises OSError: EAFNOSUPPORT before anything was done.

        Without a replica where none has a part in it.
        """
        packets = [(self._packet(order, each, replica or each), _ipv4(each)) for each in frontends]
        for packet, destination in packets:
            try:
                self._raw.sendto(packet, (socket.inet_ntoa(destination), 0))
            except PermissionError:  # Dropped by the chain, which has carried it out.
                continue
            raise OSError(
                errno.ENOENT,
                "the chain for orders in nftables' table inet wangell is gone, or another's",
            )

    def close(self) -> None:
        """Close the socket."""
        self._raw.close()

    def _packet(self, order: Order, frontend: bytes, replica: bytes) -> bytes:
        ends = _ipv4(replica), _ipv4(frontend)
        ports = _port(replica), _port(frontend)
        head = _IPV4.pack(0x45, 0, _LENGTH, 0, 0, 64, socket.IPPROTO_TCP, 0, *ends)
        return head + _TCP.pack(*ports, *self._password, 5 << 4, 0, 0, 0, order)


def _ipv4(end: bytes) -> bytes:
    if not end.startswith(V4_MAPPED):
        raise OSError(errno.EAFNOSUPPORT, "handovers are of IPv4 alone")
    return end[12:16]


def _port(end: bytes) -> int:
    return int.from_bytes(end[16:18], "big")
