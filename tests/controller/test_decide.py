"""What should happen to a service, as tables: missing data is never zero traffic."""

import dataclasses
import itertools
from typing import Any

import pytest

from wangell_controller.counting import Round
from wangell_controller.decide import (
    ARM_TIMEOUT_S,
    COUNT_AGAIN_S,
    RECOUNT_S,
    Decision,
    decide,
)
from wangell_controller.observe import Observed, Sight
from wangell_controller.phases import PhaseInput, next_phase
from wangell_proto.vocabulary import Phase

NOW = 100_000.0
IDLE_TIMEOUT_S = 30.0


def sight(idle_s: float = 1000.0, held: int = 0) -> Sight:
    return Sight(idle_s=idle_s, held=held)


def counted(ago_s: float = 0.0, **connections: int | None) -> Round:
    """A count on both nodes, asked and answered so long ago; `node1=2` is what lives there."""
    at = NOW - ago_s
    return Round(
        asked_at=at,
        answered_at=at,
        nodes=frozenset({"node1", "node2"}),
        connections={"node1": 0, "node2": 0, **connections},
    )


def unanswered(ago_s: float = 0.0, **connections: int | None) -> Round:
    """A count of which only these nodes have answered."""
    return dataclasses.replace(counted(ago_s), answered_at=None, connections=connections)


def seen(phase: Phase, *, for_s: float = 1000.0, **changes: Any) -> Observed:
    """A service on two nodes that has been in its phase for a while, and idle for as long."""
    usual = Observed(
        phase=phase,
        phase_since=NOW - for_s,
        idle_timeout_s=IDLE_TIMEOUT_S,
        replicas_min=0,
        activation_timeout_s=60.0,
        sights={"node1": sight(), "node2": sight()},
        armed={},
        rounds=(counted(1.5), counted(0.5)),
        watched_since=NOW - 5000.0,
        is_wake_waiting=False,
        may_start_at=0.0,
    )
    return dataclasses.replace(usual, **changes)


def decided(observed: Observed) -> Decision:
    return decide(observed, now=NOW)


def stays(observed: Observed) -> Decision:
    decision = decided(observed)
    assert decision.happened is None
    return decision


@pytest.mark.parametrize("phase", [Phase.WARM])
def test_replicas_that_are_asked_for_stay_however_idle(phase: Phase) -> None:
    assert stays(seen(phase, replicas_min=1)).reason == "kept up by spec.replicas"


def test_replicas_that_are_asked_for_are_started_without_a_call() -> None:
    decision = decided(seen(Phase.COLD, replicas_min=2))
    assert decision == Decision(happened=PhaseInput.WAKE, reason="spec.replicas")


def test_a_start_that_is_asked_for_and_fails_keeps_its_distance() -> None:
    assert stays(seen(Phase.COLD, replicas_min=2, may_start_at=NOW + 4)).reason == (
        "failed before: starts again in 4 s"
    )


# --- Warm -----------------------------------------------------------------------------------


def test_idle_on_every_daemon_for_the_timeout_goes_down() -> None:
    decision = decided(seen(Phase.WARM, sights={"node1": sight(30), "node2": sight(31)}))
    assert decision == Decision(happened=PhaseInput.IDLE, reason="idle for 30 s")


def test_a_packet_on_one_node_keeps_it() -> None:
    decision = stays(seen(Phase.WARM, sights={"node1": sight(500), "node2": sight(29.9)}))
    assert decision.reason == "packet over 20 s ago"
    assert decision.missing == ()


def test_a_held_syn_keeps_it() -> None:
    stays(seen(Phase.WARM, sights={"node1": sight(), "node2": sight(held=1)}))


def test_idleness_counts_from_when_this_controller_saw_it_warm() -> None:
    """A controller that has just restarted hears of 1000 idle seconds, and waits its own 30."""
    assert stays(seen(Phase.WARM, for_s=29.9)).reason == ("began to be watched over 20 s ago")
    assert decided(seen(Phase.WARM, for_s=30.0)).happened is PhaseInput.IDLE


def test_a_silent_daemon_keeps_it_and_is_named() -> None:
    decision = stays(seen(Phase.WARM, sights={"node1": sight(), "node2": None}))
    assert decision.reason == "node2's daemon is silent"
    assert decision.missing == ("node2",)


def test_a_silent_daemon_blocks_nothing_where_another_sees_traffic() -> None:
    decision = stays(seen(Phase.WARM, sights={"node1": sight(1), "node2": None}))
    assert decision.missing == (), "the metric must not alarm: nothing would have gone down"


def test_no_daemon_expected_is_no_daemon_that_calls_it_idle() -> None:
    decision = stays(seen(Phase.WARM, sights={}))
    assert decision.reason == "no daemon is expected: none can call it idle"


@pytest.mark.parametrize("blind", [{"node1": None}, {"node1": None, "node2": None}, {}])
def test_an_empty_memory_lowers_nothing_in_any_phase(blind: dict[str, Sight | None]) -> None:
    for phase in Phase:
        happened = decided(seen(phase, sights=blind, watched_since=None)).happened
        if happened is not None:
            assert next_phase(phase, happened) is Phase.WARM, "only back up"


def test_idle_it_is_counted_before_anything_is_held() -> None:
    decision = stays(seen(Phase.WARM, rounds=()))
    assert decision.asks_for_count
    assert decision.reason == "idle; counting its connections"
    waiting = stays(seen(Phase.WARM, rounds=(unanswered(0.1, node1=0),)))
    assert (waiting.asks_for_count, waiting.missing) == (False, ())


def test_while_it_is_busy_nobody_is_asked_to_count() -> None:
    assert not stays(seen(Phase.WARM, rounds=(), sights={"node1": sight(1)})).asks_for_count
    assert not stays(seen(Phase.WARM, rounds=(), sights={"node1": None})).asks_for_count


@pytest.mark.parametrize(
    ("connections", "reason"),
    [
        ({"node2": 1}, "1 connection on node2"),
        ({"node2": 3}, "3 connections on node2"),
        ({"node1": 1, "node2": 2}, "3 connections on node1 and node2"),
        ({"node1": 1, "node2": None}, "node2's daemon cannot count the connections"),
    ],
)
def test_a_silent_connection_keeps_it(connections: dict[str, int | None], reason: str) -> None:
    decision = stays(seen(Phase.WARM, rounds=(counted(**connections),)))
    assert decision == Decision(happened=None, reason=reason)


def test_a_count_is_good_for_a_moment_and_is_then_made_anew() -> None:
    busy = counted(RECOUNT_S, node1=1)
    decision = stays(seen(Phase.WARM, rounds=(busy,)))
    assert (decision.reason, decision.asks_for_count) == ("1 connection on node1", True)
    assert not stays(seen(Phase.WARM, rounds=(counted(RECOUNT_S - 0.1, node1=1),))).asks_for_count
    assert stays(seen(Phase.WARM, rounds=(counted(RECOUNT_S),))).asks_for_count


def test_a_daemon_that_does_not_count_keeps_it_and_is_named() -> None:
    decision = stays(seen(Phase.WARM, rounds=(unanswered(RECOUNT_S, node1=0),)))
    assert decision.missing == ("node2",)
    assert decision.reason == "no count of connections from node2's daemon"
    assert decision.asks_for_count, "once more"


# --- Draining -------------------------------------------------------------------------------


def test_all_armed_and_empty_goes_to_cold() -> None:
    decision = decided(seen(Phase.DRAINING, for_s=2, armed={"node1": 0, "node2": 0}))
    assert decision.happened is PhaseInput.ARMED_EMPTY


def test_one_connection_on_one_node_turns_it_back() -> None:
    decision = decided(seen(Phase.DRAINING, for_s=2, armed={"node1": 0, "node2": 3}))
    assert decision == Decision(happened=PhaseInput.ARMED_BUSY, reason="3 connections on node2")


def test_a_busy_node_need_not_wait_for_the_others() -> None:
    decision = decided(seen(Phase.DRAINING, for_s=0.1, armed={"node1": 1}))
    assert decision.happened is PhaseInput.ARMED_BUSY


def test_connections_are_counted_twice_and_not_before_all_have_armed() -> None:
    armed = {"node1": 0, "node2": 0}
    early = stays(seen(Phase.DRAINING, for_s=1, armed={"node1": 0}, rounds=()))
    assert not early.asks_for_count, "a connection may still come by way of node2"
    assert stays(seen(Phase.DRAINING, for_s=1, armed=armed, rounds=())).asks_for_count
    once = stays(seen(Phase.DRAINING, for_s=1, armed=armed, rounds=(counted(0.9),)))
    assert not once.asks_for_count
    due = (counted(COUNT_AGAIN_S),)
    assert stays(seen(Phase.DRAINING, for_s=1, armed=armed, rounds=due)).asks_for_count
    twice = (counted(1.1), unanswered(0.1, node1=0))
    assert stays(seen(Phase.DRAINING, for_s=1, armed=armed, rounds=twice)).reason == (
        "waiting for node2's daemon to count"
    )


@pytest.mark.parametrize("rounds", [(counted(node2=1),), (counted(1), unanswered(node2=1))])
def test_a_connection_in_either_count_turns_it_back(rounds: tuple[Round, ...]) -> None:
    armed = {"node1": 0, "node2": 0}
    decision = decided(seen(Phase.DRAINING, for_s=1, armed=armed, rounds=rounds))
    expected = Decision(happened=PhaseInput.ARMED_BUSY, reason="1 connection on node2")
    assert decision == expected


def test_a_count_that_cannot_be_made_turns_it_back() -> None:
    rounds = (counted(node1=None),)
    observed = seen(Phase.DRAINING, for_s=1, armed={"node1": 0, "node2": 0}, rounds=rounds)
    assert decided(observed).happened is PhaseInput.ARMED_BUSY


def test_a_count_that_does_not_come_turns_it_back() -> None:
    observed = seen(
        Phase.DRAINING,
        for_s=ARM_TIMEOUT_S,
        armed={"node1": 0, "node2": 0},
        rounds=(counted(9), unanswered(8, node1=0)),
    )
    decision = decided(observed)
    assert (decision.happened, decision.missing) == (PhaseInput.UNARMED, ("node2",))


def test_one_that_has_not_armed_is_waited_for_and_then_turns_it_back() -> None:
    waiting = seen(Phase.DRAINING, for_s=ARM_TIMEOUT_S - 0.1, armed={"node1": 0})
    assert stays(waiting).reason == "waiting for node2's daemon to arm"
    late = decided(seen(Phase.DRAINING, for_s=ARM_TIMEOUT_S, armed={"node1": 0}))
    assert late.happened is PhaseInput.UNARMED
    assert late.missing == ("node2",)


def test_arming_of_an_unexpected_node_stands_for_no_other() -> None:
    stays(seen(Phase.DRAINING, for_s=1, armed={"node1": 0, "stranger": 0}))


def test_draining_without_daemons_turns_back() -> None:
    late = decided(seen(Phase.DRAINING, sights={}, armed={}))
    assert late.happened is PhaseInput.UNARMED


# --- Waking ---------------------------------------------------------------------------------


def test_waking_ends_at_its_deadline() -> None:
    assert stays(seen(Phase.WAKING, for_s=59.9)).reason == "starting for 60 s"
    decision = decided(seen(Phase.WAKING, for_s=60.0))
    assert decision == Decision(happened=PhaseInput.DEADLINE, reason="nothing listens after 60 s")


def test_the_deadline_counts_only_while_somebody_could_have_seen_it_listen() -> None:
    assert stays(seen(Phase.WAKING, watched_since=NOW - 59.9)).reason == "starting for 60 s"
    assert decided(seen(Phase.WAKING, watched_since=NOW - 60)).happened is PhaseInput.DEADLINE
    blind = stays(seen(Phase.WAKING, watched_since=None, sights={"node1": None}))
    assert blind.missing == ("node1",)


# --- Cold -----------------------------------------------------------------------------------


def test_cold_stays_cold() -> None:
    stays(seen(Phase.COLD, sights={"node1": sight(0, held=5)}))


def test_a_wake_that_was_put_off_comes_when_its_time_has() -> None:
    early = seen(Phase.COLD, is_wake_waiting=True, may_start_at=NOW + 4)
    assert stays(early).reason == "failed before: starts again in 4 s"
    due = seen(Phase.COLD, is_wake_waiting=True, may_start_at=NOW)
    assert decided(due).happened is PhaseInput.WAKE


# --- All of them ------------------------------------------------------------------------------

SIGHTS: list[Sight | None] = [None, sight(0), sight(29), sight(30), sight(1000, held=1)]


def test_only_full_knowledge_lowers() -> None:
    """Every pair of sights: Warm goes down where both are there and idle, and nowhere else."""
    for first, second in itertools.product(SIGHTS, repeat=2):
        happened = decided(seen(Phase.WARM, sights={"node1": first, "node2": second})).happened
        is_known_idle = first == second == sight(30)
        assert happened is (PhaseInput.IDLE if is_known_idle else None)


def test_every_decision_means_something_in_its_phase_and_has_a_reason() -> None:
    armings: list[dict[str, int]] = [{}, {"node1": 0}, {"node1": 0, "node2": 0}, {"node2": 2}]
    for phase, first, armed, since_s, watched, waiting in itertools.product(
        Phase, SIGHTS, armings, (0, 15, 70), (None, NOW - 70), (False, True)
    ):
        observed = seen(
            phase,
            for_s=since_s,
            sights={"node1": first, "node2": sight()},
            armed=armed,
            watched_since=watched,
            is_wake_waiting=waiting,
        )
        decision = decided(observed)
        assert decision.reason
        if decision.happened is not None:
            assert next_phase(phase, decision.happened) is not None
