"""Calls of a node's own pods: tc ingress on real veths, as they come and go, and a real replay."""

import json
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, TypeVar

import pytest
from pyroute2 import IPRoute

from tests.kernel.events import Events, until
from tests.kernel.namespaces import Namespace, cable
from tests.kernel.place import FOREIGN, retransmitted
from wangell_daemon.datapath import Datapath, Handover, PodInterfaces, detach_pod_interfaces
from wangell_daemon.datapath.compiler import compile_program, load_tc
from wangell_daemon.datapath.rtnetlink import EGRESS, INGRESS, Rtnetlink
from wangell_daemon.effects import Mode
from wangell_daemon.kernel_events import parse_answered, parse_held
from wangell_daemon.packets import client_of, frontend_key, with_checksums

T = TypeVar("T")
# A Service's address: nobody has it, the default route leads to the node.
VIP, PORT, TARGET_PORT = "10.96.0.7", 80, 8080
FRONTEND = frontend_key(VIP, PORT)
ETH_P_ALL, ETH_P_IP = 0x0003, 0x0800


class Node:
    """A node as a bridge plugin makes it; daemons of which nothing runs but their datapath."""

    def __init__(self, namespace: Namespace, leaving: ExitStack) -> None:
        self.namespace = namespace
        self.failures: list[None] = []
        self._leaving = leaving
        self._pods = 0
        self.at(lambda: None)
        for option in ("ipv4.ip_forward", "bridge.bridge-nf-call-iptables"):
            self.command("sysctl", "-qw", f"net.{option}=1")
        namespace.ip("link", "add", "cni0", "type", "bridge")
        namespace.ip("address", "add", "10.9.1.1/24", "dev", "cni0")
        namespace.ip("link", "set", "cni0", "up")

    def at(self, work: Callable[[], T]) -> T:
        return self.namespace.run(work)

    def command(self, *words: str) -> str:
        """Run a command there."""
        return self.at(
            lambda: subprocess.run(words, check=True, capture_output=True, text=True).stdout
        )

    def ifindex(self, name: str) -> int:
        return self.at(lambda: socket.if_nametoindex(name))

    def add_pod(self) -> Namespace:
        """Pod N: 10.9.1.(1 + N), behind vethN, a port of the bridge."""
        self._pods += 1
        pod, name = self._leaving.enter_context(Namespace()), f"veth{self._pods}"
        self.namespace.ip("link", "add", name, "type", "veth", "peer", "eth0", "netns", pod.name)
        self.namespace.ip("link", "set", name, "master", "cni0", "up")
        pod.ip("address", "add", f"10.9.1.{1 + self._pods}/24", "dev", "eth0")
        pod.ip("link", "set", "eth0", "up")
        pod.ip("route", "add", "default", "via", "10.9.1.1")
        return pod

    def datapath(self) -> Datapath:
        datapath = self.at(lambda: Datapath("eth0"))
        self._leaving.callback(datapath.close)
        datapath.beat()
        return datapath

    def follow(self, datapath: Datapath, *patterns: str) -> PodInterfaces:
        """What a daemon does: attach to what there is, go on with what comes."""
        pods = self.at(
            lambda: PodInterfaces(
                datapath.call_program_fd,
                patterns=patterns or ("auto",),
                besides=datapath.ifindex,
                on_failure=lambda: self.failures.append(None),
            )
        )
        self._leaving.callback(pods.close)
        pods.attach()
        pods.follow()
        return pods

    def add_plugins_filter(
        self, interface: str, *, parent: int = INGRESS, protocol: int = ETH_P_ALL
    ) -> None:
        """What a network plugin has there, at the highest priority: a program that drops all."""
        compiled = compile_program(FOREIGN)
        self._leaving.callback(compiled.cleanup)
        fd = load_tc(compiled, "foreign_drop").fd
        where = {"parent": parent, "prio": 1, "handle": 1, "protocol": protocol}

        def add() -> None:
            with IPRoute() as route:
                (link,) = route.link_lookup(ifname=interface)
                route.tc("add", "clsact", link)
                route.tc(
                    "add-filter", "bpf", link, fd=fd, name="plugin", direct_action=True, **where
                )

        self.at(add)

    def filters(self, interface: str) -> list[Any]:
        """Those at its ingress, as `tc` shows them."""
        shown = self.command("tc", "-json", "filter", "show", "dev", interface, "ingress")
        return [each["options"] for each in json.loads(shown or "[]") if "options" in each]

    def programs(self, interface: str) -> list[int]:
        """The ids of our programs there."""
        return [
            each["prog"]["id"]
            for each in self.filters(interface)
            if each.get("bpf_name") == "wangell_call"
        ]

    def interfaces(self) -> set[str]:
        """Where our program is."""
        names = self.at(lambda: [name for _index, name in socket.if_nameindex()])
        return {name for name in names if self.programs(name)}


@pytest.fixture
def node() -> Iterator[Node]:
    """Its eth0 is a veth, too, as the node's own interface may be."""
    with ExitStack() as leaving:
        namespace, outside = (leaving.enter_context(Namespace()) for _ in range(2))
        cable(namespace, outside)
        yield Node(namespace, leaving)


def call(pod: Namespace, address: str = VIP, port: int = PORT) -> socket.socket:
    """A connection of which the SYN has been sent."""
    caller = pod.run(socket.socket)
    caller.setblocking(False)
    assert caller.connect_ex((address, port)) != 0
    return caller


def serve(pod: Namespace) -> socket.socket:
    server = pod.run(socket.socket)
    server.bind(("0.0.0.0", TARGET_PORT))
    server.listen()
    server.settimeout(5)
    return server


# Which, and when.


def test_it_is_on_every_pods_interface_and_on_nothing_else(node: Node) -> None:
    node.namespace.ip("link", "add", "both", "type", "veth", "peer", "ends")
    for _ in range(2):
        node.add_pod()
    pods = node.follow(node.datapath())
    assert node.interfaces() == {"veth1", "veth2"}
    assert len(pods) == 2


def test_a_pod_that_comes_later_is_followed(node: Node) -> None:
    pods = node.follow(node.datapath())
    assert len(pods) == 0
    node.add_pod()
    until(lambda: len(pods) == 1)
    assert node.interfaces() == {"veth1"}


def test_a_veth_becomes_a_pods_when_its_other_end_moves_into_one(node: Node) -> None:
    pods = node.follow(node.datapath())
    with Namespace() as pod:
        node.namespace.ip("link", "add", "host", "type", "veth", "peer", "tmp0")
        assert node.interfaces() == set()
        node.namespace.ip("link", "set", "tmp0", "netns", pod.name)
        node.namespace.ip("link", "set", "host", "up")
        until(lambda: len(pods) == 1)
        assert node.interfaces() == {"host"}


def test_a_pod_that_goes_is_forgotten_and_its_interfaces_number_may_come_back(node: Node) -> None:
    node.add_pod()
    pods = node.follow(node.datapath())
    gone = node.ifindex("veth1")
    node.namespace.ip("link", "delete", "veth1")
    until(lambda: len(pods) == 0)
    with Namespace() as pod:
        again = f"link add veth1 index {gone} type veth peer eth0 netns {pod.name}".split()
        node.namespace.ip(*again)
        until(lambda: len(pods) == 1)
        assert node.interfaces() == {"veth1"}
    assert node.failures == []


def test_leaving_the_bridge_is_not_going(node: Node) -> None:
    node.add_pod()
    pods = node.follow(node.datapath())
    node.namespace.ip("link", "set", "veth1", "nomaster")
    node.add_pod()
    until(lambda: len(pods) == 2)
    assert node.interfaces() == {"veth1", "veth2"}


def test_names_may_be_said_instead(node: Node) -> None:
    node.add_pod()
    node.namespace.ip("link", "add", "tap17", "type", "veth", "peer", "tap17-far")
    pods = node.follow(node.datapath(), "tap??")
    assert (node.interfaces(), len(pods)) == ({"tap17"}, 1)


def test_changes_that_were_lost_are_made_up_for(node: Node) -> None:
    # The socket is full before anybody reads it: the kernel says ENOBUFS in place of the rest.
    datapath = node.datapath()
    pods = node.at(
        lambda: PodInterfaces(
            datapath.call_program_fd, patterns=("auto",), besides=datapath.ifindex
        )
    )
    pods._watch._netlink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    pods.attach()
    for _ in range(3):
        node.add_pod()
    pods.follow()
    until(lambda: len(pods) == 3)
    assert node.interfaces() == {"veth1", "veth2", "veth3"}
    pods.close()


# Beside others.


def test_another_filter_stays_when_ours_is_taken_off(node: Node) -> None:
    node.add_pod()
    node.add_pod()
    node.add_plugins_filter("veth1", parent=EGRESS)
    node.follow(node.datapath())
    assert node.at(detach_pod_interfaces) == 2
    assert node.interfaces() == set()
    assert "plugin" in node.command(*["tc", "filter", "show", "dev", "veth1", "egress"])
    assert "clsact" not in node.command(*["tc", "qdisc", "show", "dev", "veth2"])
    assert node.at(detach_pod_interfaces) == 0


def test_taking_it_off_finds_it_whatever_the_daemons_names_were(node: Node) -> None:
    node.namespace.ip("link", "add", "odd", "type", "veth", "peer", "odd-far")
    node.follow(node.datapath(), "odd")
    assert node.at(detach_pod_interfaces) == 1
    assert node.interfaces() == set()


def test_it_is_asked_before_the_filter_of_a_network_plugin(node: Node) -> None:
    pod, datapath = node.add_pod(), node.datapath()
    events = Events(datapath)
    node.add_plugins_filter("veth1")
    node.follow(datapath)
    assert len(node.filters("veth1")) == 2
    # What ours lets pass is dropped, ARP, too.
    bridge = json.loads(node.command("ip", "-json", "link", "show", "cni0"))[0]["address"]
    pod.ip("neigh", "add", "10.9.1.1", "lladdr", bridge, "dev", "eth0")
    datapath.set_service([FRONTEND], slot=3, mode=Mode.HOLD)
    with call(pod):
        events.until(lambda: events.held)


def test_an_interface_that_takes_no_filter_is_said_once(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    node.add_pod()
    node.add_plugins_filter("veth1", protocol=ETH_P_IP)  # a priority is one protocol's
    pods = node.follow(node.datapath())
    node.namespace.ip("link", "set", "veth1", "mtu", "1400")
    node.add_pod()
    until(lambda: len(pods) == 1)
    said = [each.message for each in caplog.records if "are not seen" in each.message]
    assert len(said) == len(node.failures) == 1
    assert said[0].startswith("veth1: calls of its pod are not seen")


# Restarts.


def test_what_is_attached_stays_and_a_successor_takes_its_place(node: Node) -> None:
    pod, first = node.add_pod(), node.datapath()
    node.follow(first).close()
    (before,) = node.programs("veth1")
    first.set_service([FRONTEND], slot=3, mode=Mode.HOLD)
    held_by_first = Events(first)
    with call(pod):
        held_by_first.until(lambda: held_by_first.held)

    second = node.datapath()
    second.set_service([FRONTEND], slot=3, mode=Mode.HOLD)
    held_by_second = Events(second)
    node.follow(second)
    (after,) = node.programs("veth1")
    assert after != before, "in its place, not beside it"
    with call(pod):
        held_by_second.until(lambda: held_by_second.held)
    held_by_first.read()
    assert len(held_by_first.held) == 1


def test_a_daemon_gone_for_good_black_holes_no_pod(node: Node) -> None:
    caller, datapath = node.add_pod(), node.datapath()
    datapath.set_service([frontend_key("10.9.1.3", TARGET_PORT)], slot=3, mode=Mode.HOLD)
    node.follow(datapath)
    heartbeat: Any = datapath._heartbeat
    heartbeat[heartbeat.Key(0)] = heartbeat.Leaf(1)
    with serve(node.add_pod()) as server, call(caller, "10.9.1.3", TARGET_PORT):
        server.accept()[0].close()
    assert datapath.reasons()["no_daemon"] == 1
    assert datapath.reasons()["held"] == 0


# Holding and replaying.


@pytest.mark.parametrize("mode", [Mode.SETTLE, Mode.METER])
def test_a_pods_syn_is_held_replayed_and_answered_and_is_the_only_one(
    node: Node, mode: Mode
) -> None:
    caller_pod, server_pod = node.add_pod(), node.add_pod()
    datapath = node.datapath()
    datapath.set_service([FRONTEND], slot=3, mode=Mode.HOLD)
    events = Events(datapath)
    node.follow(datapath)
    handover = node.at(Handover)
    with call(caller_pod) as caller:
        events.until(lambda: events.held)
        held = parse_held(events.held[0])
        assert (held.ifindex, held.rx_queue) == (node.ifindex("veth1"), 0)
        assert client_of(held.syn.flow) == ":".join(map(str, caller.getsockname()))
        assert held.syn.frame != with_checksums(held.syn.frame), "the sender left it partial"

        with serve(server_pod) as server:
            handover.replace([FRONTEND], address="10.9.1.3", port=TARGET_PORT, is_away=False)
            datapath.set_service([FRONTEND], slot=3, mode=mode)
            datapath.watch(held.syn.flow)
            frame = with_checksums(held.syn.frame)
            node.at(lambda: datapath.inject(frame, ifindex=held.ifindex, rx_queue=0))
            accepted, peer = server.accept()
            with accepted:
                assert peer == caller.getsockname()
                events.until(lambda: events.answered)
                accepted.sendall(b"hello")
                caller.settimeout(5)
                assert caller.recv(5) == b"hello"
        assert retransmitted(caller) == 0
    assert parse_answered(events.answered[0]).flow == held.syn.flow
    reasons = datapath.reasons()
    # The replay passes tc again, and goes in because its flow is waited for.
    assert (reasons["held"], reasons["resent"], reasons["answered"]) == (1, 1, 1)
    assert datapath.last_packet_ns(3) > held.seen_ns, "a pod's call is activity, too"
    handover.close()


def test_a_syn_is_held_though_the_way_to_a_replica_stands(node: Node) -> None:
    # A service that is being armed: what translates its address is there still. On the bridge,
    # with bridge-nf-call-iptables, the packet would not have it any more.
    caller_pod, server_pod = node.add_pod(), node.add_pod()
    datapath = node.datapath()
    datapath.set_service([FRONTEND], slot=3, mode=Mode.PASS)
    events = Events(datapath)
    node.follow(datapath)
    handover = node.at(Handover)
    handover.replace([FRONTEND], address="10.9.1.3", port=TARGET_PORT, is_away=False)
    with serve(server_pod) as server:
        with call(caller_pod):
            server.accept()[0].close()
        datapath.set_service([FRONTEND], slot=3, mode=Mode.HOLD)
        with call(caller_pod):
            events.until(lambda: events.held)
            server.setblocking(False)
            with pytest.raises(BlockingIOError):
                server.accept()
    handover.close()


def test_what_is_not_for_a_service_is_let_pass(node: Node) -> None:
    caller_pod, server_pod = node.add_pod(), node.add_pod()
    datapath = node.datapath()
    datapath.set_service([FRONTEND], slot=3, mode=Mode.HOLD)
    events = Events(datapath)
    node.follow(datapath)
    with serve(server_pod) as server, call(caller_pod, "10.9.1.3", TARGET_PORT):
        server.accept()[0].close()
    events.read()
    assert events.held == []


def test_a_pods_interface_that_went_before_its_replay_is_an_os_error(node: Node) -> None:
    pod, datapath = node.add_pod(), node.datapath()
    datapath.set_service([FRONTEND], slot=3, mode=Mode.HOLD)
    events = Events(datapath)
    pods = node.follow(datapath)
    with call(pod):
        events.until(lambda: events.held)
    held = parse_held(events.held[0])
    node.namespace.ip("link", "delete", "veth1")
    until(lambda: len(pods) == 0)
    frame = with_checksums(held.syn.frame)
    with pytest.raises(OSError, match=r"\[Errno"):
        node.at(lambda: datapath.inject(frame, ifindex=held.ifindex, rx_queue=0))


def test_asking_for_nothing_there_is_an_error_with_the_kernels_word(node: Node) -> None:
    requests = node.at(Rtnetlink)
    with pytest.raises(OSError, match=r"\[Errno"):
        requests.has_filters(9999)
        requests.request(b"")
    requests.close()
