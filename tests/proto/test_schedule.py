"""Deadlines of many links against a slow, obvious list."""

from hypothesis import given
from hypothesis import strategies as st

from wangell_proto.schedule import Schedule


def test_an_earlier_deadline_counts_and_a_later_one_waits_for_the_look():
    schedule = Schedule()
    assert schedule.next_at() is None
    schedule.set(1, 10.0)
    schedule.set(1, 20.0)
    assert schedule.next_at() == 10.0
    schedule.set(1, 5.0)
    assert schedule.due(5.0, 9) == [1]
    assert schedule.due(30.0, 9) == []  # The entries at 10 belong to the past.


def test_a_removed_one_is_not_due():
    schedule = Schedule()
    schedule.set(1, 1.0)
    schedule.remove(1)
    schedule.remove(2)
    assert schedule.due(2.0, 9) == []


def test_what_is_due_comes_in_portions():
    schedule = Schedule()
    for session in range(5):
        schedule.set(session, 1.0)
    assert schedule.due(2.0, 3) == [0, 1, 2]
    assert schedule.next_at() == 1.0
    assert schedule.due(2.0, 3) == [3, 4]


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 50), st.booleans()), max_size=60),
)
def test_nobody_is_forgotten_and_nobody_comes_early(steps):
    schedule, at, now = Schedule(), {}, 0.0
    for session, deadline, passes in steps:
        schedule.set(session, now + deadline)
        at[session] = min(at.get(session, float("inf")), now + deadline)
        if passes:
            now += deadline / 3
            due = schedule.due(now, 99)
            assert sorted(due) == sorted(s for s, when in at.items() if when <= now)
            for each in due:
                del at[each]
        assert not at or schedule.next_at() <= min(at.values())
