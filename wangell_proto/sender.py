"""The sending half of a link: what goes into which datagram, and when it goes again."""

from collections import deque
from collections.abc import Callable, Iterable

import msgpack

from wangell_proto.acks import AckTracker
from wangell_proto.constants import BODY_BYTES_MAX, DATAGRAM_BYTES_MAX, FRAMES_MAX
from wangell_proto.events import Lane
from wangell_proto.flight import Content, Flight, SentPacket
from wangell_proto.keyring import Keyring
from wangell_proto.outbox import Message, Outbox
from wangell_proto.wire import FrameType

__all__ = ["Sender"]

_MESSAGE, _FRAGMENT = int(FrameType.MESSAGE), int(FrameType.FRAGMENT)
_GATED = (Lane.STATE, Lane.BULK)


class Sender:
    """Packs frames into sealed datagrams: control first, then the lanes in their order."""

    __slots__ = (
        "_acks",
        "_control",
        "_keyring",
        "_made",
        "_outbox",
        "_pending",
        "_probes",
        "_session",
        "_waiting",
        "flight",
        "is_over",
        "is_pulling",
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
        made: Callable[[], Message | None],
    ) -> None:
        self._keyring = keyring
        self._session = session
        self._outbox = outbox
        self._acks = acks
        self.flight = flight
        # Messages that are made only when there is room for them: chunks of the table.
        self._made = made
        # Whether the outbox is emptied here: one of the links that share it, once it is up.
        self.is_pulling = False
        self.is_over = False
        self.next_number = 0
        self._probes = 0
        self._control: list[bytes] = []
        self._pending: tuple[deque[Content], ...] = tuple(deque() for _ in Lane)
        # Of the protocol's own, too long for the room that there is: a subscription with digests.
        self._waiting: deque[Message] = deque()

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
        """Send a frame that is not acknowledged, once. A repetition of one that waits is none."""
        if frame not in self._control:
            self._control.append(frame)

    def requeue(self, contents: Iterable[Content]) -> None:
        """Send lost contents again, when there is room."""
        for content in contents:
            self._pending[content[0].lane].append(content)

    def probe(self, contents: list[Content], datagrams: int) -> None:
        """Send contents again now, room or not."""
        self._probes = datagrams
        for content in reversed(contents):
            self._pending[content[0].lane].appendleft(content)

    def datagrams(self, now: float) -> list[bytes]:
        """Return what is to be sent now."""
        out: list[bytes] = []
        while True:
            frames, contents = self._gather(now)
            if not frames:
                self._probes = 0
                return out
            out.append(self.seal(frames, contents, now))

    def seal(self, frames: list[bytes], contents: list[Content], now: float) -> bytes:
        """Return a datagram under the next packet number."""
        number = self.next_number
        self.next_number = number + 1
        body = b"".join((bytes((0x90 | len(frames),)), *frames))
        datagram = self._keyring.present.seal(body, session=self._session, number=number)
        if contents:
            self.flight.on_sent(SentPacket(number, now, len(datagram), tuple(contents)))
        return datagram

    def _gather(self, now: float) -> tuple[list[bytes], list[Content]]:
        contents: list[Content] = []
        frames = self._control[: FRAMES_MAX - 1]
        if frames:
            del self._control[: FRAMES_MAX - 1]
        acks = self._acks
        if acks.due_at is not None and acks.due_at <= now:
            frames.append(acks.frame(now))
        room = BODY_BYTES_MAX - 1 - sum(map(len, frames))
        room = self._fill(Lane.WAKE, frames, contents, room, now)
        if self._probes > 0 or self.flight.congestion.room >= DATAGRAM_BYTES_MAX:
            for lane in _GATED:
                room = self._fill(lane, frames, contents, room, now)
        if contents:
            self._probes -= 1
            if acks.due_at is not None and len(frames) < FRAMES_MAX and acks.bytes_max <= room:
                frames.append(acks.frame(now))  # It was waiting for company.
        return frames, contents

    def _fill(
        self, lane: Lane, frames: list[bytes], contents: list[Content], room: int, now: float
    ) -> int:
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
        return room

    def _next_content(self, lane: Lane) -> Content | None:
        pending = self._pending[lane]
        while pending:
            message, index = pending.popleft()
            if message.fragments > 1 and message.carrier is not self:
                continue  # It turned to another link meanwhile, whole.
            if not message.is_acked(index):
                return message, index
        if not self.is_pulling:
            return None
        following = self._next_message(lane)
        if following is None:
            return None
        following.carrier = self
        pending.extend((following, index) for index in range(1, following.fragments))
        return following, 0

    def _next_message(self, lane: Lane) -> Message | None:
        outbox = self._outbox
        if self._waiting and lane is Lane.STATE and outbox.may_fragment:
            outbox.register(self._waiting[0])
            return self._waiting.popleft()
        head = outbox.head(lane)
        if head is not None:
            if not outbox.has_room or (head.fragments > 1 and not outbox.may_fragment):
                return None
            return outbox.take(lane)
        if lane is not Lane.STATE or not outbox.has_room or not outbox.may_fragment:
            return None
        made = self._made()
        if made is not None:
            outbox.register(made)
        return made

    @staticmethod
    def _frame(content: Content, now: float) -> bytes:
        message, index = content
        if message.first_sent_at is None:
            message.first_sent_at = now
        kind, sequence, epoch = int(message.kind), message.sequence, message.epoch
        if message.fragments == 1:
            return bytes(msgpack.packb([_MESSAGE, kind, sequence, epoch, message.body]))
        count, part = message.fragments, message.part(index)
        return bytes(msgpack.packb([_FRAGMENT, kind, sequence, epoch, index, count, part]))
