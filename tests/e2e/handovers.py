"""Where nodes send new connections before their proxies do, and which pod answers a caller."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.cluster.client import http_get
from tests.cluster.cluster import Cluster
from tests.cluster.network import NODES
from tests.e2e.wangell import NAME, Wangell

METRICS_PORT = 9464
_BUCKET = re.compile(r'wangell_handover_seconds_bucket\{le="(\S+)"\} (\S+)')


def named(**more: Any) -> dict[str, Any]:
    """A template whose pods answer with their own names; `more` is their container's."""
    name = {"name": "TARGET", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    return {"containers": [{"name": "server", "env": [name], **more}]}


def who_answers(cluster: Cluster, address: str, port: int = 80, *, timeout_s: float = 30) -> str:
    """One HTTP request from outside by a connection of its own; who says hello."""
    with cluster.client.connect(address, port, timeout_s=timeout_s) as connection:
        answer = http_get(connection)
    return answer.decode().rsplit("Hello ", 1)[1].rstrip("!\n")


def ways(wangell: Wangell, address: str, name: str = NAME) -> list[tuple[str, int]]:
    """How a service is called by way of each node: its address, and the other's node port."""
    (port,) = wangell.cluster.get(f"service/{name}")["spec"]["ports"]
    return [(address, 80), (NODES["node2"], port["nodePort"])]


def handed_to(cluster: Cluster, address: str) -> Mapping[str, str]:
    """By node, the pod that it hands callers of an address over to; no node that hands to none."""
    return {
        node: replica
        for node in cluster.nodes
        for frontend, replica in _elements(cluster, node)
        if frontend == address
    }


def replicas_handed_to(cluster: Cluster) -> set[str]:
    """Every pod's address that any node hands anybody over to."""
    return {replica for node in cluster.nodes for _, replica in _elements(cluster, node)}


def _elements(cluster: Cluster, node: str) -> Iterator[tuple[str, str]]:
    # By its one map: the whole ruleset takes seconds beside 5,000 services.
    listed = cluster.node(node).run("nft", "--json", "list", "map", "inet", "wangell", "handover4")
    for each in json.loads(listed)["nftables"]:
        for key, value in each.get("map", {}).get("elem", ()):
            yield key["elem"]["val"]["concat"][0], value["concat"][0]


@dataclass(frozen=True, slots=True)
class Timings:
    """How long daemons' handovers took to be set: how many took so many seconds or less."""

    counts: Mapping[float, float]

    @property
    def total(self) -> int:
        """How many there were."""
        return int(self.counts[float("inf")])

    def since(self, before: "Timings") -> "Timings":
        """Those alone that were added."""
        return Timings({le: count - before.counts[le] for le, count in self.counts.items()})

    def quantile_ms(self, quantile: float) -> float:
        """As Prometheus's histogram_quantile: straight between the bounds of its bucket."""
        wanted, below_s, below = quantile * self.total, 0.0, 0.0
        for bound_s, count in sorted(self.counts.items()):
            if count >= wanted:
                return 1000 * (below_s + (bound_s - below_s) * (wanted - below) / (count - below))
            below_s, below = bound_s, count
        raise AssertionError("no handover was set")


def timings(cluster: Cluster) -> Timings:
    """Of all daemons together, by their own metric."""
    counts: dict[float, float] = {}
    for address in NODES.values():
        page = cluster.client.curl(f"http://{address}:{METRICS_PORT}/metrics")
        for bound, count in _BUCKET.findall(page):
            counts[float(bound)] = counts.get(float(bound), 0.0) + float(count)
    return Timings(counts)
