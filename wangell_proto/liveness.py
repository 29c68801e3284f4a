"""When a peer is to be told that we live, asked whether it does, and given up."""

import msgpack

from wangell_proto.config import Timers
from wangell_proto.wire import FrameType

__all__ = ["Liveness"]

_HEARTBEAT, _PING, _PONG = (
    int(FrameType.HEARTBEAT),
    int(FrameType.PING),
    int(FrameType.PONG),
)


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
        return bytes(
            msgpack.packb(
                [
                    _HEARTBEAT,
                    self._sent_id,
                    self._heard_id,
                    int((now - self._heard_id_at) * 1e6),
                    int((now - self.last_heard_at) * 1e6),
                    epoch,
                    flags,
                    version,
                    digest,
                ]
            )
        )

    def on_heartbeat(
        self, beat_id: int, echoed_id: int, age_us: int, *, now: float
    ) -> float | None:
        """Note a heartbeat; return the round trip in seconds if it echoes our last one."""
        self._heard_id, self._heard_id_at = beat_id, now
        rtt = now - self._sent_at - age_us * 1e-6
        return rtt if echoed_id == self._sent_id and echoed_id and rtt > 0 else None

    def ping(self, now: float, jitter: float) -> bytes:
        """Return a PING frame, and set the time of the next: `jitter`, 0 to 1, is worth 20 %."""
        self.ping_due_at = now + self._timers.ping_interval_s * (0.9 + 0.2 * jitter)
        return bytes(msgpack.packb([_PING, 0]))

    @staticmethod
    def pong(number: int) -> bytes:
        """Return the answer to a PING."""
        return bytes(msgpack.packb([_PONG, number]))
