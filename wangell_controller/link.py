"""The controller's end of the peer protocol: its events become calls, its records the table.

Called straight from the socket's reader: a wake has reached the backend before the reader goes on.
"""

import logging
from collections.abc import Callable, Mapping
from time import monotonic_ns
from typing import Protocol

from wangell_controller.metrics import Metrics, ReportRefusal
from wangell_proto import (
    Event,
    Lane,
    LinkDown,
    LinkUp,
    LocalProtocolError,
    MessageReceived,
    PeerAsks,
    ServerConfig,
    Superseded,
    aio,
)
from wangell_proto.vocabulary import (
    Report,
    ServiceRecord,
    VocabularyError,
    decode_report,
    encode_record,
    encode_report,
)

__all__ = ["Judge", "LinkUser", "ProtocolLink", "SupersededError"]

log = logging.getLogger(__name__)

RUN_DIRECTORY_REMEDY = (
    "stop it, or start this one with its --run-dir; if there is none any more, write {epoch} in the"
    " file epoch there"
)


class SupersededError(RuntimeError):
    """Another controller leads these daemons. The message has the remedy."""

    def __init__(self, epoch: int, remedy: str) -> None:
        super().__init__(
            f"the daemons obey a controller of epoch {epoch}: {remedy.format(epoch=epoch)}"
        )


class LinkUser(Protocol):
    """Who is told what comes over the link."""

    def link_up(self, peer: str) -> None:
        """A daemon is linked."""

    def link_down(self, peer: str, reason: str) -> None:
        """Its link has ended."""

    def hear(self, peer: str, report: Report, *, received_ns: int) -> None:
        """It reports; `received_ns` is CLOCK_MONOTONIC."""


class Judge(Protocol):
    """Who decides which peers may link."""

    def judge(self, peer: str, credential: bytes, verdict: Callable[[bool], None]) -> None:
        """Call `verdict` with whether the peer may, now or soon."""


class ProtocolLink:
    """One server for all daemons. Open it first; it serves the table once it leads."""

    user: LinkUser

    def __init__(
        self, metrics: Metrics, judge: Judge | None = None, *, remedy: str = RUN_DIRECTORY_REMEDY
    ) -> None:
        """Without a judge, whoever has the pre-shared key may link, under any name.

        `remedy` says what to do about another controller that leads; {epoch} in it is its epoch.
        """
        self._remedy = remedy
        self._metrics = metrics
        self._judge = judge
        self._server: aio.ServerLink | None = None
        self._is_leading = False

    async def open(
        self, *, bind: tuple[str, int], private_key: bytes, psks: tuple[bytes, ...], epoch: int
    ) -> None:
        """Link daemons, and stand by. Raises OSError where the address cannot be had.

        Peers refuse what is said with a lower epoch than they have seen: give the leader's.
        """
        config = ServerConfig(
            private_key=private_key,
            psks=psks,
            epoch=epoch,
            serves_table=False,
            judges_credentials=self._judge is not None,
        )
        try:
            server = await aio.open_server(config, bind=bind, on_event=self._on_event)
        except OSError as error:
            reason = f"daemons cannot be served at {bind[0]}:{bind[1]}: {error.strerror}"
            raise OSError(error.errno, reason) from error
        self._server = server

    def use_psks(self, psks: tuple[bytes, ...]) -> None:
        """Take these; a daemon that is linked by another one is asked to renew its keys."""
        assert self._server is not None
        self._server.set_psks(psks)

    def lead(self, epoch: int) -> None:
        """Serve the table as it is now, above all earlier ones. Raises SupersededError."""
        assert self._server is not None
        if epoch <= self._server.core.epoch:
            raise SupersededError(self._server.core.epoch, self._remedy)
        self._server.raise_epoch(epoch)
        # Not before: a daemon that was given an empty table would give up all that it holds.
        self._server.serve_table(is_complete=True)
        self._is_leading = True

    @property
    def linked(self) -> tuple[str, ...]:
        """The daemons whose link is up, by name."""
        return tuple(self._server.core.links) if self._server is not None else ()

    @property
    def address(self) -> tuple[str, int]:
        """Where it serves."""
        assert self._server is not None
        host, port = self._server.address[:2]
        return host, port

    @property
    def drops(self) -> Mapping[str, int]:
        """Datagrams and messages not used, by reason."""
        drops = self._server.drops if self._server is not None else {}
        return {reason.name.lower(): count for reason, count in drops.items()}

    def publish(self, key: str, record: ServiceRecord | None) -> None:
        """Put the record in every daemon's table; None takes it out."""
        assert self._server is not None
        if record is None:
            self._server.delete_record(key)
        else:
            self._server.set_record(key, encode_record(record))

    def send(self, peer: str, report: Report) -> None:
        """Send to one daemon, or drop where it is not linked: it will ask again."""
        assert self._server is not None
        try:
            self._server.send(peer, encode_report(report), lane=Lane.STATE)
        except LocalProtocolError as error:
            log.debug("%s: not sent: %s", peer, error)

    def measure(self) -> None:
        """Tell the metrics how long the way to each peer is now."""
        if self._server is not None:
            for name, peer in self._server.peers.items():
                self._metrics.round_trip(name, peer.rtt_s)

    def close(self) -> None:
        """Say goodbye to every daemon."""
        if self._server is not None:
            self._server.close()

    def _on_event(self, event: Event) -> None:
        if isinstance(event, MessageReceived):
            self._on_message(event, monotonic_ns())
        elif isinstance(event, LinkUp):
            self.user.link_up(event.peer)
        elif isinstance(event, LinkDown):
            self._metrics.forget_peer(event.peer)
            self.user.link_down(event.peer, event.reason.value)
        elif isinstance(event, PeerAsks):
            self._on_asks(event)
        elif isinstance(event, Superseded):
            self._on_superseded(event.epoch)

    def _on_asks(self, event: PeerAsks) -> None:
        assert self._judge is not None
        assert self._server is not None
        server, request = self._server, event.request

        def answer(may_link: bool) -> None:  # noqa: FBT001 (a callback)
            (server.admit if may_link else server.refuse)(request)

        self._judge.judge(event.peer, event.credential, answer)

    def _on_superseded(self, epoch: int) -> None:
        """The leader's epoch was raised; or, where we lead, daemons obey somebody else."""
        assert self._server is not None
        if self._is_leading:
            raise SupersededError(epoch, self._remedy)
        self._server.raise_epoch(epoch)

    def _on_message(self, event: MessageReceived, received_ns: int) -> None:
        try:
            report = decode_report(event.body)
        except VocabularyError as error:
            # Authenticated, so a daemon of another version, or broken.
            log.debug("%s: not understood: %s", event.peer, error)
            self._metrics.report_refused(ReportRefusal.MALFORMED)
            return
        self.user.hear(event.peer, report, received_ns=received_ns)
