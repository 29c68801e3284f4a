"""What is to be sent to a peer and what it has not acknowledged: messages, by lane.

A message gets its sequence when it first goes out, so a bulk message that waits does not hold the
window. The unacknowledged span never exceeds DELIVERY_WINDOW: the receiver remembers exactly
that many sequences, and so delivers exactly once.
"""

from wangell_proto.constants import (
    DELIVERY_WINDOW,
    FRAGMENT_BYTES,
    QUEUED_BYTES_MAX,
    QUEUED_MESSAGES_MAX,
    REASSEMBLIES_PER_PEER_MAX,
)
from wangell_proto.errors import QueueFullError
from wangell_proto.events import Lane
from wangell_proto.wire import Kind

__all__ = ["Message", "Outbox"]

_LANES: dict[int, Lane] = {
    Kind.WAKE: Lane.WAKE,
    Kind.STATE: Lane.STATE,
    Kind.BULK: Lane.BULK,
    Kind.TABLE: Lane.STATE,
    Kind.HELLO: Lane.WAKE,
    Kind.WELCOME: Lane.WAKE,
    Kind.SUBSCRIBE: Lane.STATE,
    Kind.DIGESTS_WANTED: Lane.STATE,
    Kind.REKEY_WANTED: Lane.STATE,
}
_BULK = int(Kind.BULK)


class Message:
    """One message on its way. `acked` is a bitmap of its fragments."""

    __slots__ = (
        "acked",
        "body",
        "carrier",
        "epoch",
        "first_sent_at",
        "fragments",
        "is_done",
        "key",
        "kind",
        "lane",
        "message_id",
        "sequence",
    )

    def __init__(
        self,
        kind: int,
        body: bytes,
        *,
        epoch: int = 0,
        message_id: int = 0,
        replaces: str | None = None,
    ) -> None:
        self.kind = kind
        self.lane = _LANES[kind]
        self.body = body
        self.epoch = epoch
        self.message_id = message_id
        # Within a lane the later of two messages with the same key is the only one that matters.
        self.key = None if replaces is None else (self.lane, replaces)
        self.sequence = -1
        self.first_sent_at: float | None = None
        self.fragments = -(-len(body) // FRAGMENT_BYTES) or 1
        self.acked = 0
        self.is_done = False
        # The link that sends it, so that the link's end takes along what was its own.
        self.carrier: object = None

    @property
    def is_application(self) -> bool:
        """Say whether the application sent it: such a message outlives its link."""
        return self.kind <= _BULK

    def part(self, index: int) -> bytes:
        """Return the bytes of one fragment."""
        return self.body[index * FRAGMENT_BYTES : (index + 1) * FRAGMENT_BYTES]

    def is_acked(self, index: int) -> bool:
        """Say whether a fragment need not be sent (again)."""
        return self.is_done or bool(self.acked >> index & 1)

    def on_acknowledged(self, index: int) -> bool:
        """Note a fragment's acknowledgement; say whether that was the last one missing."""
        self.acked |= 1 << index
        return not self.is_done and self.acked == (1 << self.fragments) - 1


class Outbox:
    """Queues by lane, and the messages sent and not acknowledged, by sequence."""

    __slots__ = (
        "_bytes",
        "_fragmented",
        "_latest",
        "_next_sequence",
        "queues",
        "unacknowledged",
        "waiting",
    )

    def __init__(self) -> None:
        self.queues: tuple[list[Message], ...] = tuple([] for _ in Lane)
        self._latest: dict[tuple[Lane, str], Message] = {}
        self._next_sequence = 0  # Not 1: the receiver would miss 0 for its whole window.
        self._bytes = 0
        self._fragmented = 0
        self.waiting = 0
        self.unacknowledged: dict[int, Message] = {}

    def __len__(self) -> int:
        """Count the messages that wait for their first transmission."""
        return self.waiting

    def put(self, message: Message) -> None:
        """Queue a message. Raises QueueFullError. A latest-wins one replaces its predecessor."""
        if message.key is None:
            self._append(message)
            return
        predecessor = self._latest.get(message.key)
        if predecessor is not None and predecessor.sequence < 0:
            self._put_in_place_of(predecessor, message)
        else:
            self._append(message)
            if predecessor is not None and predecessor.fragments == 1:
                self.forget(predecessor)  # Under way; but it is not sent again.
        self._latest[message.key] = message

    def _append(self, message: Message) -> None:
        queue = self.queues[message.lane]
        size = self._bytes + len(message.body)
        if size > QUEUED_BYTES_MAX:
            raise self._too_much()
        if len(queue) >= QUEUED_MESSAGES_MAX:
            raise QueueFullError(
                f"{len(queue)} messages wait in lane {message.lane.name}: the peer is slow or away;"
                " send fewer, or give `replaces` where only the latest matters"
            )
        queue.append(message)
        self.waiting += 1
        self._bytes = size

    def _put_in_place_of(self, predecessor: Message, message: Message) -> None:
        size = self._bytes - len(predecessor.body) + len(message.body)
        if size > QUEUED_BYTES_MAX:
            raise self._too_much()
        queue = self.queues[message.lane]
        queue[queue.index(predecessor)] = message
        predecessor.is_done = True
        self._bytes = size

    def _too_much(self) -> QueueFullError:
        return QueueFullError(f"{self._bytes} bytes wait: the peer is slow or away; send less")

    @property
    def has_room(self) -> bool:
        """Say whether one more sequence fits the window of the receiver."""
        if not self.unacknowledged:
            return True
        return self._next_sequence - next(iter(self.unacknowledged)) < DELIVERY_WINDOW

    @property
    def may_fragment(self) -> bool:
        """Say whether the receiver has room to put one more message together."""
        return self._fragmented < REASSEMBLIES_PER_PEER_MAX

    def take(self, lane: int) -> Message:
        """Take the head of a lane, which now has a sequence and waits for acknowledgement."""
        self.waiting -= 1
        return self._give_sequence(self.queues[lane].pop(0))

    def register(self, message: Message) -> Message:
        """Give a message that was in no queue its sequence, and return it."""
        self._bytes += len(message.body)
        return self._give_sequence(message)

    def _give_sequence(self, message: Message) -> Message:
        message.sequence = sequence = self._next_sequence
        self._next_sequence = sequence + 1
        self.unacknowledged[sequence] = message
        if message.fragments > 1:
            self._fragmented += 1
        return message

    def forget(self, message: Message) -> None:
        """Drop a message: it was acknowledged, or nobody wants it any more."""
        message.is_done = True
        if self.unacknowledged.pop(message.sequence, None) is None:
            return
        self._bytes -= len(message.body)
        if message.fragments > 1:
            self._fragmented -= 1
        if message.key is not None and self._latest.get(message.key) is message:
            del self._latest[message.key]

    def drain(self) -> list[Message]:
        """Take everything out, sent or not: the peer, which has no link, will not come back."""
        queued = [message for queue in self.queues for message in queue]
        left = [*self.unacknowledged.values(), *queued]
        self.unacknowledged.clear()
        self._latest.clear()
        self._bytes = self._fragmented = self.waiting = 0
        for queue in self.queues:
            queue.clear()
        return left
