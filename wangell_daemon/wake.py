"""A wake under way: from the first held SYN to the first client's ACK."""

from collections.abc import Iterable

from wangell_daemon.held import HeldSyn
from wangell_daemon.packets import destination_of
from wangell_daemon.timeline import Timeline
from wangell_proto.vocabulary import Phase, ServiceRecord, Started
from wangell_proto.vocabulary import Wake as WakeMessage

__all__ = ["FIRST_REPEAT_NS", "REPEAT_NS", "STARTED_WAIT_NS", "Wake", "is_later", "wake_message"]

# A controller's Started may come after the client's ACK; the cold start is told without it then.
STARTED_WAIT_NS = 1_000_000_000
# A wake is said again until it has come about: a controller that was killed takes its word with it,
# and one that stands by acts on wakes alone. Most are over by the first time, and where the leader
# was killed just after it had acknowledged one, there is time for another's within the caller's
# second: 20 ms until it hears, some 200 ms to start a server.
FIRST_REPEAT_NS = 400_000_000
REPEAT_NS = 1_000_000_000


class Wake:
    """What is known of it so far."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self.clients = 0
        self.repeat_at_ns = timeline.first_syn_ns + FIRST_REPEAT_NS
        self.reported_activation: int | None = None  # the record's, when the controller was told

    @property
    def is_reported(self) -> bool:
        """Whether the present controller was told."""
        return self.reported_activation is not None

    @property
    def is_answered(self) -> bool:
        """Whether a client's ACK was seen."""
        return self.timeline.acked_ns is not None

    @property
    def is_told(self) -> bool:
        """Whether nothing is missing of its timeline."""
        return self.is_answered and self.timeline.spawned_ns is not None

    def waits_for_start_until_ns(self) -> int | None:
        """When an answered wake is told without the controller's part; None: not answered."""
        acked_ns = self.timeline.acked_ns
        return None if acked_ns is None else acked_ns + STARTED_WAIT_NS

    def take_start(self, report: Started, *, rtt_ns: int | None) -> None:
        """The controller says when it started the replica. One of an earlier wake is ignored."""
        if self.reported_activation is None or report.activation > self.reported_activation:
            self.timeline.place_start(
                received_ns=report.received_ns, spawned_ns=report.spawned_ns, rtt_ns=rtt_ns
            )

    def acked(self, seen_ns: int) -> None:
        """A client's ACK was seen; the first one counts."""
        if self.timeline.acked_ns is None:
            self.timeline.acked_ns = seen_ns

    def listened(self, seen_ns: int) -> None:
        """The service listens; the first time counts."""
        if self.timeline.listened_ns is None:
            self.timeline.listened_ns = seen_ns

    def injected(self, now_ns: int) -> None:
        """A SYN is being injected; the first one counts."""
        if self.timeline.injected_ns is None:
            self.timeline.injected_ns = now_ns


def wake_message(service: str, held: Iterable[HeldSyn], activation: int) -> WakeMessage:
    """Return what a controller is told. `held` has one SYN at least, and the first is named."""
    syn = next(iter(held)).syn
    address, port = destination_of(syn.flow)
    return WakeMessage(
        service=service,
        address=address,
        port=port,
        sequence=syn.sequence,
        activation=activation,
    )


def is_later(record: ServiceRecord, before: ServiceRecord | None) -> bool:
    """Whether the service has been at zero in between: the table skips what is out of date."""
    if before is None:
        return False
    return record.activation > before.activation + (before.phase is Phase.COLD)
