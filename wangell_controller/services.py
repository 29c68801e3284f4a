"""One service as the controller keeps it, and the record that daemons get of it."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field

from wangell_controller.backends import Trouble
from wangell_controller.counting import Counting
from wangell_controller.decide import Decision
from wangell_controller.model import WangellService
from wangell_proto.vocabulary import Endpoint, Frontend, Phase, ServiceRecord, Started

__all__ = ["Service"]


@dataclass(slots=True, kw_only=True)
class Service:
    """Changed by the controller alone, its phase only by a row of the phase table."""

    manifest: WangellService
    phase_since: float
    "Seconds of the controller's monotonic clock"
    phase: Phase = Phase.COLD
    reason: str = "declared"
    "Why it is in this phase"
    activation: int = 0
    """Counts the times it was raised: from zero, or out of a drain. So every Wake and every Armed
    says by it which of them it belongs to; there is no order between messages on the link."""
    replica: int | None = None
    "The activation under which the replica was started that runs now"
    frontends: tuple[Frontend, ...] = ()
    is_published: bool = False
    "Daemons have a record of it"
    endpoints: tuple[Endpoint, ...] = ()
    "All that there are, whether they listen yet or not"
    ready: frozenset[str] = frozenset()
    "Workloads of those that serve, as the backend knows"
    heard: dict[str, str] = field(default_factory=dict)
    "Workloads that a daemon heard listen, and the address it read there"
    woken_ns: int = 0
    "CLOCK_MONOTONIC: when the wake of this activation was read"
    started: Started | None = None
    "The answer to the wakes of this activation"
    unanswered: set[str] = field(default_factory=set)
    "Peers whose wake waits for it"
    armed: dict[str, int] = field(default_factory=dict)
    "Draining: live connections by peer"
    counting: Counting = field(default_factory=Counting)
    "Of its live connections, in this phase"
    is_replacing: bool = False
    "Waking because its replica has gone, and the platform starts another: it has worked"
    backoff_s: float = 0.0
    "Doubles with every failed start in a row"
    may_start_at: float = 0.0
    is_wake_waiting: bool = False
    failure: Trouble | None = None
    "Why the last activation failed; None: it did not"
    latest_request: float | None = None
    "When a caller's packet was last seen, in seconds since 1970"
    decision: Decision | None = None
    "The last one"

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return self.manifest.key

    @property
    def replicas(self) -> int:
        """How many were asked for."""
        return 0 if self.phase is Phase.COLD else max(1, self.manifest.spec.replicas)

    @property
    def is_unplaced(self) -> bool:
        """Whether it is waking, and where is not known yet: daemons hold, and can do no more."""
        return self.phase is Phase.WAKING and not self.endpoints

    @property
    def blocked_by(self) -> tuple[str, ...]:
        """Nodes without whose daemon it stays up; none where it is not up: a start may fail."""
        is_up = self.phase in (Phase.WARM, Phase.DRAINING)
        decision = self.decision  # Once: a scrape reads it from another thread.
        return decision.missing if is_up and decision is not None else ()

    def place(self, endpoints: Iterable[Endpoint], ready: frozenset[str]) -> None:
        """Take the replicas that there are now; what was heard of the others is forgotten."""
        self.endpoints, self.ready = tuple(endpoints), ready
        there = {each.workload for each in self.endpoints}
        self.heard = {each: address for each, address in self.heard.items() if each in there}

    def _serving(self) -> tuple[Endpoint, ...]:
        """Those that callers may be sent to; while none is, those that may come to listen.

        So a replica that an update has just begun gets no caller, while its predecessor serves.
        """
        placed = tuple(
            dataclasses.replace(each, address=each.address or self.heard.get(each.workload, ""))
            for each in self.endpoints
        )
        if self.phase in (Phase.COLD, Phase.WAKING):
            return placed
        serving = self.ready | self.heard.keys()
        return tuple(each for each in placed if each.workload in serving) or placed

    def record(self, *, activation_timeout_s: float) -> ServiceRecord:
        """Return what daemons need to know."""
        return ServiceRecord(
            phase=self.phase,
            frontends=self.frontends,
            target_port=self.manifest.spec.target_port,
            endpoints=self._serving(),
            activation=self.activation,
            activation_timeout_s=activation_timeout_s,
        )
