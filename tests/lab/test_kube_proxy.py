"""The stand-in's rules as text; that they work is shown in test_network."""

import pytest

from wangell_lab import Lab, LabError, kube_proxy
from wangell_lab.topology import EXAMPLE, Exposure, plan

ELSEWHERE = Exposure(
    service="default/elsewhere",
    address="10.46.100.106",
    port=443,
    pod="node2-pod1",
    target_port=8443,
)


def test_a_local_pod_is_translated_to_and_sees_the_callers_address() -> None:
    rules = kube_proxy.ruleset(plan(), "node1")
    assert "ip daddr 10.46.100.105 tcp dport 80 dnat to 10.244.1.5:8080" in rules
    assert "masquerade" not in rules


def test_a_pod_on_another_node_is_masqueraded_on_the_way_and_only_on_the_way() -> None:
    topology = plan(nodes=2, exposures=(EXAMPLE, ELSEWHERE))
    on_the_way = kube_proxy.ruleset(topology, "node1")
    assert "ip daddr 10.46.100.106 tcp dport 443 dnat to 10.244.2.5:8443" in on_the_way
    (masquerade,) = [line for line in on_the_way.splitlines() if "masquerade" in line]
    assert "10.46.100.106" in masquerade
    assert "10.244.2.5" in masquerade
    at_home = kube_proxy.ruleset(topology, "node2")
    assert not [line for line in at_home.splitlines() if "masquerade" in line and "106" in line]


def test_it_comes_after_the_handover_map() -> None:
    """The daemon's chain is at dstnat - 10; this one must be later, as kube-proxy's is."""
    assert "hook prerouting priority dstnat;" in kube_proxy.ruleset(plan(), "node1")


def test_rules_that_nft_refuses_are_an_error_with_nfts_words(lab: Lab) -> None:
    with pytest.raises(LabError, match=r"nft refused.*syntax error"):
        kube_proxy.load("table ip nonsense { chain }", lab.namespace("node1"))
