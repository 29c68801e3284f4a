"""The server's door: cheapest check first, an answer only to whoever has proved the address.

Of a caller it remembers nothing before the address and the pre-shared key are proved, and then the
MACs of what it served (cookies.py) and the pieces of a long greeting, both within bounds.
"""

from collections.abc import Callable
from dataclasses import dataclass

from wangell_proto.constants import PARTIAL_INITIATIONS_MAX, PIECES_MAX
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
from wangell_proto.noise import HandshakeError, PrivateKey, Responder
from wangell_proto.wire import Header

__all__ = ["Caller", "Doorman", "Knock"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Knock:
    """A greeting, whole and not opened yet, from whoever proved address and pre-shared key."""

    noise: bytes
    psk: bytes
    session: int
    attempt: int
    address: Address


class Caller:
    """A peer whose address, pre-shared key and greeting are good; it waits for an answer."""

    __slots__ = ("_psk", "_responder", "address", "attempt", "greeting", "session")

    def __init__(self, greeting: Greeting, responder: Responder, knock: Knock) -> None:
        self.greeting = greeting
        self.session = knock.session
        self.address = knock.address
        self.attempt = knock.attempt
        self._responder = responder
        self._psk = knock.psk

    @property
    def static(self) -> bytes:
        """The peer's public key."""
        return self._responder.remote_static

    def answer(self, reply: Reply, *, ephemeral: bytes, now: float) -> tuple[bytes, TrafficKeys]:
        """Return the RESPONSE and the keys.

        The caller's public keys are usable, or reading its greeting would have failed.
        """
        noise = self._responder.write_response(reply.pack(), ephemeral=ephemeral, psk=self._psk)
        sealing, opening = self._responder.keys()
        keys = TrafficKeys(
            key_id=reply.key_id, sealing=sealing, opening=opening, psk=self._psk, made_at=now
        )
        return pack_response(noise, session=self.session, attempt=self.attempt), keys


class _Pieces:
    """The pieces of one INITIATION that have come."""

    __slots__ = ("count", "parts", "psk")

    def __init__(self, psk: bytes, count: int) -> None:
        self.psk = psk
        self.count = count
        self.parts: dict[int, bytes] = {}

    def add(self, index: int, part: bytes) -> bytes:
        """Return the whole, or nothing while a piece is missing."""
        self.parts[index] = part
        if len(self.parts) < self.count:
            return b""
        return b"".join(self.parts[position] for position in range(self.count))


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
        self._static = PrivateKey(private_key)
        self._cookies = CookieJar(random, lifetime_s=cookie_lifetime_s)
        self._partial: dict[tuple[Address, int, int], _Pieces] = {}
        self._mac_keys: dict[bytes, bytes] = {}
        self.set_psks(psks)

    def set_psks(self, psks: tuple[bytes, ...]) -> None:
        """From now on these admit, and no others."""
        self._mac_keys = {psk: mac_key(psk, self._static.public) for psk in psks}

    def receive(
        self, data: bytes, header: Header, source: Address, *, now: float
    ) -> Knock | bytes | DropReason | None:
        """Return who knocks; or a RETRY for one of unproven address; or a refusal.

        None: a piece is missing. Nothing of this costs more than three hashes.
        """
        _, flags, _, session, attempt = header
        count, index = (flags >> 4) + 1, flags & 15
        if len(data) < INITIATION_BYTES_MIN or count > PIECES_MAX or index >= count:
            return DropReason.BAD_LENGTH
        opened = split_initiation(data, self._mac_keys)
        if opened is None:
            return DropReason.BAD_MAC
        psk, cookie, part, mac = opened
        if not self._cookies.is_good(cookie, source, now=now):
            if index > 0:
                return DropReason.ADDRESS_UNPROVEN
            return pack_retry(
                self._cookies.make(source, now=now),
                key=self._mac_keys[psk],
                initiation_mac=mac,
                session=session,
                attempt=attempt,
            )
        if self._cookies.is_repeat(mac):
            return DropReason.REPLAYED_HANDSHAKE
        if count > 1:
            part = self._put_together((source, session, attempt), psk, count, index, part)
        knock = Knock(noise=part, psk=psk, session=session, attempt=attempt, address=source)
        return knock if part else None

    def _put_together(  # five facts about one piece
        self, key: tuple[Address, int, int], psk: bytes, count: int, index: int, part: bytes
    ) -> bytes:
        pieces = self._partial.get(key)
        if pieces is None or (pieces.psk, pieces.count) != (psk, count):
            if len(self._partial) >= PARTIAL_INITIATIONS_MAX:
                del self._partial[next(iter(self._partial))]
            pieces = self._partial[key] = _Pieces(psk, count)
        whole = pieces.add(index, part)
        if whole:
            del self._partial[key]
        return whole

    def open(self, knock: Knock) -> Caller | DropReason:
        """Return who it is, at the price of two Diffie-Hellmans."""
        responder = Responder(static=self._static, prologue=prologue(knock.session))
        try:
            greeting = parse_greeting(responder.read_initiation(knock.noise))
        except HandshakeError:
            return DropReason.BAD_HANDSHAKE
        return Caller(greeting, responder, knock)
