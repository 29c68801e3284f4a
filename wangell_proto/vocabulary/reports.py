"""What daemons report, and what controllers answer. Services are named `namespace/name`.

Times are nanoseconds of CLOCK_MONOTONIC of the machine whose `clock` (boot id) is given: two
readings may be subtracted only where their clocks are the same.
"""

from dataclasses import dataclass

from wangell_proto.vocabulary.codec import VocabularyError, decode, encode
from wangell_proto.vocabulary.records import Endpoint

__all__ = [
    "Activity",
    "Armed",
    "ColdStart",
    "Count",
    "Counted",
    "Following",
    "Listening",
    "Raised",
    "Report",
    "ServiceActivity",
    "Started",
    "Wake",
    "decode_report",
    "encode_report",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wake:
    """Daemon to controller, at once: a SYN is held for a service at zero."""

    service: str
    address: str
    "Destination of the SYN, as text"
    port: int
    sequence: int
    "The SYN's TCP sequence number"
    activation: int
    "The record's activation as the daemon knows it: a late repeat wakes nothing anew"


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """Controller to the daemon whose wake it was: the replica has been asked for."""

    service: str
    activation: int
    received_ns: int
    "When the wake was read"
    spawned_ns: int
    "When the process was spawned, or the API had answered"
    clock: str
    kept: tuple[str, ...] = ()
    "Workloads that ran before and stay: a drain of these has come to nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """Daemon to controller, at once: a replica of the service listens on this node."""

    service: str
    activation: int
    workload: str
    address: str = ""
    "The workload's own address, as read on its node"


@dataclass(frozen=True, slots=True, kw_only=True)
class Armed:
    """Daemon to controller: new SYNs of a draining service are held; this many connections live.

    One that lives keeps the service. That none does is no proof: other daemons may not hold yet.
    """

    service: str
    activation: int
    connections: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """Controller to a daemon whose node has replicas: how many connections of theirs live now?

    In a drain it is asked once every daemon has armed: no new connection can come behind it.
    """

    service: str
    activation: int
    number: int
    "Comes back in the answer: which count of this activation it is"
    workloads: tuple[str, ...]
    port: int
    "The port they listen on"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Daemon to controller: so many live, half-open and unaccepted ones too."""

    service: str
    activation: int
    number: int
    connections: int | None
    "None: they could not be counted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Following:
    """Daemon to controller, each time its table is whole: what sleeps by it is held on its node."""

    epoch: int
    "Of the leader whose table it is"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceActivity:
    """How busy one service is, as one node sees it."""

    service: str
    idle_s: float
    "Since the last packet of a caller"
    held: int
    "SYNs held now"


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """Daemon to controller, each second: the node's warm services, in parts of some hundred.

    A part replaces the last of the same number. A service in none of them is not known of.
    """

    services: tuple[ServiceActivity, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdStart:
    """Daemon to controller, when one has ended: for status and events."""

    service: str
    activation: int
    outcome: str
    total_s: float
    "First SYN in XDP to the client's ACK in XDP"
    clients: int
    "Connections that waited for it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """A controller that does not lead, to every daemon: what the table should say and does not yet.

    The leader may have been killed. It holds for this activation alone, until the table's next word
    on the service.
    """

    service: str
    activation: int
    endpoints: tuple[Endpoint, ...]
    "The replicas; where some listen, those"
    is_listening: bool


Report = (
    Wake | Started | Listening | Armed | Activity | ColdStart | Raised | Count | Counted | Following
)

# The wire's names for them. Append only: an older peer must not mistake one for another.
_KINDS: dict[int, type[Report]] = {
    1: Wake,
    2: Started,
    3: Listening,
    4: Armed,
    5: Activity,
    6: ColdStart,
    7: Raised,
    8: Count,
    9: Counted,
    10: Following,
}
_NUMBERS = {kind: number for number, kind in _KINDS.items()}


def encode_report(report: Report) -> bytes:
    """Return the report as a message body: one byte of kind, then a msgpack map."""
    return bytes([_NUMBERS[type(report)]]) + encode(report)


def decode_report(body: bytes) -> Report:
    """Return the report that a message body holds. Raises VocabularyError."""
    kind = _KINDS.get(body[0]) if body else None
    if kind is None:
        raise VocabularyError(f"no report of kind {body[:1].hex() or 'nothing'}")
    return decode(kind, body[1:])
