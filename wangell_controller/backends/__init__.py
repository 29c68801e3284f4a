"""What starts and stops replicas, seen from the controller.

A backend knows how a replica comes to be (a process here, a Deployment in Kubernetes) and nothing
of phases, daemons or the protocol. It is told what to do by plain calls that return at once, and
tells what happened by one callback.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from wangell_controller.model import WangellService
from wangell_proto.vocabulary import Endpoint, Frontend

__all__ = [
    "Backend",
    "BackendEvent",
    "ReplicaEnded",
    "ReplicaFailed",
    "ReplicaFound",
    "ReplicaReplaced",
    "ReplicaStarted",
    "ServicePlaced",
    "Tell",
    "Trouble",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePlaced:
    """Where callers find the service, and where its replica is or will be."""

    frontends: tuple[Frontend, ...]
    endpoints: tuple[Endpoint, ...]
    ready: frozenset[str] = frozenset()
    "Workloads of those endpoints that are known to serve already"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaStarted:
    """A replica was asked for, and the asking succeeded."""

    activation: int
    spawned_ns: int
    "CLOCK_MONOTONIC: the process was spawned, or the API had answered"
    is_listening: bool = False
    "It is the one of before, which has listened all the time: no daemon will hear it"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaFailed:
    """A replica could not be started."""

    activation: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaEnded:
    """A replica is no more, by itself or because it was stopped."""

    activation: int | None
    "Of its start; None: of whatever runs now"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaReplaced:
    """The replica is no more, and the platform starts another in its place, unasked."""

    activation: int | None
    "Of its start; None: of whatever runs now"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaFound:
    """A replica runs, or starts, that this controller has not started."""

    activation: int | None
    "Of its start by an earlier controller; None: it counts as a new one"
    spawned_ns: int
    is_listening: bool
    "Whether its server listens already"
    reason: str = "an earlier controller's server runs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What keeps a replica from coming up."""

    reason: str
    "In one word, the platform's own where it has one: `ImagePullBackOff`"
    message: str
    "For people"

    def __str__(self) -> str:
        """Both, for a log."""
        return f"{self.reason}: {self.message}"


BackendEvent = (
    ServicePlaced | ReplicaStarted | ReplicaFailed | ReplicaEnded | ReplicaReplaced | ReplicaFound
)
# Called with the service's key, `namespace/name`.
Tell = Callable[[str, BackendEvent], None]


class Backend(Protocol):
    """Starts and stops replicas. Keys are `namespace/name`."""

    replaces_image: bool
    "A declared change of what runs reaches a running replica without an end of the service"

    @property
    def nodes(self) -> frozenset[str]:
        """The nodes whose daemons are expected: callers may come through any of them."""

    def declare(self, service: WangellService) -> None:
        """Know the service from now on, or in its new form. Tells ServicePlaced, ReplicaFound."""

    def forget(self, key: str) -> None:
        """Stop what runs of the service, and know it no more."""

    def start(self, key: str, activation: int) -> None:
        """Begin a replica at once: this is the wake path, nothing may be waited for.

        Tells ReplicaStarted, perhaps before it returns, or ReplicaFailed, never before. Where a
        replica runs already it tells of that one.
        """

    def prepare_stop(self, key: str) -> None:
        """A drain begins: a stop() after it must not stop what another raises from now on."""

    def stop(self, key: str) -> None:
        """Begin to stop the replica. Tells ReplicaEnded; a start() meanwhile is not lost."""

    def trouble(self, key: str) -> Trouble | None:
        """Return what is known to keep the replica from coming up."""

    async def aclose(self) -> None:
        """Leave; what runs is stopped where it would be nobody's otherwise."""
