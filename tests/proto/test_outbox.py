"""Queues, lanes, latest-wins, and the bounds of all of them."""

import pytest

from wangell_proto import Lane, QueueFullError
from wangell_proto.constants import DELIVERY_WINDOW, QUEUED_BYTES_MAX, QUEUED_MESSAGES_MAX
from wangell_proto.outbox import Message, Outbox
from wangell_proto.wire import Kind


def message(body: bytes = b"x", kind: Kind = Kind.STATE, replaces: str | None = None) -> Message:
    return Message(kind, body, message_id=1, replaces=replaces)


def outbox_with(*messages: Message) -> Outbox:
    outbox = Outbox()
    for each in messages:
        outbox.put(each)
    return outbox


def test_a_message_has_its_sequence_when_it_leaves_and_not_before():
    first, second = message(), message()
    outbox = outbox_with(first, second)
    assert first.sequence == second.sequence == -1
    assert outbox.take(Lane.STATE) is first
    assert (first.sequence, second.sequence) == (0, -1)
    assert list(outbox.unacknowledged) == [0]


def test_lanes_are_kept_apart():
    wake, bulk = message(kind=Kind.WAKE), message(kind=Kind.BULK)
    outbox = outbox_with(bulk, wake)
    assert [len(queue) for queue in outbox.queues] == [1, 0, 1]
    assert outbox.take(Lane.WAKE) is wake


def test_the_latest_replaces_a_predecessor_that_waits_in_its_place():
    old, other, new = message(b"old", replaces="load"), message(), message(b"new", replaces="load")
    outbox = outbox_with(old, other, new)
    assert len(outbox) == 2
    assert outbox.take(Lane.STATE) is new
    assert old.is_done
    assert outbox.take(Lane.STATE) is other


def test_a_predecessor_under_way_is_not_sent_again():
    old, new = message(b"old", replaces="load"), message(b"new", replaces="load")
    outbox = outbox_with(old)
    outbox.take(Lane.STATE)
    outbox.put(new)
    assert old.is_done
    assert outbox.unacknowledged == {}
    assert outbox.take(Lane.STATE) is new


def test_a_predecessor_under_way_in_fragments_is_finished():
    # Half a message would keep its room at the receiver.
    old, new = message(bytes(5000), replaces="load"), message(b"new", replaces="load")
    outbox = outbox_with(old)
    outbox.take(Lane.STATE)
    outbox.put(new)
    assert not old.is_done
    assert list(outbox.unacknowledged.values()) == [old]
    outbox.forget(old)
    newest = message(b"newest", replaces="load")
    outbox.put(newest)
    assert len(outbox) == 1
    assert outbox.take(Lane.STATE) is newest


def test_equal_keys_in_two_lanes_are_two():
    outbox = outbox_with(message(replaces="a"), message(kind=Kind.BULK, replaces="a"))
    assert len(outbox) == 2


def test_an_acknowledged_one_replaces_nothing():
    outbox = outbox_with(message(replaces="a"))
    outbox.forget(outbox.take(Lane.STATE))
    outbox.put(message(replaces="a"))
    assert len(outbox) == 1


def test_a_full_lane_names_the_remedy_and_changes_nothing():
    outbox = outbox_with(*(message() for _ in range(QUEUED_MESSAGES_MAX)))
    with pytest.raises(QueueFullError, match="give `replaces`"):
        outbox.put(message(replaces="load"))
    assert len(outbox) == QUEUED_MESSAGES_MAX
    outbox.put(message(kind=Kind.WAKE))  # Another lane has its own room.


def test_a_full_lane_still_takes_a_replacement():
    first = message(b"old", replaces="load")
    outbox = outbox_with(first, *(message() for _ in range(QUEUED_MESSAGES_MAX - 1)))
    outbox.put(message(b"new", replaces="load"))
    assert outbox.take(Lane.STATE).body == b"new"


def test_bytes_are_bounded_queued_and_under_way_together():
    each = QUEUED_BYTES_MAX // 64
    outbox = outbox_with(*(message(bytes(each)) for _ in range(64)))
    with pytest.raises(QueueFullError, match="bytes wait"):
        outbox.put(message())
    taken = outbox.take(Lane.STATE)
    with pytest.raises(QueueFullError, match="bytes wait"):
        outbox.put(message())
    outbox.forget(taken)
    outbox.put(message())
    outbox.forget(taken)  # Twice is once.
    assert outbox._bytes == 63 * each + 1


def test_a_replacement_counts_by_what_it_adds_and_is_refused_where_that_is_too_much():
    old = message(bytes(1000), replaces="load")
    each = QUEUED_BYTES_MAX // 64
    outbox = outbox_with(old, *(message(bytes(each)) for _ in range(63)))
    left = QUEUED_BYTES_MAX - outbox._bytes
    with pytest.raises(QueueFullError, match="bytes wait"):
        outbox.put(message(bytes(1000 + left + 1), replaces="load"))
    assert not old.is_done
    assert outbox.queues[Lane.STATE][0] is old
    outbox.put(message(bytes(1000 + left), replaces="load"))
    assert old.is_done
    assert outbox._bytes == QUEUED_BYTES_MAX


def test_the_span_stops_at_the_window_of_the_receiver():
    outbox = Outbox()
    for _ in range(DELIVERY_WINDOW):
        assert outbox.has_room
        outbox.register(message())
    assert not outbox.has_room
    outbox.forget(outbox.unacknowledged[2])
    assert not outbox.has_room  # It is the oldest that holds the window.
    outbox.forget(outbox.unacknowledged[0])
    assert outbox.has_room


def test_only_two_messages_are_in_fragments_at_a_time():
    outbox = outbox_with(*(message(bytes(5000)) for _ in range(3)))
    first = outbox.take(Lane.STATE)
    assert outbox.may_fragment
    outbox.take(Lane.STATE)
    assert not outbox.may_fragment
    outbox.forget(first)
    assert outbox.may_fragment


def test_fragments_are_counted_off_one_by_one():
    big = message(bytes(range(256)) * 10)
    assert big.fragments == 3
    assert b"".join(big.part(index) for index in range(3)) == big.body
    assert not big.on_acknowledged(0)
    assert not big.on_acknowledged(0)
    assert not big.on_acknowledged(2)
    assert (big.is_acked(0), big.is_acked(1)) == (True, False)
    assert big.on_acknowledged(1)
    assert message(b"").fragments == 1


def test_draining_returns_everything_and_leaves_nothing():
    outbox = outbox_with(message(b"1"), message(b"2", kind=Kind.WAKE, replaces="a"))
    outbox.take(Lane.STATE)
    assert {each.body for each in outbox.drain()} == {b"1", b"2"}
    assert (len(outbox), outbox.unacknowledged, outbox._bytes) == (0, {}, 0)
    assert outbox.may_fragment and outbox.has_room
