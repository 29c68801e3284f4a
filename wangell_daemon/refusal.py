"""Answering held SYNs with RST, so that a caller learns at once that the wake has failed."""

import socket

from wangell_daemon.packets import reset_for

__all__ = ["Refuser"]

# The sender takes no frame in: protocol 0 binds the socket to no EtherType.
_NO_FRAMES = 0


class Refuser:
    """Sends resets out of one interface. Needs CAP_NET_RAW."""

    def __init__(self, interface: str) -> None:
        self._packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, _NO_FRAMES)
        try:
            self._packets.bind((interface, _NO_FRAMES))
        except OSError:
            self._packets.close()
            raise

    def refuse(self, frame: bytes) -> None:
        """Answer this held SYN. Raises OSError."""
        self._packets.send(reset_for(frame))

    def close(self) -> None:
        """Let the interface go."""
        self._packets.close()
