"""The network as it is built: a plain server behind the virtual address, no Wangell anywhere."""

import subprocess
from pathlib import Path

import pytest

from tests.lab.helpers import has_refused, serving
from wangell_lab import Lab
from wangell_lab.topology import EXAMPLE, Exposure


def inside(lab: Lab, host: str, *argv: str) -> str:
    """Return what a command prints there."""
    return lab.namespace(host).run(argv, check=True).stdout


def test_a_request_to_the_virtual_address_reaches_the_pod(lab: Lab, c_server: Path) -> None:
    with serving(lab.namespace("node1-pod1"), [str(c_server)]):
        exchange = lab.client.get("10.46.100.105", 80)
    assert (exchange.status, exchange.body) == (200, b"hello\n")


def test_the_caller_knows_the_virtual_address_by_the_nodes_mac(lab: Lab, c_server: Path) -> None:
    with serving(lab.namespace("node1-pod1"), [str(c_server)]):
        lab.client.get()
    link = inside(lab, "node1", "ip", "-brief", "link", "show", "eth0")
    neighbours = inside(lab, "client", "ip", "neigh", "show", EXAMPLE.address)
    assert link.split()[2] in neighbours
    assert EXAMPLE.address not in inside(lab, "node1", "ip", "-brief", "addr")


def test_arp_for_the_virtual_address_is_answered_at_once(lab: Lab, c_server: Path) -> None:
    """The kernel's default waits up to 0.8 s, at random: ten labs would be lucky for ever."""
    with serving(lab.namespace("node1-pod1"), [str(c_server)]):
        for _ in range(10):
            inside(lab, "client", "ip", "neigh", "flush", "all")
            assert lab.client.get().connect_ms < 100


def test_without_a_server_the_caller_is_refused(lab: Lab) -> None:
    """So a SYN that was not held shows: it is refused, never silently late."""
    assert has_refused(lab.client, "10.46.100.105", 80)


def test_another_port_of_the_virtual_address_is_nobodys(lab: Lab, c_server: Path) -> None:
    with serving(lab.namespace("node1-pod1"), [str(c_server)]), lab.capture() as capture:
        with pytest.raises(OSError):  # Unreachable, or timed out before the kernel says so.
            lab.client.connect("10.46.100.105", 81, timeout_s=0.5)
        assert capture.syns()
        assert not capture.syn_acks()


def test_curl_sees_the_same_service_whatever_proxy_the_environment_names(
    lab: Lab, c_server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://192.0.2.1:3128")
    with serving(lab.namespace("node1-pod1"), [str(c_server)]):
        exchange = lab.client.curl()
    assert exchange.status == 200
    assert 0 < exchange.connect_ms <= exchange.first_byte_ms < 1000


def test_two_labs_side_by_side_have_the_same_addresses_and_do_not_meet(c_server: Path) -> None:
    with Lab() as one, Lab() as other:
        assert one.lab_id != other.lab_id
        with serving(one.namespace("node1-pod1"), [str(c_server)]):
            assert one.client.get().status == 200
            assert has_refused(other.client, "10.46.100.105", 80)
            assert other.server_pids() == []


REMOTE = Exposure(
    service="default/remote", address="10.46.100.106", port=80, pod="node2-pod1", target_port=8080
)


def test_a_pod_on_another_node_is_reached_through_the_announcing_one(c_server: Path) -> None:
    with Lab(nodes=2, exposures=(EXAMPLE, REMOTE)) as lab:
        with (
            serving(lab.namespace("node2-pod1"), [str(c_server)]),
            lab.capture("node2") as at_node2,
        ):
            assert lab.client.get("10.46.100.106").status == 200
            assert has_refused(lab.client, "10.46.100.105", 80)
        (syn,) = at_node2.syns()
        # Masqueraded: else the answer would go round the node that translates it back.
        assert (syn.source, syn.destination) == ("10.46.100.2", "10.244.2.5")


def test_controllers_and_nodes_reach_each_other(c_server: Path) -> None:
    with Lab(nodes=3, controllers=2) as lab, serving(lab.namespace("controller2"), [str(c_server)]):
        for node in lab.topology.names("node"):
            said = inside(
                lab, node, "curl", "--noproxy", "*", "-sS", "-m", "5", "http://10.46.100.13:8080/"
            )
            assert said == "hello\n"


def test_the_hosts_own_network_is_left_as_it_was() -> None:
    def own() -> list[str]:
        return [
            subprocess.run(command, capture_output=True, text=True, check=True).stdout
            for command in (
                ["ip", "-brief", "link"],
                ["ip", "route"],
                ["ip", "neigh", "show", "proxy"],
            )
        ] + [Path("/proc/sys/net/ipv4/ip_forward").read_text()]

    before = own()
    with Lab(nodes=2):
        assert own() == before
    assert own() == before
