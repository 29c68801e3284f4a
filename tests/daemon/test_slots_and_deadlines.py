"""Two small books that a node keeps, each against a slow and obvious one."""

from hypothesis import given
from hypothesis import strategies as st

from wangell_daemon.deadlines import Deadlines
from wangell_daemon.slots import SLOTS_MAX, Slots

# Deadlines.


def test_the_earliest_deadline_comes_first() -> None:
    deadlines = Deadlines()
    deadlines.set("late", 30)
    deadlines.set("early", 10)
    assert deadlines.next_ns() == 10
    assert deadlines.take_due(9) == []
    assert deadlines.take_due(10) == ["early"]
    assert deadlines.next_ns() == 30


def test_a_deadline_that_moves_is_met_at_its_new_time_only() -> None:
    deadlines = Deadlines()
    deadlines.set("x", 10)
    deadlines.set("x", 30)
    assert deadlines.take_due(29) == []
    assert deadlines.take_due(30) == ["x"]
    assert deadlines.take_due(10**9) == []


def test_a_deadline_that_moves_away_and_back_is_met_once() -> None:
    deadlines = Deadlines()
    for due_ns in (10, 30, 10):
        deadlines.set("x", due_ns)
    assert deadlines.take_due(100) == ["x"]
    assert deadlines.take_due(100) == []


def test_a_deadline_that_is_withdrawn_is_not_met() -> None:
    deadlines = Deadlines()
    deadlines.set("x", 10)
    deadlines.set("x", None)
    assert deadlines.next_ns() is None
    assert deadlines.take_due(100) == []


def test_a_service_set_again_for_each_event_does_not_pile_up() -> None:
    deadlines = Deadlines()
    for due_ns in range(100_000):
        deadlines.set("x", due_ns)
    assert len(deadlines._heap) < 100
    assert deadlines.next_ns() == 99_999


@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from("abcd"), st.none() | st.integers(0, 20)),
            st.integers(0, 25),  # the time comes
        ),
        max_size=60,
    )
)
def test_any_history_is_that_of_a_plain_dict(history: list[tuple[str, int | None] | int]) -> None:
    deadlines, plain = Deadlines(), dict[str, int]()
    for step in history:
        if isinstance(step, int):
            due = {name for name, due_ns in plain.items() if due_ns <= step}
            assert sorted(deadlines.take_due(step)) == sorted(due)
            plain = {name: due_ns for name, due_ns in plain.items() if name not in due}
            continue
        name, due_ns = step
        deadlines.set(name, due_ns)
        plain.pop(name, None)
        plain |= {name: due_ns} if due_ns is not None else {}
        assert deadlines.next_ns() == min(plain.values(), default=None)


# Slots.


def test_a_reserved_slot_goes_to_whom_it_was_reserved_for_and_once() -> None:
    slots = Slots(reserved=(0, 1))
    assert slots.claim([1]) == 1
    assert slots.claim([1]) == 2
    assert slots.claim([]) == 3


def test_reserved_slots_are_free_once_the_table_is_whole() -> None:
    slots = Slots(reserved=(0, 1))
    assert slots.claim([0]) == 0
    slots.end_reservations()
    assert slots.claim([]) == 1
    assert slots.claim([]) == 2


def test_there_are_as_many_slots_as_the_kernel_has() -> None:
    slots = Slots(reserved=(5, 5, 7))
    given_out = [slots.claim([]) for _ in range(SLOTS_MAX - 2)]
    assert None not in given_out
    assert slots.claim([]) is None
    assert slots.claim([7]) == 7
    slots.give_back(100)
    assert slots.claim([]) == 100
    assert slots.claim([]) is None


@given(
    reserved=st.sets(st.integers(0, 20)),
    steps=st.lists(
        st.none() | st.integers(0, 20) | st.sampled_from(("back", "whole")), max_size=60
    ),
)
def test_no_slot_is_ever_given_to_two(reserved: set[int], steps: list[int | str | None]) -> None:
    slots, in_use = Slots(reserved), set[int]()
    for step in steps:
        if step == "whole":
            slots.end_reservations()
        elif step == "back":
            if in_use:
                slots.give_back(in_use.pop())
        else:
            claimed = slots.claim([] if step is None else [int(step)])
            assert claimed is not None
            assert claimed not in in_use
            in_use.add(claimed)
