"""The handover in a real ruleset: connections to an address go to a replica, until they do not."""

import contextlib
import json
import socket
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.kernel.namespaces import Namespace, cable
from wangell_daemon.datapath import Handover, remove_rules
from wangell_daemon.datapath.handover import TIMEOUT_MS
from wangell_daemon.datapath.orders import MARK, Order, Orders
from wangell_daemon.packets import frontend_key

VIP, VIP_PORT, TARGET_PORT = "10.96.0.10", 80, 8080
FRONTEND = frontend_key(VIP, VIP_PORT)


class Site:
    """A client, a node that routes, and two pods; 10.9.0.1 - node - 10.9.1.1 and 10.9.2.1."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.client, self.node, self.pod, self.other_pod = (
            stack.enter_context(Namespace()) for _ in range(4)
        )
        for number, far in enumerate((self.client, self.pod, self.other_pod)):
            near = f"eth{number}"
            self.node.ip(
                *("link", "add", near, "type", "veth", "peer", "name", "eth0", "netns", far.name)
            )
            for namespace, host, name in ((self.node, 254, near), (far, 1, "eth0")):
                namespace.ip("address", "add", f"10.9.{number}.{host}/24", "dev", name)
                namespace.ip("link", "set", name, "up")
            far.ip("route", "add", "default", "via", f"10.9.{number}.254")
        self.node.run(_forward)
        self.handover = self.node.run(Handover)
        self._stack = stack
        self._servers: dict[str, socket.socket] = {}

    def serve(self, name: str, pod: Namespace) -> None:
        """A server in the pod."""
        server = self._stack.enter_context(pod.run(socket.socket))
        server.bind(("0.0.0.0", TARGET_PORT))
        server.listen()
        server.settimeout(5)
        self._servers[name] = server

    def call(self, *, reaches: str | None) -> str:
        """A client calls the VIP and reaches this pod, or nobody; as whom the pod saw it."""
        with self.client.run(socket.socket) as caller:
            caller.settimeout(0.3)
            if reaches is None:
                with pytest.raises(OSError, match=r"timed out|unreachable|refused|No route"):
                    caller.connect((VIP, VIP_PORT))
                return ""
            caller.connect((VIP, VIP_PORT))
            accepted, peer = self._servers[reaches].accept()
            accepted.close()
            return str(peer[0])

    def elements(self, name: str) -> list[Any]:
        """What nft itself says of a map or set of ours."""
        listed = subprocess.run(
            ["nsenter", f"--net={self.node.path}", "nft", "-j", "list", "ruleset"],
            capture_output=True,
            check=True,
        )
        found = [
            each[kind]
            for each in json.loads(listed.stdout)["nftables"]
            for kind in ("map", "set")
            if kind in each and each[kind]["name"] == name
        ]
        return [element for each in found for element in each.get("elem", [])]


def _forward() -> None:
    with open("/proc/sys/net/ipv4/ip_forward", "w") as forward:  # noqa: PTH123 (of this namespace)
        forward.write("1")


@pytest.fixture
def site() -> Iterator[Site]:
    with contextlib.ExitStack() as stack:
        made = Site(stack)
        made.serve("pod", made.pod)
        made.serve("other pod", made.other_pod)
        yield made
        made.handover.close()


def test_without_a_handover_nobody_answers(site: Site) -> None:
    site.call(reaches=None)


def test_a_handover_sends_new_connections_to_the_replica_as_who_they_are(site: Site) -> None:
    site.handover.replace([FRONTEND], address="10.9.1.1", port=TARGET_PORT, is_away=False)
    assert site.call(reaches="pod") == "10.9.0.1", "the pod sees the client itself"


def test_one_that_is_replaced_goes_to_the_other(site: Site) -> None:
    for _ in range(2):
        site.handover.replace([FRONTEND], address="10.9.1.1", port=TARGET_PORT, is_away=False)
        site.call(reaches="pod")
        site.handover.replace([FRONTEND], address="10.9.2.1", port=TARGET_PORT, is_away=False)
        site.call(reaches="other pod")
    assert len(site.elements("handover4")) == 1


def test_a_replica_on_another_node_is_reached_through_us(site: Site) -> None:
    site.handover.replace([FRONTEND], address="10.9.1.1", port=TARGET_PORT, is_away=True)
    assert site.call(reaches="pod") == "10.9.1.254", "its answers come back through this node"
    assert len(site.elements("away4")) == 1


def test_from_away_to_here_and_back(site: Site) -> None:
    for is_away, seen in ((True, "10.9.1.254"), (False, "10.9.0.1"), (True, "10.9.1.254")):
        site.handover.replace([FRONTEND], address="10.9.1.1", port=TARGET_PORT, is_away=is_away)
        assert site.call(reaches="pod") == seen
        assert len(site.elements("away4")) == is_away


def test_one_that_has_ended_leaves_nothing(site: Site) -> None:
    for is_away in (False, True):
        site.handover.replace([FRONTEND], address="10.9.1.1", port=TARGET_PORT, is_away=is_away)
        site.handover.end(FRONTEND)
        site.call(reaches=None)
        assert site.elements("handover4") == []
        assert site.elements("away4") == []


def test_ending_what_is_not_there_is_no_error(site: Site) -> None:
    site.handover.end(FRONTEND)
    site.handover.replace([FRONTEND], address="10.9.1.1", port=TARGET_PORT, is_away=True)
    site.handover.end(FRONTEND)
    site.handover.end(FRONTEND)


def test_another_port_is_not_handed_over(site: Site) -> None:
    other = frontend_key(VIP, VIP_PORT + 1)
    site.handover.replace([other], address="10.9.1.1", port=TARGET_PORT, is_away=False)
    site.call(reaches=None)


def test_elements_time_out_and_are_renewed(site: Site) -> None:
    site.handover.replace([FRONTEND], address="10.9.1.1", port=TARGET_PORT, is_away=True)
    (element,) = site.elements("handover4")
    assert element[0]["elem"]["timeout"] == TIMEOUT_MS // 1000
    site.handover.renew()
    assert len(site.elements("handover4")) == 1
    assert len(site.elements("away4")) == 1
    site.call(reaches="pod")


@pytest.mark.parametrize("again", ["renew", "replace", "end"])
def test_an_element_that_timed_out_meanwhile_harms_nobody(site: Site, again: str) -> None:
    site.handover.replace([FRONTEND], address="10.9.1.1", port=TARGET_PORT, is_away=True)
    _nft(site, "flush map inet wangell handover4")
    actions: dict[str, Callable[[], None]] = {
        "renew": site.handover.renew,
        "replace": lambda: site.handover.replace(
            [FRONTEND], address="10.9.1.1", port=TARGET_PORT, is_away=True
        ),
        "end": lambda: site.handover.end(FRONTEND),
    }
    actions[again]()
    assert len(site.elements("handover4")) == (again != "end")
    assert len(site.elements("away4")) == (again != "end")


SEVERAL = [FRONTEND, *(frontend_key(f"10.96.0.{number}", VIP_PORT) for number in (11, 12))]


@pytest.mark.parametrize("is_away", [False, True])
def test_several_are_replaced_together_whichever_were_there(site: Site, is_away: bool) -> None:
    site.handover.replace(SEVERAL[1:2], address="10.9.2.1", port=TARGET_PORT, is_away=True)
    site.handover.replace(SEVERAL, address="10.9.1.1", port=TARGET_PORT, is_away=is_away)
    _nft(site, "delete element inet wangell handover4 { 10.96.0.12 . 80 }")
    site.handover.replace(SEVERAL, address="10.9.1.1", port=TARGET_PORT, is_away=is_away)
    assert len(site.elements("handover4")) == len(SEVERAL)
    assert len(site.elements("away4")) == (len(SEVERAL) if is_away else 0)
    assert "10.9.2.1" not in json.dumps(site.elements("handover4"))
    site.call(reaches="pod")


def test_of_several_none_is_replaced_where_one_is_refused(site: Site) -> None:
    site.handover.replace(SEVERAL, address="10.9.1.1", port=TARGET_PORT, is_away=False)
    ipv6 = frontend_key("fd00::7", VIP_PORT)
    with pytest.raises(OSError, match=r"\[Errno"):
        site.handover.replace([*SEVERAL, ipv6], address="10.9.2.1", port=1, is_away=False)
    assert "10.9.2.1" not in json.dumps(site.elements("handover4"))
    site.call(reaches="pod")


def test_one_that_cannot_be_renewed_takes_no_other_along(site: Site) -> None:
    others = [frontend_key(f"10.96.0.{number}", VIP_PORT) for number in (11, 12)]
    for frontend in (FRONTEND, *others):
        site.handover.replace([frontend], address="10.9.1.1", port=TARGET_PORT, is_away=False)
    with pytest.raises(OSError, match=r"\[Errno"):
        site.handover.replace([FRONTEND], address="fd00::5", port=TARGET_PORT, is_away=False)
    _nft(site, "flush map inet wangell handover4")
    site.handover.renew()
    assert len(site.elements("handover4")) >= len(others)


def test_a_successor_takes_over_what_its_predecessor_left(site: Site) -> None:
    site.handover.replace([FRONTEND], address="10.9.1.1", port=TARGET_PORT, is_away=False)
    site.handover.close()
    site.handover = site.node.run(Handover)
    site.call(reaches="pod")
    site.handover.replace([FRONTEND], address="10.9.2.1", port=TARGET_PORT, is_away=False)
    site.call(reaches="other pod")
    assert len(site.elements("handover4")) == 1


@pytest.mark.parametrize("is_away", [False, True])
def test_what_a_predecessor_left_and_nobody_claims_goes_once_the_table_is_whole(
    site: Site, is_away: bool
) -> None:
    """Its replica may have gone meanwhile, and its address be another's."""
    site.handover.replace(SEVERAL, address="10.9.1.1", port=TARGET_PORT, is_away=is_away)
    site.handover.close()
    site.handover = site.node.run(Handover)
    assert len(site.elements("handover4")) == len(SEVERAL), "in force until the table is whole"
    site.handover.replace([FRONTEND], address="10.9.2.1", port=TARGET_PORT, is_away=False)
    for _ in range(2):
        site.handover.end_unclaimed()
    (element,) = site.elements("handover4")
    assert "10.9.2.1" in json.dumps(element)
    assert site.elements("away4") == []
    site.call(reaches="other pod")


def test_ours_are_claimed(site: Site) -> None:
    site.handover.replace([FRONTEND], address="10.9.1.1", port=TARGET_PORT, is_away=True)
    site.handover.end_unclaimed()
    site.call(reaches="pod")


def test_a_renewal_moves_the_end_and_nothing_else(site: Site) -> None:
    site.handover.replace(SEVERAL, address="10.9.1.1", port=TARGET_PORT, is_away=True)
    before = site.elements("handover4")
    for _ in range(3):
        site.handover.renew()
        assert {str(value) for _, value in site.elements("handover4")} == {
            str(value) for _, value in before
        }
    assert len(site.elements("away4")) == len(SEVERAL)
    site.call(reaches="pod")


def test_without_its_rules_an_order_is_refused(site: Site) -> None:
    site.node.run(remove_rules)
    with pytest.raises(FileNotFoundError, match="chain for orders"):
        site.handover.replace([FRONTEND], address="10.9.1.1", port=TARGET_PORT, is_away=False)


@pytest.mark.parametrize(("mark", "wrong"), [(0, (0, 0)), (MARK, (1, 0)), (MARK, (0, 1))])
def test_nobody_elses_segments_are_taken_for_orders(
    site: Site, mark: int, wrong: tuple[int, int]
) -> None:
    """The same segment without the mark, or by a pod of the node's network that guesses."""
    site.handover.replace([FRONTEND], address="10.9.1.1", port=TARGET_PORT, is_away=False)
    sequence, ackseq = site.handover._orders._password
    guess = sequence ^ wrong[0], ackseq ^ wrong[1]
    forged = site.node.run(lambda: Orders(guess))
    forged._raw.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
    replica = frontend_key("10.9.2.1", TARGET_PORT)
    with pytest.raises(FileNotFoundError):
        forged.give(Order.HERE, [FRONTEND], replica)
    forged.close()
    assert "10.9.2.1" not in json.dumps(site.elements("handover4"))


def test_an_order_leaves_no_trace_in_conntrack_and_on_no_wire(site: Site) -> None:
    site.handover.replace([FRONTEND], address="10.9.1.1", port=TARGET_PORT, is_away=False)
    known = subprocess.run(
        ["nsenter", f"--net={site.node.path}", "conntrack", "-L"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert VIP not in known.stdout


def test_uninstalling_removes_all_of_it_and_twice_is_no_error(site: Site) -> None:
    site.handover.replace([FRONTEND], address="10.9.1.1", port=TARGET_PORT, is_away=False)
    for _ in range(2):
        site.node.run(remove_rules)
    site.call(reaches=None)
    listed = _nft(site, "list tables")
    assert "wangell" not in listed


def test_another_tables_rules_are_left_alone(site: Site) -> None:
    _nft(site, "add table inet somebody_elses")
    site.node.run(remove_rules)
    assert "somebody_elses" in _nft(site, "list tables")


def test_a_replica_of_another_family_is_refused_and_the_old_one_stays(site: Site) -> None:
    site.handover.replace([FRONTEND], address="10.9.1.1", port=TARGET_PORT, is_away=False)
    with pytest.raises(OSError, match=r"\[Errno"):
        site.handover.replace([FRONTEND], address="fd00::5", port=TARGET_PORT, is_away=False)
    site.call(reaches="pod")


def _nft(site: Site, command: str) -> str:
    done = subprocess.run(
        ["nsenter", f"--net={site.node.path}", "nft", *command.split()],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_the_two_ends_of_a_cable_reach_each_other() -> None:
    # What the other tests of this folder stand on.
    with Namespace() as one, Namespace() as other:
        cable(one, other)
        with one.run(socket.socket) as server, other.run(socket.socket) as caller:
            server.bind(("10.9.0.1", 80))
            server.listen()
            caller.settimeout(5)
            caller.connect(("10.9.0.1", 80))
