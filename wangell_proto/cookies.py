"""Proof of address without memory: a cookie is a MAC of the address under a secret that rotates.

It also remembers the handshakes that came with good cookies, so that none is served twice. The
memory needs to last only as long as the cookies; where it would grow too long, the secrets rotate
early, which makes the old cookies, and so what was remembered of them, worthless.
"""

import hashlib
import hmac
from collections.abc import Callable

from wangell_proto.constants import COOKIE_BYTES, HANDSHAKES_REMEMBERED_MAX

__all__ = ["CookieJar"]


class CookieJar:
    """Makes and checks cookies; refuses a handshake that it has seen."""

    def __init__(self, random: Callable[[int], bytes], *, lifetime_s: float) -> None:
        self._random = random
        self._lifetime_s = lifetime_s
        self._secret, self._previous_secret = random(32), random(32)
        self._rotate_at: float | None = None
        self._seen: set[bytes] = set()
        self._previously_seen: set[bytes] = set()

    def make(self, address: object, *, now: float) -> bytes:
        """Return a cookie for `address`, good for one to two lifetimes."""
        self._rotate_if_due(now)
        return self._cookie(self._secret, address)

    def is_good(self, cookie: bytes, address: object, *, now: float) -> bool:
        """Say whether we gave this cookie to this address not long ago."""
        self._rotate_if_due(now)
        return any(
            hmac.compare_digest(cookie, self._cookie(secret, address))
            for secret in (self._secret, self._previous_secret)
        )

    def is_repeat(self, mac: bytes) -> bool:
        """Say whether a handshake with this MAC came before, and remember it."""
        if mac in self._seen or mac in self._previously_seen:
            return True
        self._seen.add(mac)
        if len(self._seen) > HANDSHAKES_REMEMBERED_MAX:
            self._rotate()
        return False

    @staticmethod
    def _cookie(secret: bytes, address: object) -> bytes:
        return hashlib.blake2s(
            repr(address).encode(), key=secret, digest_size=COOKIE_BYTES
        ).digest()

    def _rotate_if_due(self, now: float) -> None:
        if self._rotate_at is None:
            self._rotate_at = now + self._lifetime_s
        if now >= self._rotate_at:
            if now >= self._rotate_at + self._lifetime_s:
                self._rotate()  # Nothing was asked for a whole lifetime: both secrets are old.
            self._rotate()
            self._rotate_at = now + self._lifetime_s

    def _rotate(self) -> None:
        self._secret, self._previous_secret = self._random(32), self._secret
        self._seen, self._previously_seen = set(), self._seen
