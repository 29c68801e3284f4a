"""Whoever calls, wherever from: one SYN, and no run in the class of the caller's own retry."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.cluster.bare import SETTLE_S
from tests.cluster.client import OutsideClient
from tests.cluster.network import NODES
from tests.cluster.waiting import pause
from tests.e2e.callers import PodCaller
from tests.e2e.calls import Call, captured_call, counted_call
from tests.e2e.figures import record_within, summary
from tests.e2e.sleepers import named_alike, sleepers, wait_until_all_cold
from tests.e2e.wangell import Wangell

pytestmark = pytest.mark.timeout(900)
PORT = 80
RUNS, OWN_RUNS = 3, 2
# It writes once a second, and twice in a row after that long: a pod's address, then its readiness.
KUBE_PROXY_RESTS_S = 2.5
# A round of calls takes as long: nobody goes to sleep beside a call that is timed.
AWAKE_S = 10
# Where callers are that no ingress hook sees, by where their replica starts.
OWN_CALLERS = ("hostNetwork pod", "the node itself")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Who calls whom, and where the replica starts."""

    caller: str
    "outside, the node that a pod of the caller's is on, or one of the node's own"
    by: str
    "ClusterIP, LoadBalancer, or the node whose port is called"
    replica: str

    @property
    def name(self) -> str:
        """As figures name it."""
        who = f"pod on {self.caller}" if self.caller in NODES else self.caller
        if self.caller in OWN_CALLERS:
            by = "NodePort" if self.by in NODES else self.by
        else:
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
OWN_PLACES = [
    Place(caller=caller, by=by, replica=replica)
    for caller in OWN_CALLERS
    for by in ("ClusterIP", "node1", "LoadBalancer")
    for replica in NODES
]


Caller = Callable[[OutsideClient, str, int], Call]
Calls = Mapping[Place, Sequence[Call]]


@pytest.fixture(scope="module")
def clients(installed: Wangell) -> Iterator[Mapping[str, OutsideClient]]:
    """One outside, a pod on each node; on node1 a pod in its own network, and a process of it."""
    cluster = installed.cluster
    with ExitStack() as leaving:
        pods = {node: PodCaller(cluster, node) for node in NODES}
        on_host = PodCaller(cluster, "node1", is_on_host=True)
        for pod in (*pods.values(), on_host):
            leaving.callback(pod.remove)
        node = OutsideClient(cluster.node("node1").namespaces, cluster.directory)
        own = dict(zip(OWN_CALLERS, (on_host, node), strict=True))
        yield {"outside": cluster.client, **pods, **own}


@pytest.fixture(scope="module")
def calls(installed: Wangell, clients: Mapping[str, OutsideClient]) -> Calls:
    """By place, what became of its calls: SYNs as a capture has them."""
    return called_in_rounds(installed, clients, PLACES, RUNS, captured_call)


@pytest.fixture(scope="module")
def own_calls(installed: Wangell, clients: Mapping[str, OutsideClient]) -> Calls:
    """By place, what became of its calls. No capture sees what is held there: the kernel counts."""
    return called_in_rounds(installed, clients, OWN_PLACES, OWN_RUNS, counted_call)


def called_in_rounds(
    wangell: Wangell,
    clients: Mapping[str, OutsideClient],
    places: Sequence[Place],
    rounds: int,
    call: Caller,
) -> Calls:
    """Each place has a service of its own, and all are called before any is again."""
    names = {place: f"called-{number}" for number, place in enumerate(places)}
    specs = {
        names[place]: {"idleTimeout": AWAKE_S, "template": {"spec": {"nodeName": place.replica}}}
        for place in places
    }
    calls: dict[Place, list[Call]] = {place: [] for place in places}
    with sleepers(wangell, specs) as addresses:
        for _ in range(rounds):
            wait_until_all_cold(wangell, specs)
            for place, name in names.items():
                address, port = frontend(wangell, place.by, name, addresses[name])
                pause(SETTLE_S)  # What the last pod's start leaves to do is not this one's time.
                calls[place].append(call(clients[place.caller], address, port))
    return calls


def frontend(wangell: Wangell, by: str, name: str, address: str) -> tuple[str, int]:
    """The address and port that are called."""
    spec = wangell.cluster.get(f"service/{name}")["spec"]
    if by in NODES:
        return NODES[by], spec["ports"][0]["nodePort"]
    return (spec["clusterIP"] if by == "ClusterIP" else address), PORT


def recorded(name: str, calls: Sequence[Call]) -> tuple[list[float], list[int]]:
    """Write their figures down; return their times, in ms, and their SYNs."""
    times_ms, syns = [each.took_ms for each in calls], [each.syns for each in calls]
    figures = {"cold_start_ms": summary(times_ms), "client_syns_per_wake": {"max": max(syns)}}
    record_within("callers", name, **figures)
    return times_ms, syns


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.name)
def test_it_is_one_syn(calls: Calls, place: Place) -> None:
    times_ms, syns = recorded(place.name, calls[place])
    assert syns == [1] * RUNS
    assert max(times_ms) < 1000, "no run may be in the class of the caller's own retry"


@pytest.mark.parametrize("place", OWN_PLACES, ids=lambda place: place.name)
def test_the_nodes_own_calls_are_one_syn(own_calls: Calls, place: Place) -> None:
    """Even the caller's own retry would be within the bound."""
    times_ms, syns = recorded(place.name, own_calls[place])
    # A start that takes longer has the caller's own SYN of that second, which is held, too.
    assert syns == [1 + (took_ms > 1000) for took_ms in times_ms]
    assert max(times_ms) < 1100


def test_the_nodes_own_calls_beside_kube_proxy_in_nftables_mode(
    installed: Wangell, clients: Mapping[str, OutsideClient]
) -> None:
    """It refuses before nat what has no endpoint, also after LISTEN: its word is waited for.

    Called right after it has written for another Service, 1148 ms were seen, which is its second.
    """
    caller = OWN_CALLERS[0]
    installed.cluster.use_kube_proxy("nftables")
    try:
        with sleepers(installed, named_alike("called", OWN_RUNS)) as addresses:
            calls = []
            for each in addresses.items():
                pause(KUBE_PROXY_RESTS_S)
                front = frontend(installed, "ClusterIP", *each)
                calls.append(counted_call(clients[caller], *front))
    finally:
        installed.cluster.use_kube_proxy("iptables")
    times_ms, syns = recorded(f"{caller}, ClusterIP, kube-proxy in nftables mode", calls)
    assert max(syns) <= 2, "its own retry may be what finds the proxy ready"
    assert max(times_ms) < 1100
