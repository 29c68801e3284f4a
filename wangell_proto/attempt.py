"""One try of a client to shake hands with a server."""

from collections.abc import Callable

from wangell_proto.constants import HEADER_BYTES, KEY_BYTES, MAC_BYTES
from wangell_proto.errors import DropReason
from wangell_proto.handshake import (
    NO_COOKIE,
    RESPONSE_BYTES_MIN,
    RETRY_BYTES,
    Greeting,
    Reply,
    mac_key,
    pack_initiation,
    parse_reply,
    prologue,
    read_retry,
)
from wangell_proto.keys import TrafficKeys
from wangell_proto.noise import HandshakeError, Initiator, PrivateKey

__all__ = ["Attempt"]


class Attempt:
    """A handshake under way. Raises HandshakeError when the server's public key is unusable."""

    def __init__(
        self,
        greeting: Greeting,
        *,
        number: int,
        static: PrivateKey,
        server_public_key: bytes,
        psk: bytes,
        cookie: bytes,
        random: Callable[[int], bytes],
        now: float,
    ) -> None:
        self.number = number
        self.session = int.from_bytes(random(4), "big")
        self.sent_at = now
        self.psk = psk
        self.is_challenged = False
        self._mac_key = mac_key(psk, server_public_key)
        self._noise = Initiator(
            static=static,
            ephemeral=random(KEY_BYTES),
            remote_static=server_public_key,
            prologue=prologue(self.session),
        )
        self._message = self._noise.write_initiation(greeting.pack())
        self._pieces = self._pack(cookie)
        # Without a cookie the first piece gets one, and the others would only be dropped.
        self.datagrams = self._pieces[:1] if cookie == NO_COOKIE else self._pieces

    def _pack(self, cookie: bytes) -> list[bytes]:
        return pack_initiation(
            self._message,
            key=self._mac_key,
            cookie=cookie,
            session=self.session,
            attempt=self.number,
        )

    def read_retry(self, datagram: bytes, *, now: float) -> bytes | DropReason:
        """Return the cookie; `datagrams` are what to send with it."""
        if len(datagram) != RETRY_BYTES:
            return DropReason.BAD_LENGTH
        if self.is_challenged:
            return DropReason.STALE_HANDSHAKE
        answered = self._pieces[0][-MAC_BYTES:]
        cookie = read_retry(datagram, key=self._mac_key, initiation_mac=answered)
        if cookie is None:
            return DropReason.BAD_MAC
        self.is_challenged = True
        self._pieces = self.datagrams = self._pack(cookie)
        self.sent_at = now
        return cookie

    def read_response(
        self, datagram: bytes, *, now: float
    ) -> tuple[Reply, TrafficKeys] | DropReason:
        """Return what the server says and the keys. A forged answer leaves the attempt usable."""
        if len(datagram) < RESPONSE_BYTES_MIN:
            return DropReason.BAD_LENGTH
        noise = self._noise.fork()
        try:
            reply = parse_reply(noise.read_response(datagram[HEADER_BYTES:], psk=self.psk))
        except HandshakeError:
            return DropReason.BAD_HANDSHAKE
        sealing, opening = noise.keys()
        keys = TrafficKeys(
            key_id=reply.key_id, sealing=sealing, opening=opening, psk=self.psk, made_at=now
        )
        return reply, keys
