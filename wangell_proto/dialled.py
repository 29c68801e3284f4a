"""A client's link to one server: dials, proves, renews keys, and dials again after every end."""

from collections.abc import Callable
from typing import Protocol

from wangell_proto.attempt import Attempt
from wangell_proto.channel import Channel
from wangell_proto.config import Timers
from wangell_proto.constants import DELIVERY_WINDOW
from wangell_proto.control import Welcome, parse_welcome
from wangell_proto.errors import DropReason
from wangell_proto.events import Address, LinkEnd, PeerName
from wangell_proto.handshake import NO_COOKIE, Reply
from wangell_proto.keys import TrafficKeys
from wangell_proto.outbox import Message, Outbox
from wangell_proto.reassembly import Reassembler, ReassemblyBudget
from wangell_proto.states import LinkInput, LinkMachine, LinkState
from wangell_proto.window import SlidingWindow
from wangell_proto.wire import DatagramType, Farewell, Frame, Header, Kind

__all__ = ["DialledLink", "Dialler"]

_SEALED = int(DatagramType.SEALED)
_FROM_SERVERS = frozenset(
    {
        Kind.WAKE,
        Kind.STATE,
        Kind.BULK,
        Kind.TABLE,
        Kind.DIGESTS_WANTED,
        Kind.REKEY_WANTED,
    }
)
_ENDS = {
    Farewell.CLOSED: LinkEnd.GOODBYE,
    Farewell.REFUSED: LinkEnd.REFUSED,
    Farewell.SILENCE: LinkEnd.UNHEARD,
    Farewell.REPLACED: LinkEnd.REPLACED,
    Farewell.KEY_WITHDRAWN: LinkEnd.KEY_WITHDRAWN,
}


class Dialler(Protocol):
    """What a DialledLink needs of the client that holds it."""

    psks: tuple[bytes, ...]
    timers: Timers
    outbox: Outbox
    random: Callable[[int], bytes]
    drops: dict[DropReason, int]

    def new_attempt(
        self, number: int, *, resumes: int, psk: bytes, cookie: bytes, now: float
    ) -> Attempt:
        """Begin a handshake."""

    def on_up(self, link: "DialledLink", *, now: float) -> None:
        """Learn that the link is up."""

    def on_down(self, link: "DialledLink", reason: LinkEnd) -> None:
        """Learn that the link, which was up, ended."""

    def on_refused(self, link: "DialledLink") -> None:
        """Learn that the server does not want us."""

    def on_message(
        self, link: "DialledLink", kind: int, epoch: int, body: bytes, *, now: float
    ) -> None:
        """Take a message."""

    def on_delivered(self, link: "DialledLink", message: Message, *, now: float) -> None:
        """Learn that a message arrived."""

    def on_server_heard(self) -> None:
        """Learn that epoch or flags of a server may have changed."""

    def on_malformed(self, link: "DialledLink") -> None:
        """Learn that the server sent what the protocol does not allow."""

    def heartbeat_fields(self, link: "DialledLink") -> tuple[int, int, int, bytes]:
        """Return epoch, flags, table version and digest."""


class DialledLink:
    """One link of a client, through all its lives."""

    def __init__(self, client: Dialler, address: Address, *, now: float) -> None:
        self._client = client
        self._timers = client.timers
        self.drops = client.drops
        self.address = address
        self.peer = PeerName(f"{address[0]}:{address[1]}")
        self.machine = LinkMachine(LinkState.RESTING)
        self.channel: Channel | None = None
        self.history = b""
        self.incarnation = b""
        self.epoch = 0
        self.flags = 0
        self.is_followed = False  # The table is subscribed to here.
        self._session = 0  # What the server puts into its headers.
        self._server_session = 0  # What we put into ours.
        self._attempt: Attempt | None = None
        self._attempts = 0
        self._failures = 0
        self._cookie = NO_COOKIE
        # When to dial; while the link is up, when to renew its keys.
        self._dial_at = now
        self._give_up_at = now
        self._keys_since = 0  # The packet number at which the present keys began.
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
        if kind == _SEALED:
            if self.channel is None or session != self._session:
                return DropReason.UNKNOWN_SESSION
            return self.channel.receive(datagram, key_id, number, now=now)
        if kind == DatagramType.INITIATION:
            return DropReason.UNKNOWN_TYPE
        attempt = self._attempt
        if attempt is None or session != attempt.session or number != attempt.number:
            return DropReason.STALE_HANDSHAKE
        if kind == DatagramType.RETRY:
            return self._on_retry(attempt, datagram, now)
        return self._on_response(attempt, datagram, now)

    def _on_retry(self, attempt: Attempt, datagram: bytes, now: float) -> DropReason | None:
        cookie = attempt.read_retry(datagram, now=now)
        if isinstance(cookie, DropReason):
            return cookie
        self.machine.move(LinkInput.RETRY)
        self._cookie = cookie
        self._give_up_at = now + self._pause_s()  # It answers: give it as long again.
        self._outgoing += attempt.datagrams
        return None

    def _on_response(self, attempt: Attempt, datagram: bytes, now: float) -> DropReason | None:
        answer = attempt.read_response(datagram, now=now)
        if isinstance(answer, DropReason):
            return answer
        self._attempt = None
        if self.channel is None:
            self.machine.move(LinkInput.RESPONSE)
            self._open_channel(attempt, *answer, now)
            return None
        reply, keys = answer
        if reply.session != self._server_session:
            return DropReason.STALE_HANDSHAKE
        self._renew(keys, now)
        return None

    def _open_channel(self, attempt: Attempt, reply: Reply, keys: TrafficKeys, now: float) -> None:
        if reply.incarnation != self.incarnation:
            # Another sender: what the last one sent says nothing of what this one will.
            self.incarnation = reply.incarnation
            self._window = SlidingWindow(DELIVERY_WINDOW)
        self._session, self._server_session = attempt.session, reply.session
        self._keys_since, self._dial_at = 0, now + self._timers.rekey_after_s
        self.channel = Channel(
            self,
            session=reply.session,
            keys=keys,
            outbox=self._client.outbox,
            window=self._window,
            reassembler=self._reassembler,
            random=self._client.random,
            timers=self._timers,
            rtt_s=max(now - attempt.sent_at, 1e-6),
            now=now,
        )
        self.channel.sender.enqueue(Message(Kind.HELLO, b""))

    def _renew(self, keys: TrafficKeys, now: float) -> None:
        assert self.channel is not None
        self.machine.move(LinkInput.RESPONSE)
        self.channel.keyring.use(keys, now=now)
        self._keys_since = self.channel.sender.next_number
        self._dial_at, self._failures = now + self._timers.rekey_after_s, 0
        # The server seals with them once it has seen us do so; it need not wait for a second.
        self.channel.liveness.hurry_heartbeat(now)

    # --- What the channel reports ---

    def admits(self, kind: int) -> bool:
        """Say whether a message of this kind may come now."""
        return kind == Kind.WELCOME or (kind in _FROM_SERVERS and self.is_up)

    def on_message(self, kind: int, epoch: int, body: bytes, *, now: float) -> None:
        """Take a message: WELCOME and REKEY_WANTED here, anything else to the client."""
        if kind == Kind.WELCOME:
            welcome = parse_welcome(body)
            if welcome is None:
                self.on_malformed()
                self.drops[DropReason.MALFORMED] += 1
            elif self.machine.move(LinkInput.ADMISSION):
                self._on_welcome(welcome, now)
        elif kind == Kind.REKEY_WANTED:
            self._dial_at = now
        else:
            self._client.on_message(self, kind, epoch, body, now=now)

    def _on_welcome(self, welcome: Welcome, now: float) -> None:
        self.history = welcome.history
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
            self._client.on_server_heard()

    def on_goodbye(self, reason: Farewell, *, now: float) -> None:
        """Take the server's leave."""
        if reason is Farewell.REFUSED:
            self._client.on_refused(self)
            self._failures += 1
        self.end(_ENDS[reason], LinkInput.GOODBYE, now=now)

    def on_malformed(self) -> None:
        """Pass on that the server sent what the protocol does not allow."""
        self._client.on_malformed(self)

    def heartbeat_fields(self) -> tuple[int, int, int, bytes]:
        """Return what the client says of itself."""
        return self._client.heartbeat_fields(self)

    # --- Ends ---

    def end(self, reason: LinkEnd, cause: LinkInput, *, now: float) -> None:
        """Let the link rest, and dial again soon."""
        was_up = self.is_up
        self.machine.move(cause)
        assert self.channel is not None
        self.channel.abandon()
        self.channel = self._attempt = None
        self.is_followed = False
        self._dial_at = now + self._pause_s()
        if was_up:
            self._client.on_down(self, reason)

    def _pause_s(self) -> float:
        """Return the back-off: doubles with each failure, up to a cap, with 25 % of jitter."""
        timers, jitter = self._timers, self._client.random(1)[0] / 1024
        pause_s = timers.greeting_timeout_s * float(2 ** min(self._failures, 16))
        return min(timers.greeting_cap_s, pause_s) * (1 + jitter)

    def close(self, *, now: float) -> None:
        """Say goodbye and end for good."""
        was_up = self.is_up
        if self.channel is not None:
            self._outgoing.append(self.channel.farewell(Farewell.CLOSED, now=now))
            self.channel.abandon()
        self.machine.move(LinkInput.CLOSE)
        self.channel = self._attempt = None
        if was_up:
            self._client.on_down(self, LinkEnd.CLOSED)

    # --- Keys ---

    def want_key(self, psk: bytes, *, now: float) -> None:
        """Renew the keys at once unless they were made with this pre-shared key."""
        if self.channel is not None and self.channel.keyring.present.psk != psk:
            self._dial_at = now

    def _keys_are_worn(self, channel: Channel) -> bool:
        sealed = channel.sender.next_number - self._keys_since
        return sealed >= self._timers.rekey_after_packets

    # --- Sending, and time ---

    def datagrams(self, *, now: float) -> list[bytes]:
        """Return what is to be sent to the server now."""
        out, self._outgoing = self._outgoing, []
        if self.channel is not None:
            out += self.channel.sender.datagrams(now)
        return out

    def next_deadline(self) -> float:
        """Return when handle_deadline has something to do."""
        attempt_at = self._dial_at if self._attempt is None else self._give_up_at
        if self.channel is None:
            return attempt_at
        deadline = self.channel.next_deadline()
        return min(deadline, attempt_at) if self.machine.state is LinkState.UP else deadline

    def handle_deadline(self, *, now: float) -> None:
        """Dial, give an attempt up, or let the channel do what is due. Not before next_deadline."""
        if self._attempt is not None and now >= self._give_up_at:
            self._give_up(now)
        if self.channel is None:
            self._dial(now, resumes=0)
        elif self.channel.is_silent(now):
            self._failures += not self.is_up
            self._outgoing.append(self.channel.farewell(Farewell.SILENCE, now=now))
            self.end(LinkEnd.SILENCE, LinkInput.SILENCE, now=now)
        else:
            self.channel.handle_deadline(now=now)
            is_due = now >= self._dial_at or self._keys_are_worn(self.channel)
            if self.is_up and self._attempt is None and is_due:
                self._dial(now, resumes=self._server_session)

    def _give_up(self, now: float) -> None:
        self._failures += 1
        # The cookie stays: where it is no longer good the server sends another.
        self._attempt, self._dial_at = None, now
        if self.channel is None:
            self.machine.move(LinkInput.SILENCE)

    def _dial(self, now: float, *, resumes: int) -> None:
        client = self._client
        self.machine.move(LinkInput.DIAL)
        self._attempts += 1
        self._attempt = client.new_attempt(
            self._attempts,
            resumes=resumes,
            psk=client.psks[self._failures % len(client.psks)],
            cookie=self._cookie,
            now=now,
        )
        self._give_up_at = now + self._pause_s()
        self._outgoing += self._attempt.datagrams
