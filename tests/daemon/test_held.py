"""Which SYN is kept, and when each goes in. Times are nanoseconds of a clock that nobody reads."""

from tests.daemon.packets import Segment, held, timestamps
from wangell_daemon.held import GIVE_UP_AFTER_NS, RESEND_AFTER_NS, HeldSyn, HeldSyns

MS = 1_000_000
ROOM = 1000


def syn(client: int = 1, *, seen_ns: int = 0, sequence: int = 100, timestamp: int = 1) -> HeldSyn:
    """A SYN of client number `client`."""
    segment = Segment(
        client=f"10.0.0.1:{40000 + client}",
        sequence=sequence,
        options=timestamps(timestamp) + b"\1\1",
    )
    return held(segment, seen_ns=seen_ns)


def holding(*syns: HeldSyn) -> HeldSyns:
    kept = HeldSyns()
    for each in syns:
        kept.hold(each)
    return kept


def clients(syns: list[HeldSyn]) -> list[int]:
    return [int.from_bytes(each.syn.flow[32:34], "big") - 40000 for each in syns]


# Keeping.


def test_nothing_is_held_at_first() -> None:
    kept = HeldSyns()
    assert len(kept) == 0
    assert list(kept) == []
    assert kept.next_due_ns() is None
    assert kept.take_due(now_ns=0, room=ROOM) == []


def test_a_clients_repeat_replaces_its_older_syn() -> None:
    # Replaying the first one after 3.5 s taught a client an RTO of 10.5 s.
    kept = HeldSyns()
    assert kept.hold(syn(seen_ns=0, timestamp=1))
    assert not kept.hold(syn(seen_ns=1_000 * MS, timestamp=1001))
    (only,) = kept
    assert only.syn.timestamp == 1001
    assert only.seen_ns == 1_000 * MS


def test_but_the_wait_is_counted_from_the_first() -> None:
    (only,) = holding(syn(seen_ns=5), syn(seen_ns=1_000 * MS))
    assert only.first_seen_ns == 5


def test_another_sequence_number_is_another_attempt() -> None:
    # A port used again: the older attempt is dead, and its SYN must not go in.
    (only,) = holding(syn(sequence=100, seen_ns=5), syn(sequence=200, seen_ns=900))
    assert only.syn.sequence == 200
    assert only.first_seen_ns == 900


def test_another_attempt_goes_to_the_end_of_the_queue_a_repeat_does_not() -> None:
    assert clients(list(holding(syn(1), syn(2), syn(1, seen_ns=9)))) == [1, 2]
    assert clients(list(holding(syn(1), syn(2), syn(1, sequence=200)))) == [2, 1]


def test_connections_are_told_apart_by_all_four_ends() -> None:
    kept = holding(
        held(Segment()),
        held(Segment(client="10.0.0.1:40001")),
        held(Segment(client="10.0.0.9:40000")),
        held(Segment(vip="10.0.0.2:81")),
        held(Segment(vip="10.0.0.3:80")),
    )
    assert len(kept) == 5


# Letting in.


def test_the_oldest_go_in_first_and_no_more_than_there_is_room_for() -> None:
    kept = holding(*(syn(client) for client in range(1, 8)))
    assert clients(kept.take_due(now_ns=0, room=5)) == [1, 2, 3, 4, 5]
    assert (kept.out, kept.waiting, len(kept)) == (5, 2, 7)
    assert kept.take_due(now_ns=0, room=5) == []


def test_an_answer_makes_room_for_the_next() -> None:
    kept = holding(*(syn(client) for client in range(1, 8)))
    kept.take_due(now_ns=0, room=5)
    assert kept.answered(syn(3).syn.flow) is not None
    assert clients(kept.take_due(now_ns=1, room=5)) == [6]


def test_without_room_nothing_goes_in() -> None:
    kept = holding(syn(1))
    assert kept.take_due(now_ns=0, room=0) == []
    assert kept.take_due(now_ns=0, room=-3) == []
    assert kept.next_due_ns() is None


def test_a_queue_that_shrinks_takes_nothing_back_and_adds_nothing() -> None:
    kept = holding(*(syn(client) for client in range(1, 5)))
    kept.take_due(now_ns=0, room=3)
    assert kept.take_due(now_ns=1, room=1) == []
    assert kept.out == 3


def test_repeats_go_in_after_5_20_and_80_ms_each_after_the_last() -> None:
    assert RESEND_AFTER_NS == (5 * MS, 20 * MS, 80 * MS)
    kept = holding(syn(1))
    went_in_at = []
    for now_ns in range(0, 4_000 * MS, MS // 2):
        if kept.take_due(now_ns=now_ns, room=1):
            went_in_at.append(now_ns // MS)
    assert went_in_at == [0, 5, 25, 105]


def test_the_next_deadline_is_exactly_when_the_next_repeat_is_due() -> None:
    kept = holding(syn(1))
    now_ns = 7
    for pause_ns in (*RESEND_AFTER_NS, GIVE_UP_AFTER_NS):
        assert len(kept.take_due(now_ns=now_ns, room=1)) == 1
        assert kept.next_due_ns() == now_ns + pause_ns
        assert kept.take_due(now_ns=now_ns + pause_ns - 1, room=1) == []
        now_ns += pause_ns
    assert kept.take_due(now_ns=now_ns, room=1) == []


def test_a_repeat_needs_no_room_it_has_its_place() -> None:
    kept = holding(syn(1), syn(2))
    kept.take_due(now_ns=0, room=1)
    assert clients(kept.take_due(now_ns=5 * MS, room=0)) == [1]


def test_a_late_timer_does_not_make_two_repeats_of_one() -> None:
    kept = holding(syn(1))
    kept.take_due(now_ns=0, room=1)
    assert clients(kept.take_due(now_ns=500 * MS, room=1)) == [1]
    assert kept.next_due_ns() == 520 * MS


def test_the_whole_schedule_ends_before_the_clients_own_retry() -> None:
    assert sum(RESEND_AFTER_NS) < 1_000 * MS


# Ending.


def test_what_nobody_answers_is_given_up_three_seconds_after_the_last_repeat() -> None:
    kept = holding(syn(1))
    for now_ns in (0, 5 * MS, 25 * MS, 105 * MS):
        kept.take_due(now_ns=now_ns, room=1)
    assert kept.take_unanswerable(now_ns=105 * MS + GIVE_UP_AFTER_NS - 1) == []
    assert clients(kept.take_unanswerable(now_ns=105 * MS + GIVE_UP_AFTER_NS)) == [1]
    assert len(kept) == 0
    assert kept.next_due_ns() is None


def test_what_waits_for_its_next_repeat_is_not_given_up() -> None:
    kept = holding(syn(1))
    kept.take_due(now_ns=0, room=1)
    assert kept.take_unanswerable(now_ns=10**12) == []
    assert len(kept) == 1


def test_what_was_never_let_in_is_not_given_up() -> None:
    kept = holding(syn(1))
    assert kept.take_unanswerable(now_ns=10**15) == []


def test_clients_that_will_never_answer_do_not_keep_the_others_out() -> None:
    # Five spoofed SYNs and a backlog of five must not cost everybody else three seconds.
    kept = holding(*(syn(client) for client in range(1, 7)))
    for now_ns in (0, 5 * MS, 25 * MS, 105 * MS):
        kept.take_due(now_ns=now_ns, room=5)
    assert kept.waiting == 1
    assert clients(kept.take_due(now_ns=106 * MS, room=5)) == [6]


def test_an_answer_comes_once() -> None:
    kept = holding(syn(1))
    kept.take_due(now_ns=0, room=1)
    first = kept.answered(syn(1).syn.flow)
    assert first is not None
    assert first.injections == 1
    assert kept.answered(syn(1).syn.flow) is None
    assert len(kept) == 0


def test_one_may_be_answered_without_having_been_let_in() -> None:
    # The client's own retry went through by itself, once the service passed.
    kept = holding(syn(1), syn(2))
    assert kept.answered(syn(2).syn.flow) is not None
    assert clients(list(kept)) == [1]


def test_a_strangers_answer_changes_nothing() -> None:
    kept = holding(syn(1))
    kept.take_due(now_ns=0, room=1)
    assert kept.answered(syn(2).syn.flow) is None
    assert kept.out == 1


def test_all_can_be_taken_away_at_once() -> None:
    kept = holding(syn(1), syn(2), syn(3))
    kept.take_due(now_ns=0, room=1)
    assert sorted(clients(kept.clear())) == [1, 2, 3]
    assert (len(kept), kept.out, kept.waiting) == (0, 0, 0)
    assert kept.next_due_ns() is None


# When the listener goes away.


def test_recalled_ones_wait_again_before_those_who_came_later() -> None:
    kept = holding(syn(1), syn(2), syn(3))
    kept.take_due(now_ns=0, room=2)
    kept.recall()
    assert (kept.out, kept.waiting) == (0, 3)
    assert kept.next_due_ns() is None
    assert clients(kept.take_due(now_ns=10**9, room=3)) == [1, 2, 3]


def test_recalled_ones_have_all_their_repeats_again() -> None:
    kept = holding(syn(1))
    for now_ns in (0, 5 * MS, 25 * MS, 105 * MS):
        kept.take_due(now_ns=now_ns, room=1)
    kept.recall()
    start_ns = 10**9
    for after_ms in (0, 5, 25, 105):
        assert len(kept.take_due(now_ns=start_ns + after_ms * MS, room=1)) == 1
    assert kept.take_due(now_ns=start_ns + 1_000 * MS, room=1) == []


def test_a_newer_syn_of_one_that_is_out_waits_for_its_turn_with_a_fresh_schedule() -> None:
    kept = holding(syn(1, timestamp=1))
    kept.take_due(now_ns=0, room=1)
    kept.hold(syn(1, seen_ns=9, timestamp=1001))
    assert (kept.out, kept.waiting) == (0, 1)
    (again,) = kept.take_due(now_ns=10, room=1)
    assert again.syn.timestamp == 1001
    assert kept.next_due_ns() == 10 + 5 * MS
