"""What dies comes back, what is wrong is refused, and the caller is the last to notice."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.lab.clusters import REPLAY_MARGIN_NS, at_zero, callers, metric
from tests.lab.helpers import ended, has_refused
from wangell_controller.keys import generate_keys
from wangell_lab import Lab, LabError
from wangell_lab.capture import Capture
from wangell_lab.client import Exchange
from wangell_lab.frames import Segment
from wangell_lab.reaper import end_all
from wangell_lab.topology import EXAMPLE
from wangell_lab.wakes import problem_with, wake

# The daemon answers a held SYN in under 1 ms; this is for a machine that is busy.
AT_ONCE_NS = 200_000_000
HELD = 5


def wait_for_syns(capture: Capture, count: int) -> None:
    def all_there(seen: tuple[Segment, ...]) -> bool:
        return sum(each.is_syn for each in seen) >= count

    capture.wait_for(all_there, timeout_s=5, what=f"{count} SYNs")


def unanswered_retries(
    capture: Capture, exchanges: Sequence[Exchange], *, possible_ns: int
) -> list[int]:
    """Return the clients that had to send more than once after they could have been answered."""
    unanswered = []
    for port in (each.client_port for each in exchanges):
        (answer, *_) = capture.syn_acks(port)
        later = [syn.captured_ns for syn in capture.syns(port) if syn.captured_ns > possible_ns]
        if later and answer.captured_ns > later[0] + AT_ONCE_NS:
            unanswered.append(port)
    return unanswered


@pytest.mark.parametrize("readiness", ["listen", "probe"])
def test_the_daemon_is_killed_as_syns_arrive(c_server: Path, readiness: str) -> None:
    """Some it may have read and told nobody about; others it never read."""
    with (
        at_zero([str(c_server)], readiness=readiness) as lab,
        lab.capture() as capture,
        callers(lab, HELD) as waiting,
    ):
        wait_for_syns(capture, HELD)
        lab.daemon.kill()
        lab.daemon.start()
        ready_ns = time.monotonic_ns()
        exchanges = waiting.result(timeout=20)
        print(f"\nfirst bytes after {sorted(round(each.first_byte_ms) for each in exchanges)} ms")
        assert [each.status for each in exchanges] == [200] * HELD
        assert unanswered_retries(capture, exchanges, possible_ns=ready_ns) == []
        assert not capture.refusals()
        assert len(lab.server_pids()) == 1


@pytest.mark.parametrize("readiness", ["listen", "probe"])
@pytest.mark.parametrize("delay_ms", [200, 2500])
def test_the_daemon_is_killed_while_the_server_starts(
    c_server: Path, delay_ms: int, readiness: str
) -> None:
    """The server listens while no daemon looks, or after there is one again."""
    with (
        at_zero([str(c_server), "-d", str(delay_ms)], readiness=readiness) as lab,
        lab.capture() as capture,
        callers(lab, HELD) as waiting,
    ):
        lab.controller.wait_for_replicas(EXAMPLE.service, 1, timeout_s=5)
        started_ns = time.monotonic_ns()
        (server,) = lab.server_pids()
        lab.daemon.kill()
        lab.daemon.start()
        possible_ns = max(time.monotonic_ns(), started_ns + delay_ms * 1_000_000)
        exchanges = waiting.result(timeout=20)
        print(f"\nfirst bytes after {sorted(round(each.first_byte_ms) for each in exchanges)} ms")
        assert [each.status for each in exchanges] == [200] * HELD
        assert unanswered_retries(capture, exchanges, possible_ns=possible_ns) == []
        assert not capture.refusals()
        assert lab.server_pids() == [server]


def test_a_warm_service_serves_on_while_the_daemon_is_away(c_server: Path) -> None:
    with at_zero([str(c_server)]) as lab:
        wake(lab, lab.client.get)
        lab.daemon.kill()
        with lab.capture() as capture:
            assert [lab.client.get().status for _ in range(10)] == [200] * 10
        assert len(capture.syns()) == 10
        lab.daemon.start()
        assert lab.client.get().status == 200


def test_a_syn_that_comes_while_the_daemon_restarts_is_held_for_its_successor(
    c_server: Path,
) -> None:
    """SIGTERM leaves the program attached: no caller is refused, and the successor answers."""
    with at_zero([str(c_server)]) as lab:
        lab.daemon.stop()
        with lab.capture() as capture, callers(lab, 1) as waiting:
            wait_for_syns(capture, 1)
            lab.daemon.start()
            ready_ns = time.monotonic_ns()
            exchanges = waiting.result(timeout=20)
            assert [each.status for each in exchanges] == [200]
            assert not capture.refusals()
            assert unanswered_retries(capture, exchanges, possible_ns=ready_ns) == []


def test_the_controller_is_killed_between_syn_and_listen(c_server: Path) -> None:
    with at_zero([str(c_server), "-d", "2500"]) as lab:
        with lab.capture() as capture, callers(lab, 1) as waiting:
            wait_for_syns(capture, 1)
            lab.controller.wait_for_replicas(EXAMPLE.service, 1, timeout_s=5)
            lab.controller.kill()
            (server,) = lab.server_pids()
            lab.controller.start()
            (exchange,) = waiting.result(timeout=20)
            told = lab.daemon.cold_starts.next(timeout_s=10)
        assert exchange.status == 200
        assert lab.server_pids() == [server]
        assert told.answered
        assert told.replayed_ns is not None
        late = [s for s in capture.syns() if s.captured_ns > told.replayed_ns + REPLAY_MARGIN_NS]
        assert late == []
        lab.controller.wait_for_replicas(EXAMPLE.service, 1, timeout_s=5)
        assert lab.client.get().status == 200


def test_the_controller_is_away_when_the_syn_comes(c_server: Path) -> None:
    """The wake waits in the daemon: the caller is answered once there is a controller again."""
    with at_zero([str(c_server)]) as lab:
        lab.controller.kill()
        with lab.capture() as capture, callers(lab, 1) as waiting:
            wait_for_syns(capture, 1)
            lab.controller.start()
            (exchange,) = waiting.result(timeout=20)
            told = lab.daemon.cold_starts.next(timeout_s=10)
        assert exchange.status == 200
        assert told.replayed_ns is not None
        late = [s for s in capture.syns() if s.captured_ns > told.replayed_ns + REPLAY_MARGIN_NS]
        assert late == []


def test_a_server_that_dies_is_started_anew_by_the_next_caller(c_server: Path) -> None:
    with at_zero([str(c_server)]) as lab:
        wake(lab, lab.client.get)
        (first,) = lab.server_pids()
        lab.end_servers()
        lab.wait_until_at_zero(timeout_s=10)
        assert ended(first, timeout_s=0)
        assert problem_with(wake(lab, lab.client.get)) is None


def refused_datagrams(lab: Lab) -> float:
    return metric(lab.metrics(lab.controller), "wangell_datagrams_dropped_total")


def test_a_daemon_with_another_key_is_refused_and_counted(c_server: Path, tmp_path: Path) -> None:
    generate_keys(tmp_path / "others")
    with Lab() as lab, ThreadPoolExecutor(max_workers=1) as starter:
        lab.start_controller(server=[str(c_server)])
        starting = starter.submit(lab.start_daemon, key_directory=tmp_path / "others")
        until_s = time.monotonic() + 20
        while refused_datagrams(lab) == 0:
            assert time.monotonic() < until_s, "the controller counts no refused datagram"
        end_all([lab.namespace("node1")])
        with pytest.raises(LabError, match="ended before it was ready"):
            starting.result(timeout=10)
        # It was told nothing, so it holds nothing; and it changed nothing for one with the key.
        assert has_refused(lab.client, "10.46.100.105", 80)
        assert lab.server_pids() == []
        lab.start_daemon()
        lab.wait_until_at_zero(timeout_s=10)
        assert problem_with(wake(lab, lab.client.get)) is None


def test_an_interface_that_does_not_exist_is_named_beside_those_that_do(lab: Lab) -> None:
    lab.start_controller()
    with pytest.raises(LabError, match=r"no interface 'eth7' here; there are: .*eth0") as refused:
        lab.start_daemon(interface="eth7")
    assert "Traceback" not in str(refused.value)
    link = lab.namespace("node1").run(["ip", "-details", "link", "show", "eth0"], check=True).stdout
    assert "xdp" not in link


def test_keys_that_are_missing_are_named(lab: Lab, tmp_path: Path) -> None:
    lab.start_controller()
    with pytest.raises(LabError, match="ended before it was ready") as refused:
        lab.start_daemon(key_directory=tmp_path)
    assert str(tmp_path) in str(refused.value)
    assert "Traceback" not in str(refused.value)
