"""The key generations of one link: which to seal with, which to open with, and until when.

Whoever answered the handshake may seal with a new generation only once the other side has used
it; the client, which has the answer, uses it at once and so shows that it arrived.
"""

from wangell_proto.errors import DropReason
from wangell_proto.keys import TrafficKeys

__all__ = ["Keyring"]


class Keyring:
    """At most three generations: the last, the present and one on offer."""

    __slots__ = ("_by_id", "_last", "_offered", "_overlap_s", "present", "retire_at")

    def __init__(self, keys: TrafficKeys, *, overlap_s: float) -> None:
        self.present = keys
        self._overlap_s = overlap_s
        self._by_id = {keys.key_id: keys}
        self._last: TrafficKeys | None = None
        self._offered: TrafficKeys | None = None
        self.retire_at: float | None = None  # When the last generation ends.

    @property
    def next_key_id(self) -> int:
        """The id of the generation after this one."""
        return (self.present.key_id + 1) % 256

    def open(self, datagram: bytes, key_id: int, number: int, now: float) -> bytes | DropReason:
        """Return the body of a datagram, or why it was dropped."""
        keys = self._by_id.get(key_id)
        if keys is None:
            return DropReason.UNKNOWN_KEY
        body = keys.open(datagram, number)
        if keys is self._offered and not isinstance(body, DropReason):
            self.use(keys, now=now)
        return body

    def offer(self, keys: TrafficKeys) -> None:
        """Open with these keys, in place of those offered before; seal once the peer does."""
        if self._offered is not None:
            del self._by_id[self._offered.key_id]
        self._offered = self._by_id[keys.key_id] = keys

    def use(self, keys: TrafficKeys, *, now: float) -> None:
        """Seal with these keys; what the ones before sealed may still arrive for a while."""
        if keys.key_id != self.present.key_id:
            self._last, self.retire_at = self.present, now + self._overlap_s
        # Else the other side never saw the present ones used, and has offered these in their place:
        # it still seals with the last.
        self.present, self._offered = keys, None
        self._by_id = {keys.key_id: keys}
        if self._last is not None:
            self._by_id[self._last.key_id] = self._last

    def retire(self, now: float) -> None:
        """Forget the last generation when its time has come: forward secrecy starts there."""
        if self.retire_at is None or now < self.retire_at or self._last is None:
            return
        self.retire_at = None
        del self._by_id[self._last.key_id]
        self._last = None
