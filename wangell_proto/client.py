"""The client: links to every server, follows the best one's table, sends it messages. Sans-IO."""

from collections import deque
from collections.abc import Callable, Mapping

from wangell_proto.config import ClientConfig
from wangell_proto.constants import INCARNATION_BYTES, KEY_BYTES
from wangell_proto.control import SERVES_TABLE, Subscription
from wangell_proto.dialled import DialledLink
from wangell_proto.errors import DropReason
from wangell_proto.events import (
    Address,
    Event,
    Lane,
    LinkDown,
    LinkEnd,
    LinkUp,
    MessageAcknowledged,
    MessageId,
    MessageReceived,
)
from wangell_proto.limits import check_message
from wangell_proto.outbox import Message, Outbox
from wangell_proto.replica import Replica, parse_chunk
from wangell_proto.wire import Kind, parse_header

__all__ = ["Client"]


class Client:
    """A peer that dials. Times are seconds of one steady clock; `random` returns random bytes.

    The caller passes datagrams and times in, then sends what datagrams_to_send returns and takes
    what next_event returns, until both are empty.
    """

    def __init__(self, config: ClientConfig, *, random: Callable[[int], bytes], now: float) -> None:
        self.config = config
        self.random = random
        self.static = random(KEY_BYTES)
        self.incarnation = random(INCARNATION_BYTES)
        self.outbox = Outbox()
        self.drops: dict[DropReason, int] = dict.fromkeys(DropReason, 0)
        self.replica = Replica()
        self.primary: DialledLink | None = None
        self._epoch_seen = 0
        self._message_id = 0
        self._events: deque[Event] = deque()
        self._links: dict[Address, DialledLink] = {
            address: DialledLink(self, address, now=now) for address in config.servers
        }

    @property
    def records(self) -> Mapping[str, bytes]:
        """The replica of the table."""
        return self.replica.records

    @property
    def links(self) -> tuple[DialledLink, ...]:
        """A link for each server, up or not."""
        return tuple(self._links.values())

    # --- The caller's side ---

    def send(
        self, body: bytes, *, lane: Lane, now: float, replaces: str | None = None
    ) -> MessageId:
        """Queue a message for the primary server; it is kept until a server acknowledges it.

        A message that still waits is replaced by a later one with the same `replaces`. Raises
        LocalProtocolError where it is too long (wakes 900 bytes, others 64 KiB), QueueFullError
        where 1,024 messages wait in the lane.
        """
        del now  # Part of the interface: what is sent, and when, is for datagrams_to_send.
        check_message(body, lane)
        message = Message(
            Kind(lane), body, epoch=0, message_id=self._message_id + 1, replaces=replaces
        )
        self.outbox.put(message)
        self._message_id += 1
        return MessageId(self._message_id)

    def receive_datagram(self, data: bytes, *, source: Address, now: float) -> None:
        """Take a datagram. Whatever it holds, it becomes events or a counted drop."""
        header = parse_header(data)
        if isinstance(header, DropReason):
            self.drops[header] += 1
            return
        link = self._links.get(source)
        reason = DropReason.WRONG_SOURCE if link is None else link.receive(data, header, now=now)
        if reason is not None:
            self.drops[reason] += 1

    def datagrams_to_send(self, *, now: float) -> list[tuple[bytes, Address]]:
        """Return the datagrams to send now, in order."""
        return [
            (datagram, link.address)
            for link in self._links.values()
            for datagram in link.datagrams(now=now)
        ]

    def next_deadline(self) -> float | None:
        """Return when handle_deadline must be called; None once closed."""
        deadlines = [
            deadline
            for link in self._links.values()
            if (deadline := link.next_deadline()) is not None
        ]
        return min(deadlines, default=None)

    def handle_deadline(self, *, now: float) -> None:
        """Do what is due. Calling early is harmless."""
        for link in self._links.values():
            deadline = link.next_deadline()
            if deadline is not None and now >= deadline:
                link.handle_deadline(now=now)

    def next_event(self) -> Event | None:
        """Return the next event, or None."""
        return self._events.popleft() if self._events else None

    def close(self, *, now: float) -> None:
        """End every link; datagrams_to_send then holds the goodbyes."""
        for link in self._links.values():
            link.close(now=now)

    # --- What the links report ---

    def on_up(self, link: DialledLink, *, now: float) -> None:
        """Announce the link, and see whether it is the best."""
        self._events.append(
            LinkUp(
                peer=link.peer,
                address=link.address,
                epoch=link.epoch,
                incarnation=link.incarnation,
            )
        )
        self.on_server_heard(link, now=now)

    def on_down(self, link: DialledLink, reason: LinkEnd, *, now: float) -> None:
        """Announce the end, and turn to another server if there is one."""
        self._events.append(LinkDown(peer=link.peer, reason=reason))
        if link is self.primary:
            self.primary = None
        self.on_server_heard(link, now=now)

    def on_server_heard(self, link: DialledLink, *, now: float) -> None:  # noqa: ARG002
        """Choose the primary: a server with a table, then the highest epoch, then the present."""
        up = [link for link in self._links.values() if link.is_up]
        best = max(
            up,
            key=lambda each: (each.flags & SERVES_TABLE, each.epoch, each is self.primary),
            default=None,
        )
        if best is not None and best is not self.primary:
            self._turn_to(best)

    def _turn_to(self, link: DialledLink) -> None:
        if self.primary is not None and self.primary.channel is not None:
            self.primary.channel.is_pulling = False
        self.primary = link
        assert link.channel is not None
        link.channel.is_pulling = True
        link.channel.adopt()
        self._subscribe(link)

    def _subscribe(self, link: DialledLink, *, with_buckets: bool = False) -> None:
        if not link.flags & SERVES_TABLE or link.epoch < self._epoch_seen:
            return
        assert link.channel is not None
        self._epoch_seen = link.epoch
        digests = self.replica.digests
        subscription = Subscription(
            number=self.replica.subscribe(),
            history=self.replica.history,
            version=self.replica.version,
            prefixes=self.config.record_prefixes,
            root=digests.root(),
            buckets=digests.pack() if with_buckets else b"",
        )
        link.channel.enqueue(Message(Kind.SUBSCRIBE, subscription.pack(), epoch=0, message_id=0))

    def on_message(
        self, link: DialledLink, kind: int, epoch: int, body: bytes, *, now: float
    ) -> None:
        """Refuse what a superseded server says; take the rest."""
        del now
        if epoch < self._epoch_seen:
            self.drops[DropReason.LOWER_EPOCH] += 1
            return
        if kind == Kind.TABLE:
            self._on_chunk(link, body)
        elif kind == Kind.DIGESTS_WANTED:
            if link is self.primary:
                self._subscribe(link, with_buckets=True)
        else:
            self._epoch_seen = epoch
            self._events.append(MessageReceived(peer=link.peer, body=body, lane=Lane(kind)))

    def _on_chunk(self, link: DialledLink, body: bytes) -> None:
        chunk = parse_chunk(body)
        if chunk is None or link.welcome is None:
            self.drops[DropReason.MALFORMED] += 1
            return
        if chunk.epoch < self._epoch_seen:
            self.drops[DropReason.LOWER_EPOCH] += 1
            return
        if link is not self.primary:
            return
        self._epoch_seen = chunk.epoch
        self._events.extend(self.replica.receive(chunk, link.welcome.history) or ())

    def on_delivered(self, link: DialledLink, message: Message, *, now: float) -> None:
        """Announce that a server has a message."""
        self._events.append(
            MessageAcknowledged(
                peer=link.peer,
                message_id=MessageId(message.message_id),
                rtt_s=now - message.first_sent_at,
            )
        )

    def heartbeat_fields(self, link: DialledLink) -> tuple[int, int, int, bytes]:
        """Return the highest epoch seen, and what is held of the table, if it is this link's."""
        replica = self.replica
        if link is self.primary and replica.is_synced:
            return self._epoch_seen, 0, replica.version, replica.digests.root()
        return self._epoch_seen, 0, 0, b""
