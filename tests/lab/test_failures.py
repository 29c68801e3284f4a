"""What dies comes back, what is wrong is refused, and the caller is the last to notice."""

import time
from pathlib import Path

import pytest

from tests.lab.clusters import REPLAY_MARGIN_NS, at_zero, callers, metric
from tests.lab.helpers import ended, has_refused
from wangell_lab import Lab, LabError
from wangell_lab.capture import Capture
from wangell_lab.frames import Segment
from wangell_lab.programs import generate_keys
from wangell_lab.wakes import problem_with, wake

# The daemon answers a held SYN in under 1 ms; this is for a machine that is busy.
AT_ONCE_NS = 200_000_000
HELD = 5


def wait_for_syns(capture: Capture, count: int) -> None:
    def all_there(seen: tuple[Segment, ...]) -> bool:
        return sum(each.is_syn for each in seen) >= count

    capture.wait_for(all_there, timeout_s=5, what=f"{count} SYNs")


def answered_by_its_next_retry(capture: Capture, port: int, *, ready_ns: int) -> bool:
    """Whether no SYN sent after `ready_ns` was left unanswered, but for the one on its way."""
    (answer, *_) = capture.syn_acks(port)
    later = [syn.captured_ns for syn in capture.syns(port) if syn.captured_ns > ready_ns]
    return answer.captured_ns <= (later[0] if later else ready_ns) + AT_ONCE_NS


@pytest.mark.parametrize("readiness", ["listen", "probe"])
@pytest.mark.parametrize("delay_ms", [0, 300, 1500])
def test_the_daemon_is_killed_while_syns_are_held(
    c_server: Path, delay_ms: int, readiness: str
) -> None:
    """The server listens before the new daemon does, at about the same time, or after."""
    with at_zero([str(c_server), "-d", str(delay_ms)], readiness=readiness) as lab:
        with lab.capture() as capture, callers(lab, HELD) as waiting:
            wait_for_syns(capture, HELD)
            lab.daemon.kill()
            lab.daemon.start()
            ready_ns = time.monotonic_ns()
            exchanges = waiting.result(timeout=20)
            listens_ns = capture.syns()[0].captured_ns + delay_ms * 1_000_000
            slow = [
                each.client_port
                for each in exchanges
                if not answered_by_its_next_retry(
                    capture, each.client_port, ready_ns=max(ready_ns, listens_ns)
                )
            ]
        print(f"\nfirst bytes after {sorted(round(each.first_byte_ms) for each in exchanges)} ms")
        assert [each.status for each in exchanges] == [200] * HELD
        assert slow == []
        assert len(lab.server_pids()) == 1


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
    """SIGTERM leaves the program attached: no caller is refused, none has to come twice."""
    with at_zero([str(c_server)]) as lab:
        lab.daemon.stop()
        with lab.capture() as capture, callers(lab, 1) as waiting:
            wait_for_syns(capture, 1)
            lab.daemon.start()
            (exchange,) = waiting.result(timeout=20)
            assert exchange.status == 200
            assert not capture.resets()
            assert len(capture.syns()) <= 2


def test_the_controller_is_killed_between_syn_and_listen(c_server: Path) -> None:
    with at_zero([str(c_server), "-d", "2500"]) as lab:
        with lab.capture() as capture, callers(lab, 1) as waiting:
            wait_for_syns(capture, 1)
            lab.controller.wait_for_replicas("default/serverless-example", 1, timeout_s=5)
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
        lab.controller.wait_for_replicas("default/serverless-example", 1, timeout_s=5)
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


def test_a_daemon_with_another_key_is_refused_and_counted(c_server: Path, tmp_path: Path) -> None:
    generate_keys(tmp_path / "others")
    with Lab() as lab:
        lab.start_controller(server=[str(c_server)])
        with pytest.raises(LabError, match="not ready after 3 s"):
            lab.start_daemon(key_directory=tmp_path / "others", timeout_s=3)
        text = lab.metrics(lab.controller)
        assert metric(text, "wangell_datagrams_dropped_total") > 0
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
