"""A node's addresses as the kernel tells of them: each that comes, each that goes, and no other."""

import select
import socket
from collections.abc import Iterator

import pytest

from tests.kernel.events import until
from tests.kernel.namespaces import Namespace, cable
from wangell_daemon.datapath import Addresses
from wangell_daemon.datapath.rtnetlink import Rtnetlink

FIRST, LATER = "10.9.0.1", "10.9.7.1"


class Node:
    """A node in a namespace of its own, whose daemon follows the addresses of its eth0."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self.told: list[tuple[str, ...]] = []
        self.failures = 0
        self.addresses = namespace.run(self._follow)

    def _follow(self) -> Addresses:
        ifindex, requests = socket.if_nametoindex("eth0"), Rtnetlink()
        known = requests.addresses(ifindex)
        requests.close()
        return Addresses(ifindex, known, on_change=self.told.append, on_failure=self._fail)

    def _fail(self) -> None:
        self.failures += 1

    def add(self, address: str, device: str = "eth0", **more: str) -> None:
        words = [word for pair in more.items() for word in pair]
        self._namespace.ip("address", "add", f"{address}/24", "dev", device, *words)

    def delete(self, address: str) -> None:
        self._namespace.ip("address", "delete", f"{address}/24", "dev", "eth0")

    def renew(self, address: str) -> None:
        lifetime = ("valid_lft", "600", "preferred_lft", "600")
        self._namespace.ip("address", "change", f"{address}/24", "dev", "eth0", *lifetime)

    def give_every_service_an_address(self, count: int) -> None:
        """As kube-proxy in ipvs mode does, on an interface of its own."""
        self._namespace.ip("link", "add", "kube-ipvs0", "type", "bridge")
        for number in range(1, 1 + count):
            self.add(f"10.96.0.{number}", "kube-ipvs0")

    def read(self) -> None:
        """As the event loop does: when there is something, and only then."""
        while select.select([self.addresses], [], [], 0)[0]:
            self.addresses.consume()

    def hears(self, *addresses: str) -> None:
        until(lambda: self.told and set(self.told[-1]) == set(addresses), meanwhile=self.read)


@pytest.fixture
def node() -> Iterator[Node]:
    with Namespace() as namespace, Namespace() as outside:
        cable(namespace, outside)
        made = Node(namespace)
        yield made
        made.addresses.close()


def test_one_that_comes_and_goes_is_told_each_time(node: Node) -> None:
    node.add(LATER)
    node.hears(FIRST, LATER)
    node.delete(LATER)
    node.hears(FIRST)
    assert len(node.told) == 2


def test_the_first_may_go_and_then_there_is_none(node: Node) -> None:
    node.delete(FIRST)
    until(lambda: node.told == [()], meanwhile=node.read)


def test_what_nobody_else_may_call_is_none(node: Node) -> None:
    node.add("169.254.7.7", scope="link")
    node.add(LATER)
    node.hears(FIRST, LATER)
    assert len(node.told) == 1


def test_another_interfaces_are_not_the_nodes(node: Node) -> None:
    node.give_every_service_an_address(20)
    node.add(LATER)
    node.hears(FIRST, LATER)
    assert len(node.told) == 1


def test_at_rest_there_is_nothing_to_read(node: Node) -> None:
    node.read()
    assert not select.select([node.addresses], [], [], 0.1)[0]
    assert node.told == []


def test_one_that_came_before_anybody_read_is_found_by_a_look(node: Node) -> None:
    node.add(LATER)
    node.addresses.look()
    assert [set(each) for each in node.told] == [{FIRST, LATER}]
    node.read()
    assert len(node.told) == 1, "and is not told twice"


def test_one_that_is_renewed_is_no_other(node: Node) -> None:
    """As DHCP does, with a new lifetime."""
    node.renew(FIRST)
    assert select.select([node.addresses], [], [], 1)[0]
    node.read()
    assert node.told == []


def test_what_was_lost_on_the_way_is_read_anew(node: Node) -> None:
    """More than the socket holds: the kernel says so once, and the present is read."""
    node.addresses._watch._netlink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    node.give_every_service_an_address(20)
    node.add(LATER)
    node.hears(FIRST, LATER)
    assert node.failures == 0
