"""What the capture sees, when it says it was, and that it says so when it saw too little."""

import time
from pathlib import Path

import pytest

from tests.lab.helpers import has_refused, serving
from wangell_lab import Lab, LabError
from wangell_lab import capture as capture_module
from wangell_lab.capture import Capture


def test_one_connection_is_one_syn_and_one_syn_ack_that_echoes_its_timestamp(
    lab: Lab, c_server: Path
) -> None:
    with serving(lab.namespace("node1-pod1"), [str(c_server)]), lab.capture() as capture:
        exchange = lab.client.get()
    (syn,), (syn_ack,) = (
        capture.syns(exchange.client_port),
        capture.syn_acks(exchange.client_port),
    )
    assert (syn.source, syn.destination, syn.destination_port) == (
        *("10.46.100.1", "10.46.100.105"),
        80,
    )
    assert syn_ack.acknowledgment == syn.sequence + 1
    assert syn.tsval is not None
    assert syn_ack.tsecr == syn.tsval
    assert not capture.refusals()


def test_times_are_those_of_the_monotonic_clock(lab: Lab, c_server: Path) -> None:
    with serving(lab.namespace("node1-pod1"), [str(c_server)]), lab.capture() as capture:
        exchange = lab.client.get()
    (syn,), (syn_ack,) = capture.syns(), capture.syn_acks()
    assert exchange.started_ns <= syn.captured_ns <= syn_ack.captured_ns <= exchange.connected_ns


def test_every_retry_of_a_syn_is_seen(lab: Lab) -> None:
    """Nobody answers there: dropped on arrival, as XDP does it. The kernel retries after 1 s."""
    chain = "type filter hook prerouting priority raw; tcp dport 80 drop;"
    deaf = f"table ip deaf {{ chain prerouting {{ {chain} }}; }}"
    lab.namespace("node1").run(["nft", "-f", "-"], given=deaf, check=True)
    with lab.capture() as capture:
        with pytest.raises(TimeoutError):
            lab.client.connect(timeout_s=1.3)
        first, second = capture.syns()
    assert first.sequence == second.sequence
    assert second.tsval != first.tsval
    assert (second.captured_ns - first.captured_ns) / 1e9 == pytest.approx(1.0, abs=0.1)
    assert not capture.syn_acks()


def test_a_refusal_is_seen_and_is_no_syn_ack(lab: Lab) -> None:
    with lab.capture() as capture:
        assert has_refused(lab.client, "10.46.100.105", 80)
    assert len(capture.syns()) == len(capture.refusals()) == 1
    assert not capture.syn_acks()


def test_what_passed_before_and_after_is_not_in_it(lab: Lab, c_server: Path) -> None:
    with serving(lab.namespace("node1-pod1"), [str(c_server)]):
        lab.client.get()
        with lab.capture() as capture:
            exchange = lab.client.get()
        lab.client.get()
    assert [syn.source_port for syn in capture.segments if syn.is_syn] == [exchange.client_port]


def test_data_segments_are_left_out_by_the_kernel(lab: Lab, c_server: Path) -> None:
    """Or a long download would fill the buffer."""
    with serving(lab.namespace("node1-pod1"), [str(c_server)]), lab.capture() as capture:
        for _ in range(20):
            lab.client.get()
    assert all(each.is_syn or each.is_syn_ack or each.is_rst for each in capture.segments)
    assert len(capture.syns()) == len(capture.syn_acks()) == 20


def test_fifty_connections_at_once_are_all_seen(lab: Lab, c_server: Path) -> None:
    with serving(lab.namespace("node1-pod1"), [str(c_server)]), lab.capture() as capture:
        exchanges = lab.client.get_at_once(50)
    ports = [exchange.client_port for exchange in exchanges]
    assert sorted(ports) == sorted(syn.source_port for syn in capture.syns())
    assert len(set(ports)) == 50


def test_a_capture_that_lost_frames_does_not_count_too_few(
    lab: Lab, c_server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture_module, "BUFFER_BYTES", 1)  # The kernel makes it 2 KiB or so.
    with (
        serving(lab.namespace("node1-pod1"), [str(c_server)]),
        pytest.raises(LabError, match=r"lost \d+ frames"),
        lab.capture(),
    ):
        for _ in range(20):
            lab.client.get()


def test_waiting_for_a_segment_ends_with_it_or_in_time(lab: Lab) -> None:
    with lab.capture() as capture:
        assert has_refused(lab.client, "10.46.100.105", 80)
        capture.wait_for(lambda seen: any(each.is_rst for each in seen), timeout_s=5, what="a RST")
        started_s = time.monotonic()
        with pytest.raises(LabError, match=r"a SYN-ACK: not captured within 0\.1 s"):
            capture.wait_for(
                lambda seen: any(each.is_syn_ack for each in seen),
                timeout_s=0.1,
                what="a SYN-ACK",
            )
        assert time.monotonic() - started_s < 2


def test_an_interface_that_does_not_exist_is_an_error_and_leaves_no_socket(lab: Lab) -> None:
    with pytest.raises(OSError, match="No such device"), Capture(lab.namespace("client"), "eth7"):
        pytest.fail("captured on an interface that does not exist")
