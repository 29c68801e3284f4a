"""Where a service's replicas are, as its record tells it to the daemons. Pure, but for a clock.

A pod is told of as soon as it is scheduled: its node's daemon knows its LISTEN by the UID alone,
long before anybody knows its address. And it is called routed once its EndpointSlice has called it
ready for a while: then every node's proxy sends to it, and no daemon need hand callers over.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from wangell_controller.backends import ServicePlaced
from wangell_controller.kube.observed import Pod
from wangell_proto.vocabulary import Endpoint, Frontend

__all__ = ["ENDING_S_MAX", "ROUTED_AFTER_S", "Endpoints"]

# From a Deployment's zero to its pods' deletion Kubernetes takes 20 ms, on a busy machine 0.5 s.
# Where nothing has happened by then, its controllers are away: what was to go, stays.
ENDING_S_MAX = 5.0

# Node proxies write what they have seen at most once a second, and an overloaded one takes longer.
ROUTED_AFTER_S = 5.0


@dataclass(slots=True)
class Endpoints:
    """Of one service. Times are seconds of one monotonic clock."""

    frontends: tuple[Frontend, ...] = ()
    _pods: tuple[Pod, ...] = ()
    _ready_since: dict[str, float] = field(default_factory=dict)
    "By pod. Once routed it stays so: a probe that fails later is for Kubernetes to act on"
    _condemned: frozenset[str] = frozenset()
    "Pods of a Deployment that was at zero: they answer for a while yet, and take callers along"

    @property
    def is_running(self) -> bool:
        """Whether a replica could answer."""
        return bool(self.running)

    @property
    def running(self) -> frozenset[str]:
        """The pods that could answer."""
        return frozenset(pod.uid for pod in self._pods if pod.is_running)

    @property
    def is_ending(self) -> bool:
        """Whether a pod is to go that is not being deleted yet."""
        return any(pod.uid in self._condemned and not pod.is_leaving for pod in self._pods)

    def condemn(self) -> None:
        """The Deployment is at zero: no pod of now is told of any more."""
        self._condemned = frozenset(pod.uid for pod in self._pods)

    def pardon(self) -> None:
        """It was not lowered after all."""
        self._condemned = frozenset()

    def see_pods(self, pods: Iterable[Pod]) -> None:
        """Take all the pods that there are now."""
        self._pods = tuple(sorted(pods, key=lambda pod: pod.uid))
        # One whose container starts anew will listen long before its slice calls it ready again.
        running = self.running
        self._ready_since = {uid: at for uid, at in self._ready_since.items() if uid in running}
        self._condemned &= {pod.uid for pod in self._pods}

    def see_ready(self, ready: Collection[str], *, now: float) -> None:
        """Take the pods that the EndpointSlices call ready now."""
        for uid in self.running:
            if uid in ready:
                self._ready_since.setdefault(uid, now)
            elif not self._is_routed(uid, now):
                self._ready_since.pop(uid, None)

    def placed(self, *, now: float) -> ServicePlaced:
        """Return what there is to tell."""
        staying = [pod for pod in self._pods if pod.uid not in self._condemned]
        placed = [pod for pod in staying if pod.node and not pod.is_leaving]
        return ServicePlaced(
            frontends=self.frontends,
            endpoints=tuple(
                Endpoint(
                    address=pod.address,
                    node=pod.node,
                    workload=pod.uid,
                    is_routed=self._is_routed(pod.uid, now),
                )
                for pod in placed
            ),
            ready=frozenset(pod.uid for pod in placed if pod.is_ready),
        )

    def next_at(self, *, now: float) -> float | None:
        """Return when another pod will be routed, by the passing of time alone."""
        due = [at + ROUTED_AFTER_S for at in self._ready_since.values()]
        return min((at for at in due if at > now), default=None)

    def _is_routed(self, uid: str, now: float) -> bool:
        since = self._ready_since.get(uid)
        return since is not None and since + ROUTED_AFTER_S <= now
