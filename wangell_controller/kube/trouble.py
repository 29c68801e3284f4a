"""Why a service's replica does not come up, in Kubernetes's own words. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from wangell_controller.backends import Trouble

__all__ = ["trouble_of"]

# While all goes well a container waits for these reasons, too.
_ORDINARY = frozenset({"ContainerCreating", "PodInitializing"})


def trouble_of(
    deployment: Mapping[str, Any] | None, pods: Iterable[Mapping[str, Any]]
) -> Trouble | None:
    """Return what Kubernetes says is wrong; None: nothing that it knows of."""
    for pod in pods:
        found = _of_pod(pod)
        if found is not None:
            return found
    return _of_deployment(deployment)


def _of_pod(pod: Mapping[str, Any]) -> Trouble | None:
    if "deletionTimestamp" in pod["metadata"]:
        return None
    status = pod.get("status", {})
    statuses = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
    for each in statuses:
        found = _of_container(each)
        if found is not None:
            return found
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return _told(condition, "Unschedulable")
    if status.get("phase") == "Failed":
        return _told(status, "PodFailed")
    return None


def _of_container(status: Mapping[str, Any]) -> Trouble | None:
    waiting = status.get("state", {}).get("waiting")
    if waiting is not None and waiting.get("reason") not in {*_ORDINARY, None}:
        return _told(waiting, "Waiting")
    ended = status.get("state", {}).get("terminated") or status.get("lastState", {}).get(
        "terminated"
    )
    if ended is not None and ended.get("exitCode") != 0:
        code = f"container {status['name']} ended with {ended.get('exitCode')}"
        return Trouble(reason=ended.get("reason", "Error"), message=ended.get("message", code))
    return None


def _of_deployment(deployment: Mapping[str, Any] | None) -> Trouble | None:
    """A pod that could not be created: a quota, a policy, a ServiceAccount that is not there."""
    if deployment is None:
        return None
    for condition in deployment.get("status", {}).get("conditions", ()):
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            return _told(condition, "ReplicaFailure")
    return None


def _told(of: Mapping[str, Any], reason: str) -> Trouble:
    reason = of.get("reason") or reason
    return Trouble(reason=reason, message=of.get("message") or reason)
