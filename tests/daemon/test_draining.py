"""Scale-down loses nothing: what is held, counted and told while a service drains."""

from tests.daemon.story import HERE, OURS, PORT, THEIRS, VIP, Story, X, client, key
from wangell_daemon.effects import CountConnections, Mode
from wangell_proto.vocabulary import Endpoint, Phase

LATE = "10.0.0.9:40000"


def draining(endpoints: tuple[Endpoint, ...] = (OURS,)) -> Story:
    story = Story().awake(endpoints=endpoints)
    story.table(Phase.DRAINING, activation=1, endpoints=endpoints)
    return story


def test_draining_holds_first_and_counts_then() -> None:
    story = Story().awake()
    story.log.clear()
    story.table(Phase.DRAINING, activation=1)
    assert story.mode() is Mode.HOLD
    assert story.log.index("SetMode") < story.log.index("CountConnections")
    assert story.counts == [CountConnections(X, 1, (OURS.workload,), PORT)]
    assert story.wakes[1:] == []


def test_the_handover_ends_before_the_replica_goes() -> None:
    story = Story().awake()
    assert story.handed_over == {key(VIP): "10.244.0.5:8080"}
    story.table(Phase.DRAINING, activation=1)
    assert story.handed_over == {}


def test_only_replicas_of_this_node_are_counted_here() -> None:
    second = Endpoint(address="10.244.0.6", node=HERE, workload="net:[6]")
    story = draining(endpoints=(OURS, THEIRS, second))
    assert story.counts[-1].workloads == (OURS.workload, "net:[6]")


def test_a_node_without_replicas_still_says_that_it_holds() -> None:
    story = Story()
    story.table(Phase.WARM, activation=1, endpoints=(THEIRS,))
    story.table(Phase.DRAINING, activation=1, endpoints=(THEIRS,))
    assert story.counts == [CountConnections(X, 1, (), PORT)]


def test_a_caller_meanwhile_is_held_and_told_at_once() -> None:
    story = draining()
    effects = story.syn(LATE)
    assert type(effects[0]).__name__ == "ReportWake"
    assert story.wakes[-1].activation == 1
    assert story.clients_in().count(LATE) == 0
    assert story.handed_over == {}, "the replica may be going"


def test_back_to_warm_lets_the_held_caller_in() -> None:
    story = draining()
    story.syn(LATE)
    story.table(Phase.WARM, activation=2)
    assert story.clients_in()[-1] == LATE
    assert story.handed_over == {key(VIP): "10.244.0.5:8080"}
    story.ack(LATE)
    assert story.mode() is Mode.PASS
    story.pass_ms(1_000)
    assert [each.outcome for each in story.cold_starts] == ["answered", "answered"]


def test_on_to_cold_keeps_the_held_caller_for_the_next_replica() -> None:
    story = draining()
    story.syn(LATE)
    story.table(Phase.COLD, activation=1)
    assert story.refused == []
    assert story.node.held == 1
    story.table(Phase.WAKING, activation=2)
    story.listens()
    assert story.clients_in()[-1] == LATE
    story.ack(LATE)
    story.started(activation=2)
    assert story.cold_starts[-1].activation == 2


def test_the_wake_is_told_once_whether_draining_or_cold() -> None:
    story = draining()
    story.syn(LATE)
    story.table(Phase.COLD, activation=1)
    story.syn("10.0.0.8:40000")
    assert [wake.activation for wake in story.wakes] == [0, 1]


def test_a_wake_of_an_activation_that_has_passed_has_failed() -> None:
    # Waking(2) was skipped by the table: what came of it is Cold(2).
    story = Story()
    story.table(Phase.COLD, activation=1)
    story.syn(LATE)
    story.table(Phase.COLD, activation=2)
    assert [wake.activation for wake in story.wakes] == [1]
    assert story.refused == [LATE]
    assert story.node.held == 0


def test_replays_that_are_out_wait_again_and_are_repeated_as_new() -> None:
    story = Story()
    story.table(Phase.COLD)
    for number in range(3):
        story.syn(client(number))
    story.table(Phase.WAKING, activation=1)
    story.listens(room=lambda: 2)
    assert len(story.went_in) == 2
    story.table(Phase.DRAINING, activation=1)
    story.pass_ms(500)
    assert len(story.went_in) == 2, "nothing goes in while draining"
    story.table(Phase.WARM, activation=2)
    assert story.clients_in()[2:] == [client(0), client(1)]


def test_what_was_out_when_the_service_was_deleted_is_not_watched_for_ever() -> None:
    story = Story()
    story.table(Phase.COLD)
    story.syn()
    story.table(Phase.WAKING, activation=1)
    story.listens()
    story.table(Phase.DRAINING, activation=1)
    story.deleted()
    assert story.watched == set()
    assert story.refused == ["10.0.0.1:40000"]


def test_a_newer_syn_of_one_that_was_out_is_not_watched_for_ever_either() -> None:
    story = Story()
    story.table(Phase.COLD)
    story.syn()
    story.table(Phase.WAKING, activation=1)
    story.listens()
    story.table(Phase.DRAINING, activation=1)
    story.syn()
    story.table(Phase.COLD, activation=1)
    story.pass_ms(61_000)
    assert story.refused == ["10.0.0.1:40000"]
    assert story.watched == set()


def test_idle_is_counted_from_the_return_to_warm() -> None:
    story = draining()
    story.pass_ms(5_000)
    story.table(Phase.WARM, activation=2)
    assert story.node[X].warm_since_ns == story.now_ns


def test_warm_services_are_those_whose_activity_is_told() -> None:
    story = Story().awake()
    story.table(Phase.COLD, name="default/y", vips=("10.0.0.3:80",), endpoints=())
    assert [each.name for each in story.node.warm()] == [X]
    story.table(Phase.DRAINING, activation=1)
    assert story.node.warm() == []
