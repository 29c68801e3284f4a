"""The server: links of many peers, and the table they follow. Sans-IO."""

from collections import deque
from collections.abc import Callable, Mapping

from wangell_proto.accepted import AcceptedLink
from wangell_proto.config import ServerConfig, check_psks
from wangell_proto.constants import (
    INCARNATION_BYTES,
    NUMBER_MAX,
)
from wangell_proto.control import SERVES_TABLE, Welcome, parse_subscription
from wangell_proto.dispatch import Dispatch
from wangell_proto.doorman import Doorman
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
    PeerAsks,
    PeerMisbehaved,
    PeerName,
    Superseded,
)
from wangell_proto.limits import check_message
from wangell_proto.outbox import Message
from wangell_proto.publisher import Publisher
from wangell_proto.reassembly import ReassemblyBudget
from wangell_proto.reception import Reception
from wangell_proto.roster import Roster
from wangell_proto.states import LinkInput, LinkState
from wangell_proto.wire import DatagramType, Farewell, Frame, Header, Kind, parse_header

__all__ = ["Server"]

_LANES = tuple(Lane)
_SUBSCRIBE = int(Kind.SUBSCRIBE)
_SEALED, _INITIATION = int(DatagramType.SEALED), int(DatagramType.INITIATION)


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
        self._publisher = Publisher(random(INCARNATION_BYTES), is_complete=config.serves_table)
        self._roster = Roster(random, forget_after_s=config.timers.forget_after_s)
        self._links = self._roster.links
        self._dispatch = Dispatch()
        doorman = Doorman(
            config.private_key,
            config.psks,
            random=random,
            cookie_lifetime_s=config.timers.cookie_lifetime_s,
        )
        self._reception = Reception(self, doorman, self._roster, self._dispatch)
        self._events: deque[Event] = deque()
        self._message_id = 0
        self._superseded_by = config.epoch

    # --- What the caller sees ---

    @property
    def links(self) -> Mapping[str, AcceptedLink]:
        """The links that are up, by the name of their peer."""
        return self._roster.up()

    @property
    def records(self) -> Mapping[str, bytes]:
        """A copy of the table."""
        return self._publisher.records

    @property
    def version(self) -> int:
        """The table's version."""
        return self._publisher.version

    def next_event(self) -> Event | None:
        """Return the next event, or None."""
        return self._events.popleft() if self._events else None

    # --- What the caller asks for ---

    def send(
        self,
        peer: str,
        body: bytes,
        *,
        lane: Lane,
        now: float,  # noqa: ARG002  # as all calls have it; datagrams_to_send says what leaves
        replaces: str | None = None,
    ) -> MessageId:
        """Queue a message for a peer that is linked, or was within forget_after_s.

        A message that still waits or is under way is replaced by a later one with the same
        `replaces`, and is then not heard of again. Raises UnknownPeerError, LocalProtocolError
        where it is too long (wakes 900 bytes, others 64 KiB), QueueFullError where 1,024 messages
        or 4 MiB wait.
        """
        check_message(body, lane)
        known = self._roster.peers.get(peer)
        if known is None:
            raise UnknownPeerError(f"{peer} is not linked; send after its LinkUp")
        message_id = MessageId(self._message_id + 1)
        known.outbox.put(
            Message(lane, body, epoch=self.epoch, message_id=message_id, replaces=replaces)
        )
        self._message_id = message_id
        if known.link is not None:
            self._dispatch.mark(known.link)
        return message_id

    def set_record(self, key: str, value: bytes) -> None:
        """Set a record for every peer that follows the table. An equal value changes nothing.

        Raises LocalProtocolError where key (512 characters) or value (56,000 bytes) are too long.
        """
        self._publisher.put(key, value)

    def delete_record(self, key: str) -> None:
        """Delete a record for every peer that follows the table; none of that name: nothing."""
        self._publisher.put(key, None)

    def serve_table(self, *, is_complete: bool, now: float) -> None:
        """Say whether the table holds all that it should, and may be followed."""
        self._publisher.is_complete = is_complete
        self._hurry_heartbeats(now)

    def raise_epoch(self, epoch: int, *, now: float) -> None:
        """Take a higher epoch, and tell the peers, who refuse lower ones from then on.

        Raises LocalProtocolError for a lower one: whoever was superseded stays so.
        """
        if not self.epoch <= epoch < NUMBER_MAX:
            raise LocalProtocolError(f"epoch {epoch} is below {self.epoch}; it can only be raised")
        self.epoch = epoch
        self._superseded_by = max(self._superseded_by, epoch)
        self._hurry_heartbeats(now)

    def _hurry_heartbeats(self, now: float) -> None:
        for link in self.links.values():
            link.channel.liveness.hurry_heartbeat(now)
            self._dispatch.look_again(link)

    def set_psks(self, psks: tuple[bytes, ...], *, now: float) -> None:
        """Rotate: give old and new first, the new one alone when every client has it.

        Links made with a key that is no longer here must renew theirs, and end if they do not.
        Raises LocalProtocolError unless there are one or two of 32 bytes.
        """
        check_psks(psks)
        self._reception.set_psks(psks)
        for link in list(self._links.values()):
            if link.channel.keyring.present.psk in psks:
                continue
            if link.machine.state is LinkState.UP:
                link.withdraw_key(now=now)
                self._dispatch.mark(link)
            else:
                link.end(LinkEnd.KEY_WITHDRAWN, LinkInput.CLOSE, now=now)

    def admit(self, request: int, *, now: float) -> None:
        """Let a peer in that a PeerAsks event told of. Nothing happens if it has gone meanwhile."""
        link = self._links.get(request)
        if link is not None and link.machine.move(LinkInput.ADMISSION):
            self._install(link, now)

    def refuse(self, request: int, *, now: float) -> None:
        """Send a peer away that a PeerAsks event told of, or that was admitted by that request."""
        link = self._links.get(request)
        if link is not None:
            self.drops[DropReason.REFUSED] += 1
            link.leave(Farewell.REFUSED, LinkEnd.REFUSED, LinkInput.CLOSE, now=now)

    def close(self, *, now: float) -> None:
        """End every link; datagrams_to_send then holds the goodbyes."""
        for link in list(self._links.values()):
            link.leave(Farewell.CLOSED, LinkEnd.CLOSED, LinkInput.CLOSE, now=now)

    # --- Bytes and time ---

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
            reason = self._reception.receive(data, header, source, now=now)
        else:
            reason = DropReason.UNKNOWN_TYPE
        if reason is not None:
            self.drops[reason] += 1

    def datagrams_to_send(self, *, now: float) -> list[tuple[bytes, Address]]:
        """Return the datagrams to send now, in order.

        What goes to everyone leaves in batches: with more to come, next_deadline is in the past.
        """
        self._reception.work(now)
        if self._publisher.has_moved:
            self._publisher.has_moved = False
            for link in self._links.values():
                if link.has_chunk:
                    link.channel.sender.may_make = True
                    self._dispatch.defer(link)
        return self._dispatch.datagrams(now)

    def next_deadline(self) -> float | None:
        """Return when handle_deadline must be called; None while there is nothing to wait for."""
        if self._reception.has_waiting:
            return float("-inf")
        link_at, forget_at = self._dispatch.next_at(), self._roster.forget_at
        if link_at is None or forget_at is None:
            return forget_at if link_at is None else link_at
        return min(link_at, forget_at)

    def handle_deadline(self, *, now: float) -> None:
        """Do what is due, or a part of it. Calling early is harmless."""
        for session in self._dispatch.due(now):
            link = self._links[session]
            if link.next_deadline() <= now:
                link.handle_deadline(now=now)
            if session in self._links:
                self._dispatch.defer(link)
        for name in self._roster.forgettable(now):
            self._forget(name)

    def _on_sealed(
        self, data: bytes, header: Header, source: Address, now: float
    ) -> DropReason | None:
        _, _, key_id, session, number = header
        link = self._links.get(session)
        if link is None:
            return DropReason.UNKNOWN_SESSION
        if link.address != source:
            return DropReason.WRONG_SOURCE
        channel = link.channel
        keyring = channel.keyring
        present = keyring.present
        reason = channel.receive(data, key_id, number, now=now)
        if keyring.present is not present:
            link.on_keys_used(now=now)
        if reason is None and session in self._links:
            # Beside a storm of subscriptions or heartbeats, a wake is answered first.
            if channel.is_urgent:
                self._dispatch.mark(link)
            else:
                self._dispatch.defer(link)
        return reason

    def on_hello(self, link: AcceptedLink, *, now: float) -> None:
        """Admit a peer that holds the keys, or let the application judge it first."""
        if not link.machine.move(LinkInput.HELLO):
            return
        if not self.config.judges_credentials:
            link.machine.move(LinkInput.ADMISSION)
            self._install(link, now)
            return
        self._events.append(
            PeerAsks(
                request=link.session,
                peer=PeerName(link.peer.name),
                credential=link.credential,
                address=link.address,
            )
        )
        link.credential = b""

    def _install(self, link: AcceptedLink, now: float) -> None:
        """Make this the link of its peer, in place of one that was."""
        peer = link.peer
        present = self._roster.peers.get(peer.name)
        if present is not None and present.link is not None:
            present.link.leave(Farewell.REPLACED, LinkEnd.REPLACED, LinkInput.CLOSE, now=now)
        if present is not None and present is not peer:
            self._forget(peer.name)
        self._roster.install(link)
        welcome = Welcome(epoch=self.epoch, flags=self._flags(), history=self._publisher.history)
        link.channel.sender.enqueue(Message(Kind.WELCOME, welcome.pack(), epoch=self.epoch))
        self._dispatch.mark(link)
        self._events.append(
            LinkUp(
                peer=PeerName(peer.name),
                address=link.address,
                epoch=self.epoch,
                incarnation=peer.incarnation,
            )
        )

    # --- What the links report ---

    def on_farewell(self, link: AcceptedLink, datagram: bytes) -> None:
        """Send the last datagram of a link."""
        self._dispatch.answer(datagram, link.address)

    def on_end(self, link: AcceptedLink, reason: LinkEnd, *, was_up: bool, now: float) -> None:
        """Let the link go; what it had not delivered waits for the peer to come back."""
        self._roster.remove(link, was_up=was_up, now=now)
        self._dispatch.drop(link.session)
        self._publisher.release(link.feed)
        link.feed = None
        if was_up:
            self._events.append(LinkDown(peer=PeerName(link.peer.name), reason=reason))

    def _forget(self, name: str) -> None:
        peer = self._roster.forget(name)
        for message in peer.outbox.drain():
            message_id = MessageId(message.message_id)
            self._events.append(MessageFailed(peer=PeerName(name), message_id=message_id))

    def on_message(self, link: AcceptedLink, kind: int, body: bytes, *, now: float) -> None:
        """Take a peer's message."""
        del now
        if kind != _SUBSCRIBE:
            self._events.append(
                MessageReceived(peer=PeerName(link.peer.name), body=body, lane=_LANES[kind])
            )
            return
        subscription = parse_subscription(body)
        if subscription is None or link.prefixes not in (None, subscription.prefixes):
            self.drops[DropReason.MALFORMED] += 1
            self.on_malformed(link)
        elif self._publisher.is_complete:
            link.prefixes = subscription.prefixes
            self._publisher.release(link.feed)
            link.follow(self._publisher.subscribe(subscription))
            if link.feed is None:
                self._want_digests(link)

    def _want_digests(self, link: AcceptedLink) -> None:
        link.channel.sender.enqueue(Message(Kind.DIGESTS_WANTED, b"", epoch=self.epoch))

    def on_delivered(self, link: AcceptedLink, message: Message, *, now: float) -> None:
        """Announce that a peer has a message."""
        sent_at = message.first_sent_at
        self._events.append(
            MessageAcknowledged(
                peer=PeerName(link.peer.name),
                message_id=MessageId(message.message_id),
                rtt_s=now - (now if sent_at is None else sent_at),
            )
        )

    def on_malformed(self, link: AcceptedLink) -> None:
        """Announce that a peer breaks the rules."""
        self._events.append(PeerMisbehaved(peer=PeerName(link.peer.name)))

    def on_heartbeat(self, link: AcceptedLink, frame: Frame) -> None:
        """Learn of a higher epoch, and whether the peer's replica is what it should be.

        Digests are compared at equal versions. A heartbeat may be older than the subscription that
        overtook it, so only the second in a row that disagrees starts a resync.
        """
        epoch, subscription, version, digest = frame[5:9]
        if epoch > self._superseded_by:
            self._superseded_by = epoch
            self._events.append(Superseded(epoch=epoch))
        if link.agrees(subscription, version, digest):
            link.disagreements = 0
            return
        link.disagreements += 1
        if link.disagreements >= 2:
            link.disagreements = 0
            self._publisher.release(link.feed)
            link.feed = None
            if subscription and self._publisher.is_complete:
                self._want_digests(link)

    def _flags(self) -> int:
        return SERVES_TABLE if self._publisher.is_complete else 0

    def heartbeat_fields(self) -> tuple[int, int, int, bytes]:
        """Return epoch, flags and table version; the digest is the peer's to send."""
        return self.epoch, self._flags(), self._publisher.version, b""
