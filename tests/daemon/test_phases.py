"""Every phase met by everything that can happen, and every phase after every other."""

import itertools
from collections.abc import Callable

import pytest

from tests.daemon.story import HERE, OURS, VIP, Story, X, flow_of
from wangell_daemon.effects import Mode
from wangell_proto.vocabulary import Endpoint, Phase

CLIENT, LATE = "10.0.0.1:40000", "10.0.0.9:40000"
HOLDING = (Phase.COLD, Phase.WAKING, Phase.DRAINING)
NEW = Endpoint(address="10.244.0.6", node=HERE, workload="net:[6]")


def fresh(phase: Phase) -> Story:
    """A daemon whose first word of the service is this phase."""
    story = Story()
    story.table(phase, activation=1)
    return story


def lived(phase: Phase) -> Story:
    """A daemon that has seen the service come to this phase, and served one client."""
    story = Story()
    story.table(Phase.COLD)
    if phase is Phase.COLD:
        return story
    story.syn()
    story.table(Phase.WAKING, activation=1)
    if phase is Phase.WAKING:
        return story
    story.listens()
    story.started()
    story.ack()
    story.table(Phase.WARM, activation=1)
    if phase is Phase.WARM:
        return story
    story.table(Phase.DRAINING, activation=1)
    return story


@pytest.mark.parametrize("tell", [fresh, lived])
@pytest.mark.parametrize("phase", Phase)
def test_each_phase_has_its_verdict(phase: Phase, tell: Callable[[Phase], Story]) -> None:
    story = tell(phase)
    assert story.mode() is (Mode.PASS if phase is Phase.WARM else Mode.HOLD)


@pytest.mark.parametrize("phase", Phase)
def test_the_same_record_again_changes_nothing(phase: Phase) -> None:
    story = lived(phase)
    before = (dict(story.modes), list(story.went_in), list(story.wakes), story.node.held)
    log_length = len(story.log)
    story.table(phase, activation=0 if phase is Phase.COLD else 1)
    assert (dict(story.modes), list(story.went_in), list(story.wakes), story.node.held) == before
    # Draining is counted anew: the controller may have lost the last count.
    assert set(story.log[log_length:]) <= {"CountConnections", "StopProbe"}


@pytest.mark.parametrize(
    ("phase", "reported"),
    [(Phase.COLD, 1), (Phase.WAKING, 0), (Phase.DRAINING, 1)],
)
def test_a_syn_held_in_any_phase_but_warm_waits_and_is_told_where_nobody_knows(
    phase: Phase, reported: int
) -> None:
    story = fresh(phase)
    story.syn(LATE)
    assert story.node.held == 1
    assert story.went_in == []
    assert len(story.wakes) == reported


def test_a_syn_that_raced_the_flip_goes_in_where_the_service_is_warm() -> None:
    story = fresh(Phase.WARM)
    story.syn(LATE, judged_ms_ago=0.1)
    assert story.clients_in() == [LATE]
    assert story.wakes == []


@pytest.mark.parametrize("phase", Phase)
def test_a_listen_releases_only_what_is_awaited(phase: Phase) -> None:
    story = fresh(phase)
    story.listens()
    is_passing = phase in (Phase.WAKING, Phase.WARM)
    assert story.mode() is (Mode.PASS if is_passing else Mode.HOLD)
    assert len(story.listenings) == (phase is Phase.WAKING)


@pytest.mark.parametrize("phase", [Phase.COLD, Phase.WAKING])
def test_a_listen_lets_in_who_waits(phase: Phase) -> None:
    story = fresh(phase)
    story.syn(LATE)
    story.listens()
    assert story.clients_in() == [LATE]


def test_a_listen_while_draining_lets_nobody_in() -> None:
    # The controller counts connections: one that got in now would be cut.
    story = fresh(Phase.DRAINING)
    story.syn(LATE)
    story.listens()
    assert story.went_in == []
    assert story.mode() is Mode.HOLD
    assert story.listenings == []


@pytest.mark.parametrize("phase", Phase)
def test_started_by_itself_moves_nothing(phase: Phase) -> None:
    story = lived(phase)
    log = list(story.log)
    story.started()
    assert story.log == log


@pytest.mark.parametrize("phase", Phase)
def test_an_answer_of_a_stranger_moves_nothing(phase: Phase) -> None:
    story = lived(phase)
    before, log = dict(story.modes), list(story.log)
    flow = flow_of("10.66.6.6:666")
    assert story.node.answered(flow, seen_ns=1, is_reset=False, now_ns=story.now_ns) == []
    assert story.node.answered(flow, seen_ns=1, is_reset=True, now_ns=story.now_ns) == []
    assert (story.modes, story.log) == (before, log)


@pytest.mark.parametrize("phase", Phase)
def test_the_clock_alone_does_nothing_where_nobody_waits(phase: Phase) -> None:
    story = fresh(phase)
    assert story.node.next_deadline_ns() is None
    assert story.node.deadline(now_ns=story.now_ns + 10**15) == []


@pytest.mark.parametrize("phase", Phase)
def test_deleting_forgets_the_frontends_and_refuses_who_waits(phase: Phase) -> None:
    story = fresh(phase)
    if phase in HOLDING:
        story.syn(LATE)
    story.deleted()
    assert story.mode() is None
    assert story.handed_over == {}
    assert story.probed == {}
    assert story.refused == ([LATE] if phase in HOLDING else [])
    assert story.node.held == 0
    assert X not in story.node
    assert story.node.next_deadline_ns() is None


@pytest.mark.parametrize("phase", HOLDING)
def test_the_activation_deadline_refuses_who_waits_in_any_phase(phase: Phase) -> None:
    story = fresh(phase)
    story.syn(LATE)
    story.pass_ms(59_999)
    assert story.refused == []
    story.pass_ms(1)
    assert story.refused == [LATE]
    (cold_start,) = story.cold_starts
    assert cold_start.outcome == "timeout"
    assert story.mode() is Mode.HOLD
    assert story.node.next_deadline_ns() is None


@pytest.mark.parametrize("phase", Phase)
def test_a_restored_link_repeats_what_a_new_controller_must_know(phase: Phase) -> None:
    story = fresh(phase)
    if phase in HOLDING:
        story.syn(LATE)
    wakes, counts = len(story.wakes), len(story.counts)
    story.synced()
    assert len(story.wakes) - wakes == (phase in (Phase.COLD, Phase.DRAINING))
    assert len(story.counts) - counts == (phase is Phase.DRAINING)
    assert story.listenings == []
    assert story.went_in == []


@pytest.mark.parametrize(("first", "then"), list(itertools.product(Phase, Phase)))
def test_any_phase_may_follow_any_other_for_the_table_skips_what_is_past(
    first: Phase, then: Phase
) -> None:
    story = lived(first)
    story.table(then, activation=2 if then in (Phase.WAKING, Phase.WARM) else 1)
    assert (
        story.mode()
        in {
            Phase.COLD: {Mode.HOLD},
            Phase.WAKING: {Mode.HOLD},
            Phase.WARM: {Mode.PASS, Mode.SETTLE, Mode.METER},
            Phase.DRAINING: {Mode.HOLD},
        }[then]
    )
    story.pass_ms(200_000)
    assert story.node.held == 0
    assert story.node.next_deadline_ns() is None


@pytest.mark.parametrize("first", Phase)
def test_a_later_activation_waits_for_its_own_server(first: Phase) -> None:
    # Cold was skipped: what listened then is gone.
    story = lived(first)
    story.table(Phase.WAKING, activation=5)
    assert story.mode() is Mode.HOLD
    story.syn(LATE)
    assert LATE not in story.clients_in()
    story.listens()
    assert LATE in story.clients_in()


def test_waking_again_of_the_same_activation_is_no_new_wake() -> None:
    story = Story()
    story.table(Phase.COLD)
    story.syn()
    story.table(Phase.WAKING, activation=1)
    story.listens()
    story.table(Phase.WAKING, activation=1, endpoints=(OURS, NEW))
    assert story.mode() is Mode.SETTLE
    assert story.clients_in() == [CLIENT]


@pytest.mark.parametrize("phase", Phase)
def test_frontends_may_change_in_any_phase(phase: Phase) -> None:
    story = lived(phase)
    activation = 0 if phase is Phase.COLD else 1
    story.table(phase, activation=activation, vips=(VIP, "10.0.0.3:80"))
    assert story.mode("10.0.0.3:80") is story.mode(VIP)
    story.table(phase, activation=activation, vips=("10.0.0.3:80",))
    assert story.mode(VIP) is None
    assert story.mode("10.0.0.3:80") is (Mode.PASS if phase is Phase.WARM else Mode.HOLD)


def test_frontends_may_change_between_the_flip_and_the_record() -> None:
    story = Story()
    story.table(Phase.COLD)
    story.syn()
    story.table(Phase.WAKING, activation=1)
    story.listens()
    story.table(Phase.WAKING, activation=1, vips=(VIP, "10.0.0.3:80"))
    assert story.mode("10.0.0.3:80") is Mode.SETTLE
    assert len(story.handed_over) == 2
