"""Which packets arrived, and when to say so."""

import msgpack
from hypothesis import given
from hypothesis import strategies as st

from wangell_proto.acks import AckTracker
from wangell_proto.constants import ACK_RANGES_MAX, FRAMES_MAX
from wangell_proto.wire import parse_body

NOW = 100.0


def received(*numbers: int, delay_s: float = 0.001) -> AckTracker:
    tracker = AckTracker(delay_s)
    for number in numbers:
        tracker.on_received(number, now=NOW, eliciting=True, at_once=False)
    return tracker


def ranges(tracker: AckTracker, now: float = NOW) -> list[tuple[int, int]]:
    frame = msgpack.unpackb(tracker.frame(now))
    return list(zip(frame[2::2], frame[3::2], strict=True))


def test_ranges_are_merged_newest_first():
    assert ranges(received(0, 1, 2)) == [(2, 0)]
    assert ranges(received(2, 0, 1)) == [(2, 0)]
    assert ranges(received(0, 5, 6, 3)) == [(6, 5), (3, 3), (0, 0)]
    assert ranges(received(0, 5, 4)) == [(5, 4), (0, 0)]


@given(st.sets(st.integers(0, 40), min_size=1), st.randoms())
def test_ranges_hold_exactly_what_arrived(numbers: set[int], random):
    order = list(numbers)
    random.shuffle(order)
    covered = [n for high, low in ranges(received(*order)) for n in range(low, high + 1)]
    if len(covered) == len(numbers) or len(ranges(received(*order))) < ACK_RANGES_MAX:
        assert sorted(covered) == sorted(numbers)
    assert set(covered) <= numbers  # Nothing is ever acknowledged that did not arrive.
    assert len(covered) == len(set(covered))


def test_the_oldest_ranges_fall_out():
    tracker = received(*range(0, 4 * ACK_RANGES_MAX, 2))
    assert len(ranges(tracker)) == ACK_RANGES_MAX
    assert ranges(tracker)[0] == (4 * ACK_RANGES_MAX - 2,) * 2


def test_the_frame_is_one_that_is_understood_and_no_longer_than_said():
    tracker = received(*range(2**61, 2**61 + 80, 2))
    frame = tracker.frame(NOW)
    assert parse_body(b"\x91" + frame) is not None
    assert len(frame) <= tracker.bytes_max
    assert FRAMES_MAX == 15


def test_a_wake_is_acknowledged_at_once():
    tracker = AckTracker(0.001)
    tracker.on_received(0, now=NOW, eliciting=True, at_once=True)
    assert tracker.due_at == NOW


def test_the_first_of_the_rest_waits_and_the_second_does_not():
    tracker = received(0)
    assert tracker.due_at == NOW + 0.001
    tracker.on_received(1, now=NOW + 0.0005, eliciting=True, at_once=False)
    assert tracker.due_at == NOW + 0.0005


def test_what_asks_for_no_acknowledgement_gets_none_but_is_in_the_next():
    tracker = AckTracker(0.001)
    tracker.on_received(0, now=NOW, eliciting=False, at_once=False)
    assert tracker.due_at is None
    tracker.on_received(1, now=NOW, eliciting=True, at_once=False)
    assert ranges(tracker) == [(1, 0)]
    assert tracker.due_at is None  # Reported.


def test_the_delay_is_that_of_the_largest_and_never_negative():
    tracker = received(3)
    assert msgpack.unpackb(tracker.frame(NOW + 0.25))[1] == 250_000
    assert msgpack.unpackb(tracker.frame(NOW - 5))[1] == 0
