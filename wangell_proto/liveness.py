"""When a peer is to be told that we live, asked whether it does, and given up.

Ages are never negative on the wire, even where the clock was turned back.
"""

from wangell_proto.config import Timers
from wangell_proto.packing import pack
from wangell_proto.wire import FrameType

__all__ = ["PING_FRAME", "PONG_FRAME", "Liveness"]

_HEARTBEAT = int(FrameType.HEARTBEAT)
PING_FRAME = pack([int(FrameType.PING)])
PONG_FRAME = pack([int(FrameType.PONG)])


def _age_us(now: float, since: float) -> int:
    return max(0, int((now - since) * 1e6))


class Liveness:
    """Heartbeats, pings and silence of one link. Any authenticated datagram breaks the silence."""

    __slots__ = (
        "_heard_id",
        "_heard_id_at",
        "_sent_at",
        "_sent_id",
        "_timers",
        "heartbeat_due_at",
        "last_heard_at",
        "ping_due_at",
    )

    def __init__(self, timers: Timers, *, now: float, jitter: float) -> None:
        self._timers = timers
        self.last_heard_at = now
        # The first one comes early and anywhere in the interval: peers that came together part.
        self.heartbeat_due_at = now + jitter * timers.heartbeat_interval_s
        self.ping_due_at = now + timers.ping_after_s
        self._sent_id = 0
        self._sent_at = 0.0
        self._heard_id = 0
        self._heard_id_at = now

    @property
    def silence_deadline(self) -> float:
        """When the peer counts as dead, if nothing is heard until then."""
        return self.last_heard_at + self._timers.dead_after_s

    def next_deadline(self) -> float:
        """Return the earliest of the three."""
        return min(self.heartbeat_due_at, self.ping_due_at, self.silence_deadline)

    def on_heard(self, now: float) -> None:
        """Note an authenticated datagram."""
        self.last_heard_at = now
        self.ping_due_at = now + self._timers.ping_after_s

    def heartbeat(
        self, now: float, *, epoch: int, flags: int, version: int, digest: bytes
    ) -> bytes:
        """Return a HEARTBEAT frame, and set the time of the next."""
        self.heartbeat_due_at = now + self._timers.heartbeat_interval_s
        self._sent_id += 1
        self._sent_at = now
        return pack(
            [
                _HEARTBEAT,
                self._sent_id,
                self._heard_id,
                _age_us(now, self._heard_id_at),
                _age_us(now, self.last_heard_at),
                epoch,
                flags,
                version,
                digest,
            ]
        )

    def is_overtaken(self, beat_id: int) -> bool:
        """Say whether a later heartbeat came before this one: its news is old."""
        return beat_id <= self._heard_id

    def on_heartbeat(
        self, beat_id: int, echoed_id: int, age_us: int, *, now: float
    ) -> float | None:
        """Note a heartbeat; return the round trip in seconds if it echoes our last one."""
        self._heard_id, self._heard_id_at = beat_id, now
        if not echoed_id or echoed_id != self._sent_id:
            return None
        return now - self._sent_at - age_us * 1e-6

    def ping(self, now: float, jitter: float) -> bytes:
        """Return a PING frame, and set the time of the next: `jitter`, 0 to 1, is worth 20 %."""
        self.ping_due_at = now + self._timers.ping_interval_s * (0.9 + 0.2 * jitter)
        return PING_FRAME

    def hurry_heartbeat(self, now: float) -> None:
        """Let the next heartbeat leave now: it has news."""
        self.heartbeat_due_at = min(self.heartbeat_due_at, now)
