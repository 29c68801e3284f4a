"""Decoding is for bytes that an authenticated but broken or hostile peer has sent."""

import contextlib
import enum
import struct
from dataclasses import dataclass
from typing import Any

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wangell_proto.vocabulary import VocabularyError, decode, encode
from wangell_proto.vocabulary.codec import ITEMS_MAX, TEXT_CHARS_MAX


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    name: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """One field of each shape that the vocabulary knows."""

    count: int
    colour: Colour = Colour.RED
    leaves: tuple[Leaf, ...] = ()
    is_old: bool = False
    note: str | None = None


TREE = Tree(count=1, colour=Colour.BLUE, leaves=(Leaf(name="a"), Leaf(name="b", weight=0.5)))


def packed(**fields: Any) -> bytes:
    """A map as a peer of any version may send it."""
    return bytes(msgpack.packb(fields))


def test_what_is_encoded_comes_back() -> None:
    assert decode(Tree, encode(TREE)) == TREE
    assert decode(Tree, encode(Tree(count=-5, note="moved"))) == Tree(count=-5, note="moved")


def test_fields_left_out_take_their_defaults() -> None:
    assert decode(Tree, packed(count=7)) == Tree(count=7)


def test_a_newer_peers_fields_are_ignored() -> None:
    newer = packed(count=7, height_m=3.5, branches=[{"deep": [1, 2]}])
    assert decode(Tree, newer) == Tree(count=7)


def test_none_is_a_value_only_where_it_may_be() -> None:
    assert decode(Tree, packed(count=7, note=None)).note is None
    with pytest.raises(VocabularyError, match=r"Tree\.count: expected int, got NoneType"):
        decode(Tree, packed(count=None))


def test_an_int_will_do_for_a_float() -> None:
    assert decode(Leaf, packed(name="a", weight=2)).weight == 2.0


def test_the_last_of_two_equal_keys_counts() -> None:
    twice = b"\x82" + msgpack.packb("count") + b"\x01" + msgpack.packb("count") + b"\x02"
    assert decode(Tree, twice) == Tree(count=2)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({}, r"Tree: .*missing.*'count'"),
        ({"count": "7"}, r"Tree\.count: expected int, got str"),
        ({"count": True}, r"Tree\.count: expected int, got bool"),
        ({"count": 7.0}, r"Tree\.count: expected int, got float"),
        ({"count": b"7"}, r"Tree\.count: expected int, got bytes"),
        ({"count": 7, "is_old": 1}, r"Tree\.is_old: expected bool, got int"),
        ({"count": 7, "colour": "green"}, r"Tree\.colour: not a Colour"),
        ({"count": 7, "colour": ["red"]}, r"Tree\.colour: not a Colour"),
        ({"count": 7, "colour": {"red": 1}}, r"Tree\.colour: not a Colour"),
        ({"count": 7, "colour": "RED"}, r"Tree\.colour: not a Colour"),
        ({"count": 7, "note": 5}, r"Tree\.note: expected str, got int"),
        ({"count": 7, "leaves": {"name": "a"}}, r"Tree\.leaves: expected a list"),
        ({"count": 7, "leaves": ["a"]}, r"Tree\.leaves\[0\]: expected a map, got str"),
        ({"count": 7, "leaves": [{"name": "a"}, {}]}, r"Tree\.leaves\[1\]: .*'name'"),
        (
            {"count": 7, "leaves": [{"name": "a", "weight": float("nan")}]},
            r"Tree\.leaves\[0\]\.weight: expected float",
        ),
        (
            {"count": 7, "leaves": [{"name": "a", "weight": float("-inf")}]},
            r"Tree\.leaves\[0\]\.weight: expected float",
        ),
    ],
)
def test_a_wrong_field_is_named_with_its_path(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(VocabularyError, match=complaint):
        decode(Tree, packed(**fields))


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("nothing", b""),
        ("half a map", packed(count=7)[:-1]),
        ("a map and more", packed(count=7) + b"\0"),
        ("a list", msgpack.packb([7])),
        ("a number", b"\x07"),
        ("nil", b"\xc0"),
        ("the byte that msgpack never uses", b"\xc1"),
        ("text that is not UTF-8", b"\x81\xa5count\xa2\xff\xfe"),
        ("a key that is a number", b"\x81\x07\x07"),
        ("a key that is a list", b"\x81\x91\x07\x07"),
        ("a key that is a map", b"\x81\x80\x07"),
        ("a map of 4 billion", b"\xdf\xff\xff\xff\xff"),
        ("a list of 4 billion", b"\x81\xa6leaves\xdd\xff\xff\xff\xff"),
        ("text of 4 GiB", b"\x81\xa4note\xdb\xff\xff\xff\xff"),
        ("bytes of 4 GiB", b"\x81\xa4note\xc6\xff\xff\xff\xff"),
        ("an extension", b"\x81\xa5count\xd4\x05\x01"),
        ("an extension of 4 GiB", b"\x81\xa5count\xc9\xff\xff\xff\xff\x05"),
        ("a timestamp", b"\x81\xa5count" + msgpack.packb(msgpack.Timestamp(1))),
        ("lists, 100,000 deep", b"\x81\xa5count" + b"\x91" * 100_000 + b"\x01"),
        ("maps, 100,000 deep", b"\x81\xa5count" * 100_000 + b"\x01"),
    ],
)
def test_what_is_no_map_of_ours_is_refused(what: str, body: bytes) -> None:
    with pytest.raises(VocabularyError):
        decode(Tree, body)


def test_bounds_hold_where_they_are_said_to() -> None:
    assert decode(Leaf, packed(name="x" * TEXT_CHARS_MAX)).name == "x" * TEXT_CHARS_MAX
    with pytest.raises(VocabularyError, match=r"Leaf\.name"):
        decode(Leaf, packed(name="x" * (TEXT_CHARS_MAX + 1)))
    leaf = {"name": "a"}
    assert len(decode(Tree, packed(count=1, leaves=[leaf] * ITEMS_MAX)).leaves) == ITEMS_MAX
    with pytest.raises(VocabularyError, match=f"at most {ITEMS_MAX}"):
        decode(Tree, packed(count=1, leaves=[leaf] * (ITEMS_MAX + 1)))


@given(st.binary(max_size=200))
@example(encode(TREE))
def test_any_bytes_at_all_give_a_value_or_the_one_error(body: bytes) -> None:
    with contextlib.suppress(VocabularyError):
        assert isinstance(decode(Tree, body), Tree)


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.binary(), inner),
    max_leaves=10,
)  # fmt: skip


@given(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(("count", "colour", "leaves", "is_old", "note"), plain_values),
    )
)
def test_our_fields_with_anything_in_them_give_a_value_or_the_one_error(
    fields: dict[str, Any],
) -> None:
    try:
        body = packed(**fields)
    except UnicodeEncodeError:  # a lone surrogate cannot be sent in the first place
        return
    try:
        tree = decode(Tree, body)
    except VocabularyError:
        return
    assert type(tree.count) is int
    assert isinstance(tree.colour, Colour)
    assert all(isinstance(leaf, Leaf) for leaf in tree.leaves)
    assert decode(Tree, encode(tree)) == tree


@given(st.data())
def test_a_damaged_body_gives_a_value_or_the_one_error(data: st.DataObject) -> None:
    body = bytearray(encode(TREE))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(VocabularyError):
        decode(Tree, bytes(body[: data.draw(st.integers(0, len(body)))]))


def test_large_numbers_survive() -> None:
    assert decode(Tree, encode(Tree(count=2**64 - 1))).count == 2**64 - 1
    assert decode(Tree, encode(Tree(count=-(2**63)))).count == -(2**63)


def test_a_float_keeps_every_bit() -> None:
    weight = struct.unpack("!d", bytes.fromhex("3ff0000000000001"))[0]
    assert decode(Leaf, encode(Leaf(name="a", weight=weight))).weight == weight
