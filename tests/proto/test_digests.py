"""Digests kept incrementally equal those made anew."""

from hypothesis import given
from hypothesis import strategies as st

from wangell_proto.digests import PACKED_BYTES, Digests, bucket_of, digest_of

RECORDS = st.dictionaries(st.text(min_size=1, max_size=6), st.binary(max_size=6), max_size=20)


def digests_of(records: dict[str, bytes]) -> Digests:
    digests = Digests()
    for key, value in records.items():
        digests.toggle(bucket_of(key), digest_of(key, value))
    return digests


@given(RECORDS, RECORDS)
def test_going_from_one_set_to_another_ends_where_starting_anew_does(one, other):
    digests = digests_of(one)
    for key, value in one.items():
        digests.toggle(bucket_of(key), digest_of(key, value))
    for key, value in other.items():
        digests.toggle(bucket_of(key), digest_of(key, value))
    assert digests.buckets == digests_of(other).buckets
    assert digests.root() == digests_of(other).root()


@given(RECORDS, RECORDS)
def test_exactly_the_buckets_that_differ_are_found(one, other):
    changed = {
        bucket_of(key) for key in one.keys() | other.keys() if one.get(key) != other.get(key)
    }
    ours, theirs = digests_of(one), digests_of(other)
    assert set(ours.differing(theirs.pack())) == changed
    assert (ours.root() == theirs.root()) == (one == other)


def test_sizes_and_the_empty_set():
    assert len(Digests().pack()) == PACKED_BYTES == 2048
    assert Digests().root() == bytes(8)


def test_key_and_value_are_told_apart():
    assert digest_of("ab", b"c") != digest_of("a", b"bc")
    assert digest_of("a", b"") != digest_of("", b"a")
