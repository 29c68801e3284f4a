"""What the API server's objects say of a service: addresses, pods, replicas. Pure."""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from wangell_controller.kube.resources import EPOCH, RAISED, SERVICE_LABEL, key_of
from wangell_proto.vocabulary import EACH_NODE, SOURCES_MAX, Frontend

__all__ = [
    "Pod",
    "claims_on",
    "expects_daemon",
    "frontends_of",
    "is_owned",
    "is_ready",
    "outside_frontends_of",
    "pod_of",
    "raised_of",
    "ready_pods",
    "replicas_of",
    "service_key",
    "version_of",
]

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A pod of a service, as far as callers are concerned."""

    uid: str
    node: str
    "Empty until it is scheduled"
    address: str
    "Empty until its node has told"
    is_ready: bool
    "Kubernetes sends callers to it"
    is_running: bool
    "A container of it runs, and it is not being deleted"
    is_leaving: bool
    "It is being deleted, or has ended for good"


def pod_of(pod: Object) -> Pod:
    """Read a pod."""
    status = pod.get("status", {})
    is_over = status.get("phase") in ("Succeeded", "Failed")
    is_leaving = is_over or "deletionTimestamp" in pod["metadata"]
    conditions = {each["type"]: each["status"] for each in status.get("conditions", ())}
    containers = status.get("containerStatuses", ())
    return Pod(
        uid=pod["metadata"]["uid"],
        node=pod.get("spec", {}).get("nodeName", ""),
        address=status.get("podIP", ""),
        is_ready=conditions.get("Ready") == "True" and not is_leaving,
        is_running=not is_leaving and any("running" in each["state"] for each in containers),
        is_leaving=is_leaving,
    )


def service_key(each: Object) -> str | None:
    """Return the key of the WangellService that an object was made for."""
    metadata = each["metadata"]
    name = metadata.get("labels", {}).get(SERVICE_LABEL)
    return None if name is None else key_of(metadata["namespace"], name)


def is_owned(each: Object, uid: str) -> bool:
    """Return whether the WangellService of this uid controls the object."""
    owners = each["metadata"].get("ownerReferences", ())
    return any(owner["uid"] == uid for owner in owners if owner.get("controller"))


def version_of(each: Object) -> int:
    """Return the resourceVersion as a number: it grows with every change, whatever the object."""
    return int(each["metadata"]["resourceVersion"])


def replicas_of(deployment: Object | None) -> int:
    """Return how many are asked for."""
    return 0 if deployment is None else int(deployment["spec"].get("replicas", 1))


def claims_on(deployment: Object) -> tuple[str, str]:
    """Return who else than the leader that lowers it wants it up: each claim is another text."""
    annotations = deployment["metadata"].get("annotations") or {}
    return annotations.get(EPOCH, ""), annotations.get(RAISED, "")


def raised_of(deployment: Object | None) -> int:
    """Return the activation that a controller which did not lead has raised it for; 0: none."""
    text = claims_on(deployment)[1] if deployment is not None else ""
    # Anybody may write there; ours have 16 digits at most.
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 16 else 0


def frontends_of(kube_service: Object | None) -> tuple[Frontend, ...]:
    """Return where callers find a Service: from outside first, its ClusterIP, its node ports.

    IPv4 only, for daemons hold nothing else yet.
    """
    if kube_service is None:
        return ()
    spec = kube_service["spec"]
    found = list(outside_frontends_of(kube_service))
    found += _frontends([spec.get("clusterIP", "")], spec)
    ports = [port["nodePort"] for port in spec.get("ports", ()) if port.get("nodePort")]
    found += [Frontend(address=EACH_NODE, port=port) for port in ports]
    return _each_once(found)


def outside_frontends_of(kube_service: Object | None) -> tuple[Frontend, ...]:
    """Return those of load balancers, and external addresses.

    Source ranges are of the former alone, as kube-proxy has it.
    """
    if kube_service is None:
        return ()
    balancer = kube_service.get("status", {}).get("loadBalancer", {})
    addresses = [each["ip"] for each in balancer.get("ingress", ()) if each.get("ip")]
    spec = kube_service["spec"]
    balanced = _frontends(addresses, spec, sources=_source_ranges(spec))
    return _each_once([*balanced, *_frontends(spec.get("externalIPs", ()), spec)])


def _source_ranges(spec: Object) -> tuple[str, ...]:
    """Return the IPv4 ones; another hand may have set more than a manifest may: of those the first.

    Where there are some, and none of them is IPv4, kube-proxy lets everybody in by IPv4, too.
    """
    texts = [each.strip() for each in spec.get("loadBalancerSourceRanges") or ()]
    networks = [ipaddress.ip_network(each, strict=False) for each in texts]
    found = [str(each) for each in networks if each.version == 4]
    return tuple(dict.fromkeys(found))[:SOURCES_MAX]


def _each_once(frontends: Iterable[Frontend]) -> tuple[Frontend, ...]:
    """Return them without those that name an address and a port again."""
    found: dict[tuple[str, int], Frontend] = {}
    for each in frontends:
        found.setdefault((each.address, each.port), each)
    return tuple(found.values())


def _frontends(
    addresses: Iterable[str], spec: Object, *, sources: tuple[str, ...] = ()
) -> list[Frontend]:
    return [
        Frontend(address=address, port=port["port"], sources=sources)
        for address in dict.fromkeys(addresses)
        if _is_ipv4(address)
        for port in spec.get("ports", ())
    ]


def ready_pods(slices: Iterable[Object]) -> frozenset[str]:
    """Return the UIDs of the pods that the EndpointSlices call ready: node proxies send to them."""
    return frozenset(
        endpoint["targetRef"]["uid"]
        for each in slices
        for endpoint in each.get("endpoints") or ()
        if endpoint.get("conditions", {}).get("ready") is True and "targetRef" in endpoint
    )


def expects_daemon(node: Object) -> bool:
    """Return whether a node has a daemon of ours: it runs Linux, and is a machine."""
    labels = node["metadata"].get("labels", {})
    # Virtual nodes (clouds' container services) take pods, but no DaemonSet.
    is_linux: bool = labels.get("kubernetes.io/os", "linux") == "linux"
    return is_linux and labels.get("type") != "virtual-kubelet"


def is_ready(node: Object) -> bool:
    """Return whether Kubernetes calls a node ready, and nobody deletes it."""
    conditions = node.get("status", {}).get("conditions", ())
    said = {each["type"]: each["status"] for each in conditions}
    return said.get("Ready") == "True" and "deletionTimestamp" not in node["metadata"]


def _is_ipv4(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).version == 4
    except ValueError:  # What a load balancer of the cluster writes is not ours to believe.
        return False
