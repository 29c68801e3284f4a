"""When what is watched is read: for others a moment later, so that a wake has the CPUs.

A wake is some thirty events of pods, Deployments and EndpointSlices, for each of which a reader
would wake up, decrypt and parse, on the CPUs that start its pod. Of those, who leads has to know
soon where the pod is, and nothing else; who stands by, nothing.
"""

import asyncio
import math
from collections.abc import Mapping

from wangell_controller.kube.resources import DEPLOYMENTS, ENDPOINT_SLICES, PODS, Resource
from wangell_controller.kube.watching import Watched

__all__ = ["Pace"]

# A wake is over by then, on a busy node, too. Who stands by hears of none before, unless asked to.
STANDBY_REST_S = 1.0
# Nobody waits to hear that a Deployment has one replica, and which pod is ready.
REST_S = 0.25
# Who leads has to know a pod before its server listens: a LISTEN that is nobody's lets no caller
# in. From the PATCH to its binding it takes some 30 ms, from there to that 100 on a quick node. In
# the first 60 the API server, its controllers and the kubelet want each CPU of a small node; by
# then containers are made one step after another, and there is room.
PLACED_S = 0.09
# Of pods that were not placed by then, and of all others: a look at each would cost as much again.
PODS_REST_S = 0.04
# A pod that has no node by then waits for one, or there will be none.
PLACED_WITHIN_S = 5.0
# Pods that are killed have; of those that take their time, the end is known 40 ms late.
ENDED_WITHIN_S = 1.0
# One that does not listen by then takes its time.
LISTENS_WITHIN_S = 1.0


class Pace:
    """Of one inventory: told of what was read, it says how long nothing more is."""

    def __init__(self, watched: Mapping[str, Watched]) -> None:
        """`watched` are all, by plural."""
        self._watched = watched
        self._leads = False
        self._raised: set[str] = set()
        "Services whose Deployment is to say so"
        self._awaited: dict[str, float] = {}
        "Services whose pod is to have a node, and until when"
        self._starting_until = -math.inf
        "Pods that were awaited start: more of them is news to nobody"

    def hurry(self, for_s: float) -> None:
        """Read everything as it comes, for so long."""
        for watched in self._watched.values():
            watched.hurry(for_s)

    def lead(self) -> None:
        """Read everything as it comes, from now on; pods in small batches."""
        self._leads = True
        self.hurry(0.0)

    def expect_pod(self, key: str, *, others_end: bool = False) -> None:
        """A wake has begun. Where others of its pods are to end before, somebody waits for that."""
        if others_end:
            self.hurry(ENDED_WITHIN_S)
        self._raised.add(key)
        self._awaited[key] = self._now() + PLACED_WITHIN_S
        self._rest(PLACED_S, PODS, DEPLOYMENTS)
        self._rest(REST_S, ENDPOINT_SLICES)

    def saw_deployment(self, key: str) -> None:
        """One has changed."""
        if key in self._raised:  # As a lowering has to know. Its status waits.
            self._raised.discard(key)
            self._rest(REST_S, DEPLOYMENTS)
        self._stand_by()

    def saw_pod(self, key: str | None, *, has_node: bool) -> None:
        """One of this service has changed."""
        if has_node and key in self._awaited:
            del self._awaited[key]
            self._starting_until = self._now() + LISTENS_WITHIN_S
        if self._leads:
            self._rest(REST_S if self._is_starting() else PODS_REST_S, PODS)
        self._stand_by()

    def saw_slice(self) -> None:
        """One has changed."""
        self._stand_by()

    def _stand_by(self) -> None:
        """A wake of the leader's, it seems: let it pass."""
        if not self._leads:
            self._rest(STANDBY_REST_S, DEPLOYMENTS, PODS, ENDPOINT_SLICES)

    def _rest(self, for_s: float, *resources: Resource) -> None:
        for resource in resources:
            self._watched[resource.plural].rest(for_s)

    def _is_starting(self) -> bool:
        """Whether all that was awaited has been found, and that lately."""
        now = self._now()
        self._awaited = {key: until for key, until in self._awaited.items() if now < until}
        return not self._awaited and now < self._starting_until

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
