"""One secured, acknowledged exchange of datagrams with one address: what a link runs on.

A channel applies what arrives and lets its Sender send. It does not know what messages mean or
which side it is on; its owner does.
"""

from collections.abc import Callable
from typing import Protocol

from wangell_proto.acks import AckTracker
from wangell_proto.config import Timers
from wangell_proto.errors import DropReason
from wangell_proto.flight import Flight
from wangell_proto.keyring import Keyring
from wangell_proto.keys import TrafficKeys
from wangell_proto.liveness import PONG_FRAME, Liveness
from wangell_proto.outbox import Message, Outbox
from wangell_proto.packing import pack
from wangell_proto.reassembly import Reassembler
from wangell_proto.rtt import RoundTrip
from wangell_proto.sender import Sender
from wangell_proto.window import SlidingWindow
from wangell_proto.wire import Farewell, Frame, FrameType, Kind, parse_body

__all__ = ["Channel", "ChannelOwner"]

_ACK, _MESSAGE, _FRAGMENT = int(FrameType.ACK), int(FrameType.MESSAGE), int(FrameType.FRAGMENT)
_HEARTBEAT, _PING = int(FrameType.HEARTBEAT), int(FrameType.PING)
_GOODBYE = int(FrameType.GOODBYE)
_CONTENTS = frozenset((_MESSAGE, _FRAGMENT))
# Acknowledged at once; the rest may wait for company.
_AT_ONCE = frozenset({int(Kind.WAKE), int(Kind.HELLO), int(Kind.WELCOME)})
_FAREWELLS = frozenset(int(member) for member in Farewell)


class ChannelOwner(Protocol):
    """Who a channel reports to, in the same call."""

    drops: dict[DropReason, int]

    def admits(self, kind: int) -> bool:
        """Say whether a message of this kind may come now; False drops its datagram whole."""

    def on_message(self, kind: int, epoch: int, body: bytes, *, now: float) -> None:
        """Take a message, delivered once."""

    def on_delivered(self, message: Message, *, now: float) -> None:
        """Learn that a message was acknowledged whole."""

    def on_heartbeat(self, frame: Frame, *, now: float) -> None:
        """Learn what the peer says of itself."""

    def on_goodbye(self, reason: Farewell, *, now: float) -> None:
        """Learn that the peer ended the link."""

    def on_malformed(self) -> None:
        """Learn that the peer, authenticated, sent what the protocol does not allow."""

    def heartbeat_fields(self) -> tuple[int, int, int, bytes]:
        """Return epoch, flags, table version and digest for the next heartbeat."""


class Channel:
    """Bytes in, frames applied; messages out, bytes made. Times are seconds on a steady clock."""

    __slots__ = (
        "_acks",
        "_is_eliciting",
        "_outbox",
        "_owner",
        "_random",
        "_reassembler",
        "_window",
        "is_urgent",
        "keyring",
        "liveness",
        "rtt",
        "sender",
    )

    def __init__(
        self,
        owner: ChannelOwner,
        *,
        session: int,
        keys: TrafficKeys,
        outbox: Outbox,
        window: SlidingWindow,
        reassembler: Reassembler,
        random: Callable[[int], bytes],
        timers: Timers,
        rtt_s: float,
        now: float,
    ) -> None:
        self._owner = owner
        self._outbox = outbox
        self._window = window
        self._reassembler = reassembler
        self._random = random
        self._is_eliciting = False
        # Whether the datagram received last must be answered at once.
        self.is_urgent = False
        self._acks = AckTracker(timers.ack_delay_s)
        # What was sealed under the last generation arrives within the silence that ends a link.
        self.keyring = Keyring(keys, overlap_s=timers.dead_after_s)
        self.rtt = RoundTrip(rtt_s, timers)
        self.liveness = Liveness(timers, now=now, jitter=self._jitter())
        self.sender = Sender(
            keyring=self.keyring,
            session=session,
            outbox=outbox,
            acks=self._acks,
            flight=Flight(self.rtt),
        )

    def _jitter(self) -> float:
        return self._random(1)[0] / 256

    # --- Receiving ---

    def receive(
        self, datagram: bytes, key_id: int, number: int, *, now: float
    ) -> DropReason | None:
        """Open a SEALED datagram and apply it whole, or return why nothing of it was applied."""
        body = self.keyring.open(datagram, key_id, number, now)
        if isinstance(body, DropReason):
            return body
        self.liveness.on_heard(now)
        frames = parse_body(body)
        refusal = DropReason.MALFORMED if frames is None else self._weigh(frames)
        if refusal is None and frames:
            self._apply(frames, number, now)
        elif refusal is DropReason.MALFORMED:
            self._owner.on_malformed()
        return refusal

    def _weigh(self, frames: list[Frame]) -> DropReason | None:
        """Return why none of these frames may be applied, or note how they are acknowledged."""
        fragments = False
        self._is_eliciting = self.is_urgent = False
        for frame in frames:
            kind = frame[0]
            if kind == _ACK:
                if frame[2] >= self.sender.next_number:
                    return DropReason.MALFORMED  # It acknowledges what was never sent.
            elif kind in _CONTENTS:
                if not self._owner.admits(frame[1]):
                    return DropReason.NOT_ADMITTED
                self._is_eliciting = True
                if frame[1] in _AT_ONCE:
                    self.is_urgent = True
                if kind == _FRAGMENT:
                    fragments = True
        return self._refusal_of_fragments(frames) if fragments else None

    def _refusal_of_fragments(self, frames: list[Frame]) -> DropReason | None:
        counts: dict[int, int] = {}
        for frame in frames:
            if frame[0] == _FRAGMENT and not self._window.seen(frame[2]):
                _, _, sequence, _, _, count, _ = frame
                if counts.setdefault(sequence, count) != count:
                    return DropReason.MALFORMED
        return self._reassembler.refusal(counts)

    def _apply(self, frames: list[Frame], number: int, now: float) -> None:
        self._acks.on_received(
            number, now=now, eliciting=self._is_eliciting, at_once=self.is_urgent
        )
        for frame in frames:
            if self.sender.is_over:
                return  # A frame before this one ended the link.
            kind = frame[0]
            if kind == _MESSAGE:
                self._on_message(frame, now)
            elif kind == _ACK:
                self._on_ack(frame, now)
            else:
                self._on_rarer(kind, frame, now)

    def _on_rarer(self, kind: int, frame: Frame, now: float) -> None:
        if kind == _FRAGMENT:
            self._on_fragment(frame, now)
        elif kind == _HEARTBEAT:
            self._on_heartbeat(frame, now)
        elif kind == _PING:
            self.sender.say(PONG_FRAME)
        elif kind == _GOODBYE:
            reason = Farewell(frame[1]) if frame[1] in _FAREWELLS else Farewell.CLOSED
            self._owner.on_goodbye(reason, now=now)

    def _on_message(self, frame: Frame, now: float) -> None:
        _, kind, sequence, epoch, body = frame
        if self._window.take(sequence):
            self._owner.on_message(kind, epoch, body, now=now)
        else:
            self._owner.drops[DropReason.DUPLICATE_MESSAGE] += 1

    def _on_fragment(self, frame: Frame, now: float) -> None:
        _, kind, sequence, epoch, index, count, part = frame
        if self._window.seen(sequence):
            self._owner.drops[DropReason.DUPLICATE_MESSAGE] += 1
            return
        whole = self._reassembler.add(sequence, index, count, part)
        if whole is not None:
            self._on_message([_MESSAGE, kind, sequence, epoch, whole], now)

    def _on_ack(self, frame: Frame, now: float) -> None:
        flight = self.sender.flight
        acked = flight.on_ack(frame[2:], now=now, delay_s=frame[1] * 1e-6)
        for packet in acked:
            for message, index in packet.contents:
                if message.on_acknowledged(index):
                    self._outbox.forget(message)
                    self._owner.on_delivered(message, now=now)
        if acked:
            self.sender.requeue(flight.detect_lost(now))

    def _on_heartbeat(self, frame: Frame, now: float) -> None:
        if self.liveness.is_overtaken(frame[1]):
            return
        rtt_s = self.liveness.on_heartbeat(frame[1], frame[2], frame[3], now=now)
        if rtt_s is not None:
            self.rtt.sample(rtt_s)
        self._owner.on_heartbeat(frame, now=now)

    # --- Sending ---

    def farewell(self, reason: Farewell, *, now: float) -> bytes:
        """Return a datagram that ends the link at the other side, if it arrives."""
        return self.sender.seal([pack([_GOODBYE, int(reason)])], [], now)

    def abandon(self) -> None:
        """The link is over."""
        self.sender.abandon()
        self._reassembler.clear()

    # --- Time ---

    def next_deadline(self) -> float:
        """Return when handle_deadline has something to do."""
        deadline = self.liveness.next_deadline()
        due_at = self._acks.due_at
        if due_at is not None and due_at < deadline:
            deadline = due_at
        due_at = self.sender.flight.deadline()
        if due_at is not None and due_at < deadline:
            deadline = due_at
        due_at = self.keyring.retire_at
        return deadline if due_at is None or deadline < due_at else due_at

    def is_silent(self, now: float) -> bool:
        """Say whether the peer has been silent for too long."""
        return now >= self.liveness.silence_deadline

    def handle_deadline(self, *, now: float) -> None:
        """Queue what is due: heartbeats, pings, retransmissions."""
        flight = self.sender.flight
        deadline = flight.deadline()
        if deadline is not None and now >= deadline:
            contents, probes = flight.on_timeout(now, self._jitter())
            if probes:
                self.sender.probe(contents, probes)
            else:
                self.sender.requeue(contents)
        if now >= self.liveness.heartbeat_due_at:
            epoch, flags, version, digest = self._owner.heartbeat_fields()
            self.sender.say(
                self.liveness.heartbeat(
                    now, epoch=epoch, flags=flags, version=version, digest=digest
                )
            )
        if now >= self.liveness.ping_due_at:
            self.sender.say(self.liveness.ping(now, self._jitter()))
        self.keyring.retire(now)
