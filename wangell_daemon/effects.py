"""What the node's core asks of the world. The agent carries each out, in order."""

import enum
from dataclasses import dataclass

from wangell_daemon.held import HeldSyn
from wangell_daemon.timeline import Timeline
from wangell_proto.vocabulary import Endpoint, Wake

__all__ = [
    "CountConnections",
    "Effect",
    "EndColdStart",
    "EndHandOver",
    "EndUnclaimedHandOvers",
    "EndWait",
    "ForgetFrontends",
    "ForgetReplica",
    "GiveUp",
    "HandOver",
    "Inject",
    "Mode",
    "Probe",
    "Refuse",
    "ReportListening",
    "ReportWake",
    "Restrict",
    "SetMode",
    "StopProbe",
    "Unwatch",
    "Watch",
    "refusals",
]


class Mode(enum.IntEnum):
    """What a service's SYNs meet in the kernel: `enum mode` of ebpf/consts.h."""

    HOLD = 0
    PASS = 1
    SETTLE = 2
    METER = 3


@dataclass(frozen=True, slots=True)
class SetMode:
    """Write the service's frontends (each a struct frontend) into the map."""

    frontends: tuple[bytes, ...]
    slot: int
    mode: Mode


@dataclass(frozen=True, slots=True)
class Restrict:
    """Let only these sources call a frontend."""

    frontend: bytes
    sources: tuple[str, ...]
    "Networks; empty: whoever will"


@dataclass(frozen=True, slots=True)
class ForgetFrontends:
    """Delete them from the map, with what restricts them."""

    frontends: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class HandOver:
    """Send new connections to this replica from now on. Comes before the Injects."""

    frontends: tuple[bytes, ...]
    address: str
    port: int
    is_away: bool
    "On another node"


@dataclass(frozen=True, slots=True)
class EndHandOver:
    """kube-proxy knows by now, or the replica is going."""

    frontends: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class EndUnclaimedHandOvers:
    """What a predecessor left and no record has asked for: its replica may be gone."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Tell of the first packet of this flow. Comes before its Inject."""

    flow: bytes


@dataclass(frozen=True, slots=True)
class Unwatch:
    """It is not waited for any more."""

    flow: bytes


@dataclass(frozen=True, slots=True)
class Inject:
    """Let the frame enter the stack as if it had just arrived."""

    service: str
    held: HeldSyn


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer the held SYN with RST."""

    service: str
    held: HeldSyn


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Held SYNs were let go without an answer: for metrics."""

    reason: str
    "no_room, no_service, bad_frame or unanswered"
    count: int


@dataclass(frozen=True, slots=True)
class ForgetReplica:
    """A replica of this node is no more."""

    workload: str
    port: int


@dataclass(frozen=True, slots=True)
class EndWait:
    """A client whose SYN was held has sent its ACK: for metrics."""

    service: str
    waited_ns: int


@dataclass(frozen=True, slots=True)
class ReportWake:
    """Tell the controller, before everything else."""

    wake: Wake
    is_repeat: bool = False


@dataclass(frozen=True, slots=True)
class ReportListening:
    """Tell the controller."""

    service: str
    activation: int
    workload: str
    address: str


@dataclass(frozen=True, slots=True)
class CountConnections:
    """New SYNs are held: count the live connections and report Armed."""

    service: str
    activation: int
    workloads: tuple[str, ...]
    "Replicas on this node"
    port: int


@dataclass(frozen=True, slots=True)
class Probe:
    """Send SYNs to the endpoint until it answers: once, or at the probe interval."""

    service: str
    endpoint: Endpoint
    port: int
    is_once: bool


@dataclass(frozen=True, slots=True)
class StopProbe:
    """The service needs no probe any more."""

    service: str


@dataclass(frozen=True, slots=True)
class EndColdStart:
    """A wake is over: for metrics, the log of cold starts and the controller."""

    service: str
    activation: int
    outcome: str
    "answered, abandoned, timeout or failed"
    clients: int
    "Connections that waited for it"
    timeline: Timeline


Effect = (
    SetMode
    | Restrict
    | ForgetFrontends
    | HandOver
    | EndHandOver
    | EndUnclaimedHandOvers
    | Watch
    | Unwatch
    | Inject
    | Refuse
    | EndWait
    | GiveUp
    | ForgetReplica
    | ReportWake
    | ReportListening
    | CountConnections
    | Probe
    | StopProbe
    | EndColdStart
)


def refusals(service: str, refused: list[HeldSyn]) -> list[Effect]:
    """What is to be done for held SYNs that are answered with RST."""
    effects: list[Effect] = [Unwatch(held.syn.flow) for held in refused if held.is_watched]
    return effects + [Refuse(service, held) for held in refused]
