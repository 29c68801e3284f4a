"""What is known of one service at one moment, as `decide` reads it. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass

from wangell_controller.counting import Round
from wangell_proto.vocabulary import Phase

__all__ = ["Observed", "Sight"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What one daemon last said of the service."""

    idle_s: float
    "Since the last packet of a caller, when it was said"
    held: int
    "SYNs it held"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One service. Times are seconds of one monotonic clock."""

    phase: Phase
    phase_since: float
    idle_timeout_s: float
    replicas_min: int
    "Replicas that run even while nobody calls"
    activation_timeout_s: float
    sights: Mapping[str, Sight | None]
    "By node, for every daemon that is expected; None: it has not reported lately"
    armed: Mapping[str, int]
    "Draining: live connections by node, of the daemons that hold new SYNs and have counted"
    rounds: tuple[Round, ...]
    "Counts of live connections: of this phase, and in a drain since every daemon had armed"
    watched_since: float | None
    "Since when the daemons that would report LISTEN have all been there; None: one is not"
    is_wake_waiting: bool
    "Cold: a SYN is held, and its wake was put off"
    may_start_at: float
    "Cold: not before; a server that keeps failing is not started at its clients' pace"
