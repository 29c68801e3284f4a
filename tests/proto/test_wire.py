"""Headers and frames: what is understood, and that nothing else is."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wangell_proto import DropReason
from wangell_proto.constants import (
    ACK_RANGES_MAX,
    FRAGMENT_BYTES,
    FRAGMENTS_MAX,
    FRAMES_MAX,
    HEADER_BYTES,
    NUMBER_MAX,
)
from wangell_proto.control import (
    Subscription,
    Welcome,
    parse_subscription,
    parse_welcome,
)
from wangell_proto.packing import pack
from wangell_proto.wire import DatagramType, FrameType, pack_header, parse_body, parse_header

FIELDS = st.tuples(
    st.sampled_from(list(DatagramType)),
    st.integers(0, 255),
    st.integers(0, 255),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**64 - 1),
)
NUMBERS = st.integers(0, NUMBER_MAX - 1)


@given(FIELDS, st.binary(min_size=17, max_size=60))
def test_a_header_is_read_as_it_was_written(fields, rest: bytes):
    assert HEADER_BYTES == len(pack_header(*fields)) == 18
    assert parse_header(pack_header(*fields) + rest) == fields


def test_the_layout_is_network_order_with_bytes_that_differ_when_swapped():
    assert pack_header(4, 1, 2, 0x0A0B0C0D, 0x0102030405060708) == bytes.fromhex(
        "5747 01 04 01 02 0a0b0c0d 0102030405060708".replace(" ", "")
    )


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (b"", DropReason.TOO_SHORT),
        (pack_header(4, 0, 0, 1, 1) + bytes(16), DropReason.TOO_SHORT),
        (pack_header(4, 0, 0, 1, 1) + bytes(1183), DropReason.TOO_LONG),
        (b"XX" + pack_header(4, 0, 0, 1, 1)[2:] + bytes(17), DropReason.BAD_MAGIC),
        (b"WG\x02" + pack_header(4, 0, 0, 1, 1)[3:] + bytes(17), DropReason.BAD_VERSION),
        (pack_header(0, 0, 0, 1, 1) + bytes(17), DropReason.UNKNOWN_TYPE),
        (pack_header(5, 0, 0, 1, 1) + bytes(17), DropReason.UNKNOWN_TYPE),
    ],
)
def test_what_is_no_datagram_of_ours(datagram: bytes, reason: DropReason):
    assert parse_header(datagram) is reason


# --- Frames ---


@st.composite
def ack_frames(draw) -> list:
    bounds = sorted(draw(st.sets(NUMBERS, min_size=2, max_size=2 * ACK_RANGES_MAX)), reverse=True)
    return [FrameType.ACK, draw(NUMBERS), *bounds[: len(bounds) // 2 * 2]]


@st.composite
def fragment_frames(draw) -> list:
    count = draw(st.integers(2, 50))
    index = draw(st.integers(0, count - 1))
    size = FRAGMENT_BYTES if index < count - 1 else draw(st.integers(1, FRAGMENT_BYTES))
    kind = draw(st.integers(1, 8))
    return [FrameType.FRAGMENT, kind, draw(NUMBERS), draw(NUMBERS), index, count, bytes(size)]


FRAMES = st.one_of(
    ack_frames(),
    fragment_frames(),
    st.tuples(
        st.just(FrameType.MESSAGE), st.integers(0, 8), NUMBERS, NUMBERS, st.binary(max_size=50)
    ).map(list),
    st.tuples(st.just(FrameType.HEARTBEAT), *[NUMBERS] * 7, st.sampled_from([b"", b"d" * 8])).map(
        list
    ),
    st.just([FrameType.PING]),
    st.just([FrameType.PONG]),
    st.tuples(st.just(FrameType.GOODBYE), NUMBERS).map(list),
)


def packed(frames: list) -> bytes:
    return msgpack.packb([[int(frame[0]), *frame[1:]] for frame in frames])


@given(st.lists(FRAMES, max_size=FRAMES_MAX))
def test_frames_are_read_as_they_were_written(frames: list):
    assert parse_body(packed(frames)) == frames


@given(st.binary(max_size=200))
def test_any_bytes_give_frames_or_none(body: bytes):
    frames = parse_body(body)
    assert frames is None or all(type(frame) is list for frame in frames)


@given(st.lists(FRAMES, min_size=1, max_size=5), st.data())
def test_a_frame_of_another_shape_spoils_the_whole_body(frames: list, data):
    which = data.draw(st.integers(0, len(frames) - 1))
    frame = list(frames[which])
    how = data.draw(st.sampled_from(["longer", "empty", "text", "negative", "huge", "bool"]))
    position = data.draw(st.integers(0, len(frame) - 1))
    changes = {"text": "x", "negative": -1, "huge": 2**62, "bool": True}
    if how == "longer":
        frame += [None, None]
    elif how == "empty":
        frame = []
    else:
        frame[position] = changes[how]
    body = msgpack.packb([*frames[:which], frame, *frames[which + 1 :]])
    assert parse_body(body) is None


@pytest.mark.parametrize(
    "body",
    [
        b"\xdd\xff\xff\xff\xff",  # An array that claims 4 billion items.
        b"\xdf\xff\xff\xff\xff",  # A map that does.
        b"\xc6\xff\xff\xff\xff",  # Bytes that do.
        b"\x91" * 1100 + b"\xc0",  # Deep nesting.
        b"\xd6\xff\x00\x00\x00\x01",  # A timestamp, which is an extension type.
        b"\x91\xd4\x05\x00",  # Another extension type.
        b"\x91\x81\x01\x01",  # A map.
        b"\x91\x82\x01\x01\x01\x02",  # A map with a key twice.
        b"\x91\x81\x90\x01",  # A map with a list as its key.
        b"\x91\x91\xa2\xff\xfe",  # Text that is not UTF-8.
        b"\x91\x91\x05\x00",  # A frame, and bytes after it.
        b"\x91\x05",  # A number where a frame belongs.
        b"\x91\x90",  # A frame of nothing.
        b"\x91\x91\x63",  # No such frame.
        b"\x91\x91\xc3",  # True is no frame type, though Python thinks it is 1.
        b"\x05",
        b"\xc0",
        b"",
        packed([[FrameType.PING]] * 16),
    ],
)
def test_hostile_bodies_are_none(body: bytes):
    assert parse_body(body) is None


@pytest.mark.parametrize(
    "frame",
    [
        [1, 0, 5, 6],  # A range upside down.
        [1, 0, 5, 4, 4, 3],  # Two that overlap.
        [1, 0, 5, 4, 9, 8],  # Two in the wrong order.
        [1, 0, 5],
        [1, 0, *range(80, 80 - 2 * ACK_RANGES_MAX - 2, -1)],
        [1, -1, 5, 4],
        [2, 9, 1, 1, b""],  # No such kind of message.
        [2, 0, 1, 1],
        [2, 0, 1, 1, b"", 0],
        [3, 0, 1, 1, 0, 2, bytes(FRAGMENT_BYTES)],  # A wake in fragments.
        [3, 9, 1, 1, 0, 2, bytes(FRAGMENT_BYTES)],
        [3, 1, 1, 1, 0, 1, b"x"],  # One fragment is none.
        [3, 1, 1, 1, 2, 2, b"x"],
        [3, 1, 1, 1, 0, 2, b"short"],  # All but the last are full.
        [3, 1, 1, 1, 1, 2, b""],
        [3, 1, 1, 1, 1, 2, bytes(FRAGMENT_BYTES + 1)],
        [3, 1, 1, 1, 0, FRAGMENTS_MAX + 1, bytes(FRAGMENT_BYTES)],
        [3, 1, 1, 1, FRAGMENTS_MAX - 1, FRAGMENTS_MAX, bytes(FRAGMENT_BYTES)],  # Over 64 KiB.
        [3, 1, 1, 1, 0, 2, "text"],
        [4, 1, 1, 1, 1, 1, 1, 1, b"short"],
        [4, 1, 1, 1, 1, 1, 1, 1, "12345678"],
        [5, 1],
        [7],
        [7, b""],
    ],
)
def test_frames_that_no_sender_makes_are_none(frame: list):
    assert parse_body(msgpack.packb([frame])) is None


@pytest.mark.parametrize("wrong", [-1, 2**62, 2**63, True, 1.0, "1", None, [1]])
@pytest.mark.parametrize("frame", [[1, 0, 5, 4], [1, 0, 9, 9, 5, 4], [2, 0, 1, 1, b""]])
def test_each_number_of_a_frame_is_one(frame: list, wrong: object):
    assert parse_body(msgpack.packb([frame])) == [frame]
    for position in range(1, len(frame)):
        changed = [*frame[:position], wrong, *frame[position + 1 :]]
        assert parse_body(msgpack.packb([changed])) is None


@pytest.mark.parametrize("item", [2**64, object(), "\ud800", {1: object()}])
def test_what_cannot_be_packed_leaves_nothing_behind_in_the_packer(item: object):
    with pytest.raises((OverflowError, TypeError, UnicodeEncodeError)):
        pack([1, b"half", item])
    assert pack([1, 2]) == msgpack.packb([1, 2])


# --- Bodies of control messages ---


@given(NUMBERS, NUMBERS, st.binary(min_size=8, max_size=8))
def test_a_welcome_is_read_as_it_was_written(epoch: int, flags: int, history: bytes):
    welcome = Welcome(epoch=epoch, flags=flags, history=history)
    assert parse_welcome(welcome.pack()) == welcome


@given(
    NUMBERS,
    NUMBERS,
    st.sampled_from([b"", b"h" * 8]),
    st.lists(st.text(min_size=1, max_size=20), max_size=16),
    st.sampled_from([b"", bytes(2048)]),
)
def test_a_subscription_is_read_as_it_was_written(number, version, history, prefixes, buckets):
    subscription = Subscription(
        number=number,
        history=history,
        version=version,
        prefixes=tuple(prefixes),
        root=b"r" * 8,
        buckets=buckets,
    )
    assert parse_subscription(subscription.pack()) == subscription


@pytest.mark.parametrize(
    "items",
    [
        None,
        [1, b"", 0, [], b"r" * 8],
        [1, b"short", 0, [], b"r" * 8, b""],
        [1, b"", 0, [], b"r", b""],
        [1, b"", 0, [], b"r" * 8, b"b"],
        [1, b"", 0, [""], b"r" * 8, b""],
        [1, b"", 0, [7], b"r" * 8, b""],
        [1, b"", 0, ["a"] * 17, b"r" * 8, b""],
        [-1, b"", 0, [], b"r" * 8, b""],
        [1, b"", 2**62, [], b"r" * 8, b""],
        [True, b"", 0, [], b"r" * 8, b""],
        {"number": 1},
    ],
)
def test_subscriptions_of_another_shape_are_none(items: object):
    assert parse_subscription(msgpack.packb(items)) is None


@pytest.mark.parametrize("items", [[1, 0, b"short"], [1, 0], [2**62, 0, b"h" * 8], 5])
def test_welcomes_of_another_shape_are_none(items: object):
    assert parse_welcome(msgpack.packb(items)) is None
    assert parse_welcome(b"\xc1") is None
