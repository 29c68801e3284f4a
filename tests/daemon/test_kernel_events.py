"""The ring buffers' bytes as values. tests/kernel shows that the programs write them so."""

import ipaddress
import struct

import pytest

from tests.daemon.packets import ACK, SYN, Segment
from wangell_daemon.kernel_events import parse_answered, parse_held, parse_listened
from wangell_daemon.packets import BadFrameError, parse_syn

FLOW = parse_syn(Segment().raw).flow


def held_syn(frame: bytes, *, length: int | None = None) -> bytes:
    """As `struct held_syn` lies in the ring buffer, which pads to eight bytes."""
    length = len(frame) if length is None else length
    event = struct.pack("=QIII", 12345678901234, 7, 3, length) + frame
    return event.ljust((len(event) + 7) & ~7, b"\xee")


def listened(address: str, *, port: int = 8080) -> bytes:
    """As `struct listened` does."""
    ip = ipaddress.ip_address(address)
    packed = ip.packed if ip.version == 6 else bytes(10) + b"\xff\xff" + ip.packed
    return struct.pack("=QIHH16s", 12345678901234, 4242, port, 2 if ip.version == 4 else 10, packed)


def test_a_held_syn_is_read_with_where_and_when() -> None:
    held = parse_held(held_syn(Segment().raw))
    assert held.syn == parse_syn(Segment().raw)
    assert held.first_seen_ns == held.seen_ns == 12345678901234
    assert (held.ifindex, held.rx_queue) == (7, 3)
    assert held.injections == 0
    assert not held.is_watched
    assert held.ready_frame is None


def test_the_ring_buffers_padding_is_not_part_of_the_frame() -> None:
    frame = Segment(payload=b"odd").raw
    assert parse_held(held_syn(frame)).syn.frame == frame


@pytest.mark.parametrize(
    ("what", "event"),
    [
        ("no frame", held_syn(b"")),
        ("a frame cut short", held_syn(Segment().raw, length=40)),
        ("a frame that is longer than the event", held_syn(Segment().raw[:30], length=74)),
        ("a SYN-ACK", held_syn(Segment(flags=SYN | ACK).raw)),
        ("IPv6", held_syn(Segment(ether_type=0x86DD).raw)),
    ],
)
def test_what_is_no_whole_syn_is_refused(what: str, event: bytes) -> None:
    with pytest.raises(BadFrameError):
        parse_held(event)


@pytest.mark.parametrize("is_reset", [False, True])
def test_an_answer_is_read(is_reset: bool) -> None:
    answer = parse_answered(struct.pack("=Q36sI", 99, FLOW, is_reset))
    assert (answer.seen_ns, answer.flow, answer.is_reset) == (99, FLOW, is_reset)


def test_a_listen_is_read() -> None:
    listen = parse_listened(listened("10.244.0.5", port=0x1F90))
    assert (listen.seen_ns, listen.pid, listen.port) == (12345678901234, 4242, 8080)
    assert not listen.is_loopback


@pytest.mark.parametrize(
    ("address", "is_loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.127", False),
        ("128.0.0.1", False),
        ("::1:0", False),
        ("fd00::7f00:1", False),
        ("127::1", False),
    ],
)
def test_no_caller_can_reach_a_loopback_listener(address: str, is_loopback: bool) -> None:
    assert parse_listened(listened(address)).is_loopback is is_loopback
