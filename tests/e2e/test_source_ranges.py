"""loadBalancerSourceRanges: whoever is outside wakes nothing and reaches nothing, cold or warm."""

import json
import re
import time
from collections.abc import Iterator

import pytest

from tests.cluster.client import SYN, Capture, OutsideClient
from tests.cluster.network import CLIENT, NODES
from tests.cluster.waiting import until
from tests.e2e.callers import PodCaller
from tests.e2e.figures import record_within
from tests.e2e.wangell import NAME, SAMPLE, Wangell

pytestmark = pytest.mark.timeout(900)
ADDRESS, PORT = "10.200.1.120", 80
INSIDE, OUTSIDE = CLIENT, "10.200.0.51"
NODE = "node1"
# Two retries of a SYN: whoever is let in is let in long before.
PATIENCE_S = 3.5


@pytest.fixture(scope="module")
def ranged(installed: Wangell) -> Iterator[Wangell]:
    """The published service for the client's first address alone; it has a second one, too."""
    client = installed.cluster.client
    client.run("ip", "address", "add", f"{OUTSIDE}/24", "dev", "eth0")
    spec = f"spec: {{loadBalancerSourceRanges: [{INSIDE}/32], "
    manifest = SAMPLE.read_text().replace("spec: {", spec)
    assert "Ranges" in manifest
    installed.declare(ADDRESS, node=NODE, manifest=manifest)
    installed.change({"idleTimeout": 2})
    yield installed
    installed.remove(ADDRESS)
    client.run("ip", "address", "delete", f"{OUTSIDE}/24", "dev", "eth0")


def answers(client: OutsideClient, source: str, address: str = ADDRESS, port: int = PORT) -> bool:
    """Whether one HTTP request from this address of the client's is answered."""
    with client.namespaces.open_socket() as caller:
        caller.settimeout(PATIENCE_S)
        caller.bind((source, 0))
        try:
            caller.connect((address, port))
            caller.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return caller.recv(4096).startswith(b"HTTP/1.")
        except (TimeoutError, ConnectionError):
            return False


def shut_out(wangell: Wangell) -> int:
    """Packets from outside the ranges, as the node's daemon counts them."""
    url = f"http://{NODES[NODE]}:9464/metrics"
    said = wangell.cluster.node(NODE).run("curl", "--noproxy", "*", "-sf", url)
    found = re.search(r'^wangell_xdp_packets_total{reason="outside_ranges"} (\S+)', said, re.M)
    return int(float(found[1])) if found else 0


def handovers(wangell: Wangell) -> str:
    """The addresses that the node hands over now."""
    listed = wangell.cluster.node(NODE).run("nft", "list", "map", "inet", "wangell", "handover4")
    return listed.partition("elements")[2]


def replies(capture: Capture) -> int:
    """Whatever came back to the outsider."""
    return capture.count(f"dst host {OUTSIDE}")


def test_cold_an_outsider_wakes_nothing(ranged: Wangell) -> None:
    client = ranged.cluster.client
    ranged.wait_until_cold()
    before = shut_out(ranged)
    with client.capture(f"host {OUTSIDE} and host {ADDRESS}") as capture:
        assert not answers(client, OUTSIDE)
        until(lambda: shut_out(ranged) > before, "a drop that is counted", timeout_s=5)
    sent, dropped = capture.count(f"{SYN} and src host {OUTSIDE}"), shut_out(ranged) - before

    record_within(
        "source_ranges", "cold, outside", syns=sent, dropped=dropped, answers=replies(capture)
    )
    assert dropped == sent
    assert replies(capture) == 0, "no SYN-ACK, no RST, no ICMP"
    assert (ranged.status()["phase"], ranged.pods()) == ("Cold", [])


def test_an_insider_wakes_it_with_one_syn_and_an_outsider_gets_nothing_of_it(
    ranged: Wangell,
) -> None:
    """Neither while the handover stands, which comes before kube-proxy's check, nor after it."""
    client = ranged.cluster.client
    ranged.change({"idleTimeout": 60})
    ranged.wait_until_cold()
    with client.capture(f"host {INSIDE} and host {ADDRESS}") as woken:
        began = time.monotonic()
        assert answers(client, INSIDE)
        cold_start_ms = (time.monotonic() - began) * 1000
    with client.capture(f"host {OUTSIDE} and host {ADDRESS}") as handed_over:
        assert ADDRESS in handovers(ranged), "it stands"
        assert not answers(client, OUTSIDE)
    until(lambda: ADDRESS not in handovers(ranged), "kube-proxy's turn", timeout_s=40)
    with client.capture(f"host {OUTSIDE} and host {ADDRESS}") as routed:
        assert not answers(client, OUTSIDE)
        assert answers(client, INSIDE)

    syns = woken.count(f"{SYN} and src host {INSIDE}")
    record_within(
        "source_ranges",
        "warm",
        inside={"cold_start_ms": round(cold_start_ms, 1), "client_syns": syns},
        outside_answers={"handed over": replies(handed_over), "routed": replies(routed)},
    )
    assert syns == 1
    assert (replies(handed_over), replies(routed)) == (0, 0)
    for node in ranged.cluster.nodes.values():
        assert OUTSIDE not in node.run("conntrack", "-L"), "no connection was ever made"


def test_a_pod_is_outside_by_the_load_balancers_address_and_not_by_the_cluster_ip(
    ranged: Wangell,
) -> None:
    ranged.change({"idleTimeout": 2})
    ranged.wait_until_cold()
    cluster_ip = ranged.cluster.get(f"service/{NAME}")["spec"]["clusterIP"]
    pod = PodCaller(ranged.cluster, NODE)
    try:
        assert not answers(pod, "0.0.0.0")
        assert ranged.status()["phase"] == "Cold"
        assert answers(pod, "0.0.0.0", cluster_ip)
    finally:
        pod.remove()


def test_by_the_node_port_whoever_will_as_with_any_service(ranged: Wangell) -> None:
    ranged.wait_until_cold()
    (port,) = ranged.cluster.get(f"service/{NAME}")["spec"]["ports"]
    assert answers(ranged.cluster.client, OUTSIDE, NODES[NODE], port["nodePort"])


def test_other_ranges_count_at_once(ranged: Wangell) -> None:
    client = ranged.cluster.client
    ranged.change({"loadBalancerSourceRanges": [f"{OUTSIDE}/32"]})
    wait_until_read(ranged, f"{OUTSIDE}/32")
    assert answers(client, OUTSIDE)
    assert not answers(client, INSIDE)
    ranged.change({"loadBalancerSourceRanges": None})
    wait_until_read(ranged, None)
    assert answers(client, OUTSIDE)
    assert answers(client, INSIDE)


def wait_until_read(wangell: Wangell, source: str | None) -> None:
    """Return once the Service has it; daemons have it some milliseconds later."""

    def has_it() -> bool:
        said = wangell.cluster.get(f"service/{NAME}")["spec"].get("loadBalancerSourceRanges")
        return bool(said == (None if source is None else [source]))

    until(has_it, json.dumps(source), timeout_s=20)
