"""The taint with which a joining node may register: taken off once its daemon holds what sleeps.

Until then nothing is scheduled there that does not tolerate it: no pod that would call a sleeping
service and be refused by kube-proxy, no MetalLB speaker that would announce one (decision 0018).
Nobody puts it on but the node's own kubelet, at registration.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from wangell_controller.kube.errors import NotFoundError
from wangell_controller.kube.reconcile import Outcome, Reconciler
from wangell_controller.kube.resources import NODES, STARTUP_TAINT

__all__ = ["StartupTaints", "others_of"]

log = logging.getLogger(__name__)

Object = Mapping[str, Any]


def others_of(node: Object | None) -> list[Object] | None:
    """Return the taints that a node keeps; None where it has none of ours. Pure."""
    taints = ((node or {}).get("spec") or {}).get("taints") or []
    others = [each for each in taints if each.get("key") != STARTUP_TAINT]
    return others if len(others) < len(taints) else None


class TaintApi(Protocol):
    """What untainting needs of the API server."""

    async def merge(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Change some fields."""


class StartupTaints:
    """Of all nodes, while this controller leads."""

    def __init__(
        self,
        api: TaintApi,
        *,
        node: Callable[[str], Object | None],
        is_following: Callable[[str], bool],
    ) -> None:
        """`node` returns it as it was last seen; `is_following`: its daemon holds what sleeps."""
        self._api = api
        self._node = node
        self._is_following = is_following
        self._reconciler = Reconciler(self._look)

    def hurry(self, name: str) -> None:
        """A node has changed, or its daemon follows from now on."""
        node = self._node(name)
        if node is None:
            self._reconciler.forget(name)
        elif others_of(node) is not None and self._is_following(name):
            self._reconciler.hurry(name)

    async def aclose(self) -> None:
        """Look at nothing more."""
        await self._reconciler.close()

    async def _look(self, name: str) -> Outcome:
        node = self._node(name)
        others = others_of(node)
        if node is None or others is None or not self._is_following(name):
            return Outcome.DONE
        # The list is one value: without its version, another's taint of this moment would go too.
        version = node["metadata"]["resourceVersion"]
        body = {"metadata": {"resourceVersion": version}, "spec": {"taints": others}}
        try:
            await self._api.merge(NODES.path(None, name), body)
        except NotFoundError:
            log.debug("%s: gone meanwhile", name)
        else:
            log.info("%s: its daemon holds what sleeps: %s is off", name, STARTUP_TAINT)
        return Outcome.DONE
