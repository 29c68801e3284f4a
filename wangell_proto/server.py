"""The server: links of many peers, and the table they follow. Sans-IO."""

from collections import deque
from collections.abc import Callable, Mapping
from heapq import heappop, heappush

from wangell_proto.accepted import AcceptedLink, Peer
from wangell_proto.config import ServerConfig
from wangell_proto.constants import (
    INCARNATION_BYTES,
    KEY_BYTES,
    NUMBER_MAX,
    PEERS_MAX,
    UNCONFIRMED_MAX,
)
from wangell_proto.control import SERVES_TABLE, Subscription, Welcome, parse_subscription
from wangell_proto.doorman import Caller, Doorman
from wangell_proto.errors import DropReason, LocalProtocolError, UnknownPeerError
from wangell_proto.events import (
    Address,
    Event,
    Lane,
    LinkDown,
    LinkEnd,
    LinkUp,
    MessageAcknowledged,
    MessageFailed,
    MessageId,
    MessageReceived,
    PeerName,
)
from wangell_proto.feed import Feed, View
from wangell_proto.handshake import Reply
from wangell_proto.limits import check_message
from wangell_proto.noise import HandshakeError
from wangell_proto.outbox import Message
from wangell_proto.reassembly import ReassemblyBudget
from wangell_proto.states import LinkInput
from wangell_proto.table import Table
from wangell_proto.wire import DatagramType, Frame, Header, Kind, parse_header

__all__ = ["Server"]

_SEALED, _INITIATION = int(DatagramType.SEALED), int(DatagramType.INITIATION)
# The handshake is answered in one datagram, so nothing measures the way yet: a LAN's guess.
FIRST_RTT_S = 0.001


class Server:
    """One object for all peers. Times are seconds of one steady clock; `random` returns bytes.

    The caller passes datagrams and times in, then sends what datagrams_to_send returns and takes
    what next_event returns, until both are empty.
    """

    def __init__(self, config: ServerConfig, *, random: Callable[[int], bytes]) -> None:
        self.config = config
        self.timers = config.timers
        self.random = random
        self.epoch = config.epoch
        self.drops: dict[DropReason, int] = dict.fromkeys(DropReason, 0)
        self.budget = ReassemblyBudget()
        self.history = random(INCARNATION_BYTES)
        self._doorman = Doorman(
            config.private_key,
            config.psks,
            random=random,
            cookie_lifetime_s=config.timers.cookie_lifetime_s,
        )
        self._serves_table = config.serves_table
        self._table = Table()
        self._views: dict[tuple[str, ...], View] = {}
        self._peers: dict[str, Peer] = {}
        self._lost: dict[str, float] = {}
        self._links: dict[int, AcceptedLink] = {}
        self._unconfirmed: dict[int, AcceptedLink] = {}
        self._dirty: dict[int, AcceptedLink] = {}
        self._answers: list[tuple[bytes, Address]] = []
        self._deadlines: list[tuple[float, int]] = []
        self._events: deque[Event] = deque()
        self._message_id = 0
        self._table_moved = False

    # --- The caller's side ---

    @property
    def links(self) -> Mapping[str, AcceptedLink]:
        """The links that are up, by the name of their peer."""
        return {name: peer.link for name, peer in self._peers.items() if peer.link is not None}

    @property
    def records(self) -> Mapping[str, bytes]:
        """The table."""
        return {key: record.value or b"" for key, record in self._table.records.items()}

    @property
    def version(self) -> int:
        """The table's version."""
        return self._table.version

    def send(
        self, peer: str, body: bytes, *, lane: Lane, now: float, replaces: str | None = None
    ) -> MessageId:
        """Queue a message for a peer that is linked, or was within forget_after_s.

        Raises UnknownPeerError, LocalProtocolError where it is too long (wakes 900 bytes, others
        64 KiB), QueueFullError where 1,024 messages wait in the lane.
        """
        del now  # Part of the interface: what is sent, and when, is for datagrams_to_send.
        check_message(body, lane)
        known = self._peers.get(peer)
        if known is None:
            raise UnknownPeerError(f"{peer} is not linked; send after its LinkUp")
        message = Message(
            Kind(lane),
            body,
            epoch=self.epoch,
            message_id=self._message_id + 1,
            replaces=replaces,
        )
        known.outbox.put(message)
        self._message_id += 1
        if known.link is not None:
            self._dirty[known.link.session] = known.link
        return MessageId(self._message_id)

    def set_record(self, key: str, value: bytes) -> None:
        """Set a record for every peer that follows the table. An equal value changes nothing.

        Raises LocalProtocolError where key (512 characters) or value (56,000 bytes) are too long.
        """
        self._change(key, value)

    def delete_record(self, key: str) -> None:
        """Delete a record for every peer that follows the table; none of that name: nothing."""
        self._change(key, None)

    def _change(self, key: str, value: bytes | None) -> None:
        change = self._table.put(key, value)
        if change is not None:
            self._table_moved = True
            for view in self._views.values():
                view.on_change(*change)

    def serve_table(self, *, is_complete: bool) -> None:
        """Say whether the table holds all that it should, and may be followed."""
        self._serves_table = is_complete

    def raise_epoch(self, epoch: int) -> None:
        """Take a higher epoch: from now on peers that hear of it refuse lower ones.

        Raises LocalProtocolError for a lower one: whoever was superseded stays so.
        """
        if not self.epoch <= epoch < NUMBER_MAX:
            raise LocalProtocolError(f"epoch {epoch} is below {self.epoch}; it can only be raised")
        self.epoch = epoch

    def receive_datagram(self, data: bytes, *, source: Address, now: float) -> None:
        """Take a datagram. Whatever it holds, it becomes events or a counted drop."""
        header = parse_header(data)
        if isinstance(header, DropReason):
            self.drops[header] += 1
            return
        kind = header[0]
        if kind == _SEALED:
            reason = self._on_sealed(data, header, source, now)
        elif kind == _INITIATION:
            reason = self._on_initiation(data, header, source, now)
        else:
            reason = DropReason.UNKNOWN_TYPE
        if reason is not None:
            self.drops[reason] += 1

    def datagrams_to_send(self, *, now: float) -> list[tuple[bytes, Address]]:
        """Return the datagrams to send now, in order."""
        if self._table_moved:
            self._table_moved = False
            for link in self._links.values():
                if link.has_chunk:
                    self._dirty[link.session] = link
        out, self._answers = self._answers, []
        dirty, self._dirty = self._dirty, {}
        for link in dirty.values():
            address = link.address
            out += [(datagram, address) for datagram in link.channel.datagrams(now=now)]
            self._schedule(link)
        return out

    def next_deadline(self) -> float | None:
        """Return when handle_deadline must be called; None while there is nothing to wait for."""
        deadline = self._deadlines[0][0] if self._deadlines else None
        if self._lost:
            forget_at = next(iter(self._lost.values())) + self.timers.forget_after_s
            return forget_at if deadline is None else min(deadline, forget_at)
        return deadline

    def handle_deadline(self, *, now: float) -> None:
        """Do what is due. Calling early is harmless."""
        while self._deadlines and self._deadlines[0][0] <= now:
            deadline, session = heappop(self._deadlines)
            link = self._links.get(session)
            if link is None or link.scheduled_at != deadline:
                continue
            link.scheduled_at = float("inf")
            if link.next_deadline() <= now:
                link.handle_deadline(now=now)
            if session in self._links:
                self._dirty[session] = link
        for name, lost_at in list(self._lost.items()):
            if now < lost_at + self.timers.forget_after_s:
                break
            self._forget(name)

    def next_event(self) -> Event | None:
        """Return the next event, or None."""
        return self._events.popleft() if self._events else None

    def close(self, *, now: float) -> None:
        """End every link; datagrams_to_send then holds the goodbyes."""
        for link in list(self._links.values()):
            if link.is_up:
                self._answers.append((link.channel.say_goodbye(0, now=now), link.address))
            link.end(LinkEnd.CLOSED, LinkInput.CLOSE, now=now)

    # --- Sessions ---

    def _on_sealed(
        self, data: bytes, header: Header, source: Address, now: float
    ) -> DropReason | None:
        _, _, key_id, session, number = header
        link = self._links.get(session)
        if link is None:
            return DropReason.UNKNOWN_SESSION
        if link.address != source:
            return DropReason.WRONG_SOURCE
        reason = link.channel.receive(data, key_id, number, now=now)
        if session in self._links:
            self._dirty[session] = link
        return reason

    def _schedule(self, link: AcceptedLink) -> None:
        """See to it that handle_deadline comes to this link in time."""
        if link.session not in self._links:
            return
        deadline = link.next_deadline()
        if deadline < link.scheduled_at:
            link.scheduled_at = deadline
            heappush(self._deadlines, (deadline, link.session))

    def _on_initiation(
        self, data: bytes, header: Header, source: Address, now: float
    ) -> DropReason | None:
        verdict = self._doorman.receive(
            data, session=header[3], attempt=header[4], source=source, now=now
        )
        if isinstance(verdict, DropReason):
            return verdict
        if isinstance(verdict, bytes):
            self._answers.append((verdict, source))
            return DropReason.ADDRESS_UNPROVEN
        return self._answer(verdict, now)

    def _answer(self, caller: Caller, now: float) -> DropReason | None:
        greeting = caller.greeting
        peer = self._peers.get(greeting.name)
        if peer is None and len(self._peers) >= PEERS_MAX:
            return DropReason.SERVER_FULL
        if peer is None or not peer.is_same(greeting, caller.static):
            peer = Peer(greeting, caller.static, self.random(INCARNATION_BYTES))
        session = self._new_session()
        reply = Reply(session=session, key_id=0, incarnation=peer.our_incarnation)
        try:
            response, keys = caller.answer(reply, ephemeral=self.random(KEY_BYTES), now=now)
        except HandshakeError:
            return DropReason.BAD_HANDSHAKE
        link = AcceptedLink(
            self,
            peer,
            address=caller.address,
            session=session,
            peer_session=caller.session,
            keys=keys,
            rtt_s=FIRST_RTT_S,
            now=now,
        )
        self._keep_unconfirmed(link)
        self._answers.append((response, caller.address))
        return None

    def _new_session(self) -> int:
        while True:
            session = int.from_bytes(self.random(4), "big")
            if session and session not in self._links:
                return session

    def _keep_unconfirmed(self, link: AcceptedLink) -> None:
        # The oldest goes: a peer confirms within one round trip, a flood takes longer to get here.
        if len(self._unconfirmed) >= UNCONFIRMED_MAX:
            oldest = next(iter(self._unconfirmed))
            del self._unconfirmed[oldest], self._links[oldest]
        self._unconfirmed[link.session] = self._links[link.session] = link
        self._schedule(link)

    # --- What the links report ---

    def on_hello(self, link: AcceptedLink, *, now: float) -> None:
        """Admit the peer: it holds the keys."""
        peer = link.peer
        if not link.machine.move(LinkInput.ADMISSION):
            return
        del self._unconfirmed[link.session]
        present = self._peers.get(peer.name)
        if present is not None:
            if present.link is not None:
                present.link.end(LinkEnd.REPLACED, LinkInput.CLOSE, now=now)
            if present is not peer:
                self._forget(peer.name)
        self._peers[peer.name] = peer
        self._lost.pop(peer.name, None)
        peer.link = link
        welcome = Welcome(epoch=self.epoch, flags=self._flags(), history=self.history)
        link.channel.enqueue(Message(Kind.WELCOME, welcome.pack(), epoch=self.epoch, message_id=0))
        link.channel.is_pulling = True
        link.channel.adopt()
        self._events.append(
            LinkUp(
                peer=PeerName(peer.name),
                address=link.address,
                epoch=self.epoch,
                incarnation=peer.incarnation,
            )
        )

    def on_end(self, link: AcceptedLink, reason: LinkEnd, *, was_up: bool, now: float) -> None:
        """Let the link go; what it had not delivered waits for the peer to come back."""
        self._links.pop(link.session, None)
        self._unconfirmed.pop(link.session, None)
        self._dirty.pop(link.session, None)
        peer = link.peer
        if not was_up:
            return
        peer.link = None
        self._lost[peer.name] = now
        self._events.append(LinkDown(peer=PeerName(peer.name), reason=reason))

    def _forget(self, name: str) -> None:
        peer = self._peers.pop(name)
        self._lost.pop(name, None)
        for message in peer.outbox.drain():
            if message.is_application:
                self._events.append(
                    MessageFailed(peer=PeerName(name), message_id=MessageId(message.message_id))
                )

    def on_message(self, link: AcceptedLink, kind: int, body: bytes, *, now: float) -> None:
        """Take a peer's message."""
        del now
        if kind != Kind.SUBSCRIBE:
            self._events.append(
                MessageReceived(peer=PeerName(link.peer.name), body=body, lane=Lane(kind))
            )
            return
        subscription = parse_subscription(body)
        if subscription is None:
            self.drops[DropReason.MALFORMED] += 1
        elif self._serves_table:
            self._subscribe(link, subscription)

    def _subscribe(self, link: AcceptedLink, wanted: Subscription) -> None:
        self._table.advance(wanted.version)
        view = self._views.get(wanted.prefixes)
        if view is None:
            view = self._views[wanted.prefixes] = View(self._table, wanted.prefixes)
        table, number = self._table, wanted.number
        if wanted.history == self.history and table.floor <= wanted.version <= table.version:
            link.feed = Feed(view, number, cursor=wanted.version)
        elif wanted.root == view.digests.root():
            link.feed = Feed(view, number, cursor=table.version)
        elif wanted.buckets:
            buckets = view.digests.differing(wanted.buckets)
            link.feed = Feed(view, number, cursor=table.version, buckets=buckets)
        else:
            link.channel.enqueue(Message(Kind.DIGESTS_WANTED, b"", epoch=self.epoch, message_id=0))

    def on_delivered(self, link: AcceptedLink, message: Message, *, now: float) -> None:
        """Announce that a peer has a message."""
        self._events.append(
            MessageAcknowledged(
                peer=PeerName(link.peer.name),
                message_id=MessageId(message.message_id),
                rtt_s=now - message.first_sent_at,
            )
        )

    def on_heartbeat(self, link: AcceptedLink, frame: Frame) -> None:
        """Compare digests where both hold the same version: there they must be equal."""
        version, digest = frame[7], frame[8]
        feed = link.feed
        if feed is None or not digest or version != self._table.version or feed.has_chunk:
            return
        if digest != feed.view.digests.root():
            link.feed = None
            link.channel.enqueue(Message(Kind.DIGESTS_WANTED, b"", epoch=self.epoch, message_id=0))

    def _flags(self) -> int:
        return SERVES_TABLE if self._serves_table else 0

    def heartbeat_fields(self) -> tuple[int, int, int, bytes]:
        """Return epoch, flags, table version and no digest: the peer sends its own."""
        return self.epoch, self._flags(), self._table.version, b""
