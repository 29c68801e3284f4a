"""A controller on Kubernetes that does not lead: it raises what is woken, and lowers nothing.

It passes on nothing, for nothing is lost that way: the leader sees in the Deployment that it was
raised, and daemons repeat each second what has not come about, to whoever leads by then. What they
need until then to let callers in, it tells them itself (`whereabouts`).

Raising is one PATCH, of replicas and of an annotation with the activation. Where the Deployment is
up already, as in a drain, the annotation alone makes it another version: a leader that was about to
lower it, and perhaps sleeps just now, then fails to. It names the version that was up: only so is
it known that the pods stay. And where it is at zero, the pods of before are let end first, as the
leader does.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from wangell_controller.apply import Link
from wangell_controller.controller import ACTIVATION_MAX
from wangell_controller.journal import Journal
from wangell_controller.kube.backoff import Backoff
from wangell_controller.kube.endpoints import ENDING_S_MAX
from wangell_controller.kube.errors import KubeError
from wangell_controller.kube.inventory import Bystander, Inventory, Object
from wangell_controller.kube.observed import pod_of, raised_of, replicas_of
from wangell_controller.kube.resources import DEPLOYMENTS, RAISED, split_key
from wangell_controller.kube.whereabouts import FOLLOW_S, Whereabouts
from wangell_proto.vocabulary import ColdStart, Listening, Report, Started, Wake

__all__ = ["RaiseApi", "StandIn"]

log = logging.getLogger(__name__)

# Somebody waits, as at the leader's own raising.
RETRY_S_MIN, RETRY_S_MAX = 0.02, 1.0
# By then the daemon has said it again, or its callers have given up.
TRY_FOR_S = 30.0
# A pod's deletion comes within some 20 ms. An Event would be a second user of the inventory.
LOOK_AGAIN_S = 0.01


class _Up(NamedTuple):
    """A Deployment that is up for an activation."""

    at_ns: int
    "Since when, as we know; CLOCK_MONOTONIC"
    kept: tuple[str, ...]
    "The pods that it has had all along"


class RaiseApi(Protocol):
    """What raising needs of the API server."""

    async def merge(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Change some fields."""


class StandIn(Bystander):
    """The LinkUser, and the inventory's, until this controller leads.

    What it is raising then, it raises to the end.
    """

    def __init__(
        self,
        api: RaiseApi,
        inventory: Inventory,
        link: Link,
        *,
        boot_id: str,
        journal: Journal,
    ) -> None:
        """`api` is kept warm for wakes alone."""
        self._api = api
        self._inventory = inventory
        self._link = link
        self._boot_id = boot_id
        self._journal = journal
        self._whereabouts = Whereabouts(inventory, link)
        self._loop = asyncio.get_running_loop()
        self._raising: dict[tuple[str, int], asyncio.Task[_Up | None]] = {}

    def link_up(self, peer: str) -> None:
        """A daemon is linked."""
        log.info("%s: linked, while standing by", peer)
        self._whereabouts.link_up(peer)

    def link_down(self, peer: str, reason: str) -> None:
        """A daemon's link has ended."""
        log.info("%s: link ended while standing by: %s", peer, reason)
        self._whereabouts.link_down(peer)

    def moved(self, key: str) -> None:
        """A service's pods have changed."""
        self._whereabouts.moved(key)

    def hear(self, peer: str, report: Report, *, received_ns: int) -> None:
        """A daemon reports. `received_ns` is CLOCK_MONOTONIC."""
        if isinstance(report, Listening):
            self._whereabouts.heard(peer, report)
        elif isinstance(report, ColdStart):  # Said once, to whoever has the daemon's ear.
            self._journal.woke(report.service, report)
        elif isinstance(report, Wake) and 0 <= report.activation <= ACTIVATION_MAX:
            self._hear_wake(peer, report, received_ns=received_ns)

    def _hear_wake(self, peer: str, report: Wake, *, received_ns: int) -> None:
        key, activation = report.service, report.activation + 1
        if not self._may_raise(key, activation):
            return
        self._inventory.pace.hurry(FOLLOW_S)
        task = self._raising.get((key, activation))
        if task is None:
            task = self._raising[key, activation] = self._loop.create_task(
                self._raise(key, activation)
            )
            task.add_done_callback(lambda _: self._raising.pop((key, activation)))
            log.info("%s: woken by %s while standing by", key, peer)
        task.add_done_callback(
            lambda done: self._answer(done, peer, key, activation, received_ns=received_ns)
        )

    async def aclose(self) -> None:
        """Raise nothing more."""
        for task in self._raising.values():
            task.cancel()
        await asyncio.gather(*self._raising.values(), return_exceptions=True)

    def _may_raise(self, key: str, activation: int) -> bool:
        """Whether the wake is of now: one that is late on its way would start a server for none."""
        declaration = self._inventory.declaration(key)
        if declaration is None or "deletionTimestamp" in declaration["metadata"]:
            return False
        if self._inventory.deployment(key) is None:
            return False  # Not made yet, or a stranger's: either is for the leader to see to.
        known = int(declaration.get("status", {}).get("activations", 0))
        return activation >= max(known, raised_of(self._inventory.deployment(key)))

    async def _raise(self, key: str, activation: int) -> _Up | None:
        """Return how it was raised; None: it could not be."""
        backoff = Backoff(RETRY_S_MIN, RETRY_S_MAX)
        give_up_at = self._loop.time() + TRY_FOR_S
        while self._loop.time() < give_up_at:
            deployment = self._inventory.deployment(key)
            if _is_raised(deployment, activation):
                return _Up(at_ns=time.monotonic_ns(), kept=())
            if not replicas_of(deployment):
                await self._let_end(key)
            up = deployment if replicas_of(deployment) else None
            try:
                body = _raising(self._wanted(key, deployment), activation, up)
                await self._api.merge(DEPLOYMENTS.path(*split_key(key)), body)
            except KubeError as error:
                log.warning("%s: not raised while standing by: %s", key, error)
                if not error.is_passing:
                    return None
            else:
                kept = self._staying(key) if up is not None else ()
                return _Up(at_ns=time.monotonic_ns(), kept=kept)
            await asyncio.sleep(backoff.next_s())
        return None

    async def _let_end(self, key: str) -> None:
        give_up_at = self._loop.time() + ENDING_S_MAX
        while self._staying(key) and self._loop.time() < give_up_at:
            if replicas_of(self._inventory.deployment(key)):
                return  # Another has raised it: these are new ones.
            await asyncio.sleep(LOOK_AGAIN_S)

    def _staying(self, key: str) -> tuple[str, ...]:
        """The pods that are not being deleted."""
        pods = map(pod_of, self._inventory.pods(key))
        return tuple(pod.uid for pod in pods if not pod.is_leaving)

    def _wanted(self, key: str, deployment: Object | None) -> int:
        """No fewer than there are: raising lowers nothing."""
        declaration = self._inventory.declaration(key) or {}
        asked = int(declaration.get("spec", {}).get("replicas", 0))
        return max(1, asked, replicas_of(deployment))

    def _answer(
        self,
        done: asyncio.Task[_Up | None],
        peer: str,
        key: str,
        activation: int,
        *,
        received_ns: int,
    ) -> None:
        if done.cancelled():
            return
        up = done.result()
        if up is None:
            return
        started = Started(
            service=key,
            activation=activation,
            received_ns=received_ns,
            spawned_ns=up.at_ns,
            clock=self._boot_id,
            kept=up.kept,
        )
        self._link.send(peer, started)
        self._whereabouts.raised(key, activation, peer=peer)


def _is_raised(deployment: Object | None, activation: int) -> bool:
    """Whether it was for this activation, by one of us; a daemon says so each second."""
    return replicas_of(deployment) > 0 and raised_of(deployment) >= activation


def _raising(replicas: int, activation: int, up: Object | None) -> Mapping[str, Any]:
    metadata: dict[str, Any] = {"annotations": {RAISED: str(activation)}}
    if up is not None:
        metadata["resourceVersion"] = up["metadata"]["resourceVersion"]
    return {"metadata": metadata, "spec": {"replicas": replicas}}
