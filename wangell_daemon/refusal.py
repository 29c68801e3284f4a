"""Answering held SYNs with RST, so that a caller learns at once that the wake has failed."""

import fcntl
import socket
import struct

from wangell_daemon.packets import reset_for

__all__ = ["Refuser"]

# The sender takes no frame in: protocol 0 binds the socket to no EtherType.
_NO_FRAMES = 0
_NAME_OF_INDEX = 0x8910  # SIOCGIFNAME
_NAMED = struct.Struct("16si20x")  # struct ifreq


class Refuser:
    """Sends resets out of the interfaces that SYNs came in by. Needs CAP_NET_RAW."""

    def __init__(self) -> None:
        self._packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, _NO_FRAMES)

    def refuse(self, frame: bytes, *, ifindex: int) -> None:
        """Answer this SYN, which came in by that interface. Raises OSError, if that is gone."""
        # Python's addresses have names; asked of the socket, it is its own namespace that answers.
        asked = _NAMED.pack(b"", ifindex)
        name, _index = _NAMED.unpack(fcntl.ioctl(self._packets, _NAME_OF_INDEX, asked))
        self._packets.sendto(reset_for(frame), (name.rstrip(b"\0").decode(), _NO_FRAMES))

    def close(self) -> None:
        """Let the socket go."""
        self._packets.close()
