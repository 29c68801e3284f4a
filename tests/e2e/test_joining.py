"""A node leaves for good, and one joins: its daemon has the table before traffic enters by it."""

import threading
import time
from collections.abc import Iterator

import pytest

from tests.cluster.client import OutsideClient
from tests.cluster.cluster import Cluster
from tests.cluster.network import INTERFACE, NODES
from tests.cluster.waiting import until
from tests.e2e.callers import PodCaller, manifest
from tests.e2e.calls import answered, captured_call
from tests.e2e.cold_starts import request
from tests.e2e.figures import record
from tests.e2e.joining import Joining
from tests.e2e.readme import INSTALL, run
from tests.e2e.rights import rights_of
from tests.e2e.test_daemon_life import daemon_of
from tests.e2e.test_rights import CONTROLLER
from tests.e2e.wangell import Wangell, sample

pytestmark = pytest.mark.timeout(400)
NODE, OTHER = "node2", "node1"
OVERLAY = INSTALL.replace("deploy/kustomize/overlays/default", "tests/e2e/startup-taint")
# Each is called once, but for the last: it is called from the kubelet's start on.
SERVICES = {
    name: f"10.200.1.{number}"
    for number, name in enumerate(
        ("by-port", "by-address", "by-pod", "by-later-address", "knocked-at"), 140
    )
}
LATER = "10.200.0.77"
KNOCK_EACH_S = 0.05
# Of the caller's time: its handshake, its request and the answer.
AROUND_A_WAKE_MS = 150


class Knocking:
    """Somebody calls a node port from the start on, until the first answer."""

    def __init__(self, client: OutsideClient, address: str, port: int) -> None:
        self._where = client, address, port
        self._over = threading.Event()
        self._began_s = time.monotonic()
        self._thread = threading.Thread(target=self._knock)
        self._thread.start()
        self.refused = 0
        self.answered_after_s: float | None = None

    def _knock(self) -> None:
        while not self._over.wait(KNOCK_EACH_S):
            try:
                answered(*self._where)
            except OSError:
                self.refused += 1
            else:
                self.answered_after_s = round(time.monotonic() - self._began_s, 2)
                return

    def end(self) -> None:
        self._over.set()
        self._thread.join()


@pytest.fixture(scope="module")
def tainting(installed: Wangell) -> Iterator[Wangell]:
    """Wangell with the component, then as it was; five services asleep, replicas on the other."""
    cluster = installed.cluster
    run(cluster, OVERLAY)
    installed.wait_until_ready()
    for name, address in SERVICES.items():
        installed.declare(address, node=OTHER, manifest=sample(name), name=name)
        installed.change({"idleTimeout": 2}, name)
        installed.pin(OTHER, name)
    yield installed
    for name, address in SERVICES.items():
        installed.remove(address, name)
    run(cluster, INSTALL)
    installed.wait_until_ready()


@pytest.fixture(scope="module")
def left(tainting: Wangell) -> Iterator[Wangell]:
    """While a service is awake a node leaves; in the end it is there again, whatever happened."""
    cluster = tainting.cluster
    request(cluster, SERVICES["knocked-at"])
    tainting.wait_until_phase("Warm", "knocked-at")
    cluster.remove_node(NODE)
    yield tainting
    cluster.delete(manifest(NODE))
    if not cluster.kubectl("get", f"node/{NODE}", "--ignore-not-found"):
        Joining(cluster, NODE).until("registered", "untainted")
    cluster.wait_for(f"node/{NODE}", "condition=Ready")
    cluster.node(NODE).wait_for_kube_proxy()


def node_port(cluster: Cluster, name: str) -> int:
    return int(cluster.get(f"service/{name}")["spec"]["ports"][0]["nodePort"])


def woke_ms(wangell: Wangell, name: str) -> float:
    """From the first SYN that was held, as the daemon there tells."""
    wangell.wait_for_event(r"woke in \d+ ms$", name)
    (told,) = [each for each in wangell.events(name) if each.startswith("woke in")]
    return float(told.split()[2])


def test_the_controller_may_change_nodes_for_it_and_nothing_else(tainting: Wangell) -> None:
    may = CONTROLLER - {("nodes", "", "list watch")} | {("nodes", "", "list patch watch")}
    assert rights_of(tainting.cluster, "wangell-controller") == may


def test_an_address_that_a_node_has_later_is_held(tainting: Wangell) -> None:
    """As keepalived moves one. kube-proxy takes a node port's calls at whatever is local."""
    cluster = tainting.cluster
    node, there = cluster.node(OTHER), (f"{LATER}/24", "dev", INTERFACE)
    daemon = daemon_of(cluster, OTHER)

    def is_told(words: str) -> bool:
        told = [
            line for line in tainting.log(daemon).splitlines() if "addresses of the node" in line
        ]
        return bool(told) and told[-1].endswith(words)

    tainting.wait_until_cold("by-later-address")
    node.run("ip", "address", "add", *there)
    try:
        until(lambda: is_told(f"{NODES[OTHER]}, {LATER}"), "its coming", timeout_s=10)
        made = captured_call(cluster.client, LATER, node_port(cluster, "by-later-address"))
    finally:
        node.run("ip", "address", "delete", *there)
    until(lambda: is_told(f": {NODES[OTHER]}"), "its going", timeout_s=10)
    assert made.syns == 1 + (made.took_ms > 1000), made
    record(
        later_address={"cold_start_ms": round(made.took_ms, 1), "client_syns_per_wake": made.syns}
    )


def test_a_node_that_leaves_holds_nothing_up(left: Wangell) -> None:
    left.wait_until_cold("knocked-at")
    assert left.conditions("knocked-at")["ScaleDownBlocked"]["status"] == "False"


def test_who_joins_has_the_table_before_traffic(left: Wangell) -> None:
    """The node's port and the load balancer's way by it, and a pod there, as soon as they may."""
    cluster = left.cluster
    for name in SERVICES:
        left.wait_until_cold(name)
    cluster.apply(manifest(NODE, is_scheduled=True))
    joining = Joining(cluster, NODE)
    knocking = Knocking(cluster.client, NODES[NODE], node_port(cluster, "knocked-at"))
    try:
        joining.until("untainted")
        cluster.announce(SERVICES["by-address"], node=NODE)
        calls = {
            "by-port": captured_call(cluster.client, NODES[NODE], node_port(cluster, "by-port")),
            "by-address": captured_call(cluster.client, SERVICES["by-address"], 80),
        }
        joining.until("daemon ready", "node ready", "scheduled")
        pod = PodCaller(cluster, NODE, is_scheduled=True)
        try:
            calls["by-pod"] = captured_call(
                pod, cluster.get("service/by-pod")["spec"]["clusterIP"], 80
            )
        finally:
            pod.remove()
    finally:
        knocking.end()

    came = joining.after_s
    record(
        joining={
            "after_kubelets_start_s": came,
            "refused_before": knocking.refused,
            "first_answer_after_s": knocking.answered_after_s,
            "calls": {
                name: {"ms": round(each.took_ms, 1), "syns": each.syns}
                for name, each in calls.items()
            },
        }
    )
    assert came["registered"] <= came["daemon running"] <= came["untainted"] <= came["scheduled"]
    for name, each in calls.items():
        # Its first SYN is what woke it, held until the answer: nothing was lost before the table.
        assert abs(each.took_ms - woke_ms(left, name)) < AROUND_A_WAKE_MS, (name, each)
        # A start that takes longer has the caller's own SYN of that second, which is held, too.
        assert each.syns == 1 + (each.took_ms > 1000), (name, each)
    assert knocking.answered_after_s is not None
