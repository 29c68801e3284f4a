"""The server's door: cheapest check first, an answer only to whoever has proved the address.

It remembers nothing of a caller but the MACs of handshakes served; see cookies.py.
"""

from collections.abc import Callable

from wangell_proto.cookies import CookieJar
from wangell_proto.errors import DropReason
from wangell_proto.events import Address
from wangell_proto.handshake import (
    INITIATION_BYTES_MIN,
    Greeting,
    Reply,
    mac_key,
    pack_response,
    pack_retry,
    parse_greeting,
    prologue,
    split_initiation,
)
from wangell_proto.keys import TrafficKeys
from wangell_proto.noise import HandshakeError, Responder, public_key

__all__ = ["Caller", "Doorman"]


class Caller:
    """A peer whose address, pre-shared key and greeting are good; it waits for an answer."""

    __slots__ = ("_attempt", "_psk", "_responder", "address", "greeting", "session")

    def __init__(
        self,
        greeting: Greeting,
        responder: Responder,
        *,
        psk: bytes,
        session: int,
        attempt: int,
        address: Address,
    ) -> None:
        self.greeting = greeting
        self.session = session
        self.address = address
        self._responder = responder
        self._psk = psk
        self._attempt = attempt

    @property
    def static(self) -> bytes:
        """The peer's public key."""
        return self._responder.remote_static

    def answer(self, reply: Reply, *, ephemeral: bytes, now: float) -> tuple[bytes, TrafficKeys]:
        """Return the RESPONSE and the keys. Raises HandshakeError on an unusable public key."""
        noise = self._responder.write_response(reply.pack(), ephemeral=ephemeral, psk=self._psk)
        sealing, opening = self._responder.keys()
        keys = TrafficKeys(
            key_id=reply.key_id, sealing=sealing, opening=opening, psk=self._psk, made_at=now
        )
        return pack_response(noise, session=self.session, attempt=self._attempt), keys


class Doorman:
    """Judges INITIATIONs."""

    def __init__(
        self,
        private_key: bytes,
        psks: tuple[bytes, ...],
        *,
        random: Callable[[int], bytes],
        cookie_lifetime_s: float,
    ) -> None:
        self._private_key = private_key
        self._public_key = public_key(private_key)
        self._mac_keys = {psk: mac_key(psk, self._public_key) for psk in psks}
        self._cookies = CookieJar(random, lifetime_s=cookie_lifetime_s)

    def receive(
        self, data: bytes, *, session: int, attempt: int, source: Address, now: float
    ) -> Caller | bytes | DropReason:
        """Return who calls; or a RETRY to send to a caller of unproven address; or a refusal."""
        if len(data) < INITIATION_BYTES_MIN:
            return DropReason.TOO_SHORT
        parts = split_initiation(data, self._mac_keys)
        if parts is None:
            return DropReason.BAD_MAC
        psk, cookie, noise, mac = parts
        if not self._cookies.is_good(cookie, source, now=now):
            return pack_retry(
                self._cookies.make(source, now=now),
                key=self._mac_keys[psk],
                initiation_mac=mac,
                session=session,
                attempt=attempt,
            )
        if self._cookies.is_repeat(mac):
            return DropReason.REPLAYED_HANDSHAKE
        responder = Responder(
            static=self._private_key, static_public=self._public_key, prologue=prologue(session)
        )
        try:
            greeting = parse_greeting(responder.read_initiation(noise))
        except HandshakeError:
            return DropReason.BAD_HANDSHAKE
        return Caller(
            greeting, responder, psk=psk, session=session, attempt=attempt, address=source
        )
