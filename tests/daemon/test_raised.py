"""A controller that does not lead has raised it: callers are let in until the table says more."""

import dataclasses

import pytest

from tests.daemon.story import HERE, OURS, THEIRS, VIP, Story, X, client, key, record
from wangell_daemon.effects import Mode
from wangell_daemon.raised import record_of
from wangell_proto.vocabulary import Endpoint, Phase, Raised

CALLER = "10.0.0.1:40000"
NEW = Endpoint(address="", node=HERE, workload="pod-2")


def raised(*, activation: int = 5, is_listening: bool = False) -> Raised:
    return Raised(service=X, activation=activation, endpoints=(OURS,), is_listening=is_listening)


def held() -> Story:
    """A caller is held by a service that no record names a replica of; its leader is dead."""
    story = Story()
    story.table(Phase.COLD, activation=4, endpoints=())
    story.syn()
    return story


# --- As a record ----------------------------------------------------------------------------------


def test_of_a_service_at_zero_it_is_the_next_activations() -> None:
    table = record(Phase.COLD, activation=4, endpoints=())
    assert record_of(raised(), table) == dataclasses.replace(
        table, phase=Phase.WAKING, activation=5, endpoints=(OURS,)
    )


def test_of_a_waking_one_it_is_that_activations() -> None:
    table = record(Phase.WAKING, activation=5, endpoints=())
    heard = record_of(raised(is_listening=True), table)
    assert heard == dataclasses.replace(table, phase=Phase.WARM, endpoints=(OURS,))


def test_of_a_drain_that_went_to_its_end_it_is_the_next_activations() -> None:
    table = record(Phase.DRAINING, activation=4)
    heard = Raised(service=X, activation=5, endpoints=(NEW,), is_listening=False)
    assert record_of(heard, table) == dataclasses.replace(
        table, phase=Phase.WAKING, activation=5, endpoints=(NEW,)
    )


@pytest.mark.parametrize("activation", [3, 4, 6])
def test_of_a_drain_it_is_no_other_activations(activation: int) -> None:
    heard = Raised(service=X, activation=activation, endpoints=(NEW,), is_listening=True)
    assert record_of(heard, record(Phase.DRAINING, activation=4)) is None


def test_while_a_drain_may_have_kept_one_it_is_nothing() -> None:
    """Of those that it keeps, no LISTEN would come; of those that go, a caller would."""
    heard = Raised(service=X, activation=5, endpoints=(OURS, NEW), is_listening=False)
    assert record_of(heard, record(Phase.DRAINING, activation=4)) is None


@pytest.mark.parametrize(
    ("phase", "activation"),
    [
        (Phase.COLD, 3),
        (Phase.COLD, 5),
        (Phase.COLD, 6),
        (Phase.WAKING, 4),
        (Phase.WAKING, 6),
        *[(phase, each) for phase in (Phase.WARM, Phase.DRAINING) for each in (3, 4, 5, 6)],
    ],
)
def test_where_the_table_knows_better_it_is_nothing(phase: Phase, activation: int) -> None:
    """It failed (Cold, 5), it has come about (Warm), or it was of another time."""
    assert record_of(raised(), record(phase, activation=activation)) is None


# --- On a node ------------------------------------------------------------------------------------


def test_a_listen_of_its_replica_lets_callers_in() -> None:
    story = held()
    story.raised(activation=5, endpoints=(NEW,))
    assert story.clients_in() == []
    story.listens(NEW.workload, address="10.244.0.9")
    assert story.clients_in() == [CALLER]
    assert story.handed_over == {key(VIP): "10.244.0.9:8080"}
    assert [each.activation for each in story.listenings] == [5]


def test_a_listen_that_came_first_counts() -> None:
    story = held()
    story.listens(NEW.workload, address="10.244.0.9")
    assert story.clients_in() == []
    story.raised(activation=5, endpoints=(NEW,))
    assert story.clients_in() == [CALLER]


def test_one_that_has_listened_all_the_time_is_asked_at_once() -> None:
    """The leader was killed between its record of a service at zero and its PATCH."""
    story = held()
    story.raised(activation=5, endpoints=(OURS, THEIRS))
    assert story.probed == {X: ["10.244.0.5:8080 once"]}
    story.listens()  # It answered.
    assert story.clients_in() == [CALLER]
    assert story.probed == {}


def test_one_without_an_address_or_that_lets_callers_in_is_not_asked() -> None:
    story = held()
    story.raised(activation=5, endpoints=(NEW,))
    assert story.probed == {}
    story.listens(NEW.workload, address="10.244.0.9")
    story.raised(activation=5, endpoints=(dataclasses.replace(NEW, address="10.244.0.9"),))
    assert story.probed == {}


def test_one_of_another_node_listens_when_it_is_said() -> None:
    story = held()
    story.raised(activation=5, endpoints=(THEIRS,))
    story.listens(THEIRS.workload)
    assert story.clients_in() == [], "a LISTEN here is not that pod's"
    story.raised(activation=5, endpoints=(THEIRS,), is_listening=True)
    assert story.clients_in() == [CALLER]
    assert story.handed_over == {key(VIP): "10.244.1.5:8080 away"}


def test_a_wake_is_not_said_again_once_its_callers_are_in() -> None:
    story = held()
    story.raised(activation=5, endpoints=(THEIRS,), is_listening=True)
    story.ack()
    story.pass_ms(10_000)
    assert story.repeats == []


def test_until_it_listens_the_wake_is_said_again() -> None:
    """Whoever raised it may be killed, too."""
    story = held()
    story.raised(activation=5)
    story.pass_ms(1_400)
    assert [wake.activation for wake in story.repeats] == [4, 4]


@pytest.mark.parametrize("phase", [Phase.WAKING, Phase.WARM])
def test_the_next_leader_goes_on_with_it(phase: Phase) -> None:
    story = held()
    story.raised(activation=5, endpoints=(OURS,))
    story.listens()
    story.ack()
    story.table(phase, activation=5)
    story.synced()
    assert story.mode() is Mode.PASS
    assert (story.refused, story.wakes[1:]) == ([], [])
    story.pass_ms(2_000)
    story.beat()
    assert (len(story.listenings) > 1) == (phase is Phase.WAKING)


def test_a_leader_that_knows_nothing_of_it_ends_it_and_the_caller_wakes_it_anew() -> None:
    story = held()
    story.raised(activation=5)
    story.synced()
    assert story.node[X].record == record(Phase.COLD, activation=4, endpoints=())
    assert story.refused == []
    assert [wake.activation for wake in story.wakes] == [4, 4]
    story.listens()
    assert story.clients_in() == []


def test_callers_after_that_are_held() -> None:
    story = held()
    story.raised(activation=5, endpoints=(THEIRS,), is_listening=True)
    story.ack()
    story.synced()
    assert story.mode() is Mode.HOLD
    assert story.handed_over == {}
    story.syn(client(2))
    assert [wake.activation for wake in story.wakes] == [4, 4]


def test_the_tables_word_counts_at_once_and_a_late_one_does_not() -> None:
    story = held()
    story.raised(activation=5)
    story.table(Phase.COLD, activation=5, endpoints=())
    assert story.refused == [CALLER], "that activation has failed"
    assert story.raised(activation=5, is_listening=True) == []
    assert story.mode() is Mode.HOLD


def test_another_start_is_another_activations() -> None:
    """What is raised in place of the table counts from the table, and not from itself."""
    story = held()
    story.raised(activation=5)
    assert story.raised(activation=6, is_listening=True) == []
    assert story.clients_in() == []


def test_once_it_listens_a_repetition_changes_nothing() -> None:
    story = held()
    story.raised(activation=5, is_listening=True)
    story.ack()
    assert story.raised(activation=5, is_listening=True) == []


def test_in_a_drain_it_says_nothing_that_started_has_not_said() -> None:
    story = Story().awake()
    story.table(Phase.DRAINING, activation=1)
    story.syn(client(2))
    assert story.raised(activation=2) == []
    assert client(2) not in story.clients_in()


def drained() -> Story:
    """A caller is held in a drain that went to its end; its leader was killed before it said so."""
    story = Story().awake()
    story.table(Phase.DRAINING, activation=1)
    story.syn(client(2))
    return story


def test_a_drain_that_went_to_its_end_lets_callers_in_to_another_replica_alone() -> None:
    story = drained()
    story.started(activation=2)
    assert client(2) not in story.clients_in(), "no pod of before was kept"
    story.raised(activation=2, endpoints=(NEW,))
    story.listens(OURS.workload)
    assert client(2) not in story.clients_in()
    assert story.handed_over == {}
    story.listens(NEW.workload, address="10.244.0.9")
    assert story.clients_in()[-1] == client(2)
    assert story.handed_over == {key(VIP): "10.244.0.9:8080"}
    assert [each.activation for each in story.listenings][-1] == 2


def test_a_drain_whose_end_comes_late_overrules_it() -> None:
    """The leader lives: it says Cold, and what it does with the wake after that."""
    story = drained()
    story.raised(activation=2, endpoints=(NEW,))
    story.table(Phase.COLD, activation=1, endpoints=())
    assert story.refused == []
    assert story.mode() is Mode.HOLD
    story.table(Phase.WAKING, activation=2, endpoints=(NEW,))
    story.listens(NEW.workload, address="10.244.0.9")
    assert story.clients_in()[-1] == client(2)


def test_of_a_service_unknown_or_deleted_it_is_nothing() -> None:
    story = held()
    assert story.raised(name="default/other", activation=1) == []
    story.raised(activation=5)
    story.deleted(X)
    assert story.raised(activation=5) == []
    story.synced()
    assert X not in story.node


def test_while_a_record_waits_for_an_address_nobody_elses_word_is_taken() -> None:
    story = held()
    story.table(name="default/y", vips=("10.0.0.3:80",))
    with pytest.raises(ValueError, match="belongs to"):
        story.table(Phase.COLD, activation=4, vips=("10.0.0.3:80",))
    assert story.raised(activation=5, is_listening=True) == []
