"""The server's door: cheapest check first, an answer only to whoever has proved the address.

Of a caller it remembers nothing before the address and the pre-shared key are proved, and then the
MACs of what it served (cookies.py) and the pieces of a long greeting, both within bounds.
"""

from collections.abc import Callable

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
from wangell_proto.noise import HandshakeError, Responder, public_key
from wangell_proto.wire import Header

__all__ = ["Caller", "Doorman"]


class Caller:
    """A peer whose address, pre-shared key and greeting are good; it waits for an answer."""

    __slots__ = ("_psk", "_responder", "address", "attempt", "greeting", "session")

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
        self.attempt = attempt

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

    def add(self, index: int, part: bytes) -> bytes | None:
        """Return the whole when nothing is missing."""
        self.parts[index] = part
        if len(self.parts) < self.count:
            return None
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
        self._private_key = private_key
        self._public_key = public_key(private_key)
        self._cookies = CookieJar(random, lifetime_s=cookie_lifetime_s)
        self._partial: dict[tuple[Address, int, int], _Pieces] = {}
        self._mac_keys: dict[bytes, bytes] = {}
        self.set_psks(psks)

    def set_psks(self, psks: tuple[bytes, ...]) -> None:
        """From now on these admit, and no others."""
        self._mac_keys = {psk: mac_key(psk, self._public_key) for psk in psks}

    def receive(
        self, data: bytes, header: Header, source: Address, *, now: float
    ) -> Caller | bytes | DropReason | None:
        """Return who calls; or a RETRY for one of unproven address; or a refusal.

        None: a piece is missing.
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
        noise = self._whole((source, session, attempt), psk, count, index, part)
        return None if noise is None else self._greet(noise, psk, session, attempt, source)

    def _whole(  # five facts about one piece
        self, key: tuple[Address, int, int], psk: bytes, count: int, index: int, part: bytes
    ) -> bytes | None:
        if count == 1:
            return part
        pieces = self._partial.get(key)
        if pieces is None or (pieces.psk, pieces.count) != (psk, count):
            if len(self._partial) >= PARTIAL_INITIATIONS_MAX:
                del self._partial[next(iter(self._partial))]
            pieces = self._partial[key] = _Pieces(psk, count)
        whole = pieces.add(index, part)
        if whole is not None:
            del self._partial[key]
        return whole

    def _greet(
        self, noise: bytes, psk: bytes, session: int, attempt: int, source: Address
    ) -> Caller | DropReason:
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
