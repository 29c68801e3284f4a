"""Replicas as a Deployment's: raising is a PATCH of its scale, and so is lowering, with a fence.

The wake path is one request on a connection that is open already; nothing that Kubernetes has to
say about the pod afterwards is waited for, only told on.

Raising is idempotent, and anybody may: whoever does it besides us (another controller, a user) is
told as found. Lowering names the version of the Deployment that it was decided on, so one that was
raised meanwhile is not lowered: whoever raises what is up already (a controller that does not lead,
or a new leader taking over) writes so into its annotations.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Protocol

from wangell_controller.backends import (
    ReplicaEnded,
    ReplicaFailed,
    ReplicaFound,
    ReplicaReplaced,
    ReplicaStarted,
    Tell,
    Trouble,
)
from wangell_controller.kube.backoff import Backoff
from wangell_controller.kube.endpoints import ENDING_S_MAX
from wangell_controller.kube.errors import ConflictError, KubeError, NotFoundError
from wangell_controller.kube.inventory import Inventory, Object
from wangell_controller.kube.observed import (
    frontends_of,
    pod_of,
    ready_pods,
    replicas_of,
    version_of,
)
from wangell_controller.kube.resources import DEPLOYMENTS, split_key
from wangell_controller.kube.slot import Seen, Slot, seen_of
from wangell_controller.kube.trouble import trouble_of
from wangell_controller.model import WangellService

__all__ = ["KubeBackend", "ScaleApi"]

log = logging.getLogger(__name__)

# Somebody waits: an API server that restarts is asked again before its clients' own retries.
RAISE_RETRY_S_MIN, RAISE_RETRY_S_MAX = 0.02, 1.0
# Nobody waits.
LOWER_RETRY_S_MIN, LOWER_RETRY_S_MAX = 0.1, 60.0


class ScaleApi(Protocol):
    """What scaling needs of the API server."""

    async def get(self, path: str) -> dict[str, Any]:
        """Return the object there."""

    async def merge(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Change some fields."""


Sent = Awaitable[dict[str, Any]]
"The object, or a KubeError"
MergeNow = Callable[[str, Mapping[str, Any]], Sent | None]


class KubeBackend:
    """Behind the controller's Backend. The operator tells it what the inventory tells."""

    replaces_image = True

    def __init__(
        self,
        api: ScaleApi,
        inventory: Inventory,
        *,
        tell: Tell,
        activations: Mapping[str, int],
        hurry: Callable[[str], None],
        merge_now: MergeNow = lambda _path, _body: None,
        leads: Callable[[], bool] = lambda: True,
    ) -> None:
        """`api` is kept warm for wakes alone; `hurry` has a service's objects looked at.

        `merge_now` sends a wake's first PATCH in the very call; None: it cannot now. Where it
        `leads` no more, nothing is lowered.
        """
        self._api = api
        self._inventory = inventory
        self._tell = tell
        self._activations = activations
        self._hurry = hurry
        self._merge_now = merge_now
        self._leads = leads
        self._loop = asyncio.get_running_loop()
        self._slots: dict[str, Slot] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # What the controller asks.

    @property
    def nodes(self) -> frozenset[str]:
        """The cluster's Nodes."""
        return self._inventory.nodes

    def declare(self, service: WangellService) -> None:
        """Have its objects made or changed; tell where it is, and of what runs of it already."""
        key = service.key
        slot = self._slots.get(key)
        if slot is not None:
            slot.manifest = service
        else:
            path = DEPLOYMENTS.path(*split_key(key))
            slot = self._slots[key] = Slot(manifest=service, deployment_path=path)
            self._place(key, slot)
            self._adopt(key, slot)
        self._hurry(key)

    def forget(self, key: str) -> None:
        """Know it no more; the operator deletes its objects."""
        slot = self._slots.pop(key)
        slot.is_raised = False
        if slot.under_way is not None:
            slot.under_way.cancel()
        if slot.timer is not None:
            slot.timer.cancel()

    def start(self, key: str, activation: int) -> None:
        """Send the PATCH; nothing comes before it but the end of pods that are going."""
        slot = self._slots[key]
        slot.is_raised, slot.activation, slot.noted = True, activation, None
        slot.endpoints.condemn()
        sent = None if slot.endpoints.is_ending else self._merge_now(*self._scaling(slot))
        self._tell_placed(key, slot)
        self._begin(slot, self._raise(key, slot, activation, sent))
        self._inventory.pace.expect_pod(key, others_end=slot.endpoints.is_ending)

    def prepare_stop(self, key: str) -> None:
        """Note the Deployment as it is before any daemon is asked to hold."""
        slot = self._slots[key]
        slot.noted = seen_of(self._inventory.deployment(key))
        slot.served = slot.endpoints.running

    def stop(self, key: str) -> None:
        """Lower it to zero, if it is still what it was."""
        slot = self._slots[key]
        slot.is_raised, slot.lowering = False, None
        self._judge(key, slot, stay=False)
        if slot.noted is None:  # Not out of a drain: it may never have listened.
            slot.served = frozenset()
        seen, slot.noted = slot.noted or seen_of(self._inventory.deployment(key)), None
        if seen is not None:
            self._begin(slot, self._lower(key, slot, seen))

    def trouble(self, key: str) -> Trouble | None:
        """What Kubernetes says is wrong."""
        return trouble_of(self._inventory.deployment(key), self._inventory.pods(key))

    async def aclose(self) -> None:
        """Leave everything as it is: what runs is the next controller's."""
        for key in list(self._slots):
            self.forget(key)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # What the operator asks.

    def replicas_to_ask(self, key: str, live: Object | None) -> int:
        """Return the replicas that an apply should ask for: no lowering to zero, that is fenced."""
        slot = self._slots.get(key)
        if slot is None or not slot.is_raised or (live is not None and slot.is_under_way):
            return replicas_of(live)
        return slot.wanted

    # What the inventory tells.

    def deployed(self, key: str, after: Object | None) -> None:
        """The Deployment has changed, perhaps by another hand than ours."""
        slot = self._slots.get(key)
        if slot is None or slot.is_under_way or after is None or version_of(after) < slot.version:
            return
        replicas = replicas_of(after)
        if replicas and not slot.is_raised:
            self._found(key, slot, None, "was raised by another")
        elif not replicas and slot.is_raised:
            slot.is_raised, slot.is_at_zero = False, True
            self._judge(key, slot, stay=False)
            self._tell(key, ReplicaEnded(activation=None, reason="was scaled to zero by another"))

    def exposed(self, key: str) -> None:
        """The Service has changed."""
        slot = self._slots.get(key)
        if slot is not None:
            self._place(key, slot)

    def moved(self, key: str) -> None:
        """Its pods have changed, or what the EndpointSlices say of them."""
        slot = self._slots.get(key)
        if slot is None:
            return
        self._place(key, slot)
        was_running, slot.was_running = slot.was_running, slot.endpoints.is_running
        if was_running and not slot.was_running and slot.is_raised:
            reason = "has gone, and Kubernetes starts another"
            self._tell(key, ReplicaReplaced(activation=None, reason=reason))

    # Placing.

    def _place(self, key: str, slot: Slot) -> None:
        endpoints = slot.endpoints
        endpoints.frontends = frontends_of(self._inventory.kube_service(key))
        endpoints.see_pods(pod_of(pod) for pod in self._inventory.pods(key))
        endpoints.see_ready(ready_pods(self._inventory.slices(key)), now=self._loop.time())
        slot.moved.set()
        self._tell_placed(key, slot)

    def _judge(self, key: str, slot: Slot, *, stay: bool) -> None:
        (slot.endpoints.pardon if stay else slot.endpoints.condemn)()
        self._tell_placed(key, slot)

    def _tell_placed(self, key: str, slot: Slot) -> None:
        now = self._loop.time()
        placed = slot.endpoints.placed(now=now)
        if placed != slot.placed:
            slot.placed = placed
            self._tell(key, placed)
        if slot.timer is not None:
            slot.timer.cancel()
        due = slot.endpoints.next_at(now=now)
        slot.timer = self._loop.call_at(due, self._tell_placed, key, slot) if due else None

    # Raising and lowering.

    def _adopt(self, key: str, slot: Slot) -> None:
        slot.was_running = slot.endpoints.is_running
        if replicas_of(self._inventory.deployment(key)):
            reason = "an earlier controller's replica runs"
            self._found(key, slot, self._activations.get(key, 0), reason)
        else:
            slot.is_at_zero = True
            self._judge(key, slot, stay=False)

    def _found(
        self,
        key: str,
        slot: Slot,
        activation: int | None,
        reason: str,
        *,
        is_listening: bool = False,
    ) -> None:
        slot.is_raised, slot.is_at_zero = True, False
        self._judge(key, slot, stay=True)
        self._tell(
            key,
            ReplicaFound(
                activation=activation,
                spawned_ns=time.monotonic_ns(),
                # Ready is no proof of it: a pod without a probe is ready before its server listens.
                is_listening=is_listening,
                reason=reason,
            ),
        )

    def _begin(self, slot: Slot, work: Coroutine[Any, Any, None]) -> None:
        """Whatever was under way sees, after its next answer, that it is out of date."""
        task = slot.under_way = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.result()

    def _scaling(self, slot: Slot) -> tuple[str, Mapping[str, Any]]:
        """What raises it."""
        return f"{slot.deployment_path}/scale", {"spec": {"replicas": slot.wanted}}

    async def _raise(self, key: str, slot: Slot, activation: int, sent: Sent | None) -> None:
        is_kept = slot.endpoints.is_ending and await self._let_end(key, slot)
        backoff = Backoff(RAISE_RETRY_S_MIN, RAISE_RETRY_S_MAX)
        while slot.is_raised and slot.activation == activation:
            # A PATCH to zero that has no answer yet may be carried out after ours, on another
            # connection: then ours changed nothing, and is sent again.
            lowering = slot.lowering
            is_disputed = lowering is not None and not lowering.done()
            first, sent = sent, None
            try:
                scale = await (first or self._api.merge(*self._scaling(slot)))
            except NotFoundError:
                self._hurry(key)  # Somebody has deleted it; a look makes it anew, already raised.
            except KubeError as error:
                if not error.is_passing:
                    self._tell(key, ReplicaFailed(activation=activation, reason=str(error)))
                    return
                log.warning("%s: not raised yet: %s", key, error)
            else:
                slot.version, slot.is_at_zero = max(slot.version, version_of(scale)), False
                self._tell(
                    key,
                    ReplicaStarted(
                        activation=activation,
                        spawned_ns=time.monotonic_ns(),
                        is_listening=is_kept and bool(slot.served & slot.endpoints.running),
                    ),
                )
                if not is_disputed:
                    return
                assert lowering is not None
                await asyncio.wait({lowering})
                continue
            await asyncio.sleep(backoff.next_s())

    async def _let_end(self, key: str, slot: Slot) -> bool:
        """Wait until its pods are being deleted; return whether they surely stay instead.

        Raised before, Kubernetes may keep them or not. If it does, no LISTEN ever comes; if it does
        not, they answer a caller and end.
        """
        is_kept = False
        try:
            async with asyncio.timeout(ENDING_S_MAX):
                is_kept = not slot.is_at_zero and await self._is_kept(slot)
                while slot.is_at_zero and slot.endpoints.is_ending:
                    slot.moved.clear()
                    await slot.moved.wait()
        except TimeoutError:
            log.warning("%s: its pods stay, though it was at zero: raised as it is", key)
        self._judge(key, slot, stay=True)
        return is_kept

    async def _is_kept(self, slot: Slot) -> bool:
        """Whether the last stop has surely changed nothing."""
        if slot.lowering is None:
            return True
        await asyncio.wait({slot.lowering})
        error = slot.lowering.exception()
        if error is not None:
            # Carried out before the answer was lost? Then it is refused when it is sent again.
            slot.is_at_zero = await self._ask_if_at_zero(slot)
        return isinstance(error, ConflictError) and not slot.is_at_zero

    async def _ask_if_at_zero(self, slot: Slot) -> bool:
        backoff = Backoff(RAISE_RETRY_S_MIN, RAISE_RETRY_S_MAX)
        while True:
            try:
                return not replicas_of(await self._api.get(slot.deployment_path))
            except NotFoundError:
                return False
            except KubeError as error:
                log.warning("%s: not known if it was lowered: %s", slot.manifest.key, error)
            await asyncio.sleep(backoff.next_s())

    async def _lower(self, key: str, slot: Slot, seen: Seen) -> None:
        backoff = Backoff(LOWER_RETRY_S_MIN, LOWER_RETRY_S_MAX)
        while not slot.is_raised and self._leads():
            try:
                instead = await self._try_to_lower(slot, seen)
            except KubeError as error:
                log.warning("%s: not lowered yet: %s", key, error)
                await asyncio.sleep(backoff.next_s())
                continue
            if instead is None or slot.is_raised:
                return
            if instead.wish != seen.wish:
                # No LISTEN comes of a server that has listened all the time.
                serves = bool(slot.served & slot.endpoints.running)
                reason = "was raised or changed by another meanwhile"
                self._found(key, slot, None, reason, is_listening=serves)
                return
            seen = instead  # Only its status has changed.

    async def _try_to_lower(self, slot: Slot, seen: Seen) -> Seen | None:
        """Return what the Deployment is by now, if it is not as it was seen."""
        body = {"metadata": {"resourceVersion": seen.version}, "spec": {"replicas": 0}}
        slot.lowering = self._loop.create_task(
            self._api.merge(f"{slot.deployment_path}/scale", body)
        )
        try:
            scale = await slot.lowering
        except NotFoundError:
            return None
        except ConflictError:
            scale = await self._api.get(slot.deployment_path)
            if replicas_of(scale):
                return seen_of(scale)
            # By a PATCH of ours, perhaps, whose answer was lost.
        slot.version, slot.is_at_zero = max(slot.version, version_of(scale)), True
        # What the watch told meanwhile, another's raise perhaps, is not told again. We end first.
        self._loop.call_soon(self._look_again, slot.manifest.key)
        return None

    def _look_again(self, key: str) -> None:
        self.deployed(key, self._inventory.deployment(key))
