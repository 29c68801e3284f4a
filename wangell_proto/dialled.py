"""A client's link to one server: dials, proves, and dials again after every end."""

from collections.abc import Callable
from typing import Protocol

from wangell_proto.attempt import Attempt
from wangell_proto.channel import Channel
from wangell_proto.config import ClientConfig
from wangell_proto.constants import DELIVERY_WINDOW
from wangell_proto.control import Welcome, parse_welcome
from wangell_proto.errors import DropReason
from wangell_proto.events import Address, Lane, LinkEnd, PeerName
from wangell_proto.handshake import NO_COOKIE, Greeting, Reply
from wangell_proto.keys import TrafficKeys
from wangell_proto.outbox import Message, Outbox
from wangell_proto.reassembly import Reassembler, ReassemblyBudget
from wangell_proto.states import LinkInput, LinkMachine, LinkState
from wangell_proto.window import SlidingWindow
from wangell_proto.wire import DatagramType, Frame, Header, Kind

__all__ = ["DialledLink", "Dialler"]

_WELCOMED = frozenset({Kind.WAKE, Kind.STATE, Kind.BULK, Kind.TABLE, Kind.DIGESTS_WANTED})


class Dialler(Protocol):
    """What a DialledLink needs of the client that holds it."""

    config: ClientConfig
    static: bytes
    incarnation: bytes
    outbox: Outbox
    random: Callable[[int], bytes]
    drops: dict[DropReason, int]

    def on_up(self, link: "DialledLink", *, now: float) -> None:
        """Learn that the link is up."""

    def on_down(self, link: "DialledLink", reason: LinkEnd, *, now: float) -> None:
        """Learn that the link, which was up, ended."""

    def on_message(
        self, link: "DialledLink", kind: int, epoch: int, body: bytes, *, now: float
    ) -> None:
        """Take a message."""

    def on_delivered(self, link: "DialledLink", message: Message, *, now: float) -> None:
        """Learn that a message arrived."""

    def on_server_heard(self, link: "DialledLink", *, now: float) -> None:
        """Learn that epoch or flags of the server may have changed."""

    def heartbeat_fields(self, link: "DialledLink") -> tuple[int, int, int, bytes]:
        """Return epoch, flags, table version and digest."""


class DialledLink:
    """One link of a client, through all its lives."""

    def __init__(self, client: Dialler, address: Address, *, now: float) -> None:
        self._client = client
        self._timers = client.config.timers
        self._drops = client.drops
        self.address = address
        self.peer = PeerName(f"{address[0]}:{address[1]}")
        self.machine = LinkMachine(LinkState.RESTING)
        self.channel: Channel | None = None
        self.welcome: Welcome | None = None
        self.incarnation = b""
        self.session = 0
        self.epoch = 0
        self.flags = 0
        self._attempt: Attempt | None = None
        self._attempts = 0
        self._failures = 0
        self._cookie = NO_COOKIE
        self._dial_at = now
        self._give_up_at = 0.0
        self._window = SlidingWindow(DELIVERY_WINDOW)
        self._reassembler = Reassembler(ReassemblyBudget())
        self._outgoing: list[bytes] = []

    @property
    def is_up(self) -> bool:
        """Say whether messages flow."""
        return self.machine.state is LinkState.UP

    # --- Receiving ---

    def receive(self, datagram: bytes, header: Header, *, now: float) -> DropReason | None:
        """Take a datagram from the server's address; return why it was dropped, if it was."""
        kind, _, key_id, session, number = header
        if kind == DatagramType.SEALED:
            if self.channel is None or session != self.session:
                return DropReason.UNKNOWN_SESSION
            return self.channel.receive(datagram, key_id, number, now=now)
        attempt = self._attempt
        if kind == DatagramType.INITIATION:
            return DropReason.UNKNOWN_TYPE
        if attempt is None or session != attempt.session or number != attempt.number:
            return DropReason.STALE_HANDSHAKE
        if kind == DatagramType.RETRY:
            return self._on_retry(attempt, datagram, now)
        return self._on_response(attempt, datagram, now)

    def _on_retry(self, attempt: Attempt, datagram: bytes, now: float) -> DropReason | None:
        if self.machine.state is not LinkState.GREETING:
            return DropReason.STALE_HANDSHAKE
        cookie = attempt.read_retry(datagram, now=now)
        if isinstance(cookie, DropReason):
            return cookie
        self.machine.move(LinkInput.RETRY)
        self._cookie = cookie
        self._outgoing.append(attempt.datagram)
        return None

    def _on_response(self, attempt: Attempt, datagram: bytes, now: float) -> DropReason | None:
        answer = attempt.read_response(datagram, now=now)
        if isinstance(answer, DropReason):
            return answer
        self.machine.move(LinkInput.RESPONSE)
        self._open_channel(attempt, *answer, now)
        return None

    def _open_channel(self, attempt: Attempt, reply: Reply, keys: TrafficKeys, now: float) -> None:
        if reply.incarnation != self.incarnation:
            # Another receiver, and sender: what it remembers of us is nothing, and so is ours.
            self.incarnation = reply.incarnation
            self._window = SlidingWindow(DELIVERY_WINDOW)
        self._attempt = None
        self.session = attempt.session
        self.channel = Channel(
            self,
            address=self.address,
            session=reply.session,
            keys=keys,
            outbox=self._client.outbox,
            window=self._window,
            reassembler=self._reassembler,
            drops=self._drops,
            random=self._client.random,
            timers=self._timers,
            rtt_s=max(now - attempt.sent_at, 1e-6),
            now=now,
        )
        self.channel.enqueue(Message(Kind.HELLO, b"", epoch=0, message_id=0))

    # --- What the channel reports ---

    def admits(self, kind: int) -> bool:
        """Say whether a message of this kind may come now."""
        return kind == Kind.WELCOME or (self.is_up and kind in _WELCOMED)

    def on_message(self, kind: int, epoch: int, body: bytes, *, now: float) -> None:
        """Take a message: a WELCOME here, anything else to the client."""
        if kind != Kind.WELCOME:
            self._client.on_message(self, kind, epoch, body, now=now)
            return
        welcome = parse_welcome(body)
        if welcome is None:
            self._drops[DropReason.MALFORMED] += 1
        elif self.machine.move(LinkInput.ADMISSION):
            self.welcome = welcome
            self.epoch, self.flags = welcome.epoch, welcome.flags
            self._failures = 0
            self._client.on_up(self, now=now)

    def on_delivered(self, message: Message, *, now: float) -> None:
        """Pass on that a message arrived."""
        if message.is_application:
            self._client.on_delivered(self, message, now=now)

    def on_heartbeat(self, frame: Frame, *, now: float) -> None:
        """Learn the server's epoch, and whether it hears us."""
        silence_us, epoch, flags = frame[4:7]
        if silence_us * 1e-6 >= self._timers.dead_after_s:
            self.end(LinkEnd.UNHEARD, LinkInput.SILENCE, now=now)
        elif self.is_up and (epoch, flags) != (self.epoch, self.flags):
            self.epoch, self.flags = epoch, flags
            self._client.on_server_heard(self, now=now)

    def on_goodbye(self, reason: int, *, now: float) -> None:  # noqa: ARG002  # one reason so far
        """Take the server's leave."""
        self.end(LinkEnd.GOODBYE, LinkInput.GOODBYE, now=now)

    def heartbeat_fields(self) -> tuple[int, int, int, bytes]:
        """Return what the client says of itself."""
        return self._client.heartbeat_fields(self)

    def pull(self, lane: Lane) -> Message | None:  # noqa: ARG002  # a client offers no table
        """Return a message of the protocol's own that is made only when it can be sent."""
        return None

    # --- Time, and ends ---

    def end(self, reason: LinkEnd, cause: LinkInput, *, now: float) -> None:
        """Let the link rest, and dial again soon."""
        was_up = self.is_up
        if not self.machine.move(cause):
            return
        if self.channel is not None:
            self.channel.abandon()
        self.channel = self._attempt = None
        self._dial_at = now + self._pause_s()
        if was_up:
            self._client.on_down(self, reason, now=now)

    def _pause_s(self) -> float:
        """Return the back-off: doubles with each failure, with 25 % of jitter, up to a cap."""
        timers, jitter = self._timers, self._client.random(1)[0] / 1024
        pause_s = timers.greeting_timeout_s * float(2 ** min(self._failures, 16))
        return min(timers.greeting_cap_s, pause_s) * (1 + jitter)

    def close(self, *, now: float) -> None:
        """Say goodbye and end for good."""
        was_up = self.is_up
        if self.channel is not None:
            self._outgoing.append(self.channel.say_goodbye(0, now=now))
            self.channel.abandon()
        self.machine.move(LinkInput.CLOSE)
        self.channel = self._attempt = None
        if was_up:
            self._client.on_down(self, LinkEnd.CLOSED, now=now)

    def datagrams(self, *, now: float) -> list[bytes]:
        """Return what is to be sent to the server now."""
        out, self._outgoing = self._outgoing, []
        if self.channel is not None:
            out += self.channel.datagrams(now=now)
        return out

    def next_deadline(self) -> float | None:
        """Return when handle_deadline has something to do; None once closed."""
        state = self.machine.state
        if state is LinkState.CLOSED:
            return None
        if state is LinkState.RESTING:
            return self._dial_at
        if self.channel is not None:
            return self.channel.next_deadline()
        return self._give_up_at

    def handle_deadline(self, *, now: float) -> None:
        """Dial, give an attempt up, or let the channel do what is due."""
        if self.channel is not None:
            if self.channel.is_silent(now):
                self._failures += not self.is_up
                self.end(LinkEnd.SILENCE, LinkInput.SILENCE, now=now)
            else:
                self.channel.handle_deadline(now=now)
        elif self._attempt is not None and now >= self._give_up_at:
            self._failures += 1
            self.machine.move(LinkInput.SILENCE)
            self._attempt, self._cookie, self._dial_at = None, NO_COOKIE, now
        if self.machine.state is LinkState.RESTING and now >= self._dial_at:
            self._dial(now)

    def _dial(self, now: float) -> None:
        client = self._client
        self.machine.move(LinkInput.DIAL)
        self._attempts += 1
        greeting = Greeting(
            name=client.config.name,
            incarnation=client.incarnation,
            resumes=0,
            credential=client.config.credential,
        )
        psks = client.config.psks
        self._attempt = Attempt(
            greeting,
            number=self._attempts,
            static=client.static,
            server_public_key=client.config.server_public_key,
            psk=psks[self._failures % len(psks)],
            cookie=self._cookie,
            random=client.random,
            now=now,
        )
        self._give_up_at = now + self._pause_s()
        self._outgoing.append(self._attempt.datagram)
