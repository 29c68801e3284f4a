"""Wakes that fail, and clients that give up: everybody gets a word, and nothing is left behind."""

import pytest

from tests.daemon.packets import Segment, held
from tests.daemon.story import OURS, VIP, Story, X, client
from wangell_daemon.effects import GiveUp, Mode
from wangell_daemon.held import HELD_MAX
from wangell_proto.vocabulary import Phase

CLIENT, SECOND = "10.0.0.1:40000", "10.0.0.2:40000"


def waking(*clients: str, activation_timeout_s: float = 60.0) -> Story:
    story = Story()
    story.table(Phase.COLD, activation_timeout_s=activation_timeout_s)
    for who in clients:
        story.syn(who)
    story.table(Phase.WAKING, activation=1, activation_timeout_s=activation_timeout_s)
    return story


# The deadline.


def test_at_the_activation_deadline_all_are_refused_and_it_is_told() -> None:
    story = waking(CLIENT, SECOND, activation_timeout_s=10)
    story.pass_ms(9_999.999)
    assert story.refused == []
    story.pass_ms(0.001)
    assert story.refused == [CLIENT, SECOND]
    (cold_start,) = story.cold_starts
    assert (cold_start.outcome, cold_start.clients) == ("timeout", 2)
    assert cold_start.timeline.total_ns is None
    assert story.went_in == []
    assert story.node.held == 0


def test_the_deadline_counts_from_the_first_syn_not_from_its_repeats() -> None:
    story = waking(CLIENT, activation_timeout_s=10)
    for _ in range(9):
        story.pass_ms(1_000)
        story.syn(CLIENT)
    story.pass_ms(1_000)
    assert story.refused == [CLIENT]


def test_a_caller_after_the_deadline_begins_a_new_wake_with_its_own_deadline() -> None:
    story = waking(CLIENT, activation_timeout_s=10)
    story.pass_ms(10_000)
    story.table(Phase.COLD, activation=1, activation_timeout_s=10)
    story.syn(SECOND)
    assert len(story.wakes) == 2
    story.pass_ms(9_999)
    assert story.refused == [CLIENT]
    story.pass_ms(1)
    assert story.refused == [CLIENT, SECOND]


def test_a_caller_between_the_deadline_and_the_record_that_says_failed_is_refused_with_it() -> None:
    story = waking(CLIENT, activation_timeout_s=10)
    story.pass_ms(10_000)
    story.syn(SECOND)
    assert story.refused == [CLIENT]
    story.table(Phase.COLD, activation=1, activation_timeout_s=10)
    assert story.refused == [CLIENT, SECOND]
    assert [each.outcome for each in story.cold_starts] == ["timeout", "failed"]
    assert len(story.wakes) == 1


def test_a_deadline_that_is_shortened_counts_at_once() -> None:
    story = waking(CLIENT, activation_timeout_s=60)
    story.pass_ms(5_000)
    story.table(Phase.WAKING, activation=1, activation_timeout_s=5)
    story.pass_ms(0)
    assert story.refused == [CLIENT]


def test_no_controller_at_all_ends_at_the_deadline_too() -> None:
    story = Story()
    story.table(Phase.COLD)
    story.syn()
    story.pass_ms(60_000)
    assert story.refused == [CLIENT]
    assert story.mode() is Mode.HOLD
    assert story.node.next_deadline_ns() is None


# Failed.


def test_waking_that_turns_cold_has_failed_and_refuses_at_once() -> None:
    story = waking(CLIENT)
    story.table(Phase.COLD, activation=1)
    assert story.refused == [CLIENT]
    assert [each.outcome for each in story.cold_starts] == ["failed"]
    assert story.mode() is Mode.HOLD
    assert story.handed_over == {}
    assert len(story.wakes) == 1, "the caller is told, not kept for another try"


def test_a_service_deleted_while_callers_wait_refuses_them() -> None:
    story = waking(CLIENT, SECOND)
    story.deleted()
    assert story.refused == [CLIENT, SECOND]
    assert [each.outcome for each in story.cold_starts] == ["failed"]
    assert story.mode() is None
    assert story.watched == set()


def test_a_service_deleted_after_the_flip_refuses_who_has_not_answered() -> None:
    story = waking(CLIENT, SECOND)
    story.listens(room=lambda: 5)
    story.ack(CLIENT)
    story.deleted()
    assert story.refused == [SECOND]
    assert story.watched == set()
    assert story.handed_over == {}


# Abandoned.


def test_a_client_that_resets_its_connection_has_abandoned_the_wake() -> None:
    story = waking(CLIENT)
    story.listens()
    story.rst(CLIENT)
    (cold_start,) = story.cold_starts
    assert cold_start.outcome == "abandoned"
    assert story.waited_ms == [], "it was not answered"
    assert story.mode() is Mode.PASS
    assert story.node.next_deadline_ns() is None


def test_one_client_that_abandons_does_not_end_the_wake_for_the_others() -> None:
    story = waking(CLIENT, SECOND)
    story.listens(room=lambda: 5)
    story.rst(CLIENT)
    assert story.cold_starts == []
    story.started()
    story.ack(SECOND)
    assert [each.outcome for each in story.cold_starts] == ["answered"]


def test_a_client_that_abandons_after_another_was_answered_changes_nothing() -> None:
    story = waking(CLIENT, SECOND)
    story.listens(room=lambda: 5)
    story.started()
    story.ack(CLIENT)
    story.rst(SECOND)
    assert [each.outcome for each in story.cold_starts] == ["answered"]
    assert len(story.waited_ms) == 1


def test_a_reset_makes_room_for_the_next() -> None:
    story = waking(*(client(number) for number in range(3)))
    story.listens(room=lambda: 2)
    story.rst(client(0))
    assert story.clients_in() == [client(0), client(1), client(2)]


def test_a_server_that_answers_nobody_is_a_timeout_three_seconds_after_the_last_repeat() -> None:
    story = waking(CLIENT)
    story.listens()
    story.pass_ms(3_104.999)
    assert story.cold_starts == []
    story.pass_ms(0.001)
    assert [each.outcome for each in story.cold_starts] == ["timeout"]
    assert story.gave_up == {"unanswered": 1}


# A server that never accepts.


def test_callers_of_a_server_that_never_accepts_do_not_wait_for_ever() -> None:
    story = waking(CLIENT, SECOND, activation_timeout_s=10)
    story.listens(room=lambda: 0)
    story.pass_ms(9_990)
    assert story.went_in == []
    story.pass_ms(20)
    assert story.refused == [CLIENT, SECOND]
    assert story.node.held == 0
    assert story.node.next_deadline_ns() is None
    assert story.mode() is Mode.PASS


def test_the_queue_is_looked_at_again_every_2_ms_while_nothing_else_would_tell() -> None:
    looked_at_ms = []

    def room() -> int:
        looked_at_ms.append(story.now_ms)
        return 0 if story.now_ms < 6 else 5

    story = waking(CLIENT, SECOND)
    story.listens(room=room)
    story.pass_ms(7)
    assert looked_at_ms == [0, 2, 4, 6]
    assert story.went_in == [(6, CLIENT), (6, SECOND)]


def test_later_callers_have_their_own_deadline_where_the_server_is_stuck() -> None:
    story = waking(CLIENT, SECOND, activation_timeout_s=10)
    story.listens(room=lambda: 0)
    story.pass_ms(5_000)
    story.syn("10.0.0.3:40000", judged_ms_ago=0.1)
    story.pass_ms(5_001)
    assert story.refused == [CLIENT, SECOND]
    assert story.node.held <= 1


@pytest.mark.parametrize("phase", [Phase.COLD, Phase.DRAINING])
def test_a_stuck_server_that_goes_leaves_no_timer_behind(phase: Phase) -> None:
    # A deadline that stays in the past makes the event loop spin.
    story = waking(CLIENT, SECOND)
    story.listens(room=lambda: 0)
    story.table(phase, activation=1)
    story.pass_ms(2)
    due_ns = story.node.next_deadline_ns()
    assert due_ns is None or due_ns > story.now_ns
    story.pass_ms(60_000)
    assert story.node.next_deadline_ns() is None


# Bounds.


def test_no_more_than_held_max_are_held_and_the_rest_is_counted() -> None:
    story = Story()
    story.table(Phase.COLD)
    for number in range(HELD_MAX):
        syn = held(Segment(client=client(number)), seen_ns=story.now_ns)
        assert not any(
            isinstance(effect, GiveUp) for effect in story.node.syn(syn, now_ns=story.now_ns)
        )
    one_more = held(Segment(client=CLIENT), seen_ns=story.now_ns)
    assert story.node.syn(one_more, now_ns=story.now_ns) == [GiveUp("no_room", 1)]
    assert story.node.held == HELD_MAX


def test_at_the_bound_a_clients_newer_syn_still_replaces_its_older() -> None:
    story = Story()
    story.table(Phase.COLD)
    for number in range(HELD_MAX):
        story.node.syn(held(Segment(client=client(number)), seen_ns=1), now_ns=story.now_ns)
    again = held(Segment(client=client(7)), seen_ns=story.now_ns)
    assert story.node.syn(again, now_ns=story.now_ns) == []
    assert story.node.held == HELD_MAX
    assert again in list(story.node[X].held)


def test_the_bound_is_the_nodes_not_a_services() -> None:
    story = Story()
    story.table(Phase.COLD)
    story.table(Phase.COLD, name="default/y", vips=("10.0.0.3:80",), endpoints=())
    for number in range(HELD_MAX):
        story.node.syn(held(Segment(client=client(number)), seen_ns=1), now_ns=story.now_ns)
    other = held(Segment(vip="10.0.0.3:80"), seen_ns=story.now_ns)
    assert story.node.syn(other, now_ns=story.now_ns) == [GiveUp("no_room", 1)]
    story.node.record(X, None, now_ns=story.now_ns)
    assert story.node.held == 0
    assert story.node.syn(other, now_ns=story.now_ns) != [GiveUp("no_room", 1)]


def test_a_syn_for_no_service_of_ours_is_counted_and_dropped() -> None:
    story = Story()
    story.table(Phase.COLD)
    stranger = held(Segment(vip="10.0.0.99:80"))
    assert story.node.syn(stranger, now_ns=story.now_ns) == [GiveUp("no_service", 1)]
    assert story.node.held == 0
    assert story.node.next_deadline_ns() is None


@pytest.mark.parametrize("vip", ["10.0.0.2:81", "10.0.0.3:80"])
def test_another_port_or_address_is_another_frontend(vip: str) -> None:
    story = Story()
    story.table(Phase.COLD, vips=(VIP,), endpoints=(OURS,))
    assert story.node.syn(held(Segment(vip=vip)), now_ns=story.now_ns) == [GiveUp("no_service", 1)]
