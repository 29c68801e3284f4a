"""The client: links to every server, follows the best one's table, sends it messages. Sans-IO."""

from collections import deque
from collections.abc import Callable, Mapping

from wangell_proto.attempt import Attempt
from wangell_proto.config import ClientConfig, check_credential, check_psks, check_servers
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
    LinkRefused,
    LinkUp,
    MessageAcknowledged,
    MessageId,
    MessageReceived,
    PeerMisbehaved,
)
from wangell_proto.handshake import Greeting
from wangell_proto.limits import check_message
from wangell_proto.noise import PrivateKey
from wangell_proto.outbox import Message, Outbox
from wangell_proto.replica import Replica, parse_chunk
from wangell_proto.wire import Kind, parse_header

__all__ = ["Client"]

_LANES = tuple(Lane)


class Client:
    """A peer that dials. Times are seconds of one steady clock; `random` returns random bytes.

    The caller passes datagrams and times in, then sends what datagrams_to_send returns and takes
    what next_event returns, until both are empty.
    """

    def __init__(self, config: ClientConfig, *, random: Callable[[int], bytes], now: float) -> None:
        self.config = config
        self.timers = config.timers
        self.psks = config.psks
        self.random = random
        self.outbox = Outbox()
        self.drops: dict[DropReason, int] = dict.fromkeys(DropReason, 0)
        self.primary: DialledLink | None = None
        self._credential = config.credential
        self._static = PrivateKey(random(KEY_BYTES))
        self._incarnation = random(INCARNATION_BYTES)
        self._replica = Replica()
        self._epoch_seen = 0
        self._message_id = 0
        # Wakes not acknowledged and not sent to a second server, oldest first.
        self._single_wakes: dict[int, Message] = {}
        self._farewells: list[tuple[bytes, Address]] = []
        self._events: deque[Event] = deque()
        self._links: dict[Address, DialledLink] = {
            address: DialledLink(self, address, now=now) for address in config.servers
        }

    # --- What the caller sees ---

    @property
    def records(self) -> Mapping[str, bytes]:
        """The replica of the table."""
        return self._replica.records

    @property
    def version(self) -> int:
        """The version of the table that the replica has reached."""
        return self._replica.version

    @property
    def epoch(self) -> int:
        """The highest epoch seen: what a lower one says is refused."""
        return self._epoch_seen

    @property
    def links(self) -> tuple[DialledLink, ...]:
        """A link for each server, up or not."""
        return tuple(self._links.values())

    def next_event(self) -> Event | None:
        """Return the next event, or None."""
        return self._events.popleft() if self._events else None

    # --- What the caller asks for ---

    def send(
        self,
        body: bytes,
        *,
        lane: Lane,
        now: float,  # noqa: ARG002  # as all calls have it; datagrams_to_send says what leaves
        replaces: str | None = None,
    ) -> MessageId:
        """Queue a message for the primary server; it is kept until a server acknowledges it.

        A message that still waits or is under way is replaced by a later one with the same
        `replaces`, and is then not heard of again. Raises LocalProtocolError where it is too long
        (wakes 900 bytes, others 64 KiB), QueueFullError where 1,024 messages or 4 MiB wait.
        """
        check_message(body, lane)
        message_id = MessageId(self._message_id + 1)
        message = Message(lane, body, message_id=message_id, replaces=replaces)
        self.outbox.put(message)
        self._message_id = message_id
        if lane is Lane.WAKE:
            if replaces is not None:
                self._forget_replaced_wakes()
            self._single_wakes[message_id] = message
        return message_id

    def _forget_replaced_wakes(self) -> None:
        for message in [each for each in self._single_wakes.values() if each.is_done]:
            del self._single_wakes[message.message_id]

    def set_psks(self, psks: tuple[bytes, ...], *, now: float) -> None:
        """Rotate: the first is used from now on, the second where a server does not take it.

        Raises LocalProtocolError unless there are one or two of 32 bytes.
        """
        check_psks(psks)
        self.psks = psks
        for link in self._links.values():
            link.want_key(psks[0], now=now)

    def set_credential(self, credential: bytes) -> None:
        """Show this to servers from the next handshake on: tokens expire.

        Raises LocalProtocolError beyond 4,096 bytes.
        """
        check_credential(credential)
        self._credential = credential

    def set_servers(self, servers: tuple[tuple[str, int], ...], *, now: float) -> None:
        """Link to these servers; links to others end with a goodbye.

        Raises LocalProtocolError unless there are one to four different ones.
        """
        check_servers(servers)
        for address in [address for address in self._links if address not in servers]:
            self._close(address, now)
        for address in servers:
            if address not in self._links:
                self._links[address] = DialledLink(self, address, now=now)

    def close(self, *, now: float) -> None:
        """End every link; datagrams_to_send then holds the goodbyes."""
        for address in list(self._links):
            self._close(address, now)

    def _close(self, address: Address, now: float) -> None:
        link = self._links.pop(address)
        link.close(now=now)
        self._farewells += [(datagram, address) for datagram in link.datagrams(now=now)]

    # --- Bytes and time ---

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
        out, self._farewells = self._farewells, []
        for address, link in self._links.items():
            for datagram in link.datagrams(now=now):
                out.append((datagram, address))
        return out

    def next_deadline(self) -> float | None:
        """Return when handle_deadline must be called; None once closed."""
        earliest = self._copy_at()
        for link in self._links.values():
            deadline = link.next_deadline()
            if earliest is None or deadline < earliest:
                earliest = deadline
        return earliest

    def handle_deadline(self, *, now: float) -> None:
        """Do what is due. Calling early is harmless."""
        for link in list(self._links.values()):
            if now >= link.next_deadline():
                link.handle_deadline(now=now)
        self._copy_wakes(now)

    # --- A second server for what cannot wait ---

    def _copy_at(self) -> float | None:
        """Return when the oldest unacknowledged wake goes to a second server, if there is one."""
        if len(self._links) < 2 or not self._single_wakes or self._second() is None:
            return None
        for message in self._single_wakes.values():
            if message.first_sent_at is not None:
                return message.first_sent_at + self.timers.second_server_after_s
        return None

    def _second(self) -> DialledLink | None:
        others = (link for link in self._links.values() if link.is_up and link is not self.primary)
        return next(others, None)

    def _copy_wakes(self, now: float) -> None:
        second = self._second()
        if second is None or second.channel is None:
            return
        for message_id, message in list(self._single_wakes.items()):
            sent_at = message.first_sent_at
            if sent_at is None or now < sent_at + self.timers.second_server_after_s:
                continue
            del self._single_wakes[message_id]
            second.channel.sender.enqueue(message)

    # --- What the links report ---

    def new_attempt(
        self, number: int, *, resumes: int, psk: bytes, cookie: bytes, now: float
    ) -> Attempt:
        """Begin a handshake for a link."""
        greeting = Greeting(
            name=self.config.name,
            incarnation=self._incarnation,
            resumes=resumes,
            credential=self._credential,
        )
        return Attempt(
            greeting,
            number=number,
            static=self._static,
            server_public_key=self.config.server_public_key,
            psk=psk,
            cookie=cookie,
            random=self.random,
            now=now,
        )

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
        self.on_server_heard()
        self._copy_wakes(now)

    def on_down(self, link: DialledLink, reason: LinkEnd) -> None:
        """Announce the end, and turn to another server if there is one."""
        self._events.append(LinkDown(peer=link.peer, reason=reason))
        if link is self.primary:
            self.primary = None
        self.on_server_heard()

    def on_refused(self, link: DialledLink) -> None:
        """Announce that a server does not want us."""
        self._events.append(LinkRefused(peer=link.peer))

    def on_malformed(self, link: DialledLink) -> None:
        """Announce that a server breaks the rules."""
        self._events.append(PeerMisbehaved(peer=link.peer))

    def on_server_heard(self) -> None:
        """Choose the primary: one with a valid table, then the highest epoch, then the present."""
        up = [link for link in self._links.values() if link.is_up]
        self._epoch_seen = max([self._epoch_seen, *(link.epoch for link in up)])
        for link in up:
            link.is_followed = link.is_followed and self._may_follow(link)
        best = max(
            up,
            key=lambda each: (self._may_follow(each), each.epoch, each is self.primary),
            default=None,
        )
        if best is None:
            return
        if best is not self.primary:
            self._turn_to(best)
        assert best.channel is not None
        best.channel.sender.adopt()  # Whatever ended: what it had not delivered is sent here.
        if self._may_follow(best) and not best.is_followed:
            self._subscribe(best)

    def _may_follow(self, link: DialledLink) -> bool:
        return bool(link.flags & SERVES_TABLE) and link.epoch >= self._epoch_seen

    def _turn_to(self, link: DialledLink) -> None:
        if self.primary is not None and self.primary.channel is not None:
            self.primary.channel.sender.is_pulling = False
            self.primary.is_followed = False
        self.primary = link
        assert link.channel is not None
        link.channel.sender.is_pulling = True

    def _subscribe(self, link: DialledLink, *, with_buckets: bool = False) -> None:
        assert link.channel is not None
        link.is_followed = True
        digests = self._replica.digests
        subscription = Subscription(
            number=self._replica.subscribe(),
            history=self._replica.history,
            version=self._replica.version,
            prefixes=self.config.record_prefixes,
            root=digests.root(),
            buckets=digests.pack() if with_buckets else b"",
        )
        link.channel.sender.enqueue(Message(Kind.SUBSCRIBE, subscription.pack()))

    def on_message(
        self, link: DialledLink, kind: int, epoch: int, body: bytes, *, now: float
    ) -> None:
        """Refuse what a superseded server says; take the rest."""
        del now
        if epoch < self._epoch_seen:
            self.drops[DropReason.LOWER_EPOCH] += 1
            if kind == Kind.TABLE and link.is_followed:
                # Made before the server's epoch was raised. What follows it does not stand alone.
                self._subscribe(link)
            return
        self._epoch_seen = epoch
        if kind == Kind.TABLE:
            self._on_chunk(link, epoch, body)
        elif kind == Kind.DIGESTS_WANTED:
            if link.is_followed:
                self._subscribe(link, with_buckets=True)
        else:
            self._events.append(MessageReceived(peer=link.peer, body=body, lane=_LANES[kind]))

    def _on_chunk(self, link: DialledLink, epoch: int, body: bytes) -> None:
        chunk = parse_chunk(body)
        if chunk is None:
            self.drops[DropReason.MALFORMED] += 1
            self.on_malformed(link)
            return
        changes = None
        if link.is_followed:
            changes = self._replica.receive(chunk, epoch=epoch, history=link.history)
        if changes is None:
            self.drops[DropReason.STALE_CHUNK] += 1
        else:
            self._events.extend(changes)

    def on_delivered(self, link: DialledLink, message: Message, *, now: float) -> None:
        """Announce that a server has a message."""
        self._single_wakes.pop(message.message_id, None)
        sent_at = message.first_sent_at
        self._events.append(
            MessageAcknowledged(
                peer=link.peer,
                message_id=MessageId(message.message_id),
                rtt_s=now - (now if sent_at is None else sent_at),
            )
        )

    def heartbeat_fields(self, link: DialledLink) -> tuple[int, int, int, bytes]:
        """Return the highest epoch seen, and what is held of the table, if it is this link's."""
        replica = self._replica
        if not link.is_followed:
            return self._epoch_seen, 0, 0, b""
        if not replica.is_synced:
            return self._epoch_seen, replica.subscription, 0, b""
        return self._epoch_seen, replica.subscription, replica.version, replica.digests.root()
