"""A pod of the node calls the service: its SYN passes no interface that XDP watches."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.clusters import START_TIMEOUT_S, at_zero, metric
from wangell_lab import Lab
from wangell_lab.client import Client
from wangell_lab.namespaces import Namespace
from wangell_lab.programs import program
from wangell_lab.topology import EXAMPLE

CALLER = "node1-pod2"


@pytest.fixture
def cluster(c_server: Path) -> Iterator[Lab]:
    """At zero; a second pod of the node has something to ask."""
    with at_zero([str(c_server)], pods_per_node=2) as lab:
        yield lab


def calling(lab: Lab, host: str = CALLER) -> Client:
    return Client(lab.namespace(host), address=EXAMPLE.address, port=EXAMPLE.port)


def test_a_pod_wakes_it_with_one_syn(cluster: Lab) -> None:
    with cluster.capture(CALLER) as capture:
        exchange = calling(cluster).get()
        account = cluster.daemon.cold_starts.next(timeout_s=5)
        syns = capture.syns(exchange.client_port)
    assert exchange.status == 200
    assert (account.outcome, account.clients) == ("answered", 1)
    assert len(syns) == 1


def test_pods_and_callers_from_outside_wait_for_the_same_wake(cluster: Lab) -> None:
    with cluster.capture(CALLER) as inside, cluster.capture() as outside:
        with calling(cluster).connect() as from_pod, cluster.client.connect() as from_outside:
            assert from_pod.request().status == from_outside.request().status == 200
            ports = from_pod.client_port, from_outside.client_port
        account = cluster.daemon.cold_starts.next(timeout_s=5)
        assert len(inside.syns(ports[0])) == 1
        assert len(outside.syns(ports[1])) == 1
    assert account.outcome == "answered"


def test_it_wakes_again_and_again(cluster: Lab) -> None:
    caller = calling(cluster)
    for _ in range(5):
        with cluster.capture(CALLER) as capture:
            exchange = caller.get()
            assert cluster.daemon.cold_starts.next(timeout_s=5).outcome == "answered"
            assert len(capture.syns(exchange.client_port)) == 1
        cluster.end_servers()
        cluster.wait_until_at_zero(timeout_s=10)


def test_a_pods_calls_keep_it_awake(c_server: Path) -> None:
    with at_zero([str(c_server)], pods_per_node=2, idle_timeout_s=1) as lab:
        caller = calling(lab)
        caller.get()
        until_s = time.monotonic() + 3  # past idleTimeout more than once, if pods did not count
        while time.monotonic() < until_s:
            assert caller.get().status == 200
        assert metric(lab.metrics(lab.daemon), "wangell_wakes_total") == 1


def test_a_pod_is_refused_at_once_when_the_wake_fails(tmp_path: Path) -> None:
    with at_zero(["/bin/false"], pods_per_node=2) as lab, pytest.raises(ConnectionRefusedError):
        calling(lab).get()


def test_a_restart_leaves_no_gap_and_uninstall_leaves_nothing(cluster: Lab) -> None:
    node = cluster.namespace("node1")
    cluster.daemon.stop()
    assert "wangell_call" in filters(node, "pod2"), "while no daemon runs"
    cluster.daemon.restart()
    cluster.wait_until_at_zero(timeout_s=START_TIMEOUT_S)
    with cluster.capture(CALLER) as capture:
        exchange = calling(cluster).get()
        assert len(capture.syns(exchange.client_port)) == 1
    cluster.daemon.stop()
    node.run([program("wangell-daemon"), "uninstall", "--interface", "eth0"], check=True)
    assert filters(node, "pod2") == filters(node, "pod1") == ""


def filters(node: Namespace, interface: str) -> str:
    return node.run(["tc", "filter", "show", "dev", interface, "ingress"], check=True).stdout
