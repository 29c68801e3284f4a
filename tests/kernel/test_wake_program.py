"""Verdicts of the hold program, packet by packet, in the real kernel."""

import ctypes
import struct
import time

import pytest

from tests.daemon.packets import ACK, FIN, RST, SYN, Segment
from tests.kernel.conftest import DROP, IFINDEX, PASS, Program
from wangell_daemon.datapath.datapath import names_of
from wangell_daemon.datapath.headers import EBPF
from wangell_daemon.effects import Mode
from wangell_daemon.kernel_events import parse_answered, parse_held
from wangell_daemon.packets import frontend_key
from wangell_daemon.slots import SLOTS_MAX

VIP = frontend_key("10.0.0.2", 80)
FLOW = parse_held(struct.pack("=QIII", 0, 0, 0, len(Segment().raw)) + Segment().raw).syn.flow


@pytest.fixture
def cold(program: Program) -> Program:
    program.set_service(VIP, mode=Mode.HOLD)
    program.beat(time.monotonic_ns())
    return program


@pytest.fixture
def warm(program: Program) -> Program:
    program.set_service(VIP, mode=Mode.PASS, slot=7)
    program.beat(time.monotonic_ns())
    return program


@pytest.fixture
def settling(program: Program) -> Program:
    program.set_service(VIP, mode=Mode.SETTLE)
    program.beat(time.monotonic_ns())
    table = program.bpf[b"unanswered"]
    table[table.Key.from_buffer_copy(FLOW)] = table.Leaf(1)
    return program


def test_a_syn_for_a_cold_service_is_held_whole(cold: Program) -> None:
    frame = Segment(payload=b"fast open data").raw
    before_ns = time.monotonic_ns()
    assert cold.run(frame) == DROP
    assert cold.reasons() == {"held": 1}
    (event,) = cold.held
    held = parse_held(event)
    assert held.syn.frame == frame
    assert (held.ifindex, held.rx_queue) == (IFINDEX, 0)
    assert before_ns <= held.seen_ns <= time.monotonic_ns()


def test_the_longest_ethernet_syn_is_held_whole(cold: Program) -> None:
    frame = Segment(payload=bytes(1514 - len(Segment().raw))).raw
    assert len(frame) == 1514
    assert cold.run(frame) == DROP
    assert parse_held(cold.held[0]).syn.frame == frame


def test_a_syn_too_long_to_hold_is_dropped_not_cut(cold: Program) -> None:
    assert cold.run(Segment(payload=bytes(2048)).raw) == DROP
    assert cold.reasons() == {"oversize": 1}
    assert cold.held == []


@pytest.mark.parametrize(
    ("what", "segment", "reason"),
    [
        ("another address", Segment(vip="10.0.0.3:80"), "not_service"),
        ("another port", Segment(vip="10.0.0.2:81"), "not_service"),
        ("the port with its bytes swapped", Segment(vip="10.0.0.2:20480"), "not_service"),
        ("the address with its bytes swapped", Segment(vip="2.0.0.10:80"), "not_service"),
        ("UDP", Segment(protocol=17), "not_tcp"),
        ("ARP", Segment(ether_type=0x0806), "not_tcp"),
        ("IPv6", Segment(ether_type=0x86DD), "not_tcp"),
        ("a VLAN tag", Segment(ether_type=0x8100), "not_tcp"),
        ("a first fragment", Segment(fragment=0x2000), "fragment"),
        ("a later fragment", Segment(fragment=0x0010), "fragment"),
        ("a SYN-ACK", Segment(flags=SYN | ACK), "passed"),
        ("an ACK", Segment(flags=ACK), "passed"),
        ("a FIN", Segment(flags=FIN | ACK), "passed"),
        ("a RST", Segment(flags=RST), "passed"),
        ("no flags at all", Segment(flags=0), "passed"),
    ],
)
def test_everything_else_passes(cold: Program, what: str, segment: Segment, reason: str) -> None:
    assert cold.run(segment.raw) == PASS, what
    assert cold.reasons() == {reason: 1}
    assert cold.held == [], what


def test_dont_fragment_is_no_fragment(cold: Program) -> None:
    assert cold.run(Segment(fragment=0x4000).raw) == DROP


def test_ip_options_are_stepped_over(cold: Program) -> None:
    assert cold.run(Segment(ip_options=b"\x94\x04\0\0").raw) == DROP
    assert cold.reasons() == {"held": 1}


def test_a_frame_cut_short_passes(cold: Program) -> None:
    lengths = range(cold.frame_bytes_min, 54)
    for length in lengths:
        assert cold.run(Segment(options=b"").raw[:length]) == PASS, length
    assert cold.held == []
    assert cold.reasons() == {"truncated": len(lengths)}


@pytest.mark.parametrize("ihl", [0, 4])
def test_an_impossible_header_length_passes(cold: Program, ihl: int) -> None:
    frame = bytearray(Segment().raw)
    frame[14] = 0x40 | ihl
    assert cold.run(bytes(frame)) == PASS
    assert cold.reasons() == {"truncated": 1}


def test_nothing_is_held_without_a_heartbeat(cold: Program) -> None:
    cold.beat(time.monotonic_ns() - 30_100_000_000)
    assert cold.run(Segment().raw) == PASS
    assert cold.reasons() == {"no_daemon": 1}
    assert cold.held == []


def test_a_heartbeat_of_29_s_ago_still_holds(cold: Program) -> None:
    cold.beat(time.monotonic_ns() - 29_000_000_000)
    assert cold.run(Segment().raw) == DROP


def test_a_full_ring_drops_and_counts(cold: Program) -> None:
    rings, cold.rings = cold.rings, []  # nobody reads
    frame = Segment(payload=bytes(1400)).raw
    while "ring_full" not in cold.reasons():
        assert cold.run(frame) == DROP
    assert 500 < cold.reasons()["held"] < 1000  # 1 MiB of 1.5 KiB frames
    cold.rings = rings
    cold.run(Segment(flags=ACK).raw)
    assert len(cold.held) == cold.reasons()["held"]


def test_a_warm_service_passes_and_notes_the_time(warm: Program) -> None:
    before_ns = time.monotonic_ns()
    assert warm.run(Segment().raw) == PASS
    assert warm.run(Segment(flags=ACK).raw) == PASS
    seen = warm.bpf[b"activity"][ctypes.c_int(7)]
    assert before_ns <= seen.last_packet_ns <= time.monotonic_ns()
    assert seen.syns == 1
    assert warm.reasons() == {"passed": 2}


def test_a_held_syn_is_no_activity(cold: Program) -> None:
    cold.run(Segment().raw)
    assert cold.bpf[b"activity"][ctypes.c_int(0)].last_packet_ns == 0


def test_another_services_slot_is_not_touched(warm: Program) -> None:
    warm.run(Segment().raw)
    assert warm.bpf[b"activity"][ctypes.c_int(6)].last_packet_ns == 0
    assert warm.bpf[b"activity"][ctypes.c_int(8)].last_packet_ns == 0


def test_the_first_ack_of_a_replayed_connection_is_told_once(settling: Program) -> None:
    assert settling.run(Segment(flags=ACK).raw) == PASS
    assert settling.run(Segment(flags=ACK).raw) == PASS
    assert settling.reasons() == {"answered": 1, "passed": 1}
    (event,) = settling.answered
    answer = parse_answered(event)
    assert answer.flow == FLOW
    assert not answer.is_reset


def test_a_client_that_gave_up_is_told_as_reset(settling: Program) -> None:
    assert settling.run(Segment(flags=RST).raw) == PASS
    assert parse_answered(settling.answered[0]).is_reset


def test_a_syn_already_replayed_passes_and_is_counted_apart(settling: Program) -> None:
    assert settling.run(Segment().raw) == PASS
    assert settling.reasons() == {"resent": 1}
    assert settling.answered == []
    assert settling.held == []


def test_another_connection_of_a_settling_service_just_passes(settling: Program) -> None:
    assert settling.run(Segment(client="10.0.0.1:40001").raw) == PASS
    assert settling.run(Segment(client="10.0.0.1:40001", flags=ACK).raw) == PASS
    assert settling.reasons() == {"passed": 2}
    assert settling.answered == []


@pytest.fixture
def metered(settling: Program) -> Program:
    settling.set_service(VIP, mode=Mode.METER)
    return settling


def test_a_new_syn_of_a_metered_service_goes_to_the_daemon(metered: Program) -> None:
    frame = Segment(client="10.0.0.1:40001").raw
    assert metered.run(frame) == DROP
    assert metered.reasons() == {"held": 1}
    assert parse_held(metered.held[0]).syn.frame == frame


def test_what_is_replayed_to_a_metered_service_passes_and_its_ack_is_told(
    metered: Program,
) -> None:
    assert metered.run(Segment().raw) == PASS
    assert metered.run(Segment(flags=ACK).raw) == PASS
    assert metered.reasons() == {"resent": 1, "answered": 1}
    assert metered.held == []


def test_what_the_daemon_cannot_take_of_a_metered_service_passes(metered: Program) -> None:
    assert metered.run(Segment(client="10.0.0.1:40001", payload=bytes(2048)).raw) == PASS
    metered.beat(1)
    assert metered.run(Segment(client="10.0.0.1:40001").raw) == PASS
    assert metered.reasons() == {"passed": 2}


def test_counters_add_up_to_packets(cold: Program) -> None:
    frames = [
        Segment().raw,
        Segment(vip="10.0.0.9:80").raw,
        Segment(protocol=17).raw,
        Segment(fragment=1).raw,
        Segment().raw[:40],
        Segment(flags=ACK).raw,
    ]
    for frame in frames:
        cold.run(frame)
    assert sum(cold.reasons().values()) == len(frames)


def test_user_space_and_the_program_agree() -> None:
    assert names_of("mode") == [mode.name.lower() for mode in Mode]
    header = (EBPF / "consts.h").read_text()
    assert f"#define SLOTS_MAX {SLOTS_MAX}\t" in header
