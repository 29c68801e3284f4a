"""What has not come about is said again: who acknowledged it may be dead, or may not lead."""

import pytest

from tests.daemon.story import OURS, THEIRS, Story, X, client
from wangell_proto.vocabulary import Phase


def held(phase: Phase = Phase.COLD, *, activation: int = 4) -> Story:
    """A SYN is held, and its wake was told."""
    story = Story()
    story.table(Phase.COLD, activation=4)
    story.syn()
    if phase is not Phase.COLD:
        story.table(phase, activation=activation)
    return story


def test_a_wake_is_said_again_within_the_callers_second_and_then_each_second() -> None:
    """Time enough for another controller to start a server, where the first has died."""
    story = held()
    story.pass_ms(399)
    assert story.repeats == []
    story.pass_ms(1)
    assert len(story.repeats) == 1
    story.pass_ms(999)
    assert len(story.repeats) == 1
    story.pass_ms(2_001)
    assert [wake.activation for wake in story.repeats] == [4, 4, 4, 4]
    assert {wake.sequence for wake in story.repeats} == {story.wakes[0].sequence}
    assert len(story.wakes) == 1, "and counted once"


def test_a_quick_one_is_said_once() -> None:
    story = held(Phase.WAKING, activation=5)
    story.pass_ms(250)
    story.listens()
    story.ack()
    story.pass_ms(5_000)
    assert story.repeats == []


def test_a_beat_says_no_wake() -> None:
    """A wake has a time of its own: the beat may come at any."""
    story = held()
    story.pass_ms(399)
    assert story.beat() == []


def test_while_it_is_waking_the_wake_is_still_of_the_activation_before() -> None:
    """The leader published it and was killed before it had raised anything."""
    story = held(Phase.WAKING, activation=5)
    story.pass_ms(400)
    assert [wake.activation for wake in story.repeats] == [4]
    assert story.refused == []


def test_a_repeat_does_not_make_a_failure_look_like_another_wake() -> None:
    story = held(Phase.WAKING, activation=5)
    story.pass_ms(400)
    story.table(Phase.COLD, activation=5)
    assert len(story.refused) == 1, "it failed, and the caller is told"
    story.pass_ms(5_000)
    assert len(story.repeats) == 1


def test_a_caller_who_is_held_in_a_drain_is_said_again() -> None:
    story = Story().awake()
    story.table(Phase.DRAINING, activation=1)
    story.syn(client(2))
    story.pass_ms(400)
    assert [wake.activation for wake in story.wakes] == [0, 1]
    assert [wake.activation for wake in story.repeats] == [1]


def test_a_listen_is_said_until_the_record_knows() -> None:
    story = held(Phase.WAKING, activation=5)
    story.listens()
    story.ack()
    for _ in range(2):
        story.pass_ms(1_000)
        story.beat()
    assert [each.activation for each in story.listenings] == [5, 5, 5]
    assert {each.workload for each in story.listenings} == {OURS.workload}
    assert story.repeats == [], "nobody waits any more"
    story.table(Phase.WARM, activation=5)
    story.pass_ms(1_000)
    assert story.beat() == []


@pytest.mark.parametrize("phase", [Phase.COLD, Phase.WARM])
def test_at_rest_there_is_nothing_to_say(phase: Phase) -> None:
    story = Story()
    story.table(phase, activation=3)
    story.pass_ms(60_000)
    assert story.beat() == []


def test_a_service_that_was_deleted_is_not_spoken_of() -> None:
    story = held()
    story.deleted(X)
    story.pass_ms(1_000)
    assert story.beat() == []
    assert story.repeats == []


# --- Whoever leads next ---------------------------------------------------------------------------


def draining() -> Story:
    """A caller is held in a drain."""
    story = Story().awake()
    story.table(Phase.DRAINING, activation=1)
    story.syn(client(2))
    return story


def test_in_a_drain_a_controller_that_does_not_lead_lets_callers_in() -> None:
    """Its Started means that this drain lowers nothing: who leads may be dead."""
    story = draining()
    story.started(activation=2, kept=(OURS.workload,))
    assert story.clients_in()[-1] == client(2)
    story.table(Phase.WARM, activation=2)
    assert story.refused == []


@pytest.mark.parametrize("kept", [(), ("net:[77]",)])
def test_a_replica_started_behind_the_drain_lets_nobody_in(kept: tuple[str, ...]) -> None:
    """The record that says so is late: ours is ending, and took a caller along."""
    story = draining()
    story.started(activation=2, kept=kept)
    assert client(2) not in story.clients_in()
    assert story.handed_over == {}
    story.table(Phase.WAKING, activation=2, endpoints=())
    assert client(2) not in story.clients_in()


def test_where_one_of_two_replicas_stays_nobody_is_let_in_yet() -> None:
    story = Story().awake(endpoints=(OURS, THEIRS))
    story.table(Phase.DRAINING, activation=1, endpoints=(OURS, THEIRS))
    story.syn(client(2))
    story.started(activation=2, kept=(OURS.workload,))
    assert client(2) not in story.clients_in()


def test_a_start_of_before_the_drain_lets_nobody_in() -> None:
    story = draining()
    story.started(activation=1, kept=(OURS.workload,))
    assert client(2) not in story.clients_in()


def test_a_start_lets_nobody_in_while_nothing_listens() -> None:
    story = held()
    story.started(activation=5)
    assert story.clients_in() == []
    story.table(Phase.WAKING, activation=5)
    story.started(activation=5)
    assert story.clients_in() == []


@pytest.mark.parametrize("phase", [Phase.WARM, Phase.DRAINING, Phase.COLD])
def test_a_new_leader_is_told_of_what_has_listened_all_the_time(phase: Phase) -> None:
    """Whatever the one before had said of it; this daemon may have begun after the LISTEN."""
    story = Story()
    story.table(Phase.WARM, activation=3)
    story.table(phase, activation=3)
    story.table(Phase.WAKING, activation=4)
    assert story.probed == {}, "most listen within the second, and are heard"
    story.pass_ms(1_000)
    story.beat()
    assert story.probed == {X: ["10.244.0.5:8080 once"]}
    story.listens()
    assert [each.activation for each in story.listenings] == [4]


def test_a_slow_server_is_asked_each_second_until_it_listens() -> None:
    story = held(Phase.WAKING, activation=5)
    for _ in range(3):
        story.pass_ms(1_000)
        story.beat()
    assert story.probed == {X: ["10.244.0.5:8080 once"] * 3}
    story.listens()
    story.pass_ms(1_000)
    story.beat()
    assert story.probed == {}


def test_anothers_replica_is_for_its_own_daemon_to_ask() -> None:
    story = Story()
    story.table(Phase.WAKING, activation=5, endpoints=(THEIRS,))
    story.probed.clear()
    story.pass_ms(1_000)
    story.beat()
    assert story.probed == {}
