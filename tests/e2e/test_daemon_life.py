"""Daemons end and come back, a kubelet stops, a node joins: who is served stays served."""

import concurrent.futures
import os
import signal
import time
from collections.abc import Iterator

import pytest

from tests.cluster.client import SYN
from tests.cluster.cluster import Cluster
from tests.cluster.network import NODES
from tests.cluster.waiting import until
from tests.e2e.cold_starts import assert_one_syn_each, cold_start, request
from tests.e2e.conftest import ADDRESS
from tests.e2e.figures import record_within
from tests.e2e.sleepers import named_alike, sleepers, wait_until_all_cold
from tests.e2e.traffic import Traffic
from tests.e2e.wangell import SYSTEM, Wangell, sample

pytestmark = pytest.mark.timeout(300)
WARM, WARM_ADDRESS = "warm", "10.200.1.110"
DAEMONS = "--selector=app.kubernetes.io/name=wangell-daemon"
# A client's retries come 1, 3 and 7 s after its first SYN; a daemon is back well before the last.
ANSWERED_WITHIN_S = 7.5
# Kubernetes gives a silent kubelet 20 s here (tests/cluster/control_plane.py).
NOT_READY_WITHIN_S = 60


@pytest.fixture
def warm(declared: Wangell) -> Iterator[Wangell]:
    """Beside the sleeping service another, awake. Both are called by way of node1."""
    declared.declare(WARM_ADDRESS, manifest=sample(WARM), name=WARM)
    request(declared.cluster, WARM_ADDRESS)
    declared.wait_until_phase("Warm", WARM)
    declared.wait_until_cold()
    yield declared
    declared.remove(WARM_ADDRESS, WARM)
    declared.wait_until_ready()


def daemon_of(cluster: Cluster, node: str) -> str:
    """Its pod: the one that is not being deleted; empty where there is none."""
    pods = cluster.get("pods", SYSTEM, DAEMONS)["items"]
    names = [
        each["metadata"]["name"]
        for each in pods
        if each["spec"]["nodeName"] == node and "deletionTimestamp" not in each["metadata"]
    ]
    return names[0] if names else ""


def is_attached(cluster: Cluster, node: str) -> bool:
    return "wangell_wake" in cluster.node(node).run("ip", "-details", "link", "show", "dev", "eth0")


def processes(cluster: Cluster, node: str) -> int:
    """How many daemons run on a node."""
    listed = cluster.node(node).run("sh", "-c", "ps -e -o cgroup:400= -o args= | cat")
    lines = [line for line in listed.splitlines() if ":/kubepods/" in line]
    return sum("wangell-daemon" in line.split(None, 1)[1] for line in lines)


def test_a_daemons_pod_is_deleted_and_nobody_notices_but_who_wakes(warm: Wangell) -> None:
    """The SYN comes while there is no daemon: its program holds it, the successor replays it."""
    cluster, before = warm.cluster, daemon_of(warm.cluster, "node1")
    with (
        concurrent.futures.ThreadPoolExecutor() as pool,
        Traffic(cluster, WARM_ADDRESS) as traffic,
        cluster.client.capture(f"host {ADDRESS}") as capture,
    ):
        cluster.kubectl("delete", f"pod/{before}", SYSTEM, "--wait=false")
        until(lambda: processes(cluster, "node1") == 0, "its end", timeout_s=15)
        assert is_attached(cluster, "node1"), "SIGTERM leaves the program attached"
        call = pool.submit(request, cluster, ADDRESS)
        took_ms = call.result()
        until(lambda: daemon_of(cluster, "node1") not in ("", before), "the next", timeout_s=30)

    syns = capture.count(f"{SYN} and dst host {ADDRESS}")
    record_within(
        "daemon_life",
        "pod deleted",
        requests=traffic.requests,
        failed=len(traffic.failures),
        held_meanwhile_ms=round(took_ms, 1),
        client_syns=syns,
    )
    assert traffic.failures == []
    assert traffic.requests > 100
    assert took_ms < ANSWERED_WITHIN_S * 1000
    until(lambda: warm.status()["activations"] == 1, "its status", timeout_s=10)


def test_a_rolling_update_stops_no_traffic(warm: Wangell) -> None:
    cluster = warm.cluster
    before = {node: daemon_of(cluster, node) for node in NODES}
    with (
        concurrent.futures.ThreadPoolExecutor() as pool,
        Traffic(cluster, WARM_ADDRESS) as traffic,
    ):
        cluster.kubectl("rollout", "restart", "daemonset/wangell-daemon", SYSTEM)
        until(lambda: daemon_of(cluster, "node1") != before["node1"], "its turn", timeout_s=60)
        call = pool.submit(request, cluster, ADDRESS)
        cluster.kubectl("rollout", "status", "daemonset/wangell-daemon", SYSTEM, "--timeout=90s")
        took_ms = call.result()

    record_within(
        "daemon_life",
        "rolling update",
        requests=traffic.requests,
        failed=len(traffic.failures),
        held_meanwhile_ms=round(took_ms, 1),
    )
    assert traffic.failures == []
    assert took_ms < ANSWERED_WITHIN_S * 1000
    assert not {daemon_of(cluster, node) for node in NODES} & set(before.values())


@pytest.fixture
def without_kubelet(installed: Wangell) -> Iterator[str]:
    """A node whose kubelet is stopped, as Kubernetes has noticed by now; it goes on afterwards."""
    cluster, node = installed.cluster, "node2"
    os.kill(cluster.node(node).kubelet.pid, signal.SIGSTOP)
    try:
        cluster.wait_for(f"node/{node}", "condition=Ready=Unknown", timeout_s=NOT_READY_WITHIN_S)
        yield node
    finally:
        os.kill(cluster.node(node).kubelet.pid, signal.SIGCONT)
        cluster.wait_for(f"node/{node}", "condition=Ready")


def test_a_kubelet_that_stopped_touches_nobody_elses_services(
    installed: Wangell, without_kubelet: str
) -> None:
    """They wake, serve and sleep again: its node's daemon lives on, and answers for it."""
    cluster, starts = installed.cluster, []
    with sleepers(installed, named_alike("wakes", 4, idleTimeout=2)) as addresses:
        for entry, (name, address) in zip((*NODES, *NODES), addresses.items(), strict=True):
            cluster.announce(address, node=entry)
            starts.append(cold_start(installed, address, name))
        began = time.monotonic()
        wait_until_all_cold(installed, addresses)
        slept_after_s = time.monotonic() - began
        deployments = [cluster.get(f"deployment/{name}")["spec"] for name in addresses]

    assert without_kubelet not in {each.node for each in starts}
    assert_one_syn_each(starts)
    record_within(
        "daemon_life",
        "kubelet stopped",
        cold_start_ms_max=round(max(each.time_ms for each in starts), 1),
        client_syns_per_wake={"max": max(each.syns for each in starts)},
        slept_after_s=round(slept_after_s, 1),
    )
    assert [each["replicas"] for each in deployments] == [0] * len(starts)
