"""The sending half of a link: what goes into which datagram, and when it goes again."""

from collections.abc import Callable, Iterable

from wangell_proto.acks import AckTracker
from wangell_proto.constants import BODY_BYTES_MAX, DATAGRAM_BYTES_MAX, FRAMES_MAX
from wangell_proto.events import Lane
from wangell_proto.flight import Content, Flight, SentPacket
from wangell_proto.keyring import Keyring
from wangell_proto.outbox import Message, Outbox
from wangell_proto.packing import pack
from wangell_proto.wire import FrameType

__all__ = ["Sender"]

_MESSAGE, _FRAGMENT = int(FrameType.MESSAGE), int(FrameType.FRAGMENT)
_LANES = _WAKE, _STATE, _ = tuple(Lane)
# The msgpack header of an array of so many frames.
_ARRAYS = tuple(bytes((0x90 | count,)) for count in range(FRAMES_MAX + 1))


def _nothing() -> None:
    """Make no message: a client has no table to give."""


class Sender:
    """Packs frames into sealed datagrams: control first, then the lanes in their order."""

    __slots__ = (
        "_acks",
        "_control",
        "_keyring",
        "_outbox",
        "_pending",
        "_probes",
        "_session",
        "_waiting",
        "flight",
        "is_over",
        "is_pulling",
        "made",
        "may_make",
        "next_number",
    )

    def __init__(
        self,
        *,
        keyring: Keyring,
        session: int,
        outbox: Outbox,
        acks: AckTracker,
        flight: Flight,
    ) -> None:
        self._keyring = keyring
        self._session = session
        self._outbox = outbox
        self._acks = acks
        self.flight = flight
        # Makes messages only when there is room for them: chunks of the table. It is not asked
        # until its owner says that there may be one.
        self.made: Callable[[], Message | None] = _nothing
        self.may_make = False
        # Whether the outbox is emptied here: one of the links that share it, once it is up.
        self.is_pulling = False
        self.is_over = False
        self.next_number = 0
        self._probes = 0
        # By the type of frame, which is the second byte of its packed form.
        self._control: dict[int, bytes] = {}
        # Lists, here and in the outbox: they are short, and an empty deque takes 600 bytes.
        self._pending: tuple[list[Content], ...] = tuple([] for _ in _LANES)
        # Of the protocol's own, too long for the room that there is: a subscription with digests.
        self._waiting: list[Message] = []

    def enqueue(self, message: Message) -> None:
        """Send a message here, whatever waits in the outbox."""
        if message.fragments > 1 and message.sequence < 0 and not self._outbox.may_fragment:
            self._waiting.append(message)
            return
        if message.sequence < 0:
            self._outbox.register(message)
        message.carrier = self
        self._pending[message.lane].extend((message, index) for index in range(message.fragments))

    def adopt(self) -> None:
        """Send what links with the same outbox that are over left unacknowledged.

        What another link that lives has begun it also ends: half a message here and half there
        would fill the room that the receivers have for fragments.
        """
        for message in list(self._outbox.unacknowledged.values()):
            carrier = message.carrier
            if message.is_application and (not isinstance(carrier, Sender) or carrier.is_over):
                message.acked = 0
                self.enqueue(message)

    def abandon(self) -> None:
        """The link is over: what belonged to it alone is gone, the application's stays."""
        self.is_over = True
        self.is_pulling = False
        self._waiting.clear()
        for message in list(self._outbox.unacknowledged.values()):
            if message.carrier is self and not message.is_application:
                self._outbox.forget(message)

    def say(self, frame: bytes) -> None:
        """Send a frame, unacknowledged; it takes the place of one of its type that waits."""
        self._control[frame[1]] = frame

    def requeue(self, contents: Iterable[Content]) -> None:
        """Send lost contents again, when there is room."""
        for content in contents:
            self._pending[content[0].lane].append(content)

    def probe(self, contents: list[Content], datagrams: int) -> None:
        """Send contents again now, room or not."""
        self._probes = datagrams
        for content in reversed(contents):
            self._pending[content[0].lane].insert(0, content)

    def datagrams(self, now: float) -> list[bytes]:
        """Return what is to be sent now."""
        out: list[bytes] = []
        is_full = True
        while is_full:
            frames = self._control_frames(now)
            contents: list[Content] = []
            is_full = self._has_contents() and self._gather(frames, contents, now)
            if not frames:
                break
            out.append(self.seal(frames, contents, now))
        self._probes = 0
        return out

    def _control_frames(self, now: float) -> list[bytes]:
        """Take what waits to be said, and the acknowledgement that is due."""
        frames: list[bytes] = []
        if self._control:
            frames += self._control.values()
            self._control.clear()
        acks = self._acks
        if acks.due_at is not None and acks.due_at <= now:
            frames.append(acks.frame(now))
        return frames

    def _has_contents(self) -> bool:
        """Say whether there may be messages to send; mostly there are none."""
        wakes, states, bulks = self._pending
        if wakes or states or bulks:
            return True
        return self.is_pulling and (
            self._outbox.waiting > 0 or self.may_make or bool(self._waiting)
        )

    def seal(self, frames: list[bytes], contents: list[Content], now: float) -> bytes:
        """Return a datagram under the next packet number."""
        number = self.next_number
        self.next_number = number + 1
        body = _ARRAYS[len(frames)] + b"".join(frames)
        datagram = self._keyring.present.seal(body, session=self._session, number=number)
        if contents:
            self.flight.on_sent(SentPacket(number, now, len(datagram), contents))
        return datagram

    def _gather(self, frames: list[bytes], contents: list[Content], now: float) -> bool:
        """Fill one datagram; say whether something that may be sent found no room."""
        room = BODY_BYTES_MAX - 1 - sum(map(len, frames))
        is_full = False
        for lane in _LANES:
            if lane is not _WAKE and not self._may_fill():
                break
            is_full, room = self._fill(lane, frames, contents, room, now)
            if is_full or not self._has_contents():
                break
        if contents:
            self._probes -= 1
            acks = self._acks
            if acks.due_at is not None and len(frames) < FRAMES_MAX and acks.bytes_max <= room:
                frames.append(acks.frame(now))  # It was waiting for company.
        return is_full

    def _may_fill(self) -> bool:
        return self._probes > 0 or self.flight.congestion.room >= DATAGRAM_BYTES_MAX

    def _fill(
        self, lane: Lane, frames: list[bytes], contents: list[Content], room: int, now: float
    ) -> tuple[bool, int]:
        """Add what one lane has; say whether something was left for want of room, and the room."""
        while (content := self._next_content(lane)) is not None:
            frame = self._frame(content, now)
            if len(frame) > room or len(frames) == FRAMES_MAX:
                self._pending[lane].insert(0, content)
                return True, room
            room -= len(frame)
            frames.append(frame)
            contents.append(content)
        return False, room

    def _next_content(self, lane: Lane) -> Content | None:
        pending = self._pending[lane]
        while pending:
            message, index = pending.pop(0)
            if not message.is_acked(index):
                return message, index
        outbox = self._outbox
        if not self.is_pulling or not (outbox.queues[lane] or lane is _STATE):
            return None
        # While the receiver's window is full nothing new may go, but what was lost may.
        following = self._next_message(lane, outbox) if outbox.has_room else None
        if following is None:
            return None
        following.carrier = self
        if following.fragments > 1:
            pending.extend((following, index) for index in range(1, following.fragments))
        return following, 0

    def _next_message(self, lane: Lane, outbox: Outbox) -> Message | None:
        if lane is _STATE and self._waiting and outbox.may_fragment:
            return outbox.register(self._waiting.pop(0))
        queue = outbox.queues[lane]
        if queue:
            return outbox.take(lane) if queue[0].fragments == 1 or outbox.may_fragment else None
        if not self.may_make or not outbox.may_fragment:
            return None
        made = self.made()
        if made is None:
            self.may_make = False
            return None
        return outbox.register(made)

    @staticmethod
    def _frame(content: Content, now: float) -> bytes:
        message, index = content
        if message.first_sent_at is None:
            message.first_sent_at = now
        kind, sequence, epoch = message.kind, message.sequence, message.epoch
        if message.fragments == 1:
            return pack([_MESSAGE, kind, sequence, epoch, message.body])
        count, part = message.fragments, message.part(index)
        frame = [_FRAGMENT, kind, sequence, epoch, index, count, part]
        return pack(frame)
