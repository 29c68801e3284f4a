"""One service as the controller keeps it, and the record that daemons get of it."""

from dataclasses import dataclass, field

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
    activation: int = 0
    """Counts the times it was raised: from zero, or out of a drain. So every Wake and every Armed
    says by it which of them it belongs to; there is no order between messages on the link."""
    replica: int | None = None
    "The activation under which the replica was started that runs now"
    frontends: tuple[Frontend, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    woken_ns: int = 0
    "CLOCK_MONOTONIC: when the wake of this activation was read"
    started: Started | None = None
    "The answer to the wakes of this activation"
    unanswered: set[str] = field(default_factory=set)
    "Peers whose wake waits for it"
    armed: dict[str, int] = field(default_factory=dict)
    "Draining: live connections by peer"
    backoff_s: float = 0.0
    "Doubles with every failed start in a row"
    may_start_at: float = 0.0
    is_wake_waiting: bool = False
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
        return 0 if self.phase is Phase.COLD else 1

    def record(self, *, activation_timeout_s: float) -> ServiceRecord:
        """Return what daemons need to know."""
        return ServiceRecord(
            phase=self.phase,
            frontends=self.frontends,
            target_port=self.manifest.spec.target_port,
            endpoints=self.endpoints,
            activation=self.activation,
            activation_timeout_s=activation_timeout_s,
        )
