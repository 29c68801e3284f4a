"""The daemon's end of the peer protocol: records come in, reports go out."""

import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from wangell_proto import (
    ClientConfig,
    Event,
    Lane,
    LinkDown,
    LinkRefused,
    LinkUp,
    MessageAcknowledged,
    MessageReceived,
    QueueFullError,
    RecordChanged,
    TableSynced,
)
from wangell_proto.aio import ClientLink, open_client
from wangell_proto.vocabulary import (
    Count,
    Following,
    Raised,
    Report,
    ServiceRecord,
    Started,
    VocabularyError,
    decode_record,
    decode_report,
    encode_report,
)

__all__ = ["Link", "LinkUser"]

log = logging.getLogger(__name__)

# A controller that restarts is back within a second or two.
ALONE_S = 5.0


class LinkUser(Protocol):
    """Who is told what comes over the link. Called straight from the socket's reader."""

    def record_changed(self, name: str, record: ServiceRecord | None) -> None:
        """A record is new, has changed, or (None) was deleted."""

    def table_synced(self, names: Collection[str]) -> None:
        """The table is whole, and these are its records."""

    def replica_started(self, report: Started) -> None:
        """The controller says when it started a replica."""

    def replica_raised(self, report: Raised) -> None:
        """A controller that does not lead says where replicas are."""

    def count(self, question: Count) -> None:
        """The controller asks how many connections live."""

    def link_changed(self, *, is_up: bool) -> None:
        """A controller answers, or none does."""

    def round_trip(self, seconds: float) -> None:
        """A message was acknowledged."""


class Link:
    """One link to whichever controller answers."""

    def __init__(self, user: LinkUser) -> None:
        self._user = user
        self._client: ClientLink | None = None
        self._malformed: dict[str, int] = {}
        self._up: set[str] = set()
        self._alone_since: float | None = time.monotonic()
        self._reactions: dict[type, Callable[..., None]] = {
            RecordChanged: self._on_record,
            TableSynced: self._on_synced,
            MessageReceived: self._on_message,
            MessageAcknowledged: self._on_acknowledged,
            LinkUp: self._on_up,
            LinkDown: self._on_down,
            LinkRefused: self._on_refused,
        }

    async def use(self, config: ClientConfig) -> None:
        """Begin to look for a controller; later, take other servers and another credential.

        Links to servers that stay are kept. Raises OSError where there is no socket to be had.
        """
        if self._client is None:
            self._client = await open_client(config, self._on_event)
            return
        self._client.set_psks(config.psks)
        self._client.set_credential(config.credential)
        self._client.set_servers(config.servers)

    def tell_if_alone(self, now: float) -> None:
        """Say once that no controller answers: a wrong key is refused without a word."""
        if self._alone_since is None or now - self._alone_since < ALONE_S:
            return
        self._alone_since = None
        log.warning(
            "no controller has answered for %.0f s: is its address right, UDP let through, and are "
            "our controller.pub and psk those of its keys?",
            ALONE_S,
        )

    def report(self, report: Report, *, lane: Lane, replaces: str | None = None) -> None:
        """Send a report in this very call; while no controller answers, it waits for the next."""
        if self._client is None:
            return  # said again when a table is whole
        try:
            self._client.send(encode_report(report), lane=lane, replaces=replaces)
        except QueueFullError:
            self._count_malformed("queue_full", "no controller answers, and the queue is full")

    @property
    def rtt_ns(self) -> int:
        """Estimated round trip to the controller."""
        rtt_s = self._client.rtt_s if self._client else None
        return int((rtt_s or 0.0) * 1e9)

    def drops(self) -> Mapping[str, int]:
        """Datagrams and messages that were not understood or not believed, by reason."""
        drops = dict(self._client.drops) if self._client else {}  # read by another thread
        return {reason.name.lower(): count for reason, count in drops.items()} | dict(
            self._malformed
        )

    def close(self) -> None:
        """Say goodbye."""
        if self._client is not None:
            self._client.close()

    def _on_event(self, event: Event) -> None:
        reaction = self._reactions.get(type(event))
        if reaction is not None:
            reaction(event)

    def _on_record(self, event: RecordChanged) -> None:
        try:
            record = None if event.value is None else decode_record(event.value)
        except VocabularyError as error:
            what = f"not understood: record {event.key}: {error}"
            self._count_malformed("malformed_record", what)
            return
        self._user.record_changed(event.key, record)

    def _on_synced(self, event: TableSynced) -> None:
        log.info("table of epoch %d is whole at version %d", event.epoch, event.version)
        assert self._client is not None
        self._user.table_synced(self._client.records.keys())
        self.report(Following(epoch=event.epoch), lane=Lane.STATE, replaces="following")

    def _on_message(self, event: MessageReceived) -> None:
        try:
            report = decode_report(event.body)
        except VocabularyError as error:
            self._count_malformed("malformed_report", f"not understood: {error}")
            return
        if isinstance(report, Started):
            self._user.replica_started(report)
        elif isinstance(report, Raised):
            self._user.replica_raised(report)
        elif isinstance(report, Count):
            self._user.count(report)

    def _on_acknowledged(self, event: MessageAcknowledged) -> None:
        self._user.round_trip(event.rtt_s)

    def _on_up(self, event: LinkUp) -> None:
        log.info("linked to controller %s", event.peer)
        self._up.add(event.peer)
        self._alone_since = None
        self._user.link_changed(is_up=True)

    def _on_down(self, event: LinkDown) -> None:
        log.warning("link to controller %s ended: %s", event.peer, event.reason.value)
        self._up.discard(event.peer)
        if not self._up:  # another controller's may be up still
            self._alone_since = time.monotonic()
            self._user.link_changed(is_up=False)

    def _on_refused(self, event: LinkRefused) -> None:
        self._count_malformed(
            "credential_refused", f"controller {event.peer} refused our credential"
        )

    def _count_malformed(self, reason: str, what: str) -> None:
        # Authenticated, so of another version or another mind: said once, counted always.
        if reason not in self._malformed:
            log.warning("%s", what)
        self._malformed[reason] = self._malformed.get(reason, 0) + 1
