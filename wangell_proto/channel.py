"""One secured, acknowledged exchange of datagrams with one address: what a link runs on.

A channel owns keys, packet numbers, acknowledgements, loss recovery and liveness. It does not know
what messages mean or which side it is on; its owner does.
"""

from collections import deque
from collections.abc import Callable, MutableMapping
from typing import Protocol

import msgpack

from wangell_proto.acks import AckTracker
from wangell_proto.config import Timers
from wangell_proto.constants import BODY_BYTES_MAX, FRAMES_MAX, REASSEMBLIES_PER_PEER_MAX
from wangell_proto.errors import DropReason
from wangell_proto.events import Address, Lane
from wangell_proto.flight import Content, Flight, SentPacket
from wangell_proto.keys import TrafficKeys
from wangell_proto.liveness import Liveness
from wangell_proto.outbox import Message, Outbox
from wangell_proto.reassembly import Reassembler
from wangell_proto.rtt import RoundTrip
from wangell_proto.window import SlidingWindow
from wangell_proto.wire import Frame, FrameType, Kind, parse_body

__all__ = ["Channel", "ChannelOwner"]

_ACK, _MESSAGE, _FRAGMENT = int(FrameType.ACK), int(FrameType.MESSAGE), int(FrameType.FRAGMENT)
_HEARTBEAT, _PING = int(FrameType.HEARTBEAT), int(FrameType.PING)
_GOODBYE = int(FrameType.GOODBYE)
_AT_ONCE = frozenset({Kind.WAKE, Kind.HELLO, Kind.WELCOME})
# In flight at a time; congestion control will lower it where the path is narrow.
PACKETS_IN_FLIGHT_MAX = 64


class ChannelOwner(Protocol):
    """Who a channel reports to, in the same call."""

    def admits(self, kind: int) -> bool:
        """Say whether a message of this kind may come now; False drops its datagram unread."""

    def on_message(self, kind: int, epoch: int, body: bytes, *, now: float) -> None:
        """Take a message, delivered once."""

    def on_delivered(self, message: Message, *, now: float) -> None:
        """Learn that a message was acknowledged whole."""

    def on_heartbeat(self, frame: Frame, *, now: float) -> None:
        """Learn what the peer says of itself."""

    def on_goodbye(self, reason: int, *, now: float) -> None:
        """Learn that the peer ended the link."""

    def heartbeat_fields(self) -> tuple[int, int, int, bytes]:
        """Return epoch, flags, table version and digest for the next heartbeat."""

    def pull(self, lane: Lane) -> Message | None:
        """Return a message that is made only when there is room to send it, or None."""


class Channel:
    """Bytes in, frames applied; messages out, bytes made. Times are seconds on any steady clock."""

    __slots__ = (
        "_acks",
        "_control",
        "_drops",
        "_next_number",
        "_opening",
        "_outbox",
        "_owner",
        "_pending",
        "_random",
        "_reassembler",
        "_sealing",
        "_session",
        "_window",
        "address",
        "flight",
        "is_pulling",
        "liveness",
        "rtt",
    )

    def __init__(
        self,
        owner: ChannelOwner,
        *,
        address: Address,
        session: int,
        keys: TrafficKeys,
        outbox: Outbox,
        window: SlidingWindow,
        reassembler: Reassembler,
        drops: MutableMapping[DropReason, int],
        random: Callable[[int], bytes],
        timers: Timers,
        rtt_s: float,
        now: float,
    ) -> None:
        self._owner = owner
        self.address = address
        # Whether the outbox is emptied here: one channel of those that share it, once it is up.
        self.is_pulling = False
        self._session = session
        self._sealing = keys
        self._opening = {keys.key_id: keys}
        self._outbox = outbox
        self._window = window
        self._reassembler = reassembler
        self._drops = drops
        self._random = random
        self._next_number = 0
        self._acks = AckTracker(timers.ack_delay_s)
        self._control: list[bytes] = []
        self._pending: tuple[deque[Content], ...] = tuple(deque() for _ in Lane)
        self.rtt = RoundTrip(rtt_s, timers)
        self.flight = Flight(self.rtt)
        self.liveness = Liveness(timers, now=now, jitter=self._jitter())

    def _jitter(self) -> float:
        return self._random(1)[0] / 256

    # --- Receiving ---

    def receive(
        self, datagram: bytes, key_id: int, number: int, *, now: float
    ) -> DropReason | None:
        """Open a SEALED datagram and apply it whole, or return why nothing of it was applied."""
        keys = self._opening.get(key_id)
        if keys is None:
            return DropReason.UNKNOWN_KEY
        body = keys.open(datagram, number)
        if isinstance(body, DropReason):
            return body
        self.liveness.on_heard(now)
        frames = parse_body(body)
        if frames is None:
            return DropReason.MALFORMED
        refusal = self._refusal(frames)
        if refusal is None:
            self._apply(frames, number, now)
        return refusal

    def _refusal(self, frames: list[Frame]) -> DropReason | None:
        for frame in frames:
            kind = frame[0]
            if kind == _ACK and frame[2] >= self._next_number:
                return DropReason.MALFORMED  # It acknowledges what was never sent.
            if kind in (_MESSAGE, _FRAGMENT):
                if not self._owner.admits(frame[1]):
                    return DropReason.NOT_ADMITTED
                if kind == _FRAGMENT and not (
                    self._window.seen(frame[2]) or self._reassembler.has_room(frame[2], frame[5])
                ):
                    return DropReason.REASSEMBLY_FULL
        return None

    def _apply(self, frames: list[Frame], number: int, now: float) -> None:
        eliciting = at_once = False
        for frame in frames:
            if frame[0] == _MESSAGE or frame[0] == _FRAGMENT:
                eliciting = True
                at_once = at_once or frame[1] in _AT_ONCE
        self._acks.on_received(number, now=now, eliciting=eliciting, at_once=at_once)
        for frame in frames:
            kind = frame[0]
            if kind == _MESSAGE:
                self._on_message(frame[1], frame[2], frame[3], frame[4], now)
            elif kind == _ACK:
                self._on_ack(frame, now)
            elif kind == _FRAGMENT:
                self._on_fragment(frame, now)
            elif kind == _HEARTBEAT:
                self._on_heartbeat(frame, now)
            elif kind == _PING:
                self._control.append(Liveness.pong(frame[1]))
            elif kind == _GOODBYE:
                self._owner.on_goodbye(frame[1], now=now)

    def _on_message(self, kind: int, sequence: int, epoch: int, body: bytes, now: float) -> None:
        if self._window.seen(sequence):
            self._drops[DropReason.DUPLICATE_MESSAGE] += 1
            return
        self._window.mark(sequence)
        self._owner.on_message(kind, epoch, body, now=now)

    def _on_fragment(self, frame: Frame, now: float) -> None:
        _, kind, sequence, epoch, index, count, part = frame
        if self._window.seen(sequence):
            self._drops[DropReason.DUPLICATE_MESSAGE] += 1
            return
        whole = self._reassembler.add(sequence, index, count, part)
        if whole is not None:
            self._on_message(kind, sequence, epoch, whole, now)

    def _on_ack(self, frame: Frame, now: float) -> None:
        acked = self.flight.on_ack(frame[2:], now=now, delay_s=frame[1] * 1e-6)
        for packet in acked:
            for message, index in packet.contents:
                if message.on_acknowledged(index):
                    self._outbox.forget(message)
                    self._owner.on_delivered(message, now=now)
        for packet in self.flight.detect_lost(now):
            self._requeue(packet.contents)

    def _on_heartbeat(self, frame: Frame, now: float) -> None:
        rtt_s = self.liveness.on_heartbeat(frame[1], frame[2], frame[3], now=now)
        if rtt_s is not None:
            self.rtt.sample(rtt_s)
        self._owner.on_heartbeat(frame, now=now)

    # --- Sending ---

    def enqueue(self, message: Message) -> None:
        """Send a message on this channel, whatever waits in the outbox."""
        if message.sequence < 0:
            self._outbox.register(message)
        message.carrier = self
        lane = self._pending[message.lane]
        lane.extend((message, index) for index in range(message.fragments))

    def adopt(self) -> None:
        """Send again what an earlier channel of the same outbox left unacknowledged."""
        for message in list(self._outbox.unacknowledged.values()):
            if message.is_application:
                message.acked = 0
                self.enqueue(message)

    def abandon(self) -> None:
        """The link is over: what belonged to it alone is gone, the application's stays."""
        for message in list(self._outbox.unacknowledged.values()):
            if message.carrier is self and not message.is_application:
                self._outbox.forget(message)
        self._reassembler.clear()

    def say_goodbye(self, reason: int, *, now: float) -> bytes:
        """Return a datagram that ends the link at the other side."""
        return self._seal([msgpack.packb([_GOODBYE, reason])], (), now)

    def _requeue(self, contents: tuple[Content, ...] | list[Content]) -> None:
        for message, index in contents:
            self._pending[message.lane].append((message, index))

    def datagrams(self, *, now: float) -> list[bytes]:
        """Return what is to be sent now."""
        out: list[bytes] = []
        while True:
            frames, contents = self._gather(now)
            if not frames:
                return out
            out.append(self._seal(frames, contents, now))

    def _gather(self, now: float) -> tuple[list[bytes], tuple[Content, ...]]:
        frames, self._control = self._control[: FRAMES_MAX - 1], self._control[FRAMES_MAX - 1 :]
        if self._acks.due_at is not None and self._acks.due_at <= now:
            frames.append(self._acks.frame(now))
        room = BODY_BYTES_MAX - 1 - sum(map(len, frames))
        contents: list[Content] = []
        for lane in Lane:
            while len(frames) < FRAMES_MAX:
                content = self._next_content(lane)
                if content is None:
                    break
                frame = self._frame(content, now)
                if len(frame) > room:
                    self._pending[lane].appendleft(content)
                    break
                room -= len(frame)
                frames.append(frame)
                contents.append(content)
        if contents and self._acks.due_at is not None and len(frames) < FRAMES_MAX:
            # An acknowledgement that was waiting for company has found it.
            ack = self._acks.frame(now)
            if len(ack) <= room:
                frames.append(ack)
            else:
                self._acks.due_at = now
        return frames, tuple(contents)

    def _next_content(self, lane: Lane) -> Content | None:
        pending = self._pending[lane]
        while pending:
            message, index = pending.popleft()
            if not message.is_done and not message.acked >> index & 1:
                return message, index
        if lane is not Lane.WAKE and len(self.flight.packets) >= PACKETS_IN_FLIGHT_MAX:
            return None
        taken = self._next_message(lane) if self.is_pulling else None
        if taken is None:
            return None
        taken.carrier = self
        pending.extend((taken, index) for index in range(1, taken.fragments))
        return taken, 0

    def _next_message(self, lane: Lane) -> Message | None:
        if not self._outbox.has_room:
            return None
        head = self._outbox.head(lane)
        if head is not None and head.fragments > 1 and self._fragmented_in_flight():
            return None
        if head is not None:
            return self._outbox.take(lane)
        if lane is not Lane.STATE or self._fragmented_in_flight():
            return None
        made = self._owner.pull(lane)
        if made is not None:
            self._outbox.register(made)
        return made

    def _fragmented_in_flight(self) -> bool:
        fragmented = sum(message.fragments > 1 for message in self._outbox.unacknowledged.values())
        return fragmented >= REASSEMBLIES_PER_PEER_MAX

    @staticmethod
    def _frame(content: Content, now: float) -> bytes:
        message, index = content
        if message.first_sent_at < 0:
            message.first_sent_at = now
        kind, sequence, epoch = int(message.kind), message.sequence, message.epoch
        if message.fragments == 1:
            return bytes(msgpack.packb([_MESSAGE, kind, sequence, epoch, message.body]))
        count, part = message.fragments, message.part(index)
        return bytes(msgpack.packb([_FRAGMENT, kind, sequence, epoch, index, count, part]))

    def _seal(self, frames: list[bytes], contents: tuple[Content, ...], now: float) -> bytes:
        number = self._next_number
        self._next_number = number + 1
        body = bytes((0x90 | len(frames),)) + b"".join(frames)
        datagram = self._sealing.seal(body, session=self._session, number=number)
        if contents:
            self.flight.on_sent(SentPacket(number, now, len(datagram), contents))
        return datagram

    # --- Time ---

    def next_deadline(self) -> float:
        """Return when handle_deadline has something to do."""
        deadline = self.liveness.next_deadline()
        if self._acks.due_at is not None and self._acks.due_at < deadline:
            deadline = self._acks.due_at
        flight_deadline = self.flight.deadline()
        if flight_deadline is not None and flight_deadline < deadline:
            deadline = flight_deadline
        return deadline

    def is_silent(self, now: float) -> bool:
        """Say whether the peer has been silent for too long."""
        return now >= self.liveness.silence_deadline

    def handle_deadline(self, *, now: float) -> None:
        """Queue what is due: heartbeats, pings, retransmissions."""
        flight_deadline = self.flight.deadline()
        if flight_deadline is not None and now >= flight_deadline:
            self._requeue(self.flight.on_timeout(now, self._jitter()))
        if now >= self.liveness.heartbeat_due_at:
            epoch, flags, version, digest = self._owner.heartbeat_fields()
            self._control.append(
                self.liveness.heartbeat(
                    now, epoch=epoch, flags=flags, version=version, digest=digest
                )
            )
        if now >= self.liveness.ping_due_at:
            self._control.append(self.liveness.ping(now, self._jitter()))
