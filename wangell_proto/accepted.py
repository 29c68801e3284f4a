"""A server's link to one peer, from the answered handshake to its end."""

from collections.abc import Callable
from typing import Protocol

from wangell_proto.channel import Channel
from wangell_proto.config import Timers
from wangell_proto.constants import DELIVERY_WINDOW
from wangell_proto.errors import DropReason
from wangell_proto.events import Address, Lane, LinkEnd
from wangell_proto.feed import CHUNKS_OUTSTANDING_MAX, Feed
from wangell_proto.handshake import Greeting
from wangell_proto.keys import TrafficKeys
from wangell_proto.outbox import Message, Outbox
from wangell_proto.reassembly import Reassembler, ReassemblyBudget
from wangell_proto.states import LinkInput, LinkMachine, LinkState
from wangell_proto.window import SlidingWindow
from wangell_proto.wire import Frame, Kind

__all__ = ["AcceptedLink", "Accepter", "Peer"]

_FROM_CLIENTS = frozenset({Kind.WAKE, Kind.STATE, Kind.BULK, Kind.SUBSCRIBE})


class Peer:
    """What a server knows of one run of a peer's process; it outlives links."""

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

    def heartbeat_fields(self) -> tuple[int, int, int, bytes]:
        """Return epoch, flags, table version and digest."""

    def on_heartbeat(self, link: "AcceptedLink", frame: Frame) -> None:
        """Learn what the peer says of itself."""


class AcceptedLink:
    """One link of a server. It ends once; a peer that comes back gets another."""

    __slots__ = (
        "_chunks",
        "_server",
        "address",
        "channel",
        "feed",
        "machine",
        "made_at",
        "peer",
        "scheduled_at",
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
        keys: TrafficKeys,
        rtt_s: float,
        now: float,
    ) -> None:
        self._server = server
        self.peer = peer
        self.address = address
        self.session = session
        self.made_at = now
        self.feed: Feed | None = None
        self._chunks: list[Message] = []
        self.machine = LinkMachine(LinkState.PROVING)
        # When the server will look at this link again; kept by the server.
        self.scheduled_at = float("inf")
        self.channel = Channel(
            self,
            address=address,
            session=peer_session,
            keys=keys,
            outbox=peer.outbox,
            window=peer.window,
            reassembler=Reassembler(server.budget),
            drops=server.drops,
            random=server.random,
            timers=server.timers,
            rtt_s=rtt_s,
            now=now,
        )

    @property
    def is_up(self) -> bool:
        """Say whether messages flow."""
        return self.machine.state is LinkState.UP

    def admits(self, kind: int) -> bool:
        """Say whether a message of this kind may come now."""
        return kind == Kind.HELLO or (self.is_up and kind in _FROM_CLIENTS)

    def on_message(self, kind: int, epoch: int, body: bytes, *, now: float) -> None:  # noqa: ARG002
        """Take a message: the HELLO here, anything else to the server."""
        if kind == Kind.HELLO:
            self._server.on_hello(self, now=now)
        else:
            self._server.on_message(self, kind, body, now=now)

    def on_delivered(self, message: Message, *, now: float) -> None:
        """Make room for the next chunk, or pass on that a message arrived."""
        if message in self._chunks:
            self._chunks.remove(message)
        if message.is_application:
            self._server.on_delivered(self, message, now=now)

    def on_heartbeat(self, frame: Frame, *, now: float) -> None:
        """Learn whether the peer hears us, and what it holds."""
        if frame[4] * 1e-6 >= self._server.timers.dead_after_s:
            self.end(LinkEnd.UNHEARD, LinkInput.SILENCE, now=now)
        else:
            self._server.on_heartbeat(self, frame)

    def on_goodbye(self, reason: int, *, now: float) -> None:  # noqa: ARG002  # one reason so far
        """Take the peer's leave."""
        self.end(LinkEnd.GOODBYE, LinkInput.GOODBYE, now=now)

    def heartbeat_fields(self) -> tuple[int, int, int, bytes]:
        """Return what the server says of itself."""
        return self._server.heartbeat_fields()

    def pull(self, lane: Lane) -> Message | None:  # noqa: ARG002  # asked for Lane.STATE only
        """Return the next chunk of the table, if the peer lacks one."""
        if len(self._chunks) >= CHUNKS_OUTSTANDING_MAX or not self.has_chunk:
            return None
        assert self.feed is not None
        epoch = self._server.epoch
        chunk = Message(Kind.TABLE, self.feed.next_chunk(epoch), epoch=epoch, message_id=0)
        self._chunks.append(chunk)
        return chunk

    @property
    def has_chunk(self) -> bool:
        """Say whether the peer follows the table and lacks something of it."""
        return self.feed is not None and self.feed.has_chunk

    def next_deadline(self) -> float:
        """Return when handle_deadline has something to do."""
        if self.is_up:
            return self.channel.next_deadline()
        return self.made_at + self._server.timers.confirm_within_s

    def handle_deadline(self, *, now: float) -> None:
        """Give a silent peer up, or let the channel do what is due."""
        if not self.is_up or self.channel.is_silent(now):
            self.end(LinkEnd.SILENCE, LinkInput.SILENCE, now=now)
        else:
            self.channel.handle_deadline(now=now)

    def end(self, reason: LinkEnd, cause: LinkInput, *, now: float) -> None:
        """End the link."""
        was_up = self.is_up
        if self.machine.move(cause):
            self.channel.abandon()
            self._server.on_end(self, reason, was_up=was_up, now=now)
