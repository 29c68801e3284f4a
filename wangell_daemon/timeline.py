"""When each step of a cold start happened, and how long each took.

Metrics, the log of cold starts and the demo all read these numbers.
"""

from dataclasses import dataclass

__all__ = ["PHASES", "Timeline"]

# In order: each ends where the next begins, so together they are the whole.
PHASES = ("detect", "notify", "start", "listen", "replay", "handshake")


@dataclass(slots=True, kw_only=True)
class Timeline:
    """Moments of one wake: this machine's CLOCK_MONOTONIC, nanoseconds; None: not (yet) known."""

    first_syn_ns: int
    "XDP saw the SYN that woke the service"
    detected_ns: int
    "The daemon had it"
    received_ns: int | None = None
    "The controller had the wake"
    spawned_ns: int | None = None
    "The replica's process was spawned, or Kubernetes asked for it"
    listened_ns: int | None = None
    "The server called listen(), or a SYN probe was answered"
    injected_ns: int | None = None
    "The first held SYN had been injected"
    acked_ns: int | None = None
    "XDP saw the client's ACK"

    def place_start(self, *, received_ns: int, spawned_ns: int, rtt_ns: int | None) -> None:
        """Take the controller's two readings; `rtt_ns` is None where its clock is ours.

        Another machine's clock says only how far the two lie apart, so `received` is put half a
        round trip after the daemon's own reading.
        """
        offset_ns = 0 if rtt_ns is None else self.detected_ns + rtt_ns // 2 - received_ns
        self.received_ns = received_ns + offset_ns
        self.spawned_ns = spawned_ns + offset_ns

    @property
    def total_ns(self) -> int | None:
        """First SYN to the client's ACK."""
        return None if self.acked_ns is None else self.acked_ns - self.first_syn_ns

    def phases_ns(self) -> dict[str, int]:
        """Each phase whose both ends are known, never negative.

        A server may listen before the spawn has returned to the controller: that phase is 0.
        """
        moments = (
            self.first_syn_ns,
            self.detected_ns,
            self.received_ns,
            self.spawned_ns,
            self.listened_ns,
            self.injected_ns,
            self.acked_ns,
        )
        return {
            phase: max(0, end - begin)
            for phase, begin, end in zip(PHASES, moments, moments[1:], strict=False)
            if begin is not None and end is not None
        }
