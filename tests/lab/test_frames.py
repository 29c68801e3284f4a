"""Reading captured frames: what must be read, and what must not be believed."""

import random

from tests.lab.helpers import ACK, MSS, NOP, RST, SYN, SYN_ACK, tcp_frame, timestamps
from wangell_lab.frames import parse


def test_a_syn_is_read_whole() -> None:
    frame = tcp_frame(
        source="10.46.100.1",
        source_port=40123,
        destination="10.46.100.105",
        destination_port=80,
        sequence=0xDEADBEEF,
        options=MSS + timestamps(511380628, 0),
    )
    segment = parse(frame, captured_ns=7)
    assert segment is not None
    assert (segment.source, segment.source_port) == ("10.46.100.1", 40123)
    assert (segment.destination, segment.destination_port) == ("10.46.100.105", 80)
    assert (segment.sequence, segment.acknowledgment) == (0xDEADBEEF, 0)
    assert (segment.tsval, segment.tsecr) == (511380628, 0)
    assert segment.captured_ns == 7
    assert segment.is_syn
    assert not segment.is_syn_ack
    assert not segment.is_rst


def test_a_syn_ack_is_no_syn() -> None:
    frame = tcp_frame(flags=SYN_ACK, acknowledgment=1001, options=timestamps(5, 511380628))
    segment = parse(frame, captured_ns=0)
    assert segment is not None
    assert (segment.is_syn, segment.is_syn_ack) == (False, True)
    assert (segment.acknowledgment, segment.tsval, segment.tsecr) == (1001, 5, 511380628)


def test_kinds_are_told_by_their_flags() -> None:
    kinds = {}
    for flags in (SYN, SYN_ACK, RST, RST | ACK, ACK):
        segment = parse(tcp_frame(flags=flags), captured_ns=0)
        assert segment is not None
        kinds[flags] = (segment.is_syn, segment.is_syn_ack, segment.is_rst)
    assert kinds == {
        SYN: (True, False, False),
        SYN_ACK: (False, True, False),
        RST: (False, False, True),
        RST | ACK: (False, False, True),
        ACK: (False, False, False),
    }


def test_timestamps_are_found_behind_other_options_and_behind_ip_options() -> None:
    for options in (timestamps(1, 2), MSS + timestamps(1, 2), NOP + NOP + timestamps(1, 2)):
        for ip_options in (b"", bytes([1, 1, 1, 0])):
            segment = parse(tcp_frame(options=options, ip_options=ip_options), captured_ns=0)
            assert segment is not None
            assert (segment.tsval, segment.tsecr) == (1, 2)


def test_no_timestamps_are_none_and_not_zero() -> None:
    for options in (b"", MSS, b"\x00" + timestamps(1, 2)[:7]):
        segment = parse(tcp_frame(options=options), captured_ns=0)
        assert segment is not None
        assert (segment.tsval, segment.tsecr) == (None, None)


def test_an_option_of_no_length_does_not_hang_the_reader() -> None:
    for options in (bytes([8, 0, 0, 0]), bytes([8, 1, 0, 0]), bytes([99, 0, 0, 0])):
        segment = parse(tcp_frame(options=options), captured_ns=0)
        assert segment is not None
        assert segment.tsval is None


def test_other_protocols_and_stumps_are_not_segments() -> None:
    frame = tcp_frame(options=timestamps(1, 2))
    arp, ipv6, udp = bytearray(frame), bytearray(frame), bytearray(frame)
    arp[12:14], ipv6[12:14], udp[23] = b"\x08\x06", b"\x86\xdd", 17
    for other in (bytes(arp), bytes(ipv6), bytes(udp), b"", frame[:14], frame[:33], frame[:53]):
        assert parse(other, captured_ns=0) is None


def test_any_bytes_at_all_are_read_or_refused_and_never_raise() -> None:
    chance = random.Random(1)
    whole = tcp_frame(options=MSS + timestamps(1, 2))
    for _ in range(3000):
        mutated = bytearray(whole[: chance.randrange(len(whole) + 1)])
        for _ in range(min(3, len(mutated))):
            mutated[chance.randrange(len(mutated))] = chance.randrange(256)
        parse(bytes(mutated), captured_ns=0)
