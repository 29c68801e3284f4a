"""What the backend keeps of one service."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from wangell_controller.backends import ServicePlaced
from wangell_controller.kube.endpoints import Endpoints
from wangell_controller.kube.inventory import Object
from wangell_controller.kube.observed import claims_on
from wangell_controller.model import WangellService

__all__ = ["Seen", "Slot", "seen_of"]


_NOWHERE = ServicePlaced(frontends=(), endpoints=())


class Seen(NamedTuple):
    """A Deployment as it was when something was decided."""

    version: str
    wish: tuple[object, ...]
    "Changes with what it asks for, and with who else wants it up; not with its status"


@dataclass(slots=True, kw_only=True)
class Slot:
    """One service's place."""

    manifest: WangellService
    deployment_path: str
    endpoints: Endpoints = field(default_factory=Endpoints)
    placed: ServicePlaced = _NOWHERE
    "As it was told last"
    is_raised: bool = False
    "A replica is wanted"
    was_running: bool = False
    activation: int = 0
    version: int = 0
    "Of our last write: events of older versions are of the past"
    noted: Seen | None = None
    "The Deployment as a drain began"
    served: frozenset[str] = frozenset()
    "The pods that listened then"
    under_way: asyncio.Task[None] | None = None
    lowering: asyncio.Task[dict[str, Any]] | None = None
    "The PATCH to zero of the last stop; None: it has not been sent"
    is_at_zero: bool = False
    "Asked for none, as far as we know"
    timer: asyncio.TimerHandle | None = None
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def wanted(self) -> int:
        """Replicas while it is up."""
        return max(1, self.manifest.spec.replicas)

    @property
    def is_under_way(self) -> bool:
        """Whether a PATCH of ours is to be expected."""
        return self.under_way is not None and not self.under_way.done()


def seen_of(deployment: Object | None) -> Seen | None:
    """Return what is to be remembered of it."""
    if deployment is None:
        return None
    metadata = deployment["metadata"]
    wish = (metadata["generation"], *claims_on(deployment))
    return Seen(version=metadata["resourceVersion"], wish=wish)
