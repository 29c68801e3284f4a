"""Packets that an nftables rule logs to a group, read by nfnetlink_log: one by one, at once."""

import errno
import os
import socket
import struct
from collections.abc import Callable

from wangell_daemon.datapath.netlink import (
    ACK,
    ERROR,
    REPLY_BYTES,
    attribute,
    attributes,
    errno_of,
    split,
)
from wangell_daemon.datapath.nfnetlink import NETLINK_NETFILTER, nfnetlink_message

__all__ = ["PacketLog"]

# include/uapi/linux/netfilter/nfnetlink_log.h
_SUBSYSTEM = 4  # NFNL_SUBSYS_ULOG
_PACKET, _CONFIG = 0, 1
_COMMAND, _MODE, _THRESHOLD = 1, 2, 5
_BIND, _COPY_PACKET = 1, 2
_PAYLOAD = 9

_SO_RCVBUFFORCE = 33  # asm-generic/socket.h; needs CAP_NET_ADMIN
_GENERIC_BYTES = 4  # struct nfgenmsg
# A burst of a thousand SYNs, as the kernel counts memory: what is more comes again by itself.
_QUEUE_BYTES = 1 << 20


class PacketLog:
    """The reader of one group, in the network namespace where it is made."""

    def __init__(
        self, group: int, *, on_packet: Callable[[bytes], None], on_lost: Callable[[], None]
    ) -> None:
        """`on_packet` is given an IP packet; `on_lost` is called when the queue was full.

        Raises OSError: EBUSY where somebody reads the group. Needs CAP_NET_ADMIN.
        """
        self._on_packet, self._on_lost = on_packet, on_lost
        self._netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        self._netlink.bind((0, 0))
        self._netlink.settimeout(1.0)  # the kernel answers within the call
        self._netlink.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _QUEUE_BYTES)
        try:
            for setting in (
                attribute(_COMMAND, bytes([_BIND])),
                attribute(_MODE, struct.pack("!IBx", 0xFFFF, _COPY_PACKET)),
                attribute(_THRESHOLD, struct.pack("!I", 1)),
            ):
                self._ask(group, setting)
        except OSError:
            self.close()
            raise
        self._netlink.setblocking(False)

    def fileno(self) -> int:
        """It is readable when there are packets."""
        return self._netlink.fileno()

    def consume(self) -> None:
        """Give `on_packet` what has come, some at a time: the event loop comes again."""
        try:
            reply = self._netlink.recv(REPLY_BYTES)
        except BlockingIOError:
            return
        except OSError:  # ENOBUFS
            self._on_lost()
            return
        for kind, body in split(reply):
            if kind == _SUBSYSTEM << 8 | _PACKET:
                packet = attributes(body[_GENERIC_BYTES:]).get(_PAYLOAD)
                if packet is not None:
                    self._on_packet(packet)

    def close(self) -> None:
        """Let the group go."""
        self._netlink.close()

    def _ask(self, group: int, setting: bytes) -> None:
        self._netlink.send(
            nfnetlink_message(_SUBSYSTEM << 8 | _CONFIG, 0, group, setting, flags=ACK)
        )
        for kind, body in split(self._netlink.recv(REPLY_BYTES)):
            refusal = errno_of(body) if kind == ERROR else 0
            if refusal == errno.EPERM:  # The kernel's word for a group that has a reader.
                refusal = errno.EBUSY
            if refusal:
                raise OSError(refusal, f"group {group}: {os.strerror(refusal)}")
