"""The keys of one generation of a session: one to seal with, one to open with.

The packet number is the nonce, so a number is never used twice under a key: whoever seals counts
up, and a retransmission is sealed anew.
"""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from wangell_proto.constants import HEADER, HEADER_BYTES, MAGIC, NONCE, REPLAY_WINDOW, VERSION
from wangell_proto.errors import DropReason
from wangell_proto.window import SlidingWindow
from wangell_proto.wire import DatagramType

__all__ = ["TrafficKeys"]

_SEALED = int(DatagramType.SEALED)


class TrafficKeys:
    """Seals and opens the bodies of SEALED datagrams; refuses what was received before."""

    __slots__ = ("_open", "_seal", "key_id", "made_at", "psk", "window")

    def __init__(
        self, *, key_id: int, sealing: bytes, opening: bytes, psk: bytes, made_at: float
    ) -> None:
        self.key_id = key_id
        self.psk = psk
        self.made_at = made_at
        self.window = SlidingWindow(REPLAY_WINDOW)
        # Cached: building the cipher costs as much as using it.
        self._seal = ChaCha20Poly1305(sealing).encrypt
        self._open = ChaCha20Poly1305(opening).decrypt

    def seal(self, body: bytes, *, session: int, number: int) -> bytes:
        """Return a whole datagram. The caller never gives a number twice."""
        header = HEADER.pack(MAGIC, VERSION, _SEALED, 0, self.key_id, session, number)
        return header + self._seal(NONCE.pack(number), body, header)

    def open(self, datagram: bytes, number: int) -> bytes | DropReason:
        """Return the body, or why not. The number counts as received only once authenticated."""
        window = self.window
        if number <= window.highest and window.seen(number):
            return DropReason.TOO_OLD if window.too_old(number) else DropReason.REPLAYED
        try:
            body = self._open(NONCE.pack(number), datagram[HEADER_BYTES:], datagram[:HEADER_BYTES])
        except InvalidTag:
            return DropReason.BAD_TAG
        window.mark(number)
        return body
