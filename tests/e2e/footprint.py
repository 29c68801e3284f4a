"""What something leaves on a cluster and its nodes: taken before and after, and compared."""

import re
from dataclasses import dataclass

from tests.cluster.cluster import Cluster
from tests.cluster.node import Node

# They come and go by themselves: what happened, and who is alive.
PASSING = ("events", "events.events.k8s.io", "leases.coordination.k8s.io")


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    objects: frozenset[str]
    "Every object of the API: namespace, resource/name."
    on_nodes: frozenset[str]
    "nft tables, BPF programs at interfaces, pinned BPF objects, processes, each with its node."

    def beyond(self, other: "Footprint") -> frozenset[str]:
        """What is here and was not there."""
        return (self.objects - other.objects) | (self.on_nodes - other.on_nodes)


def footprint(cluster: Cluster) -> Footprint:
    """What there is now."""
    return Footprint(
        objects=frozenset(_objects(cluster)),
        on_nodes=frozenset(
            f"{node.name}: {each}" for node in cluster.nodes.values() for each in _on(node)
        ),
    )


def _objects(cluster: Cluster) -> list[str]:
    resources = cluster.kubectl("api-resources", "--verbs=list", "--output=name").split()
    kinds = ",".join(each for each in resources if each not in PASSING)
    columns = "--output=custom-columns=K:.kind,N:.metadata.namespace,M:.metadata.name"
    listed = cluster.kubectl("get", kinds, "--all-namespaces", "--no-headers", columns)
    return [" ".join(line.split()) for line in listed.splitlines()]


def _on(node: Node) -> list[str]:
    # kube-proxy's own stay where a test has had it in nftables mode, and are emptied.
    tables = [
        each
        for each in node.run("nft", "list", "tables").splitlines()
        if not each.endswith(" kube-proxy")
    ]
    links = node.run("ip", "-details", "-oneline", "link", "show").splitlines()
    programs = [f"XDP at {link.split()[1]}" for link in links if re.search(r"\bxdp", link)]
    for link in links:
        name = link.split()[1].rstrip(":").partition("@")[0]
        if "bpf" in node.run("tc", "filter", "show", "dev", name, "ingress"):
            programs.append(f"tc at {name}")
    pinned = node.run("find", "/sys/fs/bpf", "-mindepth", "1").splitlines()
    return [*tables, *programs, *pinned, *_pods(node)]


def _pods(node: Node) -> list[str]:
    """The processes of pods, by their commands."""
    found = node.run("sh", "-c", "ps -e -o cgroup:400= -o args= | grep :/kubepods/ || true")
    return [line.split(None, 1)[1] for line in found.splitlines()]
