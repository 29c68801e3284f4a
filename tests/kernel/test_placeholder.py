"""What a proxy would send to a sleeping service's placeholder gets nowhere, and pins nobody."""

import contextlib
import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.test_handover import FRONTEND, TARGET_PORT, VIP, VIP_PORT, Site
from wangell_controller.kube.placeholder import ADDRESS
from wangell_daemon.datapath import Handover, remove_rules

COUNT = Path("/proc/sys/net/netfilter/nf_conntrack_count")  # of the network namespace
# As a proxy that takes the placeholder for an endpoint: in both of its chains, and it has a route.
PROXY = f"""
table ip proxy {{
    chain prerouting {{
        type nat hook prerouting priority dstnat;
        ip daddr {VIP} tcp dport {VIP_PORT} dnat to {ADDRESS}:{TARGET_PORT}
    }}
    chain output {{
        type nat hook output priority -100;
        ip daddr {VIP} tcp dport {VIP_PORT} dnat to {ADDRESS}:{TARGET_PORT}
    }}
}}
"""


def nft(site: Site, *arguments: str, text: str | None = None) -> str:
    command = ["nsenter", f"--net={site.node.path}", "nft", *arguments]
    return subprocess.run(command, input=text, capture_output=True, check=True, text=True).stdout


def dropped(site: Site) -> int:
    """Packets, as the counter has them."""
    listed = json.loads(nft(site, "-j", "list", "counter", "inet", "wangell", "placeholder"))
    return int(listed["nftables"][1]["counter"]["packets"])


def tracked(site: Site) -> int:
    """Connections that the node's conntrack has confirmed."""
    return int(site.node.run(COUNT.read_text))


@pytest.fixture
def site() -> Iterator[Site]:
    """The other pod has the placeholder's address: somebody would answer there."""
    with contextlib.ExitStack() as stack:
        made = Site(stack)
        stack.callback(made.handover.close)
        made.serve("pod", made.pod)
        made.serve("placeholder", made.other_pod)
        made.other_pod.ip("address", "add", f"{ADDRESS}/32", "dev", "eth0")
        made.node.ip("route", "add", ADDRESS, "via", "10.9.2.1")
        made.node.ip("route", "add", "10.96.0.0/16", "via", "10.9.2.1")
        nft(made, "-f", "-", text=PROXY)
        yield made


def test_a_caller_from_outside_does_not_reach_it(site: Site) -> None:
    site.call(reaches=None)
    assert dropped(site) == 1
    assert tracked(site) == 0, "no connection is pinned to it"


def test_a_caller_on_the_node_does_not_reach_it(site: Site) -> None:
    with site.node.run(socket.socket) as caller:
        caller.settimeout(0.3)
        with pytest.raises(OSError, match="timed out"):
            caller.connect((VIP, VIP_PORT))
    assert dropped(site) == 1
    assert tracked(site) == 0


def test_the_same_connection_reaches_the_replica_once_there_is_a_handover(site: Site) -> None:
    """Its next SYN, of the same ports: with a confirmed connection it would go where that goes."""
    with site.client.run(socket.socket) as caller:
        caller.bind(("10.9.0.1", 0))
        source = caller.getsockname()
        caller.settimeout(0.3)
        with pytest.raises(TimeoutError):
            caller.connect((VIP, VIP_PORT))
    site.handover.replace([FRONTEND], address="10.9.1.1", port=TARGET_PORT, is_away=False)
    with site.client.run(socket.socket) as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        caller.bind(source)
        caller.settimeout(2)
        caller.connect((VIP, VIP_PORT))


def test_without_the_filter_it_would_be_reached(site: Site) -> None:
    remove_in(site)
    site.call(reaches="placeholder")


def test_a_second_start_leaves_one_rule_and_its_count(site: Site) -> None:
    site.call(reaches=None)
    site.node.run(Handover).close()
    assert nft(site, "list", "table", "inet", "wangell").count(ADDRESS) == 2
    assert dropped(site) == 1


def test_it_goes_with_the_table(site: Site) -> None:
    remove_in(site)
    assert "wangell" not in nft(site, "list", "ruleset")


def remove_in(site: Site) -> None:
    site.node.run(remove_rules)
