"""The layout as data: nothing here makes a namespace."""

from ipaddress import ip_interface, ip_network

import pytest

from wangell_lab import LabError
from wangell_lab.topology import EXAMPLE, Exposure, Topology, plan


def every_address(topology: Topology) -> list[str]:
    return [cable.far.address for cable in topology.cables if cable.far.address]


def test_one_node_is_client_node_controller_and_pod_around_a_switch() -> None:
    topology = plan()
    assert [host.name for host in topology.hosts] == [
        *("switch", "client", "node1", "controller1", "node1-pod1")
    ]
    assert {host.name: topology.address(host.name) for host in topology.hosts[1:]} == {
        "client": "10.46.100.1",
        "node1": "10.46.100.2",
        "controller1": "10.46.100.3",
        "node1-pod1": "10.244.1.5",
    }


def test_the_node_announces_the_virtual_address_and_does_not_own_it() -> None:
    topology = plan()
    (announced,) = topology.proxy_neighbours
    assert (announced.host, announced.address) == ("node1", "10.46.100.105")
    owned = [
        end.address for cable in topology.cables for end in (cable.near, cable.far) if end.address
    ]
    assert not [address for address in owned if address.startswith("10.46.100.105/")]


def test_the_virtual_address_is_routed_away_from_where_it_is_asked_for() -> None:
    """Else the kernel does not answer for a proxy neighbour."""
    topology = plan()
    (announced,) = topology.proxy_neighbours
    (route,) = [route for route in topology.routes if route.destination == "10.46.100.105/32"]
    assert (route.host, route.interface != announced.interface) == (announced.host, True)


@pytest.mark.parametrize(("nodes", "controllers", "pods"), [(1, 1, 1), (3, 2, 4), (9, 9, 200)])
def test_no_two_hosts_share_an_address_and_no_host_has_a_virtual_one(
    nodes: int, controllers: int, pods: int
) -> None:
    topology = plan(nodes=nodes, controllers=controllers, pods_per_node=pods)
    addresses = every_address(topology)
    assert len(addresses) == len(set(addresses)) == 1 + nodes + controllers + nodes * pods
    assert EXAMPLE.address not in {topology.address(host.name) for host in topology.hosts[1:]}


@pytest.mark.parametrize(("nodes", "controllers", "pods"), [(1, 1, 1), (3, 2, 4), (9, 9, 200)])
def test_interfaces_are_unique_in_their_host_and_short_enough_for_linux(
    nodes: int, controllers: int, pods: int
) -> None:
    topology = plan(nodes=nodes, controllers=controllers, pods_per_node=pods)
    ends = [
        (end.host, end.interface) for cable in topology.cables for end in (cable.near, cable.far)
    ]
    assert len(ends) == len(set(ends))
    assert all(len(interface) <= 15 for _, interface in ends)


def test_every_node_reaches_the_pods_of_every_other_through_that_node() -> None:
    topology = plan(nodes=3)
    gateways = {
        (route.host, route.destination): route.gateway
        for route in topology.routes
        if route.destination.endswith("/24")
    }
    assert gateways == {
        (f"node{here}", f"10.244.{there}.0/24"): topology.address(f"node{there}")
        for here in (1, 2, 3)
        for there in (1, 2, 3)
        if here != there
    }


def test_pods_lie_in_their_nodes_range() -> None:
    topology = plan(nodes=3, pods_per_node=200)
    for number, node in enumerate(topology.names("node"), start=1):
        pods = [pod for pod in topology.names("pod") if topology.node_of(pod) == node]
        assert len(pods) == 200
        for pod in pods:
            assert ip_interface(topology.address(pod)) in ip_network(f"10.244.{number}.0/24")


def test_nodes_forward_and_check_the_return_path_and_the_others_do_not_forward() -> None:
    for host in plan(nodes=2, controllers=2).hosts:
        sysctls = dict(host.sysctls)
        assert (sysctls.get("ipv4/ip_forward") == "1") == (host.role == "node")
        if host.role == "node":
            assert sysctls["ipv4/conf/eth0/rp_filter"] == "1"
            # The default answers ARP for the virtual address up to 0.8 s late.
            assert sysctls["ipv4/neigh/eth0/proxy_delay"] == "0"


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"nodes": 0}, "1 to 9 nodes, not 0"),
        ({"nodes": 10}, "1 to 9 nodes, not 10"),
        ({"controllers": 10}, "1 to 9 controllers, not 10"),
        ({"pods_per_node": 201}, "1 to 200 pods per node, not 201"),
    ],
)
def test_a_number_out_of_range_is_refused(wanted: dict[str, int], said: str) -> None:
    with pytest.raises(LabError, match=said):
        plan(**wanted)  # type: ignore[arg-type]


def test_an_exposure_of_a_pod_that_is_not_there_is_refused() -> None:
    elsewhere = Exposure(
        service="default/x", address="10.46.100.106", port=80, pod="node2-pod1", target_port=8080
    )
    with pytest.raises(LabError, match=r"default/x needs node2-pod1.*more nodes or pods"):
        plan(exposures=(EXAMPLE, elsewhere))
    assert plan(nodes=2, exposures=(EXAMPLE, elsewhere)).exposure("default/x") == elsewhere


def test_what_is_not_in_the_lab_is_named_with_what_is() -> None:
    topology = plan()
    with pytest.raises(LabError, match="no node7 in this lab; it has switch, client"):
        topology.address("node7")
    with pytest.raises(LabError, match="no service a/b in this lab; it has default/serverless"):
        topology.exposure("a/b")
