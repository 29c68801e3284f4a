"""With a real MetalLB: it gives the address, and goes on announcing it while the service sleeps."""

import json
import re
import socket
from collections.abc import Iterator

import pytest

from tests.cluster.client import OutsideClient
from tests.cluster.waiting import until
from tests.e2e.cold_starts import assert_one_syn_each, cold_start
from tests.e2e.figures import record, summary
from tests.e2e.metallb import MetalLB
from tests.e2e.readme import INSTALL, run
from tests.e2e.rights import rights_of
from tests.e2e.test_rights import CONTROLLER
from tests.e2e.wangell import NAME, SAMPLE, Wangell
from wangell_controller.kube.placeholder import ADDRESS as PLACEHOLDER

pytestmark = pytest.mark.timeout(900)
RUNS = 5
OVERLAY = INSTALL.replace("overlays/default", "overlays/flannel-metallb")
SLICE = f"endpointslice/{NAME}"
# As a service sleeps without the component: it has an address, and no endpoint.
NOBODY = """\
apiVersion: v1
kind: Service
metadata: {name: nobody}
spec: {type: LoadBalancer, ports: [{port: 80}]}
"""


@pytest.fixture(scope="module")
def metallb(installed: Wangell) -> Iterator[MetalLB]:
    """MetalLB, and Wangell as the overlay for it has it; then as it was."""
    run(installed.cluster, OVERLAY)
    installed.wait_until_ready()
    with MetalLB(installed.cluster) as made:
        yield made
    run(installed.cluster, INSTALL)
    installed.wait_until_ready()


@pytest.fixture(scope="module")
def address(installed: Wangell, metallb: MetalLB) -> Iterator[str]:
    """The published manifest, verbatim, and where MetalLB has put it; asleep after 2 s."""
    installed.cluster.apply(SAMPLE)
    until(lambda: bool(installed.status().get("loadBalancerIP")), "an address", timeout_s=30)
    installed.change({"idleTimeout": 2})
    yield str(installed.status()["loadBalancerIP"])
    installed.cluster.kubectl("delete", "wsvc", NAME, "--ignore-not-found")


def who_has(client: OutsideClient, address: str) -> str | None:
    """Ask by ARP, as after a long silence; the MAC that answers, or None after three requests."""
    client.run("ip", "neighbour", "flush", "to", address)
    with client.namespaces.open_socket(kind=socket.SOCK_DGRAM) as asking:
        asking.sendto(b"", (address, 9))

    def entry() -> str:
        return client.run("ip", "neighbour", "show", "to", address)

    until(lambda: bool(re.search("lladdr|FAILED", entry())), f"ARP for {address}", timeout_s=10)
    found = re.search(r"lladdr (\S+)", entry())
    return found[1] if found else None


def macs(wangell: Wangell) -> dict[str, str]:
    """The nodes' own, by node."""
    link = ("ip", "-json", "link", "show", "eth0")
    return {
        name: json.loads(node.run(*link))[0]["address"]
        for name, node in wangell.cluster.nodes.items()
    }


def dropped(wangell: Wangell) -> int:
    """Packets to the placeholder, of all nodes."""
    counter = ("nft", "-j", "list", "counter", "inet", "wangell", "placeholder")
    said = [json.loads(node.run(*counter)) for node in wangell.cluster.nodes.values()]
    return sum(each["nftables"][1]["counter"]["packets"] for each in said)


def test_metallb_gives_the_address_of_the_published_manifest(
    installed: Wangell, address: str
) -> None:
    assert address.startswith("10.200.0.20")
    assert installed.conditions()["AddressAssigned"]["status"] == "True"


def test_the_component_brings_one_right(installed: Wangell, metallb: MetalLB) -> None:
    """The placeholder is applied, deleted with its service, and read where no watch shows it."""
    slices = "endpointslices.discovery.k8s.io"
    wanted = CONTROLLER - {(slices, "", "list watch")}
    both = {(slices, "", "create delete get list patch watch")}
    assert rights_of(installed.cluster, "wangell-controller") == wanted | both


def test_a_sleeping_service_is_announced(
    installed: Wangell, metallb: MetalLB, address: str
) -> None:
    installed.wait_until_cold()
    until(lambda: bool(metallb.announcers(NAME)), "an announcement", timeout_s=20)
    (announcer,) = metallb.announcers(NAME)
    assert who_has(installed.cluster.client, address) == macs(installed)[announcer]


def test_without_a_placeholder_it_would_not_be(installed: Wangell, metallb: MetalLB) -> None:
    cluster = installed.cluster
    cluster.apply(NOBODY)
    given = "{.status.loadBalancer.ingress[0].ip}"
    cluster.wait_for("service/nobody", f"jsonpath={given}")
    nobody = cluster.kubectl("get", "service/nobody", f"--output=jsonpath={given}")
    try:
        assert who_has(cluster.client, nobody) is None
    finally:
        cluster.delete(NOBODY)


def test_a_cold_start_is_one_syn(installed: Wangell, metallb: MetalLB, address: str) -> None:
    client = installed.cluster.client
    starts = []
    for _ in range(RUNS):
        installed.wait_until_cold()
        # First, and not with the SYN: on a busy machine an ARP request may have to be sent again.
        assert who_has(client, address) is not None
        starts.append(cold_start(installed, address))

    record(
        metallb={
            "cold_start_ms": summary([each.time_ms for each in starts]),
            "client_syns_per_wake": {"max": max(each.syns for each in starts)},
            "packets_to_the_placeholder": dropped(installed),
            "withdrawals": len(metallb.withdrawals(address)),
        }
    )
    assert_one_syn_each(starts)
    assert metallb.withdrawals(address) == [], "neither when it woke nor when it went to sleep"


def test_nothing_is_sent_to_the_placeholder(installed: Wangell, address: str) -> None:
    """Not even what no hook holds: a node's own call, which meets the proxy's refusal as before."""
    installed.wait_until_cold()
    cluster_ip = installed.cluster.get(f"service/{NAME}")["spec"]["clusterIP"]
    for node in installed.cluster.nodes.values():
        refused = f"curl --noproxy '*' -s --max-time 2 http://{cluster_ip}/ || true"
        node.run("sh", "-c", refused)
        assert PLACEHOLDER not in node.run("conntrack", "-L")
        assert PLACEHOLDER not in node.run("iptables-save"), "kube-proxy knows nothing of it"
    assert dropped(installed) == 0


def test_deleted_it_is_there_again(installed: Wangell, address: str) -> None:
    before = installed.cluster.get(SLICE)
    installed.cluster.kubectl("delete", SLICE)
    until(lambda: bool(endpoints(installed)), "the placeholder", timeout_s=20)
    after = installed.cluster.get(SLICE)
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    assert after["endpoints"] == before["endpoints"] or before["endpoints"][0]["nodeName"] in macs(
        installed
    )


def test_changed_by_another_it_is_changed_back(installed: Wangell, address: str) -> None:
    patch = '{"endpoints": [{"addresses": ["192.0.2.1"], "conditions": {"ready": true}}]}'
    installed.cluster.kubectl("patch", SLICE, "--type=merge", f"--patch={patch}")
    until(lambda: endpoints(installed) == [PLACEHOLDER], "the placeholder", timeout_s=20)


def test_it_goes_with_the_service(installed: Wangell, address: str) -> None:
    cluster = installed.cluster
    cluster.kubectl("delete", "wsvc", NAME)
    found = cluster.kubectl("get", SLICE, "--ignore-not-found")
    until(lambda: who_has(cluster.client, address) is None, "no answer", timeout_s=20)
    assert found == ""


def endpoints(wangell: Wangell) -> list[str]:
    found = wangell.cluster.kubectl("get", SLICE, "--ignore-not-found", "--output=json")
    said = json.loads(found)["endpoints"] if found else []
    return [address for each in said for address in each["addresses"]]
