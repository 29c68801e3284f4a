"""Interfaces, their addresses and tc filters, by rtnetlink: packed by hand, as nfnetlink's are.

pyroute2 takes some ms of Python for each request, and a node asks for some with every pod that
starts, often in the middle of a wake.
"""

import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from wangell_daemon.datapath.netlink import (
    ACK,
    CREATE,
    DONE,
    DUMP,
    ERROR,
    EXCLUSIVE,
    REPLY_BYTES,
    attribute,
    attributes,
    errno_of,
    message,
    split,
)

__all__ = [
    "AddressWatch",
    "Link",
    "LinkWatch",
    "Rtnetlink",
    "add_clsact",
    "delete_clsact",
    "delete_filter",
    "put_filter",
]

_NETLINK_ROUTE = 0
_GROUP_LINK, _GROUP_ADDRESS4 = 0x1, 0x10  # RTMGRP_LINK, RTMGRP_IPV4_IFADDR
_NEW_LINK, _DELETE_LINK, _GET_LINK = 16, 17, 18
_NEW_ADDRESS, _DELETE_ADDRESS, _GET_ADDRESS = 20, 21, 22
_NEW_QDISC, _DELETE_QDISC = 36, 37
_NEW_FILTER, _DELETE_FILTER, _GET_FILTER = 44, 45, 46

_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg
_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg
_TC = struct.Struct("=BxxxiIII")  # struct tcmsg
_RCVBUF_FORCE = 33  # asm-generic/socket.h
# The kernel tells some ten times of each pod that starts, 1.5 KiB each: a hundred at once.
_WATCH_BYTES = 2 << 20

# include/uapi/linux/if_link.h, if_addr.h, rtnetlink.h, pkt_sched.h, pkt_cls.h
_IFA_LOCAL, _SCOPE_GLOBAL = 2, 0
_IFNAME, _LINKINFO, _INFO_KIND, _LINK_NETNSID = 3, 18, 1, 37
_TCA_KIND, _TCA_OPTIONS = 1, 2
_BPF_FD, _BPF_NAME, _BPF_FLAGS, _DIRECT_ACTION = 6, 7, 8, 1
_CLSACT, _CLSACT_HANDLE = 0xFFFFFFF1, 0xFFFF0000
INGRESS, EGRESS = 0xFFFFFFF2, 0xFFFFFFF3
_ETH_P_ALL = 0x0003

# First: a network's own filter (Calico, Cilium: 1, too) may end the walk with TC_ACT_OK. Those
# of one priority are told apart by handle, the newest first; no other has this one ("Wang").
_PRIORITY, _HANDLE = 1, 0x57616E67
_FILTER_INFO = _PRIORITY << 16 | socket.htons(_ETH_P_ALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """An interface, as the kernel tells of it."""

    index: int
    name: str
    kind: str
    "Such as veth or tun; empty for a card"
    has_peer_elsewhere: bool
    "Its other end is in another network namespace"
    is_gone: bool = False


class Rtnetlink:
    """A socket for requests in the network namespace where it is made."""

    def __init__(self) -> None:
        self._netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_ROUTE)
        self._netlink.bind((0, 0))

    def request(self, message: bytes) -> None:
        """Do it. Raises OSError with the kernel's errno."""
        self._netlink.send(message)
        for kind, body in self._replies():
            number = errno_of(body) if kind == ERROR else 0
            if number:
                raise OSError(number, os.strerror(number))
            return

    def links(self) -> list[Link]:
        """All interfaces. Raises OSError."""
        found = self._dump(message(_GET_LINK, _LINK.pack(0, 0, 0, 0, 0), flags=DUMP))
        return [link for kind, body in found if (link := _parse_link(kind, body)) is not None]

    def addresses(self, ifindex: int) -> tuple[str, ...]:
        """An interface's IPv4 addresses that others may call, as text. Raises OSError."""
        asked = _ADDRESS.pack(socket.AF_INET, 0, 0, 0, 0)
        found = self._dump(message(_GET_ADDRESS, asked, flags=DUMP))
        return tuple(
            socket.inet_ntoa(attributes(body[_ADDRESS.size :])[_IFA_LOCAL])
            for _kind, body in found
            if _ADDRESS.unpack_from(body)[3:] == (_SCOPE_GLOBAL, ifindex)
        )

    def has_filters(self, ifindex: int) -> bool:
        """Whether anybody has a filter at the interface's clsact. Raises OSError."""
        asked = (
            message(_GET_FILTER, _TC.pack(0, ifindex, 0, parent, 0), flags=DUMP)
            for parent in (INGRESS, EGRESS)
        )
        return any(self._dump(each) for each in asked)

    def close(self) -> None:
        """Close the socket."""
        self._netlink.close()

    def _dump(self, message: bytes) -> list[tuple[int, bytes]]:
        self._netlink.send(message)
        found = []
        for kind, body in self._replies():
            if kind == DONE:
                break
            if kind == ERROR:
                number = errno_of(body)
                raise OSError(number, os.strerror(number))
            found.append((kind, body))
        return found

    def _replies(self) -> Iterator[tuple[int, bytes]]:
        while True:
            yield from split(self._netlink.recv(REPLY_BYTES))


class _Watch:
    """Tells of every change of one kind in the network namespace where it is made."""

    def __init__(self, group: int) -> None:
        self._netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_ROUTE)
        # FORCE, for which CAP_NET_ADMIN is enough, goes beyond net.core.rmem_max.
        self._netlink.setsockopt(socket.SOL_SOCKET, _RCVBUF_FORCE, _WATCH_BYTES)
        self._netlink.bind((0, group))

    def fileno(self) -> int:
        """Readable when something has changed."""
        return self._netlink.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._netlink.close()

    def _told(self) -> Iterator[tuple[int, bytes]]:
        return split(self._netlink.recv(REPLY_BYTES))


class LinkWatch(_Watch):
    """Of interfaces."""

    def __init__(self) -> None:
        super().__init__(_GROUP_LINK)

    def changes(self) -> list[Link]:
        """Wait for the next. Raises OSError; ENOBUFS where some were lost: list anew."""
        told = self._told()
        return [link for kind, body in told if (link := _parse_link(kind, body)) is not None]


class AddressWatch(_Watch):
    """Of IPv4 addresses."""

    def __init__(self) -> None:
        super().__init__(_GROUP_ADDRESS4)

    def changed(self) -> set[int]:
        """Wait for the next: the ifindexes of which. Raises OSError as LinkWatch does."""
        kinds = (_NEW_ADDRESS, _DELETE_ADDRESS)
        return {_ADDRESS.unpack_from(body)[4] for kind, body in self._told() if kind in kinds}


def add_clsact(ifindex: int) -> bytes:
    """The message that gives the interface the place for filters. EEXIST where there is one."""
    body = _TC.pack(0, ifindex, _CLSACT_HANDLE, _CLSACT, 0) + attribute(_TCA_KIND, b"clsact\0")
    return message(_NEW_QDISC, body, flags=ACK | CREATE | EXCLUSIVE)


def delete_clsact(ifindex: int) -> bytes:
    """The message that takes it away, with all filters."""
    body = _TC.pack(0, ifindex, _CLSACT_HANDLE, _CLSACT, 0)
    return message(_DELETE_QDISC, body, flags=ACK)


def put_filter(ifindex: int, program_fd: int, name: str) -> bytes:
    """The message that runs the program on what comes in, in one step in place of an older one."""
    options = attribute(_BPF_FD, struct.pack("=I", program_fd))
    options += attribute(_BPF_NAME, name.encode() + b"\0")
    options += attribute(_BPF_FLAGS, struct.pack("=I", _DIRECT_ACTION))
    body = _TC.pack(0, ifindex, _HANDLE, INGRESS, _FILTER_INFO) + attribute(_TCA_KIND, b"bpf\0")
    return message(_NEW_FILTER, body + attribute(_TCA_OPTIONS, options), flags=ACK | CREATE)


def delete_filter(ifindex: int) -> bytes:
    """The message that deletes it. ENOENT or EINVAL where it is not there."""
    body = _TC.pack(0, ifindex, _HANDLE, INGRESS, _FILTER_INFO) + attribute(_TCA_KIND, b"bpf\0")
    return message(_DELETE_FILTER, body, flags=ACK)


def _parse_link(kind: int, body: bytes) -> Link | None:
    """Read RTM_NEWLINK and RTM_DELLINK; None for a bridge's word that a port has joined or left."""
    family, _type, index, _flags, _change = _LINK.unpack_from(body)
    if kind not in (_NEW_LINK, _DELETE_LINK) or family != socket.AF_UNSPEC:
        return None
    found = attributes(body[_LINK.size :])
    about = attributes(found.get(_LINKINFO, b""))
    return Link(
        index=index,
        name=_text(found.get(_IFNAME, b"")),
        kind=_text(about.get(_INFO_KIND, b"")),
        has_peer_elsewhere=_LINK_NETNSID in found,
        is_gone=kind == _DELETE_LINK,
    )


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")
