"""Fragments become messages, within bounds that nobody can push."""

from hypothesis import given
from hypothesis import strategies as st

from wangell_proto import DropReason
from wangell_proto.constants import FRAGMENT_BYTES, REASSEMBLY_BYTES_MAX
from wangell_proto.reassembly import Reassembler, ReassemblyBudget


@given(st.binary(min_size=1, max_size=8000), st.randoms())
def test_any_order_gives_the_message(body: bytes, random):
    parts = [body[i : i + FRAGMENT_BYTES] for i in range(0, len(body), FRAGMENT_BYTES)]
    budget = ReassemblyBudget()
    reassembler = Reassembler(budget)
    order = list(range(len(parts))) * 2
    random.shuffle(order)
    for position, index in enumerate(order):
        whole = reassembler.add(7, index, len(parts), parts[index])
        if whole is not None:
            break
        assert set(order[: position + 1]) != set(range(len(parts)))
    assert whole == body
    assert budget.bytes_left == REASSEMBLY_BYTES_MAX


def test_a_third_message_is_refused_and_the_two_go_on():
    reassembler = Reassembler(ReassemblyBudget())
    reassembler.add(1, 0, 2, b"a")
    reassembler.add(2, 0, 2, b"b")
    assert reassembler.refusal({3: 2}) is DropReason.REASSEMBLY_FULL
    assert reassembler.refusal({1: 2, 2: 2}) is None
    assert reassembler.add(1, 1, 2, b"A") == b"aA"
    assert reassembler.refusal({3: 2}) is None


def test_three_at_a_time_are_refused_even_when_none_has_begun():
    reassembler = Reassembler(ReassemblyBudget())
    assert reassembler.refusal({1: 2, 2: 2, 3: 2}) is DropReason.REASSEMBLY_FULL
    assert reassembler.refusal({1: 2, 2: 2}) is None


def test_another_count_for_the_same_message_is_malformed():
    reassembler = Reassembler(ReassemblyBudget())
    reassembler.add(1, 0, 3, b"a")
    assert reassembler.refusal({1: 2}) is DropReason.MALFORMED


def test_the_memory_of_all_peers_is_capped_and_given_back():
    budget = ReassemblyBudget(4 * FRAGMENT_BYTES)
    one, other = Reassembler(budget), Reassembler(budget)
    one.add(1, 0, 3, b"a")
    assert other.refusal({1: 2}) is DropReason.REASSEMBLY_FULL
    assert other.refusal({}) is None
    one.clear()
    assert budget.bytes_left == 4 * FRAGMENT_BYTES
    assert other.refusal({1: 2}) is None
