"""The controller's end of the peer protocol: its events become calls, its records the table.

Called straight from the socket's reader: a wake has reached the backend before the reader goes on.
"""

import logging
from collections.abc import Mapping
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
    ServerConfig,
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

__all__ = ["LinkUser", "ProtocolLink"]

log = logging.getLogger(__name__)


class LinkUser(Protocol):
    """Who is told what comes over the link."""

    def link_up(self, peer: str) -> None:
        """A daemon is linked."""

    def link_down(self, peer: str, reason: str) -> None:
        """Its link has ended."""

    def hear(self, peer: str, report: Report, *, received_ns: int) -> None:
        """It reports; `received_ns` is CLOCK_MONOTONIC."""


class ProtocolLink:
    """One server for all daemons. Before it is open, published records wait for it."""

    user: LinkUser

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._server: aio.ServerLink | None = None
        self._waiting: dict[str, bytes] = {}

    async def open(
        self, *, bind: tuple[str, int], private_key: bytes, psk: bytes, epoch: int
    ) -> None:
        """Serve, with the table as it is. Raises OSError where the address cannot be had."""
        config = ServerConfig(private_key=private_key, psks=(psk,), epoch=epoch, serves_table=False)
        try:
            server = await aio.open_server(config, bind=bind, on_event=self._on_event)
        except OSError as error:
            reason = f"daemons cannot be served at {bind[0]}:{bind[1]}: {error.strerror}"
            raise OSError(error.errno, reason) from error
        for key, value in self._waiting.items():
            server.set_record(key, value)
        self._waiting.clear()
        self._server = server
        # Only now: a daemon that was given an empty table would give up all that it holds.
        server.serve_table(is_complete=True)

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
        if self._server is None:
            self._waiting.pop(key, None)
            if record is not None:
                self._waiting[key] = encode_record(record)
        elif record is None:
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

    def _on_message(self, event: MessageReceived, received_ns: int) -> None:
        try:
            report = decode_report(event.body)
        except VocabularyError as error:
            # Authenticated, so a daemon of another version, or broken.
            log.debug("%s: not understood: %s", event.peer, error)
            self._metrics.report_refused(ReportRefusal.MALFORMED)
            return
        self.user.hear(event.peer, report, received_ns=received_ns)
