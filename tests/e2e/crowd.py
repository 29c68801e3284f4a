"""Thousands of other Services on a cluster, each with an endpoint, so that it has rules."""

import concurrent.futures
import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

from tests.cluster.cluster import KUBE_PROXY_MODES, Cluster
from tests.cluster.waiting import until

NAMESPACE = "crowd"
# Of node1's pods, and no pod's: nobody calls.
REPLICA = "10.201.1.250"
# The API server answers some at a time; more would only wait there.
CONNECTIONS = 6
RULES_WITHIN_S = 90.0
_LISTED = {
    "iptables": "iptables-save -t nat",
    "nftables": "nft --numeric list chains ip",
}


@contextlib.contextmanager
def crowd(cluster: Cluster, count: int) -> Iterator[None]:
    """So many Services while the block runs, whose proxies are for the block to start.

    They would follow Service by Service. Nobody waits for the end of the crowd, which takes the API
    server a minute: a test that has one runs last.
    """
    cluster.kubectl("create", "namespace", NAMESPACE)
    for node in cluster.nodes.values():
        node.stop_kube_proxy()
    try:
        numbers = itertools.count()
        with concurrent.futures.ThreadPoolExecutor() as pool:
            made = [pool.submit(_create, cluster, numbers, count) for _ in range(CONNECTIONS)]
        for each in made:
            each.result()
        yield
    finally:
        cluster.use_kube_proxy(KUBE_PROXY_MODES[0])
        cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def wait_for_rules(cluster: Cluster, mode: str, count: int) -> None:
    """Return once every node's kube-proxy has rules for so many of them."""
    for node in cluster.nodes.values():
        until(
            lambda node=node: _rules(node, mode) >= count,  # type: ignore[misc]
            f"{node.name}'s rules for the crowd",
            timeout_s=RULES_WITHIN_S,
        )


def _rules(node: Any, mode: str) -> int:
    """How many of the crowd's Services kube-proxy has a chain of their own for."""
    listed = node.run("sh", "-c", f"{_LISTED[mode]} | grep -c '{NAMESPACE}/s-' || true")
    return int(listed)


def _create(cluster: Cluster, numbers: Iterator[int], count: int) -> None:
    services = f"/api/v1/namespaces/{NAMESPACE}/services"
    slices = f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices"
    with cluster.api() as api:
        while (number := next(numbers)) < count:
            name = f"s-{number}"
            api.call("POST", services, _service(name))
            api.call("POST", slices, _slice(name))


def _service(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}}


def _slice(name: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [REPLICA], "conditions": {"ready": True}}],
        "ports": [{"name": "", "port": 80, "protocol": "TCP"}],
    }
