"""Whoever calls, wherever from: one SYN, and no run in the class of the caller's own retry."""

import socket
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.cluster.client import SYN, OutsideClient
from tests.cluster.network import NODES
from tests.e2e.callers import PodCaller
from tests.e2e.figures import record_within, summary
from tests.e2e.wangell import NAME, Wangell

pytestmark = pytest.mark.timeout(900)
ADDRESS, PORT = "10.200.1.106", 80
RUNS, OWN_RUNS = 5, 2
# Where callers are that no ingress hook sees, by where their replica starts.
OWN_CALLERS = ("hostNetwork pod", "the node itself")
# struct tcp_info of linux/tcp.h
RETRANSMISSIONS = struct.Struct("=100xI")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Who calls whom, and where the replica starts."""

    caller: str
    "outside, or the node that a pod of the caller's is on"
    by: str
    "ClusterIP, LoadBalancer, or the node whose port is called"
    replica: str

    @property
    def name(self) -> str:
        """As figures name it."""
        who = self.caller if self.caller == "outside" else f"pod on {self.caller}"
        by = f"NodePort of {self.by}" if self.by in NODES else self.by
        return f"{who}, {by}, replica on {self.replica}"


PLACES = [
    Place(caller="node1", by="ClusterIP", replica="node1"),
    Place(caller="node1", by="ClusterIP", replica="node2"),
    Place(caller="node2", by="LoadBalancer", replica="node1"),
    Place(caller="node2", by="LoadBalancer", replica="node2"),
    Place(caller="outside", by="node1", replica="node1"),
    Place(caller="outside", by="node1", replica="node2"),
    Place(caller="node1", by="node1", replica="node1"),
    Place(caller="node1", by="node2", replica="node1"),
    Place(caller="node1", by="node2", replica="node2"),
]


@pytest.fixture(scope="module")
def callers(installed: Wangell) -> Iterator[Mapping[str, OutsideClient]]:
    """One outside, one on each node."""
    with ExitStack() as leaving:
        pods = {node: PodCaller(installed.cluster, node) for node in NODES}
        for pod in pods.values():
            leaving.callback(pod.remove)
        yield {"outside": installed.cluster.client, **pods}


@pytest.fixture(scope="module")
def own_callers(installed: Wangell) -> Iterator[Mapping[str, OutsideClient]]:
    """Both on node1: a pod in the node's own network, and a process of the node."""
    cluster = installed.cluster
    pod = PodCaller(cluster, "node1", is_on_host=True)
    node = OutsideClient(cluster.node("node1").namespaces, cluster.directory)
    yield dict(zip(OWN_CALLERS, (pod, node), strict=True))
    pod.remove()


@pytest.fixture(scope="module")
def called(installed: Wangell) -> Iterator[Wangell]:
    """The published service, asleep after 2 s without a call."""
    installed.declare(ADDRESS)
    installed.change({"idleTimeout": 2})
    yield installed
    installed.cluster.kubectl("delete", "wsvc", NAME, "--ignore-not-found")
    installed.cluster.withdraw(ADDRESS)


def frontend(wangell: Wangell, by: str) -> tuple[str, int]:
    """The address and port that are called."""
    spec = wangell.cluster.get(f"service/{NAME}")["spec"]
    if by in NODES:
        return NODES[by], spec["ports"][0]["nodePort"]
    return (spec["clusterIP"] if by == "ClusterIP" else ADDRESS), PORT


def request(client: OutsideClient, address: str, port: int) -> float:
    """One HTTP request; how long it took, in ms."""
    return counted_request(client, address, port)[0]


def counted_request(client: OutsideClient, address: str, port: int) -> tuple[float, int]:
    """How long it took, in ms, and how many SYNs its own kernel sent."""
    began = time.monotonic()
    with client.connect(address, port) as connection:
        about = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, RETRANSMISSIONS.size)
        (sent_again,) = RETRANSMISSIONS.unpack(about)
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b""
        while chunk := connection.recv(4096):
            answer += chunk
    assert answer.endswith(b"Hello World!\n"), answer
    return (time.monotonic() - began) * 1000, 1 + sent_again


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.name)
def test_it_is_one_syn(called: Wangell, callers: Mapping[str, OutsideClient], place: Place) -> None:
    called.change({"template": {"spec": {"nodeName": place.replica}}})
    client, (address, port) = callers[place.caller], frontend(called, place.by)
    times_ms, syns = [], []
    for _ in range(RUNS):
        called.wait_until_cold()
        with client.capture(f"host {address} and port {port}") as capture:
            times_ms.append(request(client, address, port))
        syns.append(capture.count(f"{SYN} and dst host {address}"))

    record_within(
        "callers",
        place.name,
        cold_start_ms=summary(times_ms),
        client_syns_per_wake={"max": max(syns)},
    )
    assert syns == [1] * RUNS
    assert max(times_ms) < 1000, "no run may be in the class of the caller's own retry"


@pytest.mark.parametrize("replica", list(NODES))
@pytest.mark.parametrize("by", ["ClusterIP", "node1", "LoadBalancer"])
@pytest.mark.parametrize("caller", OWN_CALLERS)
def test_the_nodes_own_calls_are_one_syn(
    called: Wangell, own_callers: Mapping[str, OutsideClient], caller: str, by: str, replica: str
) -> None:
    """Even the caller's own retry would be within the bound. No capture sees what is held there."""
    called.change({"template": {"spec": {"nodeName": replica}}})
    client, (address, port) = own_callers[caller], frontend(called, by)
    times_ms, syns = [], []
    for _ in range(OWN_RUNS):
        called.wait_until_cold()
        took_ms, sent = counted_request(client, address, port)
        times_ms.append(took_ms)
        syns.append(sent)

    record_within(
        "callers",
        f"{caller}, {'NodePort' if by in NODES else by}, replica on {replica}",
        cold_start_ms=summary(times_ms),
        client_syns_per_wake={"max": max(syns)},
    )
    # A start that takes longer has the caller's own SYN of that second, which is held, too.
    assert syns == [1 + (took_ms > 1000) for took_ms in times_ms]
    assert max(times_ms) < 1100


def test_the_nodes_own_calls_beside_kube_proxy_in_nftables_mode(
    called: Wangell, own_callers: Mapping[str, OutsideClient]
) -> None:
    """It refuses before nat what has no endpoint, also after LISTEN: its word is waited for."""
    client, (address, port) = own_callers[OWN_CALLERS[0]], frontend(called, "ClusterIP")
    times_ms, syns = [], []
    called.cluster.use_kube_proxy("nftables")
    try:
        for _ in range(OWN_RUNS):
            called.wait_until_cold()
            took_ms, sent = counted_request(client, address, port)
            times_ms.append(took_ms)
            syns.append(sent)
    finally:
        called.cluster.use_kube_proxy("iptables")
    record_within(
        "callers",
        f"{OWN_CALLERS[0]}, ClusterIP, kube-proxy in nftables mode",
        cold_start_ms=summary(times_ms),
        client_syns_per_wake={"max": max(syns)},
    )
    assert max(syns) <= 2, "its own retry may be what finds the proxy ready"
    assert max(times_ms) < 1100
