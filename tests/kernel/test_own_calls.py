"""Calls of the node itself, in a real ruleset: held at output, let in, refused, never for ever."""

import contextlib
import errno
import json
import select
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from tests.kernel.namespaces import Namespace
from wangell_daemon.datapath import Caller, Handover, OwnCalls, remove_rules
from wangell_daemon.datapath.orders import MARK, Order, Orders
from wangell_daemon.datapath.own_calls import CHANGES_MAX
from wangell_daemon.packets import Syn, frontend_key, parse_syn, with_checksums

VIP, PORT, TARGET_PORT = "10.96.0.10", 80, 8080
FRONTEND = frontend_key(VIP, PORT)
POD, AWAY = "10.9.0.1", "10.9.1.1"
# As kube-proxy in iptables mode: what has no endpoint is refused, after nat.
REFUSAL = """
table ip proxy {
  chain output {
    type filter hook output priority filter; policy accept;
    ct state new ip daddr 10.96.0.10 tcp dport 80 reject
  }
}
"""


# As kube-proxy in nftables mode: before nat, by a map.
NFTABLES_PROXY = """
table ip kube-proxy {
  map no-endpoint-services {
    type ipv4_addr . inet_proto . inet_service : verdict
    elements = { 10.96.0.10 . tcp . 80 : goto reject-chain }
  }
  chain reject-chain { reject; }
  chain filter-output {
    type filter hook output priority -110; policy accept;
    ct state new ip daddr . meta l4proto . th dport vmap @no-endpoint-services
  }
}
"""


class Site:
    """A node whose own namespace calls, a proxy that refuses, and two pods."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.node, self.pod, self.other_pod = (stack.enter_context(Namespace()) for _ in range(3))
        for number, far in enumerate((self.pod, self.other_pod)):
            near = f"eth{number}"
            self.node.ip(
                *("link", "add", near, "type", "veth", "peer", "name", "eth0", "netns", far.name)
            )
            for namespace, host, name in ((self.node, 254, near), (far, 1, "eth0")):
                namespace.ip("address", "add", f"10.9.{number}.{host}/24", "dev", name)
                namespace.ip("link", "set", name, "up")
        # A ClusterIP goes the default way; nothing answers there.
        self.node.ip("route", "add", "default", "via", POD)
        self._nft(REFUSAL)
        self.held: list[bytes] = []
        self.lost = 0
        self.handover = self.node.run(Handover)
        self.own_calls = self.begin()
        self.pool = stack.enter_context(ThreadPoolExecutor())
        self._stack = stack
        stack.callback(self.close)

    def begin(self) -> OwnCalls:
        """A daemon."""
        return self.node.run(lambda: OwnCalls(on_syn=self.held.append, on_lost=self._lose))

    def close(self) -> None:
        """The daemon ends."""
        self.handover.close()
        self.own_calls.close()

    def _lose(self) -> None:
        self.lost += 1

    def serve(self, pod: Namespace) -> socket.socket:
        """A server in a pod."""
        server = self._stack.enter_context(pod.run(socket.socket))
        server.bind(("0.0.0.0", TARGET_PORT))
        server.listen()
        server.settimeout(5)
        return server

    def hold(self, *frontends: bytes) -> None:
        """A daemon that lives holds them."""
        self.own_calls.hold(frontends or (FRONTEND,))
        self.own_calls.apply()
        self.own_calls.beat()

    def call(self, *, timeout_s: float = 5, address: str = VIP) -> "Future[socket.socket]":
        """Somebody on the node calls."""

        def connect() -> socket.socket:
            caller = self._stack.enter_context(self.node.run(socket.socket))
            caller.settimeout(timeout_s)
            caller.connect((address, PORT))
            return caller

        return self.pool.submit(connect)

    def read(self, *, wait_s: float = 2) -> Syn:
        """The next SYN that was held."""
        readable, _, _ = select.select([self.own_calls.log], [], [], wait_s)
        assert readable, "no SYN was held"
        self.own_calls.log.consume()
        return parse_syn(self.held[-1])

    def let_in(self, syn: Syn, pod: str = POD, *, is_away: bool = False) -> None:
        """A replica listens."""
        self.handover.replace([FRONTEND], address=pod, port=TARGET_PORT, is_away=is_away)
        self.own_calls.let_pass([FRONTEND])
        self.own_calls.apply()
        self.own_calls.send(with_checksums(syn.frame))

    def elements(self, name: str) -> list[Any]:
        """What nft itself says of a set of ours."""
        listed = json.loads(self._nft(command=("-j", "list", "set", "inet", "wangell", name)))
        return list(listed["nftables"][1]["set"].get("elem", []))

    def _nft(self, rules: str = "", command: tuple[str, ...] = ("-f", "-")) -> str:
        return self._nsenter("nft", *command, text=rules)

    def _nsenter(self, *command: str, text: str = "") -> str:
        done = subprocess.run(
            ["nsenter", f"--net={self.node.path}", *command],
            input=text,
            text=True,
            capture_output=True,
            check=True,
        )
        return done.stdout


@pytest.fixture
def site() -> Iterator[Site]:
    with contextlib.ExitStack() as stack:
        yield Site(stack)


def test_without_it_the_proxy_refuses_at_once(site: Site) -> None:
    """The fact that all of this is for."""
    with pytest.raises(ConnectionRefusedError):
        site.call().result()


@pytest.mark.parametrize(("pod", "is_away"), [(POD, False), (AWAY, True)])
def test_a_call_that_was_held_is_answered_with_its_own_syn(
    site: Site, pod: str, *, is_away: bool
) -> None:
    server = site.serve(site.other_pod if is_away else site.pod)
    site.hold()
    call = site.call()
    syn = site.read()
    assert site.own_calls.caller(syn.flow) is Caller.WAITING
    assert syn.timestamp is not None, "it is whole, options and all"
    site.let_in(syn, pod, is_away=is_away)
    with call.result(timeout=0.9) as caller:
        accepted, peer = server.accept()
        accepted.sendall(b"hello")
        assert caller.recv(5) == b"hello"
        assert site.own_calls.caller(syn.flow) is Caller.ANSWERED
        accepted.close()
    assert len(site.held) == 1, "it was sent again by its caller"
    assert peer[0] == ("10.9.1.254" if is_away else "10.9.0.254")


def test_what_kube_proxy_would_refuse_before_nat_is_held_until_it_knows(site: Site) -> None:
    site.serve(site.pod)
    site._nft(NFTABLES_PROXY)
    site.hold()
    call = site.call()
    syn = site.read()
    site.handover.replace([FRONTEND], address=POD, port=TARGET_PORT, is_away=False)
    site.own_calls.let_pass([FRONTEND])
    site.own_calls.apply()
    assert site.own_calls.holds(FRONTEND)
    other = site.call(timeout_s=0.3)
    site.read()
    with pytest.raises(TimeoutError):
        other.result()
    site._nft("delete element ip kube-proxy no-endpoint-services { 10.96.0.10 . tcp . 80 }")
    site.own_calls.apply()
    assert not site.own_calls.holds(FRONTEND)
    assert not site.own_calls.is_changed
    site.own_calls.send(with_checksums(syn.frame))
    call.result(timeout=0.9)


def test_after_it_others_pass_before_the_proxy_knows(site: Site) -> None:
    site.serve(site.pod)
    site.hold()
    first = site.call()
    site.let_in(site.read())
    first.result(timeout=0.9)
    site.call().result(timeout=0.9)
    assert len(site.held) == 1


def test_refused_it_is_refused_at_once(site: Site) -> None:
    site.hold()
    call = site.call()
    syn = site.read()
    site.own_calls.refuse(syn.frame)
    with pytest.raises(ConnectionRefusedError):
        call.result(timeout=0.9)
    assert site.own_calls.caller(syn.flow) is Caller.GONE


def test_who_gives_up_is_gone(site: Site) -> None:
    site.hold()
    with contextlib.ExitStack() as calling:
        caller = calling.enter_context(site.node.run(socket.socket))
        caller.setblocking(False)
        assert caller.connect_ex((VIP, PORT)) == errno.EINPROGRESS
        syn = site.read()
    assert site.own_calls.caller(syn.flow) is Caller.GONE


def test_without_a_heartbeat_all_pass(site: Site) -> None:
    """The daemon never began to live: as when its last beat has timed out."""
    site.own_calls.hold([FRONTEND])
    site.own_calls.apply()
    with pytest.raises(ConnectionRefusedError):
        site.call().result()
    assert site.held == []


def test_the_heartbeat_is_renewed_and_times_out(site: Site) -> None:
    site.hold()
    site.own_calls.beat()
    (beat,) = site.elements("own_alive")
    assert beat["elem"]["timeout"] == 30
    assert beat["elem"]["expires"] in (29, 30)
    site._nft("flush set inet wangell own_alive")  # As when it has timed out.
    with pytest.raises(ConnectionRefusedError):
        site.call().result()
    assert site.held == []
    site.own_calls.beat()
    call = site.call(timeout_s=0.3)
    site.read()
    with pytest.raises(TimeoutError):
        call.result()


def test_nobody_elses_packets_are_touched(site: Site) -> None:
    """Another port, another address, and what is no SYN of a connection that there is."""
    server = site.serve(site.pod)
    site.handover.replace([FRONTEND], address=POD, port=TARGET_PORT, is_away=False)
    caller = site.call().result()
    accepted, _ = server.accept()
    site.hold()
    caller.sendall(b"still there")
    assert accepted.recv(20) == b"still there"
    with pytest.raises(OSError, match=r"unreachable|refused|timed out"):
        site.call(address="10.9.0.1", timeout_s=0.3).result()
    accepted.close()
    assert site.held == []


def test_what_a_predecessor_left_stays_until_the_table_is_whole(site: Site) -> None:
    other = frontend_key("10.96.0.11", 81)
    site.hold(FRONTEND, other)
    site.own_calls.close()
    site.own_calls = site.begin()
    assert len(site.elements("own_held4")) == 2
    call = site.call(timeout_s=0.3)
    site.read()
    with pytest.raises(TimeoutError):
        call.result()
    site.own_calls.hold([FRONTEND])
    site.own_calls.restore()
    assert site.elements("own_held4") == [{"concat": [VIP, PORT]}]


def test_thousands_are_told_and_taken_back(site: Site) -> None:
    keys = [frontend_key(f"10.97.{n // 250}.{n % 250}", 80) for n in range(3 * CHANGES_MAX + 1)]
    site.hold(*keys)
    assert len(site.elements("own_held4")) == len(keys)
    site.hold(*keys)
    assert not site.own_calls.is_changed
    site.own_calls.let_pass(keys)
    site.own_calls.apply()
    assert site.elements("own_held4") == []


def test_one_that_somebody_deleted_is_no_hindrance(site: Site) -> None:
    other = frontend_key("10.96.0.11", 81)
    site.hold(FRONTEND, other)
    site._nft("flush set inet wangell own_held4")
    site.own_calls.let_pass([FRONTEND, other])
    site.own_calls.apply()
    site.hold()
    assert len(site.elements("own_held4")) == 1


@pytest.mark.parametrize(("mark", "wrong"), [(0, (0, 0)), (MARK, (1, 0)), (MARK, (0, 1))])
def test_nobody_elses_segments_are_taken_for_orders(
    site: Site, mark: int, wrong: tuple[int, int]
) -> None:
    """Without the mark, or by a pod of the node's network that guesses the numbers."""
    other = frontend_key("10.96.0.11", 81)
    site.hold()
    sequence, ackseq = site.own_calls._orders._password
    guess = sequence ^ wrong[0], ackseq ^ wrong[1]
    forged = site.node.run(lambda: Orders(guess))
    forged._raw.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
    with pytest.raises(FileNotFoundError):
        forged.give(Order.HOLD, [other])
    with pytest.raises(FileNotFoundError):
        forged.give(Order.LET_PASS, [FRONTEND])
    forged.close()
    assert site.elements("own_held4") == [{"concat": [VIP, PORT]}]


def test_the_handovers_numbers_open_nothing_here(site: Site) -> None:
    assert site.own_calls._orders._password != site.handover._orders._password


def test_without_its_rules_an_order_is_refused_and_stays_due(site: Site) -> None:
    site.node.run(remove_rules)
    site.own_calls.hold([FRONTEND])
    with pytest.raises(FileNotFoundError, match="chain for orders"):
        site.own_calls.apply()
    assert site.own_calls.is_changed
    with pytest.raises(FileNotFoundError):
        site.own_calls.beat()


def test_an_order_leaves_no_trace_in_conntrack(site: Site) -> None:
    site.hold()
    site.own_calls.let_pass([FRONTEND])
    site.own_calls.apply()
    assert VIP not in site._nsenter("conntrack", "-L")


def test_ipv6_is_not_held_yet(site: Site) -> None:
    site.hold(frontend_key("fd00::1", 80))
    assert site.elements("own_held4") == []


def test_two_daemons_of_one_node_do_not_share_its_calls(site: Site) -> None:
    with pytest.raises(OSError, match="group") as refusal:
        site.begin()
    assert refusal.value.errno == errno.EBUSY


def test_more_than_the_queue_takes_is_counted(site: Site) -> None:
    site.hold()

    def flood() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
            syn = site.read().frame[14:]
            for _ in range(4000):
                with contextlib.suppress(PermissionError):  # It was dropped.
                    raw.sendto(syn, (VIP, 0))

    call = site.call(timeout_s=0.2)
    site.node.run(flood)
    for _ in range(4000):
        site.own_calls.log.consume()
    assert site.lost > 0
    assert 0 < len(site.held) <= 4001
    with pytest.raises(TimeoutError):
        call.result()


def test_uninstalled_nothing_is_left(site: Site) -> None:
    site.hold()
    site.node.run(remove_rules)
    with pytest.raises(ConnectionRefusedError):
        site.call().result()
