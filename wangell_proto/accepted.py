"""A server's link to one peer, from the answered handshake to its end."""

from collections.abc import Callable
from typing import Protocol

from wangell_proto.channel import Channel
from wangell_proto.config import Timers
from wangell_proto.constants import CHUNKS_OUTSTANDING_MAX, DELIVERY_WINDOW
from wangell_proto.errors import DropReason
from wangell_proto.events import Address, LinkEnd
from wangell_proto.feed import Feed
from wangell_proto.handshake import Greeting
from wangell_proto.keys import TrafficKeys
from wangell_proto.outbox import Message, Outbox
from wangell_proto.reassembly import Reassembler, ReassemblyBudget
from wangell_proto.states import LinkInput, LinkMachine, LinkState
from wangell_proto.window import SlidingWindow
from wangell_proto.wire import Farewell, Frame, Kind

__all__ = ["AcceptedLink", "Accepter", "Peer"]

_UP, _HELLO = LinkState.UP, int(Kind.HELLO)
_FROM_CLIENTS = frozenset({Kind.WAKE, Kind.STATE, Kind.BULK, Kind.SUBSCRIBE})
# Until HELLO comes nothing has measured the way: a LAN's guess.
FIRST_RTT_S = 0.001


class Peer:
    """What a server knows of one run of a peer's process; it outlives links."""

    __slots__ = (
        "incarnation",
        "link",
        "name",
        "our_incarnation",
        "outbox",
        "static",
        "window",
    )

    def __init__(self, greeting: Greeting, static: bytes, incarnation: bytes) -> None:
        self.name = greeting.name
        self.static = static
        self.incarnation = greeting.incarnation
        self.our_incarnation = incarnation
        self.outbox = Outbox()
        self.window = SlidingWindow(DELIVERY_WINDOW)
        self.link: AcceptedLink | None = None

    def is_same(self, greeting: Greeting, static: bytes) -> bool:
        """Say whether the same run of the same process greets us again."""
        return greeting.incarnation == self.incarnation and static == self.static


class Accepter(Protocol):
    """What an AcceptedLink needs of the server that holds it."""

    timers: Timers
    random: Callable[[int], bytes]
    drops: dict[DropReason, int]
    budget: ReassemblyBudget
    epoch: int

    def on_hello(self, link: "AcceptedLink", *, now: float) -> None:
        """Learn that the peer holds the keys."""

    def on_message(self, link: "AcceptedLink", kind: int, body: bytes, *, now: float) -> None:
        """Take a message."""

    def on_delivered(self, link: "AcceptedLink", message: Message, *, now: float) -> None:
        """Learn that a message arrived."""

    def on_end(self, link: "AcceptedLink", reason: LinkEnd, *, was_up: bool, now: float) -> None:
        """Learn that the link is over."""

    def on_malformed(self, link: "AcceptedLink") -> None:
        """Learn that the peer sent what the protocol does not allow."""

    def on_farewell(self, link: "AcceptedLink", datagram: bytes) -> None:
        """Send a last datagram of a link."""

    def heartbeat_fields(self) -> tuple[int, int, int, bytes]:
        """Return epoch, flags, table version and digest."""

    def on_heartbeat(self, link: "AcceptedLink", frame: Frame) -> None:
        """Learn what the peer says of itself."""


class AcceptedLink:
    """One link of a server. It ends once; a peer that comes back gets another."""

    __slots__ = (
        "_chunks",
        "_keys_since",
        "_rekey_by",
        "_server",
        "address",
        "channel",
        "credential",
        "disagreements",
        "drops",
        "feed",
        "last_attempt",
        "machine",
        "made_at",
        "peer",
        "prefixes",
        "session",
    )

    def __init__(
        self,
        server: Accepter,
        peer: Peer,
        *,
        address: Address,
        session: int,
        peer_session: int,
        attempt: int,
        credential: bytes,
        keys: TrafficKeys,
        now: float,
    ) -> None:
        self._server = server
        self.drops = server.drops
        self.peer = peer
        self.address = address
        self.session = session
        self.last_attempt = attempt
        self.credential = credential
        self.made_at = now
        self.feed: Feed | None = None
        # The filter of the first subscription: a view of another one has to be computed.
        self.prefixes: tuple[str, ...] | None = None
        # From the oldest that is not delivered to the newest.
        self._chunks: list[Message] = []
        self.disagreements = 0  # In heartbeats one after the other.
        self.machine = LinkMachine(LinkState.PROVING)
        self._keys_since = 0  # The packet number at which the present keys began.
        self._rekey_by = now + 2 * server.timers.rekey_after_s
        self.channel = Channel(
            self,
            session=peer_session,
            keys=keys,
            outbox=peer.outbox,
            window=peer.window,
            reassembler=Reassembler(server.budget),
            random=server.random,
            timers=server.timers,
            rtt_s=FIRST_RTT_S,
            now=now,
        )
        self.channel.sender.made = self._make_chunk

    @property
    def is_up(self) -> bool:
        """Say whether messages flow."""
        return self.machine.state is LinkState.UP

    # --- What the channel reports ---

    def admits(self, kind: int) -> bool:
        """Say whether a message of this kind may come now."""
        return kind == _HELLO or (kind in _FROM_CLIENTS and self.machine.state is _UP)

    def on_message(self, kind: int, epoch: int, body: bytes, *, now: float) -> None:  # noqa: ARG002
        """Take a message: HELLO is for the link, anything else for the server."""
        if kind != _HELLO:
            self._server.on_message(self, kind, body, now=now)
            return
        if now > self.made_at and not self.is_up:
            self.channel.rtt.seed(now - self.made_at)
        self._server.on_hello(self, now=now)

    def on_delivered(self, message: Message, *, now: float) -> None:
        """Make room for the next chunk, or pass on that a message arrived."""
        if message.is_application:
            self._server.on_delivered(self, message, now=now)
        elif message.kind == Kind.WELCOME:
            # Not before: a client takes no message while it does not know that it is admitted.
            self.channel.sender.is_pulling = True
            self.channel.sender.adopt()
        elif message.kind == Kind.TABLE:
            # Only from the front: the peer takes a chunk that is at most one ahead of the next.
            while self._chunks and self._chunks[0].is_done:
                self._chunks.pop(0)
            self.channel.sender.may_make = True

    def on_heartbeat(self, frame: Frame, *, now: float) -> None:
        """Learn whether the peer hears us, and what it holds."""
        if frame[4] * 1e-6 >= self._server.timers.dead_after_s:
            self.end(LinkEnd.UNHEARD, LinkInput.SILENCE, now=now)
        elif self.is_up:
            self._server.on_heartbeat(self, frame)

    def on_goodbye(self, reason: Farewell, *, now: float) -> None:
        """Take the peer's leave."""
        end = LinkEnd.UNHEARD if reason is Farewell.SILENCE else LinkEnd.GOODBYE
        self.end(end, LinkInput.GOODBYE, now=now)

    def on_malformed(self) -> None:
        """Pass on that the peer sent what the protocol does not allow."""
        self._server.on_malformed(self)

    def heartbeat_fields(self) -> tuple[int, int, int, bytes]:
        """Return what the server says of itself."""
        return self._server.heartbeat_fields()

    # --- The table ---

    @property
    def has_chunk(self) -> bool:
        """Say whether the peer follows the table, lacks something of it, and may be sent it."""
        return (
            self.feed is not None
            and len(self._chunks) < CHUNKS_OUTSTANDING_MAX
            and self.feed.has_chunk()
        )

    def agrees(self, subscription: int, version: int, digest: bytes) -> bool:
        """Say whether what the peer says it holds is what it should hold by now."""
        feed = self.feed
        if feed is None or subscription != feed.subscription:
            return feed is None and not subscription
        if self._chunks or feed.has_chunk():
            return True  # It is on its way.
        return version == feed.told and digest == feed.view.digests.root()

    def follow(self, feed: Feed | None) -> None:
        """Let the peer follow the table by this feed from now on, or none."""
        self.feed = feed
        self.channel.sender.may_make = True

    def _make_chunk(self) -> Message | None:
        if not self.has_chunk:
            return None
        assert self.feed is not None
        chunk = Message(Kind.TABLE, self.feed.next_chunk(), epoch=self._server.epoch)
        self._chunks.append(chunk)
        return chunk

    # --- Keys ---

    def offer(self, keys: TrafficKeys, attempt: int) -> None:
        """Let the peer use new keys; the link takes to them when it does."""
        self.last_attempt = attempt
        self.channel.keyring.offer(keys)

    def withdraw_key(self, *, now: float) -> None:
        """Ask for keys made with another pre-shared key, and end the link if none come."""
        self._rekey_by = min(self._rekey_by, now + self._server.timers.withdrawn_grace_s)
        self._ask_for_keys()

    def _ask_for_keys(self) -> None:
        self.channel.sender.enqueue(Message(Kind.REKEY_WANTED, b"", epoch=self._server.epoch))

    def on_keys_used(self, *, now: float) -> None:
        """Note that the peer took to new keys."""
        self._rekey_by = now + 2 * self._server.timers.rekey_after_s
        self._keys_since = self.channel.sender.next_number

    # --- Time ---

    def next_deadline(self) -> float:
        """Return when handle_deadline has something to do."""
        timers = self._server.timers
        if self.is_up:
            return min(self.channel.next_deadline(), self._rekey_by)
        if self.machine.state is LinkState.JUDGED:
            return min(self.channel.next_deadline(), self.made_at + timers.judge_within_s)
        return self.made_at + timers.confirm_within_s

    def handle_deadline(self, *, now: float) -> None:
        """Give the peer up where it is silent, or let the channel do what is due."""
        timers, state = self._server.timers, self.machine.state
        if state is LinkState.PROVING:
            self.end(LinkEnd.SILENCE, LinkInput.SILENCE, now=now)
        elif self.channel.is_silent(now):
            self.leave(Farewell.SILENCE, LinkEnd.SILENCE, LinkInput.SILENCE, now=now)
        elif state is LinkState.JUDGED and now >= self.made_at + timers.judge_within_s:
            self.leave(Farewell.REFUSED, LinkEnd.REFUSED, LinkInput.CLOSE, now=now)
        elif now >= self._rekey_by:
            self.leave(Farewell.KEY_WITHDRAWN, LinkEnd.KEY_WITHDRAWN, LinkInput.CLOSE, now=now)
        else:
            self.channel.handle_deadline(now=now)
            sealed = self.channel.sender.next_number - self._keys_since
            if sealed >= timers.rekey_after_packets:
                self._keys_since = self.channel.sender.next_number  # Asked once each so many.
                self._ask_for_keys()

    def leave(self, farewell: Farewell, reason: LinkEnd, cause: LinkInput, *, now: float) -> None:
        """End the link and say so: the peer may hear us though we do not hear it."""
        self._server.on_farewell(self, self.channel.farewell(farewell, now=now))
        self.end(reason, cause, now=now)

    def end(self, reason: LinkEnd, cause: LinkInput, *, now: float) -> None:
        """End the link."""
        was_up = self.is_up
        self.machine.move(cause)
        self.channel.abandon()
        self._server.on_end(self, reason, was_up=was_up, now=now)
