"""Two controllers, one of which leads: what dies, and what is lost on the way, costs no caller."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.lab.clusters import START_TIMEOUT_S, callers
from tests.lab.helpers import ended
from wangell_lab import Lab, LabError
from wangell_lab.client import Exchange
from wangell_lab.figures import summarize
from wangell_lab.process import Process
from wangell_lab.programs import PROTOCOL_PORT, Controller
from wangell_lab.topology import EXAMPLE
from wangell_lab.wakes import back_to_zero
from wangell_lab.watch import wait_for

ELSEWHERE = replace(EXAMPLE, pod="node2-pod1")
# Tells whom it sees: the pod's view of the caller.
WHO_CALLS = """\
import os, socket
with socket.create_server(('', int(os.environ['PORT']))) as listener:
    while True:
        connection, (address, _) = listener.accept()
        with connection:
            connection.recv(65536)
            head = f'HTTP/1.1 200 OK\\r\\nContent-Length: {len(address)}\\r\\n\\r\\n'
            connection.sendall((head + address).encode())
"""


@contextmanager
def two_controllers(
    server: Sequence[str], *, pod: str = "node1-pod1", idle_timeout_s: int | None = None
) -> Iterator[Lab]:
    """Yield a lab with two nodes and two controllers, the first leading, its service at zero."""
    with Lab(nodes=2, controllers=2, exposures=(replace(EXAMPLE, pod=pod),)) as lab:
        lab.start_controllers(server=server, idle_timeout_s=idle_timeout_s)
        for node in ("node1", "node2"):
            lab.start_daemon(node)
        lab.wait_until_at_zero(timeout_s=START_TIMEOUT_S)
        yield lab


def leader(lab: Lab) -> Controller:
    return lab.controllers["controller1"]


def standby(lab: Lab) -> Controller:
    return lab.controllers["controller2"]


def times_logged(process: Process, words: str) -> int:
    return process.log_path.read_text().count(words)


def wait_until_logged(process: Process, words: str, *, timeout_s: float, count: int = 1) -> None:
    wait_for(
        process.log_path,
        lambda: True if times_logged(process, words) >= count else None,
        timeout_s=timeout_s,
        what=f"{process.name}: {words}",
    )


def wait_until_leads(lab: Lab, controller: Controller) -> float:
    """Return the seconds it took until it led, and both daemons followed its table."""
    began_s = time.monotonic()
    wait_until_logged(controller, "leading with epoch", timeout_s=5)
    led_s = time.monotonic() - began_s
    for daemon in lab.daemons.values():
        wait_until_logged(daemon, "is whole", count=2, timeout_s=5)
    followed_s = time.monotonic() - began_s
    print(f"\nled after {led_s * 1e3:.0f} ms, followed after {followed_s * 1e3:.0f} ms")
    return followed_s


def only_one_syn(lab: Lab) -> Exchange:
    """Call, and be answered as if nothing had happened."""
    with lab.capture() as capture:
        exchange = lab.client.get()
    assert exchange.status == 200
    assert len(capture.syns(exchange.client_port)) == 1
    return exchange


@pytest.mark.parametrize(
    ("pod", "seen"), [("node1-pod1", "10.46.100.1"), ("node2-pod1", "10.46.100.2")]
)
def test_the_pod_sees_the_callers_address_when_it_is_on_the_callers_node(
    tmp_path: Path, pod: str, seen: str
) -> None:
    """On another node it sees the address of the node that the caller came to: masqueraded."""
    script = tmp_path / "who_calls.py"
    script.write_text(WHO_CALLS)
    with two_controllers(["/usr/bin/python3", "-I", "-S", str(script)], pod=pod) as lab:
        woken, warm = only_one_syn(lab), only_one_syn(lab)
        assert (woken.body.decode(), warm.body.decode()) == (seen, seen)
        assert len(lab.server_pids()) == 1


@pytest.mark.parametrize("pod", ["node1-pod1", "node2-pod1"])
@pytest.mark.parametrize("delay_ms", [0, 150, 500])
def test_the_leader_is_killed_between_syn_and_listen(
    c_server: Path, pod: str, delay_ms: int
) -> None:
    with (
        two_controllers([str(c_server), "-d", str(delay_ms)], pod=pod) as lab,
        lab.capture() as capture,
        callers(lab, 1) as waiting,
    ):
        leader(lab).wait_for_replicas(EXAMPLE.service, 1, timeout_s=5)
        leader(lab).kill()
        (exchange,) = waiting.result(timeout=20)
        told = lab.daemons["node1"].cold_starts.next(timeout_s=10)
        print(f"\nserver {delay_ms} ms: first byte after {exchange.first_byte_ms:.0f} ms")
        assert exchange.status == 200
        assert told.answered
        assert told.replayed_ns is not None
        assert len(capture.syns()) == 1
        assert not capture.refusals()
        assert len(lab.server_pids()) == 1
        assert lab.client.get().status == 200
        wait_until_leads(lab, standby(lab))


def test_the_leader_is_killed_as_the_syn_comes(c_server: Path) -> None:
    """Before it has acted, or while it does: whoever has the wake raises, and one server runs."""
    with two_controllers([str(c_server), "-d", "300"], pod="node2-pod1") as lab:
        with lab.capture() as capture, callers(lab, 1) as waiting:
            capture.wait_for(lambda seen: len(seen) > 0, timeout_s=5, what="a SYN")
            leader(lab).kill()
            (exchange,) = waiting.result(timeout=20)
        assert exchange.status == 200
        assert len(capture.syns()) == 1
        assert len(lab.server_pids()) == 1


def test_the_leader_is_killed_while_warm(c_server: Path) -> None:
    with two_controllers([str(c_server)], pod="node2-pod1", idle_timeout_s=3) as lab:
        only_one_syn(lab)
        (server,) = lab.server_pids()
        leader(lab).kill()
        assert wait_until_leads(lab, standby(lab)) < 1.0
        only_one_syn(lab)
        assert lab.server_pids() == [server]
        began_s = time.monotonic()
        lab.wait_until_at_zero(timeout_s=20)
        assert time.monotonic() - began_s >= 2.5, "idleTimeout is 3 s"
        assert ended(server, timeout_s=0)
        only_one_syn(lab)
        assert len(lab.server_pids()) == 1


def test_the_leader_is_stopped_while_warm(c_server: Path) -> None:
    """SIGTERM stops the servers of a controller that is alone, and not those of one that is not."""
    with two_controllers([str(c_server)]) as lab:
        only_one_syn(lab)
        (server,) = lab.server_pids()
        assert leader(lab).stop() == 0
        assert wait_until_leads(lab, standby(lab)) < 1.0
        only_one_syn(lab)
        assert lab.server_pids() == [server]
        standby(lab).stop()
        assert ended(server)


def test_the_standby_is_killed_and_nothing_happens(c_server: Path) -> None:
    with two_controllers([str(c_server)], pod="node2-pod1", idle_timeout_s=1) as lab:
        only_one_syn(lab)
        (server,) = lab.server_pids()
        standby(lab).kill()
        only_one_syn(lab)
        assert lab.server_pids() == [server]
        lab.wait_until_at_zero(timeout_s=20)
        only_one_syn(lab)
        assert times_logged(leader(lab), "leading with epoch") == 1
        assert times_logged(lab.daemons["node1"], "is whole") == 1


def test_a_wake_while_only_the_standby_lives(c_server: Path) -> None:
    with two_controllers([str(c_server)], pod="node2-pod1") as lab:
        leader(lab).kill()
        only_one_syn(lab)
        assert len(lab.server_pids()) == 1


def test_leadership_goes_back_and_forth(c_server: Path) -> None:
    with two_controllers([str(c_server)], pod="node2-pod1") as lab:
        only_one_syn(lab)
        (server,) = lab.server_pids()
        for turn in range(1, 4):
            for dying, heir in ((leader(lab), standby(lab)), (standby(lab), leader(lab))):
                led = times_logged(heir, "leading with epoch")
                dying.kill()
                wait_until_logged(heir, "leading with epoch", count=led + 1, timeout_s=5)
                dying.start()
                only_one_syn(lab)
                assert lab.server_pids() == [server], f"turn {turn}"


def test_a_leader_that_does_not_answer_is_not_waited_for(c_server: Path) -> None:
    """Stopped, it still holds the lock: the one that stands by raises, and lowers nothing."""
    with two_controllers([str(c_server)], idle_timeout_s=1) as lab:
        os.kill(leader(lab).pid, signal.SIGSTOP)
        try:
            only_one_syn(lab)
            (server,) = lab.server_pids()
            with pytest.raises(LabError, match="leading with epoch"):
                wait_until_logged(standby(lab), "leading with epoch", timeout_s=3)
            assert lab.server_pids() == [server]
        finally:
            os.kill(leader(lab).pid, signal.SIGCONT)
        assert lab.client.get().status == 200
        assert lab.server_pids() == [server]
        leader(lab).wait_for_replicas(EXAMPLE.service, 1, timeout_s=5)
        lab.wait_until_at_zero(timeout_s=20)
        assert ended(server, timeout_s=0)


def losing(percent: int) -> str:
    """Return nft rules that lose so many of the link's datagrams, each way."""
    lost = f"numgen random mod 100 < {percent} counter drop"
    return f"""table netdev lossy {{
  chain in {{
    type filter hook ingress device "eth0" priority 0;
    udp sport {PROTOCOL_PORT} {lost}
  }}
  chain out {{
    type filter hook egress device "eth0" priority 0;
    udp dport {PROTOCOL_PORT} {lost}
  }}
}}
"""


def lost_by(lab: Lab, node: str) -> list[int]:
    rules = lab.namespace(node).run(["nft", "list", "table", "netdev", "lossy"], check=True).stdout
    return [int(rule.split()[0]) for rule in rules.split("counter packets ")[1:]]


@pytest.mark.timeout(120)
def test_two_hundred_wakes_across_two_nodes_with_thirty_percent_loss(c_server: Path) -> None:
    first_bytes_ms, syns, servers = [], [], []
    with two_controllers([str(c_server)], pod="node2-pod1") as lab:
        for node in ("node1", "node2"):
            lab.namespace(node).run(["nft", "-f", "-"], given=losing(30), check=True)
        began_s = time.monotonic()
        for _ in range(200):
            back_to_zero(lab, EXAMPLE.service)
            with lab.capture() as capture:
                exchange = lab.client.get()
            assert exchange.status == 200
            first_bytes_ms.append(exchange.first_byte_ms)
            syns.append(len(capture.syns(exchange.client_port)))
            servers.append(len(lab.server_pids()))
        took_s = time.monotonic() - began_s
        lost = {node: lost_by(lab, node) for node in ("node1", "node2")}
        raised = times_logged(standby(lab), "woken by")
    print(f"\nfirst byte {summarize(first_bytes_ms)}")
    print(f"{syns.count(1)} of 200 with one SYN, most {max(syns)}; {raised} reached the standby")
    print(f"{took_s:.1f} s; datagrams lost, in and out: {lost}")
    assert servers == [1] * 200
    assert all(count > 50 for counts in lost.values() for count in counts)
