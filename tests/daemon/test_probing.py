"""When the core asks for SYN probes, and when it ends them."""

from tests.daemon.story import HERE, OURS, THEIRS, Story, X
from wangell_daemon.effects import Mode, StopProbe
from wangell_proto.vocabulary import Endpoint, Phase

OURS_PROBED = {X: ["10.244.0.5:8080"]}
PROBED_ONCE = {X: ["10.244.0.5:8080 once"]}
UNKNOWN = Endpoint(address="", node=HERE, workload="pod-uid")


def test_a_daemon_that_sees_listen_probes_nothing() -> None:
    story = Story(probes=False)
    story.table(Phase.COLD)
    story.syn()
    story.table(Phase.WAKING, activation=1)
    assert story.probed == {}


def test_a_daemon_that_probes_begins_with_the_wake_itself() -> None:
    story = Story(probes=True)
    story.table(Phase.COLD)
    assert story.probed == {}, "a cold service is not probed"
    effects = story.syn()
    assert story.probed == OURS_PROBED
    assert next(type(effect).__name__ for effect in effects) == "ReportWake"


def test_the_probes_answer_releases_the_service_and_ends_them() -> None:
    story = Story(probes=True)
    story.table(Phase.COLD)
    story.syn()
    story.table(Phase.WAKING, activation=1)
    effects = story.listens()
    assert story.probed == {}
    assert isinstance(effects[-1], StopProbe), "after the replay, which is in a hurry"
    assert len(story.went_in) == 1


def test_a_service_that_a_record_finds_waking_is_asked_once_after_a_restart() -> None:
    # The predecessor may have been killed between the LISTEN and the flip.
    story = Story(probes=False)
    story.table(Phase.WAKING, activation=1)
    assert story.probed == PROBED_ONCE
    story.listens()
    assert story.mode() is Mode.PASS
    assert story.probed == {}


def test_a_daemon_that_probes_asks_on_and_on_after_a_restart() -> None:
    story = Story(probes=True)
    story.table(Phase.WAKING, activation=1)
    assert story.probed == OURS_PROBED


def test_a_service_that_turns_warm_by_record_is_probed_no_more() -> None:
    story = Story(probes=True)
    story.table(Phase.COLD)
    story.syn()
    story.table(Phase.WAKING, activation=1)
    story.table(Phase.WARM, activation=1)
    assert story.probed == {}


def test_a_wake_that_fails_ends_its_probes() -> None:
    story = Story(probes=True)
    story.table(Phase.COLD)
    story.syn()
    story.table(Phase.WAKING, activation=1)
    story.table(Phase.COLD, activation=1)
    assert story.probed == {}


def test_a_wake_past_its_deadline_ends_its_probes_controller_or_not() -> None:
    story = Story(probes=True)
    story.table(Phase.COLD)
    story.syn()
    story.pass_ms(60_000)
    assert story.refused
    assert story.probed == {}


def test_a_service_that_is_deleted_is_probed_no_more() -> None:
    story = Story(probes=True)
    story.table(Phase.COLD)
    story.syn()
    story.deleted()
    assert story.probed == {}


def test_only_replicas_of_this_node_are_probed() -> None:
    story = Story(probes=True)
    story.table(Phase.COLD, endpoints=(THEIRS,))
    story.syn()
    story.table(Phase.WAKING, activation=1, endpoints=(THEIRS, OURS))
    assert story.probed == OURS_PROBED


def test_a_replica_whose_address_is_not_known_yet_is_probed_once_it_is() -> None:
    story = Story(probes=True)
    story.table(Phase.COLD, endpoints=())
    story.syn()
    story.table(Phase.WAKING, activation=1, endpoints=(UNKNOWN,))
    assert story.probed == {}
    known = Endpoint(address="10.244.0.77", node=HERE, workload="pod-uid")
    story.table(Phase.WAKING, activation=1, endpoints=(known,))
    assert story.probed == {X: ["10.244.0.77:8080"]}


def test_a_draining_service_is_not_probed() -> None:
    story = Story(probes=True).awake()
    story.table(Phase.DRAINING, activation=1)
    assert story.probed == {}


def test_a_caller_of_a_draining_service_must_not_be_let_in_by_a_probe() -> None:
    # The replica still listens, so a probe would be answered at once.
    story = Story(probes=True).awake()
    story.table(Phase.DRAINING, activation=1)
    story.syn("10.0.0.9:40000")
    story.listens()
    assert story.mode() is Mode.HOLD
    assert story.clients_in() == ["10.0.0.1:40000"]


def test_a_caller_of_a_draining_service_sends_no_probe() -> None:
    """Its replica would answer; on Kubernetes it goes on to answer while it ends."""
    story = Story(probes=True).awake()
    story.table(Phase.DRAINING, activation=1)
    story.syn("10.0.0.9:40000")
    assert story.probed == {}
    story.table(Phase.COLD, activation=1)
    story.table(Phase.WAKING, activation=2)
    assert story.probed == OURS_PROBED, "on one host it is the next one's address, too"


def test_a_pod_that_is_leaving_is_probed_no_more_and_its_late_answer_lets_nobody_in() -> None:
    """On Kubernetes: its record names it no more, at zero or while it is replaced."""
    story = Story(probes=True)
    story.table(Phase.COLD, endpoints=())
    story.syn()
    story.table(Phase.WAKING, activation=1, endpoints=(OURS,))
    assert story.probed == OURS_PROBED
    story.table(Phase.WAKING, activation=2, endpoints=())
    assert story.probed == {}
    story.listens()
    assert story.mode() is Mode.HOLD
    assert story.clients_in() == []
    second = Endpoint(address="10.244.0.77", node=HERE, workload="pod-2")
    story.table(Phase.WAKING, activation=2, endpoints=(second,))
    assert story.probed == {X: ["10.244.0.77:8080"]}
    story.listens("pod-2")
    assert story.clients_in() == ["10.0.0.1:40000"]


def test_the_pods_of_a_service_at_zero_let_nobody_in() -> None:
    story = Story(probes=True).awake()
    story.table(Phase.DRAINING, activation=1)
    story.table(Phase.COLD, activation=1, endpoints=())
    story.syn("10.0.0.9:40000")
    story.table(Phase.WAKING, activation=2, endpoints=())
    assert story.probed == {}
    story.listens()
    assert story.mode() is Mode.HOLD
    assert story.clients_in() == ["10.0.0.1:40000"]


def test_a_listen_that_overtook_a_late_record_is_asked_for_again() -> None:
    """On the pod's node: nobody woke it there, and the record of Cold was late, or skipped."""
    for late in ([Phase.COLD], []):
        story = Story(probes=False).awake()
        story.listens()  # The next replica's, while the record of its predecessor still stands.
        for phase in late:
            story.table(phase, activation=1)
        story.table(Phase.WAKING, activation=2)
        assert story.probed == PROBED_ONCE
        story.listens()  # The probe's answer.
        assert story.mode() is not Mode.HOLD
