"""Makes the cluster as WangellServices say: their Deployments and Services, and their statuses.

It tells the controller what is declared and the backend what has become of it, and looks at a
service's objects whenever one of them changes, until they are as they should be.
"""

import asyncio
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from pydantic import ValidationError

from wangell_controller.backends import Trouble
from wangell_controller.controller import Controller
from wangell_controller.kube.backend import KubeBackend
from wangell_controller.kube.children import ChildApi, Children, NotOursError, is_other
from wangell_controller.kube.desired import deployment, kube_service
from wangell_controller.kube.errors import KubeError, NotFoundError
from wangell_controller.kube.events import Events
from wangell_controller.kube.inventory import Inventory, Object
from wangell_controller.kube.observed import outside_frontends_of, raised_of
from wangell_controller.kube.placeholder import has_placeholder, node_for, node_of, placeholder
from wangell_controller.kube.reconcile import Outcome, Reconciler
from wangell_controller.kube.resources import (
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    FINALIZER,
    SERVICES,
    WANGELL_SERVICES,
    split_key,
)
from wangell_controller.kube.status import Circumstances, status_of, status_of_invalid
from wangell_controller.kube.statuses import Statuses
from wangell_controller.kube.taints import StartupTaints
from wangell_controller.model import WangellService
from wangell_controller.problems import problems_of

__all__ = ["Operator", "OperatorApi"]

log = logging.getLogger(__name__)


class OperatorApi(ChildApi, Protocol):
    """What the operator needs of the API server."""

    async def merge(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Change some fields."""


class Operator:
    """The InventoryUser. `use` the other parts before the inventory tells anything."""

    inventory: Inventory
    controller: Controller
    backend: KubeBackend
    events: Events

    def __init__(
        self, api: OperatorApi, *, keeps_announced: bool = False, removes_taint: bool = False
    ) -> None:
        """`keeps_announced`: by a placeholder endpoint for each service of a load balancer.

        `removes_taint`: from each node whose daemon holds what sleeps.
        """
        self._api = api
        self._keeps_announced = keeps_announced
        self._removes_taint = removes_taint
        self._taints: StartupTaints | None = None
        self._children = Children(api)
        self._problems: dict[str, Trouble] = {}
        self._unsupported: Trouble | None = None
        self._is_leaving = False
        self.reconciler = Reconciler(self.look)
        self.statuses = Statuses(api, self.read_status)
        self.activations: dict[str, int] = {}
        "How often each service was raised, as its status had it when it was first seen"

    def use(
        self, *, inventory: Inventory, controller: Controller, backend: KubeBackend, events: Events
    ) -> None:
        """Work with these."""
        self.inventory, self.controller = inventory, controller
        self.backend, self.events = backend, events
        if self._removes_taint:
            self._taints = StartupTaints(
                self._api,
                node=inventory.node,
                is_following=lambda name: name in controller.fleet.following,
            )

    # What the inventory tells.

    def declared(self, key: str, after: Object | None) -> None:
        """A WangellService is new, has changed, or (None) is no more."""
        if after is None or "deletionTimestamp" in after["metadata"]:
            self._problems.pop(key, None)
            self.controller.remove(key)
        elif not self._is_leaving:
            self._take(key, after)
        if after is None:
            self.reconciler.forget(key)
            self._children.forget(key)
        else:
            self.reconciler.hurry(key)

    def deployed(self, key: str, before: Object | None, after: Object | None) -> None:
        """Its Deployment."""
        self.backend.deployed(key, after)
        # A wake changes its status five times while a caller waits; a look would find nothing.
        if before is None or after is None or is_other(before, after):
            self.reconciler.hurry(key)

    def exposed(self, key: str) -> None:
        """Its Service."""
        self.backend.exposed(key)
        self.reconciler.hurry(key)

    def moved(self, key: str) -> None:
        """Its pods, or what the EndpointSlices say of them."""
        self.backend.moved(key)

    def announced(self, key: str) -> None:
        """Its placeholder."""
        self.reconciler.hurry(key)

    def node_changed(self, name: str) -> None:
        """A node is new, has changed, or is no more."""
        if self._taints is not None:
            self._taints.hurry(name)

    def nodes_changed(self) -> None:
        """A placeholder whose node is ready stays there."""
        if not self._keeps_announced:
            return
        for key in self.inventory.declarations():
            if node_of(self.inventory.placeholder(key)) not in self.inventory.ready_nodes:
                self.reconciler.hurry(key)

    def surrounded(self, trouble: Trouble | None) -> None:
        """Wangell cannot work in this cluster, or (None) can: in the first case it has no service.

        Nothing is held then, and nothing made or changed: half of it would be worse.
        """
        self._unsupported = trouble
        for key, declaration in list(self.inventory.declarations().items()):
            self._note(key, None)
            self.declared(key, declaration)

    # What the controller tells.

    def changed(self, key: str) -> None:
        """Something that its status says has changed."""
        self.statuses.write_soon(key)

    def following(self, node: str) -> None:
        """A node's daemon holds what sleeps: placeholders may name it, and pods may come."""
        self.nodes_changed()
        self.node_changed(node)

    # Looking.

    async def look(self, key: str) -> Outcome:
        """Make a service's objects what they should be. Raises KubeError."""
        declaration = self.inventory.declaration(key)
        if declaration is None or self._is_leaving:
            return Outcome.DONE
        if "deletionTimestamp" in declaration["metadata"]:
            return await self._release(key, declaration)
        service = self.controller.services.get(key)
        if service is None:
            return Outcome.DONE  # Not valid: only a change can help.
        try:
            await self._hold(key, declaration)
            await self._ensure(key, service.manifest, declaration["metadata"]["uid"])
        except KubeError as error:
            if not error.is_passing:
                reason = "NameTaken" if isinstance(error, NotOursError) else "Refused"
                self._note(key, Trouble(reason=reason, message=str(error)))
            raise
        self._note(key, None)
        return Outcome.DONE

    async def _ensure(self, key: str, manifest: WangellService, uid: str) -> None:
        await self._children.ensure(
            SERVICES,
            self.inventory.kube_service(key),
            lambda _: kube_service(manifest, uid),
            key=key,
            uid=uid,
        )
        await self._children.ensure(
            DEPLOYMENTS,
            self.inventory.deployment(key),
            lambda live: deployment(
                manifest,
                uid,
                replicas=self.backend.replicas_to_ask(key, live),
                version=live["metadata"]["resourceVersion"] if live else None,
            ),
            key=key,
            uid=uid,
        )
        if self._keeps_announced:
            await self._keep_announced(key, manifest, uid)

    async def _keep_announced(self, key: str, manifest: WangellService, uid: str) -> None:
        live = self.inventory.placeholder(key)
        node = node_for(
            key,
            live,
            ready=self.inventory.ready_nodes,
            holding=self.controller.fleet.following,
        )
        if not has_placeholder(manifest):
            if live is not None:
                await self._children.remove(ENDPOINT_SLICES, key=key, uid=uid)
        elif node is not None:
            await self._children.ensure(
                ENDPOINT_SLICES,
                live,
                lambda _: placeholder(manifest, uid, node=node),
                key=key,
                uid=uid,
            )

    async def _hold(self, key: str, declaration: Object) -> None:
        """Put our finalizer on it."""
        metadata = declaration["metadata"]
        if FINALIZER in metadata.get("finalizers", ()):
            return
        named = {name: metadata[name] for name in ("name", "namespace", "uid")}
        body = {**WANGELL_SERVICES.type_meta, "metadata": {**named, "finalizers": [FINALIZER]}}
        await self._api.apply(_path(key), body)

    async def _release(self, key: str, declaration: Object) -> Outcome:
        """Delete what was made for it, then let it go. Daemons have been told already."""
        uid = declaration["metadata"]["uid"]
        # A placeholder goes with its owner: without the component, we have no right to it.
        made = (*((ENDPOINT_SLICES,) if self._keeps_announced else ()), SERVICES, DEPLOYMENTS)
        for resource in made:
            if not await self._children.remove(resource, key=key, uid=uid):
                return Outcome.AGAIN
        await self._let_go(key, declaration)
        return Outcome.DONE

    async def _let_go(self, key: str, declaration: Object) -> None:
        """Take our finalizer off it."""
        metadata = declaration["metadata"]
        others = [each for each in metadata.get("finalizers", ()) if each != FINALIZER]
        if len(others) == len(metadata.get("finalizers", ())):
            return
        version = metadata["resourceVersion"]
        body = {"metadata": {"resourceVersion": version, "finalizers": others}}
        try:
            await self._api.merge(_path(key), body)
        except NotFoundError:
            log.debug("%s: gone already", key)

    # Leaving.

    async def leave(self) -> None:
        """Wangell is being uninstalled: hold nothing back, in no daemon and in no object.

        Our rights end within moments, so everything is asked for at once.
        """
        self._is_leaving = True
        declarations = dict(self.inventory.declarations())
        self.controller.declare({})
        log.warning("uninstalled: letting go of %d services", len(declarations))
        results = await asyncio.gather(
            *(self._let_go(key, each) for key, each in declarations.items()),
            return_exceptions=True,
        )
        for key, result in zip(declarations, results, strict=True):
            if isinstance(result, Exception):
                log.error("%s: its finalizer %s stays: %s", key, FINALIZER, result)

    async def aclose(self) -> None:
        """Look at nothing more, and write the last statuses."""
        await self.reconciler.close()
        if self._taints is not None:
            await self._taints.aclose()
        await self.statuses.aclose()

    # Statuses.

    def read_status(self, key: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Return a service's status as it should be and as it is. Raises KeyError."""
        declaration = self.inventory.declaration(key)
        if declaration is None or "deletionTimestamp" in declaration["metadata"]:
            raise KeyError(key)
        around = Circumstances(
            generation=declaration["metadata"]["generation"],
            problem=self._problems.get(key),
            is_supported=self._unsupported is None,
            before=declaration.get("status", {}),
            outside=outside_frontends_of(self.inventory.kube_service(key)),
        )
        now = datetime.now(UTC)
        service = self.controller.services.get(key)
        if service is not None:
            return status_of(service, around, now=now), around.before
        if around.problem is None:
            raise KeyError(key)
        return status_of_invalid(around, now=now), around.before

    # Declarations.

    def _take(self, key: str, declaration: Object) -> None:
        if self._unsupported is not None:
            self.controller.remove(key)
            self._note(key, self._unsupported)
            return
        manifest = self._parsed(key, declaration)
        if manifest is None:
            self.controller.remove(key)
            return
        known = self.controller.services.get(key)
        if known is None:
            status = declaration.get("status", {})
            raised = raised_of(self.inventory.deployment(key))
            self.activations[key] = max(int(status.get("activations", 0)), raised)
            self.controller.update(manifest)
            self.controller.services[key].latest_request = _moment(status.get("latestRequest"))
        elif known.manifest != manifest:
            self.controller.update(manifest)

    def _parsed(self, key: str, declaration: Object) -> WangellService | None:
        """Return what is declared; None for what an older schema let through."""
        metadata = {name: declaration["metadata"][name] for name in ("name", "namespace")}
        document = {
            **WANGELL_SERVICES.type_meta,
            "metadata": metadata,
            "spec": declaration.get("spec", {}),
        }
        try:
            manifest = WangellService.model_validate(document)
        except ValidationError as error:
            problems = "; ".join(problems_of(WangellService, error))
            self._note(key, Trouble(reason="Invalid", message=problems))
            return None
        return manifest

    def _note(self, key: str, problem: Trouble | None) -> None:
        if self._problems.get(key) == problem:
            return
        if problem is None:
            del self._problems[key]
        else:
            self._problems[key] = problem
            log.warning("%s: %s", key, problem)
            self.events.hindered(key, problem)
        self.statuses.write_soon(key)


def _path(key: str) -> str:
    return WANGELL_SERVICES.path(*split_key(key))


def _moment(text: str | None) -> float | None:
    return None if text is None else datetime.fromisoformat(text).timestamp()
