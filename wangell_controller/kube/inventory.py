"""All objects of the API server that concern us, as they were last seen, each found in one step."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from wangell_controller.kube.api import Selection
from wangell_controller.kube.desired import OWNED
from wangell_controller.kube.observed import expects_daemon, is_ready, pod_of, service_key
from wangell_controller.kube.pace import Pace
from wangell_controller.kube.resources import (
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    NODES,
    PODS,
    SERVICES,
    WANGELL_SERVICES,
)
from wangell_controller.kube.watching import Watched, WatchedApi

__all__ = ["Bystander", "Inventory", "InventoryUser", "Object"]

Object = Mapping[str, Any]


class InventoryUser(Protocol):
    """Who is told what changes. Keys are those of WangellServices."""

    def declared(self, key: str, after: Object | None) -> None:
        """A WangellService is new, has changed, or (None) is no more."""

    def deployed(self, key: str, before: Object | None, after: Object | None) -> None:
        """Its Deployment."""

    def exposed(self, key: str) -> None:
        """Its Service."""

    def moved(self, key: str) -> None:
        """Its pods, or what the EndpointSlices say of them."""

    def announced(self, key: str) -> None:
        """Its placeholder, the EndpointSlice of its own name."""

    def node_changed(self, name: str) -> None:
        """A node is new, has changed, or is no more."""

    def nodes_changed(self) -> None:
        """Other nodes are ready than were."""


class Bystander:
    """The InventoryUser of a controller that does not lead: it looks up what it needs."""

    def declared(self, key: str, after: Object | None) -> None:
        """Nothing follows."""

    def deployed(self, key: str, before: Object | None, after: Object | None) -> None:
        """Nothing follows."""

    def exposed(self, key: str) -> None:
        """Nothing follows."""

    def moved(self, key: str) -> None:
        """Nothing follows."""

    def announced(self, key: str) -> None:
        """Nothing follows."""

    def node_changed(self, name: str) -> None:
        """Nothing follows."""

    def nodes_changed(self) -> None:
        """Nothing follows."""


class Inventory:
    """Watches, and who asks them. `follow` them all for as long as it is to be true."""

    def __init__(self, api: WatchedApi, user: InventoryUser) -> None:
        self._user = user
        self._pods: dict[str, dict[str, Object]] = {}
        self._slices: dict[str, dict[str, Object]] = {}
        self._nodes: frozenset[str] = frozenset()
        self.ready_nodes: frozenset[str] = frozenset()
        "Those that Kubernetes calls ready, whether they have a daemon or not"
        ours = {"labels": OWNED}
        # In the order in which they are to be whole: what is declared is told last, to a backend
        # that can see what there is of it.
        self._watched = {
            resource.plural: Watched(api, Selection(resource=resource, **labels), on_change)
            for resource, labels, on_change in (
                (NODES, {}, self._on_node),
                (PODS, ours, self._on_pod),
                (ENDPOINT_SLICES, ours, self._on_slice),
                (SERVICES, ours, self._on_kube_service),
                (DEPLOYMENTS, ours, self._on_deployment),
                (WANGELL_SERVICES, {}, self._on_declared),
            )
        }
        self.pace = Pace(self._watched)

    async def follow(self) -> None:
        """Watch everything, each kind once those before it are whole."""
        async with asyncio.TaskGroup() as group:
            for watched in self._watched.values():
                group.create_task(watched.follow())
                await watched.whole.wait()

    async def whole(self) -> None:
        """Return once everything that there is has been told."""
        for watched in self._watched.values():
            await watched.whole.wait()

    def hand_to(self, user: InventoryUser) -> None:
        """Tell this one from now on, and at once what is declared; the rest it can look up."""
        self._user = user
        for key, declaration in list(self.declarations().items()):
            user.declared(key, declaration)

    @property
    def is_whole(self) -> bool:
        """Whether everything that there is has been told."""
        return all(watched.whole.is_set() for watched in self._watched.values())

    @property
    def nodes(self) -> frozenset[str]:
        """The nodes that have a daemon, or should."""
        return self._nodes

    def node(self, name: str) -> Object | None:
        """The Node."""
        return self._watched[NODES.plural].objects.get(name)

    def declaration(self, key: str) -> Object | None:
        """The WangellService."""
        return self._watched[WANGELL_SERVICES.plural].objects.get(key)

    def declarations(self) -> Mapping[str, Object]:
        """All WangellServices."""
        return self._watched[WANGELL_SERVICES.plural].objects

    def deployment(self, key: str) -> Object | None:
        """Its Deployment."""
        return self._watched[DEPLOYMENTS.plural].objects.get(key)

    def kube_service(self, key: str) -> Object | None:
        """Its Service."""
        return self._watched[SERVICES.plural].objects.get(key)

    def pods(self, key: str) -> Iterable[Object]:
        """Its pods, whatever becomes of them."""
        return self._pods.get(key, {}).values()

    def slices(self, key: str) -> Iterable[Object]:
        """The EndpointSlices of its Service, but for our placeholder, which has no endpoint."""
        return self._slices.get(key, {}).values()

    def placeholder(self, key: str) -> Object | None:
        """The EndpointSlice of its own name: Kubernetes's have longer ones."""
        return self._watched[ENDPOINT_SLICES.plural].objects.get(key)

    def _on_declared(self, key: str, _before: Object | None, after: Object | None) -> None:
        self._user.declared(key, after)

    def _on_deployment(self, key: str, before: Object | None, after: Object | None) -> None:
        self.pace.saw_deployment(key)
        self._user.deployed(key, before, after)

    def _on_kube_service(self, key: str, _before: Object | None, _after: Object | None) -> None:
        self._user.exposed(key)

    def _on_pod(self, name: str, before: Object | None, after: Object | None) -> None:
        if after is not None:
            pod = pod_of(after)
            has_node = bool(pod.node) and not pod.is_leaving
            self.pace.saw_pod(service_key(after), has_node=has_node)
        self._index(self._pods, name, before, after)

    def _on_slice(self, name: str, before: Object | None, after: Object | None) -> None:
        self.pace.saw_slice()
        if name in (service_key(each) for each in (before, after) if each is not None):
            self._user.announced(name)
        else:
            self._index(self._slices, name, before, after)

    def _index(
        self,
        index: dict[str, dict[str, Object]],
        name: str,
        before: Object | None,
        after: Object | None,
    ) -> None:
        keys = [service_key(each) for each in (before, after) if each is not None]
        for key in keys:
            found = index.get(key or "", {})
            found.pop(name, None)
            if not found:
                index.pop(key or "", None)
        if after is not None and keys[-1] is not None:
            index.setdefault(keys[-1], {})[name] = after
        for key in dict.fromkeys(keys):
            if key is not None:
                self._user.moved(key)

    def _on_node(self, name: str, _before: Object | None, after: Object | None) -> None:
        others = self._nodes - {name}
        self._nodes = others | {name} if after and expects_daemon(after) else others
        ready = self.ready_nodes - {name} | ({name} if after and is_ready(after) else set())
        if ready != self.ready_nodes:
            self.ready_nodes = ready
            self._user.nodes_changed()
        self._user.node_changed(name)
