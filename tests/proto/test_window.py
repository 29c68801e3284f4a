"""The sliding window against a slow, obvious one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wangell_proto.window import SlidingWindow


class ObviousWindow:
    def __init__(self, size: int) -> None:
        self.size, self.marked = size, set()

    def seen(self, number: int) -> bool:
        highest = max(self.marked, default=-1)
        return number in self.marked or number <= highest - self.size

    def mark(self, number: int) -> None:
        self.marked.add(number)


@given(
    st.integers(1, 20),
    st.lists(st.one_of(st.integers(0, 60), st.integers(0, 2**62)), max_size=60),
)
def test_it_agrees_with_a_set(size: int, numbers: list[int]):
    window, obvious = SlidingWindow(size), ObviousWindow(size)
    for number in numbers:
        assert window.seen(number) == obvious.seen(number)
        assert window.take(number) == (not obvious.seen(number))
        obvious.mark(number)
        assert window.highest == max(obvious.marked)
        assert window.seen(number)
        assert window.too_old(number) == (number <= window.highest - size)


@pytest.mark.parametrize(
    ("marked", "number", "seen", "too_old"),
    [
        ([], 0, False, False),
        ([5], 5, True, False),
        ([5], 6, False, False),
        ([5], 4, False, False),
        ([8191], 0, False, False),  # The last that the window of 8,192 still holds.
        ([8192], 0, True, True),
        ([0, 8191], 0, True, False),
        ([0, 10**9], 1, True, True),
        ([10**9, 10**9 - 8191], 10**9 - 8191, True, False),
    ],
)
def test_edges(marked: list[int], number: int, seen: bool, too_old: bool):
    window = SlidingWindow(8192)
    for each in marked:
        window.mark(each)
    assert window.seen(number) is seen
    assert window.too_old(number) is too_old


def test_memory_is_bounded_whatever_comes():
    window = SlidingWindow(64)
    for number in [*range(1000), 2**61, *range(2**61 + 1, 2**61 + 500)]:
        window.mark(number)
    assert window._missing.bit_length() <= 64
