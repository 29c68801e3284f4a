"""Objects as Kubernetes shows them, for the readers of this room."""

from typing import Any

__all__ = ["kube_service", "pod", "slice_of"]

LABELS = {
    "app.kubernetes.io/managed-by": "wangell",
    "wangell.loutres.me/service": "serverless-example",
}


def pod(
    uid: str = "pod-1",
    *,
    node: str = "",
    address: str = "",
    ready: bool = False,
    state: dict[str, Any] | None = None,
    **status: Any,
) -> dict[str, Any]:
    """A pod: not scheduled yet, unless told otherwise. `state` is its container's."""
    found: dict[str, Any] = {"phase": "Pending", **status}
    if address:
        found["podIP"] = address
    if ready:
        found["conditions"] = [{"type": "Ready", "status": "True"}]
    if state is not None:
        found["containerStatuses"] = [{"name": "server", "state": state}]
    return {
        "metadata": {"name": uid, "namespace": "default", "uid": uid, "labels": LABELS},
        "spec": {"nodeName": node} if node else {},
        "status": found,
    }


def running(uid: str = "pod-1", *, node: str = "node1", address: str = "10.244.0.5") -> Any:
    """A pod whose server runs, and is ready."""
    state = {"running": {"startedAt": "2026-11-24T10:00:00Z"}}
    return pod(uid, node=node, address=address, ready=True, state=state, phase="Running")


def leaving(each: dict[str, Any]) -> dict[str, Any]:
    """The pod while it is being deleted."""
    stamp = {"deletionTimestamp": "2026-11-24T10:00:00Z"}
    return {**each, "metadata": {**each["metadata"], **stamp}}


def slice_of(*uids: str, ready: bool | None = True) -> dict[str, Any]:
    """An EndpointSlice that lists these pods."""
    return {
        "metadata": {"name": "slice", "namespace": "default", "labels": LABELS},
        "endpoints": [
            {"conditions": {"ready": ready}, "targetRef": {"kind": "Pod", "uid": uid}}
            for uid in uids
        ],
    }


def kube_service(*addresses: str, port: int = 80, **spec: Any) -> dict[str, Any]:
    """A Service to which a load balancer has given these addresses."""
    return {
        "metadata": {"name": "serverless-example", "namespace": "default", "labels": LABELS},
        "spec": {"ports": [{"port": port, "targetPort": 8080}], **spec},
        "status": {"loadBalancer": {"ingress": [{"ip": each} for each in addresses]}},
    }
