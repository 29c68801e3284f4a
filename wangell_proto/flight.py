"""Packets sent and not acknowledged: loss detection and the probe timeout of RFC 9002, section 6.

A packet is never sent again; what was in it is. A lost packet gives its contents back.
"""

from collections.abc import Sequence

from wangell_proto.congestion import Congestion
from wangell_proto.outbox import Message
from wangell_proto.rtt import RoundTrip

__all__ = ["Content", "Flight", "SentPacket"]

# One fragment of a message; 0 for a message that is one datagram.
Content = tuple[Message, int]

# RFC 9002 section 6.1.1: reordering by less than this is no loss.
PACKET_THRESHOLD = 3
# A probe timeout sends the oldest contents again in so many packets (section 6.2.4).
PROBE_PACKETS = 2


class SentPacket:
    """A packet that asked for an acknowledgement."""

    __slots__ = ("contents", "number", "sent_at", "size")

    def __init__(self, number: int, sent_at: float, size: int, contents: list[Content]) -> None:
        self.number = number
        self.sent_at = sent_at
        self.size = size
        self.contents = contents


class Flight:
    """The packets in flight of one link, oldest first."""

    __slots__ = (
        "_last_sent_at",
        "_loss_at",
        "_rtt",
        "backoffs",
        "congestion",
        "jitter",
        "largest_acked",
        "packets",
    )

    def __init__(self, rtt: RoundTrip) -> None:
        self._rtt = rtt
        self.congestion = Congestion()
        self.packets: dict[int, SentPacket] = {}
        self.largest_acked = -1
        self.backoffs = 0
        self.jitter = 0.0
        self._last_sent_at = 0.0
        self._loss_at: float | None = None

    def on_sent(self, packet: SentPacket) -> None:
        """Note a packet that just left."""
        self.packets[packet.number] = packet
        self.congestion.on_sent(packet.size)
        self._last_sent_at = packet.sent_at

    def on_ack(self, bounds: Sequence[int], *, now: float, delay_s: float) -> list[SentPacket]:
        """Return the packets that this acknowledgement is the first to cover.

        `bounds` are highest and lowest of each range, newest first.
        """
        high = bounds[0]
        largest = self.packets.get(high)
        if largest is not None:
            self._rtt.sample(now - largest.sent_at, delay_s=delay_s)
        if largest is not None and len(self.packets) == 1:
            self.packets.clear()  # As with every wake that comes alone.
            acked = [largest]
        else:
            acked = self._take(bounds)
        if acked:
            self.backoffs = 0
            self.largest_acked = max(self.largest_acked, high)
            for packet in acked:
                self.congestion.on_acked(packet.size, packet.sent_at)
        return acked

    def _take(self, bounds: Sequence[int]) -> list[SentPacket]:
        packets, acked = self.packets, []
        for high, low in zip(bounds[::2], bounds[1::2], strict=True):
            if not packets:
                break
            if high == low:
                numbers = [high] if high in packets else []
            elif high - low < len(packets):
                numbers = [number for number in range(low, high + 1) if number in packets]
            else:  # A range that spans everything ever sent must cost no more than the flight.
                numbers = [number for number in packets if low <= number <= high]
            acked += [packets.pop(number) for number in numbers]
        return acked

    def detect_lost(self, now: float) -> list[Content]:
        """Return the contents of packets that must be lost, for later ones were acknowledged."""
        self._loss_at = None
        if not self.packets:
            return []
        lost: list[SentPacket] = []
        delay = self._rtt.loss_delay_s()
        for packet in self.packets.values():
            if packet.number > self.largest_acked:
                break
            too_late = packet.sent_at + delay <= now
            if too_late or packet.number <= self.largest_acked - PACKET_THRESHOLD:
                lost.append(packet)
            elif self._loss_at is None:
                self._loss_at = packet.sent_at + delay
        for packet in lost:
            del self.packets[packet.number]
            self.congestion.on_lost(packet.size, packet.sent_at, now=now)
        return [content for packet in lost for content in packet.contents]

    def deadline(self) -> float | None:
        """Return when packets count as lost, or a probe is due; None with nothing in flight."""
        if not self.packets:
            return None
        if self._loss_at is not None:
            return self._loss_at
        return self._last_sent_at + self._rtt.timeout_s(self.backoffs, self.jitter)

    def on_timeout(self, now: float, jitter: float) -> tuple[list[Content], int]:
        """Return what to send again now that the deadline has passed, and in how many probes.

        With 0 probes the contents were lost, and wait for room like everything else.
        """
        if self._loss_at is not None:
            return self.detect_lost(now), 0
        self._drop_answered()
        if not self.packets:
            return [], 0
        self.backoffs += 1
        self.jitter = jitter
        self._last_sent_at = now
        self.congestion.on_probe_timeout(self.backoffs)
        # Wakes first, then the oldest. The packets stay: a late acknowledgement still counts.
        oldest = sorted(
            self.packets.values(), key=lambda packet: (packet.contents[0][0].lane, packet.number)
        )[:PROBE_PACKETS]
        return [content for packet in oldest for content in packet.contents], PROBE_PACKETS

    def _drop_answered(self) -> None:
        # What these carried was acknowledged in another packet: nothing is left to probe for.
        answered = [
            packet
            for packet in self.packets.values()
            if all(message.is_acked(index) for message, index in packet.contents)
        ]
        for packet in answered:
            del self.packets[packet.number]
            self.congestion.on_gone(packet.size)
