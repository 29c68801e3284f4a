"""NewReno as RFC 9002 section 7 has it, in bytes of datagrams.

A wake, an acknowledgement and a probe are never held back, but wakes and probes are counted.
"""

from wangell_proto.constants import DATAGRAM_BYTES_MAX

__all__ = ["Congestion"]

# Section 7.2: ten datagrams at first, never less than two.
INITIAL_WINDOW_BYTES = 10 * DATAGRAM_BYTES_MAX
MINIMUM_WINDOW_BYTES = 2 * DATAGRAM_BYTES_MAX
# Section 7.6.1: nothing got through for so many probe timeouts in a row.
PERSISTENT_BACKOFFS = 3


class Congestion:
    """How many bytes one link may have in flight."""

    __slots__ = ("_recovery_since", "_threshold", "in_flight", "window")

    def __init__(self) -> None:
        self.window = INITIAL_WINDOW_BYTES
        self.in_flight = 0
        self._threshold: int | None = None  # None: still in slow start, which has no end yet.
        self._recovery_since = float("-inf")

    @property
    def room(self) -> int:
        """Bytes that may be sent now; negative where exempt packets overdrew."""
        return self.window - self.in_flight

    def on_sent(self, size: int) -> None:
        """Count a packet that asks for an acknowledgement."""
        self.in_flight += size

    def on_gone(self, size: int) -> None:
        """Count a packet off that says nothing of the path: its contents arrived otherwise."""
        self.in_flight -= size

    def on_acked(self, size: int, sent_at: float) -> None:
        """Grow: by what was acknowledged in slow start, by a datagram a window thereafter."""
        # Section 7.8: a window that was not used says nothing about the path.
        is_used = 2 * self.in_flight >= self.window
        self.in_flight -= size
        if not is_used or sent_at <= self._recovery_since:
            return
        if self._threshold is None or self.window < self._threshold:
            self.window += size
        else:
            self.window += DATAGRAM_BYTES_MAX * size // self.window

    def on_lost(self, size: int, sent_at: float, *, now: float) -> None:
        """Halve, once for all that was lost of one flight."""
        self.in_flight -= size
        if sent_at <= self._recovery_since:
            return
        self._recovery_since = now
        self._threshold = self.window = max(self.window // 2, MINIMUM_WINDOW_BYTES)

    def on_probe_timeout(self, backoffs: int) -> None:
        """Start over where nothing has got through for long."""
        if backoffs >= PERSISTENT_BACKOFFS:
            self.window = MINIMUM_WINDOW_BYTES
            self._recovery_since = float("-inf")
