"""Round-trip time and the timeouts that follow from it, after RFC 9002 section 5 and 6.2."""

from wangell_proto.config import Timers

__all__ = ["RoundTrip"]

# RFC 9002 section 6.1.2: kGranularity, below which timers of this kind are not told apart.
GRANULARITY_S = 0.001


class RoundTrip:
    """Smoothed round-trip time of one link, in seconds. Seeded by the handshake."""

    __slots__ = ("_cap_s", "_floor_s", "_slack_s", "latest_s", "smoothed_s", "variation_s")

    def __init__(self, first_s: float, timers: Timers) -> None:
        self.seed(first_s)
        self._slack_s = timers.ack_delay_s
        self._floor_s = timers.rto_floor_s
        self._cap_s = timers.rto_cap_s

    def seed(self, first_s: float) -> None:
        """Start from one round trip that was not an acknowledgement's."""
        self.latest_s = self.smoothed_s = first_s
        self.variation_s = first_s / 2

    def sample(self, measured_s: float, *, delay_s: float = 0.0) -> None:
        """Take a round trip into account; `delay_s` of it the peer says it waited."""
        if measured_s <= 0.0:
            return  # The clock was turned back meanwhile.
        # A peer that claims more delay than the trip took gets no credit for it.
        rtt = measured_s - delay_s if 0.0 <= delay_s < measured_s else measured_s
        self.latest_s = rtt
        self.variation_s = 0.75 * self.variation_s + 0.25 * abs(self.smoothed_s - rtt)
        self.smoothed_s = 0.875 * self.smoothed_s + 0.125 * rtt

    def timeout_s(self, backoffs: int, jitter: float) -> float:
        """Return how long to wait for an acknowledgement: jitter, 0 to 1, adds up to a quarter."""
        base = max(self._floor_s, self.smoothed_s + 4 * self.variation_s + self._slack_s)
        if not backoffs:
            return min(self._cap_s, base)
        return float(min(self._cap_s, base * 2 ** min(backoffs, 16)) * (1 + jitter / 4))

    def loss_delay_s(self) -> float:
        """Return how long after a packet sent later was acknowledged this one counts as lost."""
        return max(GRANULARITY_S, 1.125 * max(self.latest_s, self.smoothed_s))
