"""A service's life as the controller leads it: stories without sockets, processes or real time."""

import logging

import pytest

from tests.controller.helpers import House, service
from wangell_controller.backends import (
    ReplicaEnded,
    ReplicaFailed,
    ReplicaFound,
    ReplicaStarted,
    ServicePlaced,
)
from wangell_controller.controller import ACTIVATION_MAX
from wangell_proto.vocabulary import (
    Activity,
    ColdStart,
    Counted,
    Phase,
    ServiceActivity,
    Started,
    Wake,
)

KEY = House.KEY


@pytest.fixture
def house() -> House:
    return House()


# --- Waking ---------------------------------------------------------------------------------


def test_a_wake_spawns_first_then_answers_then_publishes(house: House) -> None:
    house.wake("node2")
    assert house.did() == ["start 1", "sent Started to node2", "published waking"]
    assert (house.phase, house.record.activation) == (Phase.WAKING, 1)


def test_started_says_when_the_wake_was_read_and_the_replica_spawned(house: House) -> None:
    house.wake()
    assert house.link.sent == [
        (
            "node1",
            Started(service=KEY, activation=1, received_ns=1_000, spawned_ns=5_000, clock="boot"),
        )
    ]


def test_listening_makes_it_warm(house: House) -> None:
    house.wake()
    house.listening()
    assert house.phase is Phase.WARM
    assert house.record.activation == 1


def test_the_log_has_one_line_a_step(house: House, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        house.wake()
        house.listening()
    assert [record.message for record in caplog.records] == [
        "default/serverless-example: cold -> waking (SYN to 10.46.100.105:80)",
        "default/serverless-example: waking -> warm (listens on node1)",
    ]


def test_a_repeat_raises_nothing_and_is_answered_with_the_same_started(house: House) -> None:
    house.wake("node1", activation=0)
    house.did()
    house.wake("node1", activation=0)
    house.wake("node2", activation=0)
    assert house.did() == ["sent Started to node1", "sent Started to node2"]
    assert {report for _, report in house.link.sent} == {house.service.started}
    assert house.record.activation == 1


def test_a_wake_while_warm_raises_nothing_and_is_answered(house: House) -> None:
    house.warm()
    house.wake("node2", activation=0)
    assert house.did() == ["sent Started to node2"]
    assert house.phase is Phase.WARM


def test_wakes_that_come_before_the_backend_has_answered_are_all_answered_then() -> None:
    house = House()
    house.backend.spawned_ns = None
    house.wake("node1", activation=0)
    house.wake("node2", activation=0)
    assert house.did() == ["start 1", "published waking"]
    house.controller.tell(KEY, ReplicaStarted(activation=1, spawned_ns=9_000))
    assert sorted(house.did()) == ["sent Started to node1", "sent Started to node2"]
    house.wake("node1", activation=0)
    assert house.did() == ["sent Started to node1"], "answered once each, not again and again"


def test_a_daemon_that_went_away_is_not_answered(house: House) -> None:
    house.backend.spawned_ns = None
    house.wake("node2")
    house.controller.link_down("node2", "silence")
    house.controller.tell(KEY, ReplicaStarted(activation=1, spawned_ns=9_000))
    assert house.link.sent == []


def test_a_late_wake_of_an_earlier_activation_wakes_nothing_at_zero(house: House) -> None:
    house.draining()
    house.all_armed()
    house.did()
    house.wake(activation=0)
    assert house.phase is Phase.COLD
    assert house.did() == []
    house.wake(activation=1)
    assert house.phase is Phase.WAKING


def test_a_count_ahead_of_ours_is_taken_over_for_our_memory_was_lost(house: House) -> None:
    house.wake(activation=17)
    assert house.record.activation == 18


@pytest.mark.parametrize("activation", [-1, ACTIVATION_MAX + 1, 2**63])
def test_an_impossible_count_wakes_nothing(house: House, activation: int) -> None:
    house.wake(activation=activation)
    assert (house.phase, house.did()) == (Phase.COLD, [])
    refused = house.metric("wangell_reports_refused_total", reason="impossible_activation")
    assert refused == 1


def test_counts_go_on_where_an_earlier_controller_left_them() -> None:
    house = House(activations={KEY: 41, "default/other": 7})
    assert house.record.activation == 41
    house.wake()
    assert house.record.activation == 42


def test_a_wake_for_a_service_that_is_not_there_is_counted(house: House) -> None:
    wake = Wake(service="x/y", address="10.0.0.1", port=1, sequence=1, activation=0)
    house.controller.hear("node1", wake, received_ns=1)
    assert house.did() == []
    assert house.metric("wangell_reports_refused_total", reason="unknown_service") == 1


@pytest.mark.parametrize(
    ("node", "workload"), [("node2", "net:[1]"), ("node1", "net:[2]"), ("node1", "")]
)
def test_listen_of_another_node_or_workload_is_not_the_services(
    house: House, node: str, workload: str
) -> None:
    house.wake()
    house.listening(node, workload=workload)
    assert house.phase is Phase.WAKING
    assert house.metric("wangell_reports_refused_total", reason="not_its_replica") == 1


@pytest.mark.parametrize("activation", [0, 2])
def test_listen_of_another_activation_counts_not(house: House, activation: int) -> None:
    house.wake()
    house.listening(activation=activation)
    assert house.phase is Phase.WAKING


def test_what_only_a_controller_says_is_refused(house: House) -> None:
    started = Started(service=KEY, activation=9, received_ns=1, spawned_ns=1, clock="x")
    house.controller.hear("node1", started, received_ns=1)
    assert house.did() == []
    assert house.metric("wangell_reports_refused_total", reason="not_for_controllers") == 1


def test_a_hostile_address_reaches_no_terminal(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    wake = Wake(service=KEY, address="\x1b[2J\n" + "x" * 900, port=80, sequence=1, activation=0)
    with caplog.at_level(logging.INFO):
        house.controller.hear("node1", wake, received_ns=1)
    assert house.phase is Phase.WAKING
    assert "\x1b" not in caplog.text
    assert all(len(record.message) < 150 for record in caplog.records)


# --- Failing ---------------------------------------------------------------------------------


def test_a_start_that_fails_ends_the_wake(house: House) -> None:
    house.backend.spawned_ns = None
    house.wake()
    house.controller.tell(KEY, ReplicaFailed(activation=1, reason="no such program"))
    assert (house.phase, house.record.activation) == (Phase.COLD, 1)
    assert "stop" not in " ".join(house.did()), "there is nothing to stop"
    assert _failures(house, "start_failed") == 1


def test_a_server_that_ends_while_waking_ends_the_wake(house: House) -> None:
    house.wake()
    house.controller.tell(KEY, ReplicaEnded(activation=1, reason="exited with 1"))
    assert (house.phase, house.record.activation) == (Phase.COLD, 1)
    assert _failures(house, "ended") == 1


def test_nothing_listens_by_the_deadline_and_the_replica_is_stopped(house: House) -> None:
    house.wake()
    house.pass_s(59.9)
    assert house.phase is Phase.WAKING
    house.did()
    house.pass_s(0.2)
    assert house.did() == [f"stop {KEY}", "published cold"]
    assert _failures(house, "deadline") == 1


def test_the_next_wake_after_a_failure_waits_for_its_backoff(house: House) -> None:
    house.wake()
    house.controller.tell(KEY, ReplicaEnded(activation=1, reason="exited with 1"))
    house.did()
    house.wake()
    assert (house.phase, house.did()) == (Phase.COLD, [])
    house.pass_s(0.9)
    assert house.phase is Phase.COLD
    house.pass_s(0.1)
    assert house.did() == ["start 2", "sent Started to node1", "published waking"]


def test_without_a_wake_nothing_starts_after_the_backoff(house: House) -> None:
    house.wake()
    house.controller.tell(KEY, ReplicaEnded(activation=1, reason="exited with 1"))
    house.did()
    house.pass_s(100)
    assert (house.phase, house.did()) == (Phase.COLD, [])


def test_backoff_doubles_up_to_its_bound_and_ends_with_a_listen(house: House) -> None:
    waits = []
    for activation in range(1, 10):
        house.wake()
        began = house.now
        while house.phase is Phase.COLD:
            house.pass_s(0.5)
        waits.append(house.now - began)
        house.controller.tell(KEY, ReplicaEnded(activation=activation, reason="exited with 1"))
    assert waits == [0, 1, 2, 4, 8, 16, 32, 64, 64]
    house.pass_s(64)
    house.wake()
    house.listening()
    house.controller.tell(KEY, ReplicaEnded(activation=10, reason="exited with 0"))
    house.wake()
    assert house.phase is Phase.WAKING, "it had worked: no wait"


def test_a_wake_that_is_put_off_is_counted(house: House) -> None:
    house.wake()
    house.controller.tell(KEY, ReplicaEnded(activation=1, reason="killed by SIGSEGV"))
    house.wake()
    names = {"namespace": "default", "service": "serverless-example"}
    for result in ("raised", "put_off"):
        assert house.metric("wangell_wakes_received_total", **names, result=result) == 1
    assert house.metric("wangell_wakes_received_total", **names, result="kept") is None


def test_the_end_of_an_earlier_replica_does_nothing(house: House) -> None:
    house.draining()
    house.all_armed()
    house.wake()
    house.did()
    house.controller.tell(KEY, ReplicaEnded(activation=1, reason="killed by SIGTERM"))
    house.controller.tell(KEY, ReplicaFailed(activation=1, reason="late"))
    house.controller.tell(KEY, ReplicaStarted(activation=1, spawned_ns=1))
    assert (house.phase, house.did()) == (Phase.WAKING, [])


def test_a_server_that_ends_while_warm_makes_it_cold(house: House) -> None:
    house.warm()
    house.pass_s(20)
    house.controller.tell(KEY, ReplicaEnded(activation=1, reason="exited with 0"))
    assert house.phase is Phase.COLD
    assert house.record.phase is Phase.COLD
    house.wake()
    assert house.phase is Phase.WAKING, "it has worked: its next wake starts it at once"
    assert _failures(house, "ended") is None


# --- Going down ------------------------------------------------------------------------------


def test_idle_everywhere_drains_and_both_empty_stop_it(house: House) -> None:
    house.warm()
    house.pass_idle_s(29)
    assert house.did() == []
    house.pass_idle_s(1)
    assert house.did() == [f"prepare stop {KEY}", "published draining"]
    house.armed("node1", 0)
    assert house.did() == [], "one is not every"
    house.armed("node2", 0)
    house.counts()
    assert house.did() == [f"stop {KEY}", "published cold"]
    house.controller.tell(KEY, ReplicaEnded(activation=1, reason="killed by SIGTERM"))
    assert (house.did(), house.record.activation) == ([], 1)


def test_a_connection_turns_it_back(house: House) -> None:
    house.draining()
    house.armed("node2", 1)
    assert house.did() == ["published warm"]
    assert house.record.activation == 2, "Armed and Wake of before belong to a drain that is over"


def test_a_syn_turns_it_back_and_is_answered(house: House) -> None:
    house.draining()
    house.link.sent.clear()
    house.wake("node2")
    assert house.did() == ["sent Started to node2", "published warm"]
    [(_, started)] = house.link.sent
    assert isinstance(started, Started)
    assert started.activation == 2
    assert started.received_ns == started.spawned_ns == int(house.now * 1e9)


def test_a_syn_of_any_earlier_drain_turns_it_back(house: House) -> None:
    house.draining()
    house.wake(activation=0)
    assert house.phase is Phase.WARM


def test_an_armed_of_an_earlier_drain_stands_for_no_later_one(house: House) -> None:
    """There is no order between messages: node1's zero may come a drain too late."""
    house.draining()
    house.armed("node2", 1)
    house.pass_idle_s(30)
    assert house.phase is Phase.DRAINING
    house.armed("node2", 0)
    house.armed("node1", 0, activation=1)
    assert house.phase is Phase.DRAINING, "node1 has not armed for this drain"
    house.armed("node1", 0)
    house.counts()
    assert house.phase is Phase.COLD


def test_nodes_with_replicas_are_asked_once_all_have_armed_and_again_a_second_later(
    house: House,
) -> None:
    house.draining()
    house.armed("node1", 0)
    assert house.link.questions == []
    house.armed("node2", 0)
    [(node, first)] = house.link.questions
    assert (node, first.workloads, first.port) == ("node1", ("net:[1]",), 8080)
    house.answer_counts()
    house.pass_s(0.9)
    assert house.link.questions == []
    house.pass_s(0.1)
    [(_, second)] = house.link.questions
    assert second.number > first.number
    assert house.phase is Phase.DRAINING
    house.answer_counts()
    assert house.phase is Phase.COLD


def test_a_connection_that_the_second_count_finds_turns_it_back(house: House) -> None:
    """Its SYN had passed on node2 before that daemon held, and was on its way to the replica."""
    house.draining()
    house.armed("node1", 0)
    house.armed("node2", 0)
    house.answer_counts()
    house.live["node1"] = 1
    house.pass_s(1)
    house.answer_counts()
    assert house.did() == ["published warm"]
    assert house.service.reason == "1 connection on node1"


def test_an_answer_to_an_earlier_question_proves_nothing(house: House) -> None:
    house.draining()
    house.armed("node1", 0)
    house.armed("node2", 0)
    [(_, first)] = house.link.questions
    house.answer_counts()
    house.pass_s(1)
    late = Counted(service=KEY, activation=1, number=first.number, connections=0)
    house.controller.hear("node1", late, received_ns=1)
    assert house.phase is Phase.DRAINING
    stranger = Counted(service=KEY, activation=1, number=first.number + 1, connections=0)
    house.controller.hear("node2", stranger, received_ns=1)
    assert house.phase is Phase.DRAINING, "node2 has no replica"
    house.answer_counts()
    assert house.phase is Phase.COLD


def test_a_daemon_that_arms_anew_makes_both_counts_anew(house: House) -> None:
    house.draining()
    house.armed("node1", 0)
    house.armed("node2", 0)
    house.answer_counts()
    house.controller.link_down("node2", "silence")
    house.pass_s(2)
    assert house.link.questions == []
    house.controller.link_up("node2")
    house.armed("node2", 0)
    house.answer_counts()
    assert house.phase is Phase.DRAINING, "once is not twice"
    house.pass_s(1)
    house.answer_counts()
    assert house.phase is Phase.COLD


def test_a_silent_connection_keeps_it_warm_and_no_caller_is_held(house: House) -> None:
    house.warm()
    house.live["node1"] = 2
    house.pass_idle_s(100)
    assert (house.phase, house.did()) == (Phase.WARM, [])
    assert house.service.decision is not None
    assert house.service.decision.reason == "2 connections on node1"
    house.live.clear()
    house.pass_idle_s(3)
    assert house.phase is Phase.DRAINING


def test_what_keeps_it_awake_is_told_when_it_becomes_another(house: House) -> None:
    house.warm()
    house.live["node1"] = 2
    house.pass_idle_s(32)
    changes = house.changes
    house.pass_idle_s(20)
    assert house.changes == changes, "the same connections"
    house.live["node1"] = 1
    house.pass_idle_s(3)
    assert house.changes == changes + 1


def test_after_a_cancelled_drain_it_waits_its_whole_timeout_again(house: House) -> None:
    house.draining()
    house.armed("node1", 3)
    house.pass_idle_s(29)
    assert house.phase is Phase.WARM
    house.pass_idle_s(1)
    assert house.phase is Phase.DRAINING


def test_a_replica_survives_cancelled_drains_and_its_end_is_still_its_own(house: House) -> None:
    house.draining()
    house.armed("node1", 3)
    house.pass_s(20)
    house.controller.tell(KEY, ReplicaEnded(activation=1, reason="exited with 0"))
    assert house.phase is Phase.COLD


def test_packets_on_one_node_keep_it(house: House) -> None:
    house.warm()
    for _ in range(100):
        house.activity("node1", idle_s=1000)
        house.activity("node2", idle_s=0.5)
        house.pass_s(1)
    assert (house.phase, house.did()) == (Phase.WARM, [])


def test_a_daemon_that_falls_silent_keeps_it_and_is_told_once(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.warm()
    for _ in range(40):
        house.activity("node1", idle_s=1000)
        house.pass_s(1)
    assert (house.phase, house.did()) == (Phase.WARM, [])
    warnings = [each.message for each in caplog.records if each.levelno == logging.WARNING]
    assert warnings == [f"{KEY}: stays warm: node2's daemon is silent"]


def test_a_report_is_good_for_three_seconds(house: House) -> None:
    house.warm()
    house.pass_s(40)
    house.activity("node1", idle_s=1000)
    house.activity("node2", idle_s=1000)
    house.pass_s(3.1)
    house.answer_counts()
    assert house.phase is Phase.WARM
    house.activity("node1", idle_s=1000)
    house.activity("node2", idle_s=1000)
    house.pass_s(3.0)
    house.answer_counts()
    assert house.phase is Phase.DRAINING


def test_a_lost_link_takes_the_daemons_words_along(house: House) -> None:
    house.warm()
    house.pass_s(40)
    house.activity("node1", idle_s=1000)
    house.activity("node2", idle_s=1000)
    house.controller.link_down("node2", "silence")
    house.pass_s(0.1)
    assert house.phase is Phase.WARM
    house.controller.link_up("node2")
    house.pass_s(0.1)
    assert house.phase is Phase.WARM, "a new link, and not a word over it yet"
    house.activity("node2", idle_s=1000)
    house.pass_s(0.1)
    house.answer_counts()
    assert house.phase is Phase.DRAINING


def test_a_lost_link_takes_the_arming_along(house: House) -> None:
    house.draining()
    house.armed("node2", 0)
    house.controller.link_down("node2", "silence")
    house.armed("node1", 0)
    assert house.phase is Phase.DRAINING
    house.pass_s(10)
    assert house.phase is Phase.WARM


def test_a_report_without_the_service_says_nothing_of_it(house: House) -> None:
    house.warm()
    house.pass_s(40)
    house.activity("node1", idle_s=1000)
    house.controller.hear("node2", _activity_of_others(), received_ns=1)
    house.pass_s(0.1)
    assert house.phase is Phase.WARM


def test_a_linked_daemon_nobody_expected_must_arm_too(house: House) -> None:
    house.draining()
    house.controller.link_up("node3")
    house.armed("node1", 0)
    house.armed("node2", 0)
    assert house.phase is Phase.DRAINING
    house.armed("node3", 0)
    house.counts()
    assert house.phase is Phase.COLD


# --- Restarts --------------------------------------------------------------------------------


def test_a_server_found_listening_is_warm_at_once_and_not_started_again() -> None:
    house = House(activations={KEY: 5})
    found = ReplicaFound(activation=5, spawned_ns=77, is_listening=True)
    house.controller.tell(KEY, found)
    assert (house.phase, house.record.activation) == (Phase.WARM, 5)
    house.wake(activation=4)
    assert "start" not in " ".join(house.did())


def test_a_server_found_before_its_listen_completes_its_wake() -> None:
    house = House(activations={KEY: 4})
    house.controller.tell(KEY, ReplicaFound(activation=5, spawned_ns=77, is_listening=False))
    assert (house.phase, house.record.activation) == (Phase.WAKING, 5)
    house.wake(activation=4)
    [(_, started)] = house.link.sent
    assert isinstance(started, Started)
    assert (started.activation, started.spawned_ns) == (5, 77)
    house.listening(activation=5)
    assert house.phase is Phase.WARM
    assert not any(step.startswith("start ") for step in house.did())


def test_an_adopted_servers_end_is_seen() -> None:
    house = House(activations={KEY: 9})
    house.controller.tell(KEY, ReplicaFound(activation=5, spawned_ns=77, is_listening=True))
    assert house.record.activation == 9, "counts never go back"
    house.pass_s(60)
    house.controller.tell(KEY, ReplicaEnded(activation=5, reason="ended"))
    assert house.phase is Phase.COLD


def test_a_restarted_controller_lowers_nothing_before_its_own_timeout() -> None:
    house = House(activations={KEY: 5})
    house.controller.tell(KEY, ReplicaFound(activation=5, spawned_ns=77, is_listening=True))
    house.did()
    house.pass_idle_s(29)
    assert (house.phase, house.did()) == (Phase.WARM, [])


def test_a_restarted_controller_without_daemons_lowers_nothing_at_all() -> None:
    for is_listening in (True, False):
        house = House(activations={KEY: 5})
        house.controller.link_down("node1", "closed")
        house.controller.link_down("node2", "closed")
        found = ReplicaFound(activation=5, spawned_ns=77, is_listening=is_listening)
        house.controller.tell(KEY, found)
        for _ in range(200):
            house.pass_s(1)
        assert not any(step.startswith("stop") for step in house.did())
        assert house.phase is not Phase.COLD


# --- Manifests -------------------------------------------------------------------------------


def test_an_address_that_comes_later_publishes_the_record_then() -> None:
    house = House()
    house.link.table.clear()
    house.backend.place = ServicePlaced(frontends=(), endpoints=())
    house.controller.declare({KEY: service(spec__port=81)})
    assert KEY not in house.link.table
    house.controller.tell(KEY, House().backend.place)
    assert house.link.table[KEY].phase is Phase.COLD


def test_an_address_that_goes_takes_the_record_along(house: House) -> None:
    house.controller.tell(KEY, ServicePlaced(frontends=(), endpoints=()))
    assert KEY not in house.link.table
    assert house.did() == ["deleted"]
    house.controller.tell(KEY, ServicePlaced(frontends=(), endpoints=()))
    assert house.did() == [], "and takes it along once"


def test_a_deleted_service_leaves_nothing(house: House) -> None:
    house.warm()
    house.controller.declare({})
    assert house.did() == ["deleted", f"forget {KEY}"]
    assert house.link.table == {}
    exported = {
        sample.labels.get("service")
        for family in house.metrics.registry.collect()
        for sample in family.samples
    }
    assert "serverless-example" not in exported
    house.controller.tell(KEY, ReplicaEnded(activation=1, reason="killed by SIGTERM"))
    house.wake(activation=0)
    assert house.did() == []


def test_what_does_not_touch_the_replica_leaves_it(house: House) -> None:
    house.warm()
    changed = service(spec__idleTimeout=5, spec__port=81)
    house.controller.declare({KEY: changed})
    assert house.phase is Phase.WARM
    assert not any(step.startswith(("stop", "start")) for step in house.did())
    house.pass_idle_s(5)
    assert house.phase is Phase.DRAINING, "the new idleTimeout"


@pytest.mark.parametrize("change", [{"spec__image": "other:2"}, {"spec__targetPort": 9090}])
def test_another_image_or_target_port_stops_the_replica(
    house: House, change: dict[str, object]
) -> None:
    house.warm()
    house.controller.declare({KEY: service(**change)})
    assert house.phase is Phase.COLD
    assert f"stop {KEY}" in house.did()
    assert house.record.target_port == service(**change).spec.target_port
    house.wake()
    assert house.phase is Phase.WAKING, "no back-off: nothing failed"


def test_the_same_manifests_again_change_nothing(house: House) -> None:
    house.warm()
    before = house.record
    house.controller.declare({KEY: house.manifest})
    assert house.record == before
    assert house.phase is Phase.WARM


# --- Status ----------------------------------------------------------------------------------


def test_latest_request_follows_wakes_and_packets_and_never_goes_back(house: House) -> None:
    assert house.service.latest_request is None
    house.wake()
    house.listening()
    assert house.service.latest_request == house.wall_now
    house.pass_s(10)
    house.activity("node1", idle_s=3)
    assert house.service.latest_request == house.wall_now - 3
    house.activity("node2", idle_s=9)
    assert house.service.latest_request == house.wall_now - 3


def test_a_cold_starts_end_is_logged_on_one_line(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    report = ColdStart(service=KEY, activation=1, outcome="answered", total_s=0.0031, clients=2)
    with caplog.at_level(logging.INFO):
        house.controller.hear("node1", report, received_ns=1)
    assert caplog.messages == [
        f"{KEY}: cold start seen by node1: answered after 3.1 ms, connections: 2"
    ]


def _failures(house: House, reason: str) -> float | None:
    return house.metric(
        "wangell_activation_failures_total",
        namespace="default",
        service="serverless-example",
        reason=reason,
    )


def _activity_of_others() -> Activity:
    return Activity(services=(ServiceActivity(service="a/b", idle_s=1000.0, held=0),))
