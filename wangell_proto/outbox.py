"""What is to be sent to a peer and what it has not acknowledged: messages, by lane.

A message gets its sequence when it first goes out, so a bulk message that waits does not hold the
window. The unacknowledged span never exceeds DELIVERY_WINDOW: the receiver remembers exactly
that many sequences, and so delivers exactly once.
"""

from collections import deque

from wangell_proto.constants import DELIVERY_WINDOW, FRAGMENT_BYTES, QUEUED_MESSAGES_MAX
from wangell_proto.errors import QueueFullError
from wangell_proto.events import Lane
from wangell_proto.wire import Kind

__all__ = ["Message", "Outbox"]

_LANES: dict[Kind, Lane] = {
    Kind.WAKE: Lane.WAKE,
    Kind.STATE: Lane.STATE,
    Kind.BULK: Lane.BULK,
    Kind.TABLE: Lane.STATE,
    Kind.HELLO: Lane.WAKE,
    Kind.WELCOME: Lane.WAKE,
    Kind.SUBSCRIBE: Lane.STATE,
    Kind.DIGESTS_WANTED: Lane.STATE,
}


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
        "kind",
        "lane",
        "message_id",
        "replaces",
        "sequence",
    )

    def __init__(
        self, kind: Kind, body: bytes, *, epoch: int, message_id: int, replaces: str | None = None
    ) -> None:
        self.kind = kind
        self.lane = _LANES[kind]
        self.body = body
        self.epoch = epoch
        self.message_id = message_id
        self.replaces = replaces
        self.sequence = -1
        self.first_sent_at = -1.0
        self.fragments = max(1, -(-len(body) // FRAGMENT_BYTES))
        self.acked = 0
        self.is_done = False
        # The channel that sends it, so that the channel's end takes along what was its own.
        self.carrier: object = None

    @property
    def is_application(self) -> bool:
        """Say whether the application sent it: such a message outlives its link."""
        return self.kind <= Kind.BULK

    def part(self, index: int) -> bytes:
        """Return the bytes of one fragment."""
        return self.body[index * FRAGMENT_BYTES : (index + 1) * FRAGMENT_BYTES]

    def on_acknowledged(self, index: int) -> bool:
        """Note a fragment's acknowledgement; say whether that was the last one missing."""
        self.acked |= 1 << index
        if self.is_done or self.acked != (1 << self.fragments) - 1:
            return False
        self.is_done = True
        return True


class Outbox:
    """Queues by lane, and the messages sent and not acknowledged, by sequence."""

    __slots__ = ("_latest", "_next_sequence", "_queues", "unacknowledged")

    def __init__(self) -> None:
        self._queues: tuple[deque[Message], ...] = tuple(deque() for _ in Lane)
        self._latest: dict[str, Message] = {}
        self._next_sequence = 1
        self.unacknowledged: dict[int, Message] = {}

    def __len__(self) -> int:
        """Count the messages that wait for their first transmission."""
        return sum(map(len, self._queues))

    def put(self, message: Message) -> None:
        """Queue a message. Raises QueueFullError. A latest-wins one replaces its predecessor."""
        queue = self._queues[message.lane]
        if message.replaces is not None:
            predecessor = self._latest.get(message.replaces)
            self._latest[message.replaces] = message
            if predecessor is not None:
                queue[queue.index(predecessor)] = message
                return
        if len(queue) >= QUEUED_MESSAGES_MAX:
            self._latest.pop(message.replaces or "", None)
            raise QueueFullError(
                f"{len(queue)} messages wait in lane {message.lane.name}: the peer is slow or away;"
                " send fewer, or give `replaces` where only the latest matters"
            )
        queue.append(message)

    def head(self, lane: int) -> Message | None:
        """Return the next message of a lane, or None."""
        queue = self._queues[lane]
        return queue[0] if queue else None

    @property
    def has_room(self) -> bool:
        """Say whether one more sequence fits the window of the receiver."""
        oldest = next(iter(self.unacknowledged), self._next_sequence)
        return self._next_sequence - oldest < DELIVERY_WINDOW

    def drain(self) -> list[Message]:
        """Take everything out, sent or not: the peer will not come back for it."""
        left = [*self.unacknowledged.values(), *(m for queue in self._queues for m in queue)]
        self.unacknowledged.clear()
        self._latest.clear()
        for queue in self._queues:
            queue.clear()
        return left

    def take(self, lane: int) -> Message:
        """Take the head of a lane, which now has a sequence and waits for acknowledgement."""
        message = self._queues[lane].popleft()
        if message.replaces is not None:
            del self._latest[message.replaces]
        self.register(message)
        return message

    def register(self, message: Message) -> None:
        """Give a message its sequence."""
        message.sequence = self._next_sequence
        self._next_sequence += 1
        self.unacknowledged[message.sequence] = message

    def forget(self, message: Message) -> None:
        """Drop a message that was acknowledged, or that its link took with it."""
        message.is_done = True
        self.unacknowledged.pop(message.sequence, None)
