"""Held frames read, and frames made: the bytes are what a Linux client sends and a kernel takes."""

import contextlib
import ipaddress
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.daemon.packets import (
    ACK,
    CLIENT_MAC,
    FIN,
    MSS,
    NODE_MAC,
    NOP,
    RST,
    SACK_PERMITTED,
    SYN,
    WINDOW_SCALE,
    Segment,
    ones_complement_sum,
    timestamps,
)
from wangell_daemon.packets import (
    BadFrameError,
    Syn,
    client_of,
    frontend_key,
    frontend_of,
    parse_syn,
    reset_for,
    syn_segment,
    with_checksums,
)

ETHERNET_FRAME_BYTES_MIN = 60  # shorter ones are padded by the sender's card


def ip_header(frame: bytes) -> bytes:
    return frame[14 : 14 + (frame[14] & 0x0F) * 4]


def segment_of(frame: bytes) -> bytes:
    """The TCP header and what follows, by the IP header's own lengths."""
    return frame[14 + len(ip_header(frame)) : 14 + int.from_bytes(frame[16:18], "big")]


def pseudo_header(frame: bytes) -> bytes:
    return frame[26:34] + b"\0\x06" + struct.pack("!H", len(segment_of(frame)))


def assert_checksums_are_whole(frame: bytes) -> None:
    assert ones_complement_sum(ip_header(frame)) == 0xFFFF
    assert ones_complement_sum(pseudo_header(frame) + segment_of(frame)) == 0xFFFF


# Reading.


def test_a_syn_is_read_with_its_flow_in_network_order() -> None:
    syn = parse_syn(Segment(client="10.0.0.1:40000", vip="10.0.0.2:80").raw)
    v4_mapped = "00000000000000000000ffff"
    assert syn.flow.hex() == f"{v4_mapped}0a000001{v4_mapped}0a000002" + "9c40" + "0050"
    assert syn.sequence == 0x01020304
    assert syn.timestamp == 0x11223344


def test_ethernets_padding_is_not_part_of_the_frame() -> None:
    short = Segment(options=b"")
    padded = Segment(options=b"", padding=bytes(ETHERNET_FRAME_BYTES_MIN - len(short.raw)))
    assert len(padded.raw) == ETHERNET_FRAME_BYTES_MIN
    assert parse_syn(padded.raw).frame == short.raw


def test_fast_open_data_stays_in_the_frame() -> None:
    frame = Segment(payload=b"GET / HTTP/1.1\r\n").raw
    assert parse_syn(frame).frame == frame


def test_ip_options_are_stepped_over() -> None:
    router_alert = b"\x94\x04\0\0"
    with_options = parse_syn(
        Segment(ip_options=router_alert * 10).raw
    )  # 40 bytes: all there can be
    assert with_options.flow == parse_syn(Segment().raw).flow
    assert with_options.timestamp == 0x11223344
    assert router_alert in with_options.frame


@pytest.mark.parametrize(
    ("options", "timestamp"),
    [
        (b"", None),
        (MSS, None),
        (timestamps(7) + NOP * 2, 7),
        (NOP * 2 + timestamps(2**32 - 1), 2**32 - 1),
        (MSS + SACK_PERMITTED + timestamps(0) + NOP + WINDOW_SCALE, 0),
        (NOP * 40, None),
        (b"\0" * 4, None),
        (b"\0" + NOP * 3 + timestamps(7) + NOP * 2, None),  # after the end of the list
    ],
)
def test_the_timestamp_is_found_among_other_options(options: bytes, timestamp: int | None) -> None:
    assert parse_syn(Segment(options=options).raw).timestamp == timestamp


@pytest.mark.parametrize(
    ("what", "options"),
    [
        ("a length of 0, which would never end", b"\x02\x00\x05\xb4"),
        ("a length of 1", b"\x02\x01\x05\xb4"),
        ("a length beyond the header", b"\x02\xff\x05\xb4"),
        ("a kind without its length", NOP * 3 + b"\x08"),
        ("timestamps cut short", NOP * 2 + b"\x08\x0a" + bytes(4)),
        ("timestamps of another length", b"\x08\x08" + bytes(6)),
        ("timestamps that say they are longer", b"\x08\x0c" + bytes(10)),
    ],
)
def test_malformed_options_cost_the_timestamp_not_the_connection(what: str, options: bytes) -> None:
    frame = Segment(options=options).raw
    assert parse_syn(frame).timestamp is None, what
    assert parse_syn(frame).frame == frame


@pytest.mark.parametrize(
    ("what", "segment"),
    [
        ("UDP", Segment(protocol=17)),
        ("ARP", Segment(ether_type=0x0806)),
        ("IPv6", Segment(ether_type=0x86DD)),
        ("a VLAN tag", Segment(ether_type=0x8100)),
        ("a SYN-ACK", Segment(flags=SYN | ACK)),
        ("an ACK", Segment(flags=ACK)),
        ("a FIN", Segment(flags=FIN | ACK)),
        ("a RST", Segment(flags=RST)),
        ("no flags", Segment(flags=0)),
    ],
)
def test_what_is_no_ipv4_syn_is_refused(what: str, segment: Segment) -> None:
    with pytest.raises(BadFrameError):
        parse_syn(segment.raw)


@pytest.mark.parametrize("length", range(len(Segment().raw)))
def test_a_frame_cut_short_is_refused_at_any_length(length: int) -> None:
    for work in (parse_syn, with_checksums, reset_for):
        with pytest.raises(BadFrameError):
            work(Segment().raw[:length])


@pytest.mark.parametrize(
    ("what", "at", "value"),
    [
        ("an IP header of 0 bytes", 14, 0x40),
        ("an IP header of 16 bytes", 14, 0x44),
        ("an IP header longer than the packet", 14, 0x4F),
        ("a total length of 0", 17, 0),
        ("a total length that ends within the TCP header", 17, 39),
        ("a total length beyond the frame", 17, 255),
        ("a TCP header of 0 bytes", 46, 0x00),
        ("a TCP header of 16 bytes", 46, 0x40),
        ("a TCP header longer than the segment", 46, 0xF0),
    ],
)
def test_lengths_that_contradict_each_other_are_refused(what: str, at: int, value: int) -> None:
    frame = bytearray(Segment().raw)
    frame[at] = value
    with pytest.raises(BadFrameError):
        parse_syn(bytes(frame))


@given(st.binary(max_size=120))
@example(Segment().raw)
def test_any_bytes_at_all_give_a_syn_or_the_one_error(frame: bytes) -> None:
    with contextlib.suppress(BadFrameError):
        assert isinstance(parse_syn(frame), Syn)
    for work in (with_checksums, reset_for):
        with contextlib.suppress(BadFrameError):
            work(frame)


@given(st.data())
def test_a_damaged_syn_gives_a_syn_or_the_one_error(data: st.DataObject) -> None:
    frame = bytearray(Segment(ip_options=bytes(4), payload=b"abc", padding=b"\0\0").raw)
    for _ in range(data.draw(st.integers(1, 6))):
        frame[data.draw(st.integers(12, len(frame) - 1))] = data.draw(st.integers(0, 255))
    for work in (parse_syn, with_checksums, reset_for):
        with contextlib.suppress(BadFrameError):
            work(bytes(frame))


v4_addresses = st.ip_addresses(v=4).map(str)
ports = st.integers(1, 65535)
option_lists = st.lists(
    st.sampled_from((MSS, SACK_PERMITTED + NOP * 2, NOP + WINDOW_SCALE, NOP * 2 + timestamps(9))),
    max_size=4,
    unique=True,
).map(b"".join)
syns = st.builds(
    Segment,
    client=st.builds("{}:{}".format, v4_addresses, ports),
    vip=st.builds("{}:{}".format, v4_addresses, ports),
    sequence=st.integers(0, 2**32 - 1),
    options=option_lists,
    payload=st.binary(max_size=60),
    ip_options=st.sampled_from((b"", b"\x94\x04\0\0")),
    padding=st.binary(max_size=20),
)


@given(syns)
def test_any_syn_comes_back_as_it_was_sent(segment: Segment) -> None:
    syn = parse_syn(segment.raw)
    vip, port = segment.vip.rsplit(":", 1)
    assert client_of(syn.flow) == segment.client
    assert frontend_of(syn.flow) == frontend_key(vip, int(port))
    assert syn.sequence == segment.sequence
    assert syn.timestamp == (9 if timestamps(9) in segment.options else None)
    assert syn.frame + segment.padding == segment.raw


# Checksums.


@given(syns)
def test_checksums_are_right_by_an_independent_sum(segment: Segment) -> None:
    assert_checksums_are_whole(with_checksums(segment.raw))


@given(syns, st.binary(min_size=4, max_size=4))
def test_whatever_checksum_a_frame_came_with_it_leaves_with_the_right_one(
    segment: Segment, partial: bytes
) -> None:
    # CHECKSUM_PARTIAL leaves the pseudo header's sum there, which is neither zero nor right.
    frame = bytearray(segment.raw)
    tcp_at = 14 + len(ip_header(segment.raw))
    frame[24:26], frame[tcp_at + 16 : tcp_at + 18] = partial[:2], partial[2:]
    assert with_checksums(bytes(frame)) == with_checksums(segment.raw)


@given(syns)
def test_nothing_but_the_checksums_changes(segment: Segment) -> None:
    before, after = bytearray(parse_syn(segment.raw).frame), bytearray(with_checksums(segment.raw))
    tcp_at = 14 + len(ip_header(segment.raw))
    for at in (24, 25, tcp_at + 16, tcp_at + 17):
        before[at] = after[at] = 0
    assert before == after


def test_making_checksums_whole_twice_changes_nothing() -> None:
    once = with_checksums(Segment(payload=b"odd").raw)
    assert with_checksums(once) == once


# Refusing.


def test_a_refusal_goes_back_where_the_syn_came_from() -> None:
    reset = reset_for(Segment(client="10.0.0.1:40000", vip="10.0.0.2:80").raw)
    assert (reset[0:6], reset[6:12]) == (CLIENT_MAC, NODE_MAC)
    assert reset[12:14] == b"\x08\x00"
    assert ipaddress.ip_address(reset[26:30]) == ipaddress.ip_address("10.0.0.2")
    assert ipaddress.ip_address(reset[30:34]) == ipaddress.ip_address("10.0.0.1")
    assert struct.unpack("!HH", segment_of(reset)[:4]) == (80, 40000)
    assert reset[22] == 64  # TTL: it may have routers to pass
    assert_checksums_are_whole(reset)


def test_a_refusal_acknowledges_the_syn_or_the_client_would_ignore_it() -> None:
    segment = segment_of(reset_for(Segment(sequence=0x01020304).raw))
    sequence, acknowledged = struct.unpack("!II", segment[4:12])
    assert (sequence, acknowledged) == (0, 0x01020305)
    assert segment[13] == RST | ACK
    assert len(segment) == 20


def test_sequence_numbers_wrap() -> None:
    segment = segment_of(reset_for(Segment(sequence=2**32 - 1).raw))
    assert struct.unpack("!II", segment[4:12]) == (0, 0)


def test_a_refusal_acknowledges_fast_open_data_too() -> None:
    # RFC 9293, 3.10.7.1: the acknowledgement is SEG.SEQ + SEG.LEN, and SYN counts one.
    segment = segment_of(reset_for(Segment(sequence=100, payload=b"GET /").raw))
    assert struct.unpack("!II", segment[4:12]) == (0, 106)


@given(syns)
def test_any_syn_can_be_refused(segment: Segment) -> None:
    reset = reset_for(segment.raw)
    assert len(reset) == 54
    assert_checksums_are_whole(reset)


# Probing.


@given(v4_addresses, ports, v4_addresses, ports, st.integers(0, 2**32 - 1))
def test_a_probe_is_a_bare_syn_with_its_checksum_whole(
    source: str, sport: int, destination: str, dport: int, sequence: int
) -> None:
    segment = syn_segment(
        source=source, sport=sport, destination=destination, dport=dport, sequence=sequence
    )
    assert struct.unpack_from("!HHI", segment) == (sport, dport, sequence)
    assert segment[13] == SYN
    assert segment[12] >> 4 == 5
    ends = ipaddress.ip_address(source).packed + ipaddress.ip_address(destination).packed
    pseudo = ends + b"\0\x06" + struct.pack("!H", len(segment))
    assert ones_complement_sum(pseudo + segment) == 0xFFFF


# Frontends.


def test_a_frontend_is_laid_out_as_the_kernels_struct() -> None:
    assert (
        frontend_key("10.0.0.1", 80).hex() == "00000000000000000000ffff0a000001" + "0050" + "0000"
    )
    assert (
        frontend_key("fd00::5", 443).hex() == "fd000000000000000000000000000005" + "01bb" + "0000"
    )


def test_an_ipv4_address_written_as_ipv6_is_the_same_frontend() -> None:
    assert frontend_key("::ffff:10.0.0.1", 80) == frontend_key("10.0.0.1", 80)


@pytest.mark.parametrize("address", ["", "10.0.0", "10.0.0.256", "example.com", "10.0.0.1/32"])
def test_what_is_no_address_is_no_frontend(address: str) -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        frontend_key(address, 80)


def test_an_ipv6_client_is_named_in_brackets() -> None:
    flow = ipaddress.ip_address("fd00::5").packed + bytes(16) + struct.pack("!HH", 40000, 80)
    assert client_of(flow) == "[fd00::5]:40000"
