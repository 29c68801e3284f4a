"""An EndpointSlice that keeps a sleeping service's address announced. Pure.

MetalLB withdraws the address of a Service without an endpoint that serves. So each has one that
says it does, and has no port: node proxies find nothing there to send to (decision 0013).
"""

import hashlib
from collections.abc import Collection, Mapping
from typing import Any

from wangell_controller.kube.desired import metadata_of
from wangell_controller.kube.resources import CONTROLLER_NAME, ENDPOINT_SLICES
from wangell_controller.model import WangellService

__all__ = ["ADDRESS", "has_placeholder", "node_for", "node_of", "placeholder"]

Object = Mapping[str, Any]

# Of TEST-NET-1, which nobody routes. Daemons' nftables drop what is sent there all the same.
ADDRESS = "192.0.2.222"
# By the first, a Service's slices are found; by the second, those of Kubernetes's own controller,
# which leaves ours alone.
_OF_SERVICE = "kubernetes.io/service-name"
_MANAGED_BY = "endpointslice.kubernetes.io/managed-by"


def has_placeholder(service: WangellService) -> bool:
    """Return whether a service's address is a load balancer's to announce."""
    return service.spec.service_type == "LoadBalancer"


def node_for(
    key: str, live: Object | None, *, ready: Collection[str], holding: Collection[str]
) -> str | None:
    """Return the node that a service's placeholder should name; None where there is none for it.

    The one that it names already, while that is ready: a daemon that restarts moves nothing. Else
    one that is ready and whose daemon holds what sleeps; services are spread over those.
    """
    named = node_of(live)
    if named in ready:
        return named
    able = [node for node in holding if node in ready]
    return min(able, key=lambda node: _digest(key, node), default=None)


def node_of(live: Object | None) -> str | None:
    """Return the node that a placeholder names, whoever wrote it."""
    endpoints = (live or {}).get("endpoints") or ()
    return endpoints[0].get("nodeName") if endpoints else None


def _digest(key: str, node: str) -> bytes:
    return hashlib.sha256(f"{key} {node}".encode()).digest()


def placeholder(service: WangellService, uid: str, *, node: str) -> Any:
    """Return the EndpointSlice."""
    metadata = metadata_of(service, uid)
    labels = {_OF_SERVICE: service.metadata.name, _MANAGED_BY: CONTROLLER_NAME}
    return {
        **ENDPOINT_SLICES.type_meta,
        "metadata": {**metadata, "labels": {**metadata["labels"], **labels}},
        "addressType": "IPv4",
        "endpoints": [
            {
                "addresses": [ADDRESS],
                # Not ready, so nobody prefers it; as one that still serves while it ends, for
                # Kubernetes has no other that serves and is not ready.
                "conditions": {"ready": False, "serving": True, "terminating": True},
                # MetalLB counts only what is on a node.
                "nodeName": node,
            }
        ],
        "ports": [],
    }
