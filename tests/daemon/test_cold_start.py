"""One wake after another, as callers, the server and the controller live through it."""

from collections.abc import Sequence

from tests.daemon.story import OURS, PORT, THEIRS, VIP, Story, X, client, key
from wangell_daemon.effects import Inject, Mode, ReportListening, ReportWake, SetMode, Watch
from wangell_proto.vocabulary import Endpoint, Phase, Wake

CLIENT = "10.0.0.1:40000"


def kinds(effects: Sequence[object]) -> list[str]:
    return [type(effect).__name__ for effect in effects]


# The plain story.


def test_a_cold_service_is_held_and_nothing_else_happens() -> None:
    story = Story()
    story.table(Phase.COLD)
    assert story.mode() is Mode.HOLD
    assert story.wakes == []
    assert story.went_in == []
    assert story.probed == {}
    assert story.node.next_deadline_ns() is None


def test_a_syn_wakes_the_service_and_says_so_before_everything_else() -> None:
    story = Story()
    story.table(Phase.COLD, activation=3)
    effects = story.syn(CLIENT, sequence=0x01020304)
    assert effects[0] == ReportWake(
        Wake(service=X, address="10.0.0.2", port=80, sequence=0x01020304, activation=3)
    )
    assert story.mode() is Mode.HOLD
    assert story.went_in == []


def test_the_wake_names_the_address_that_the_caller_used() -> None:
    story = Story()
    story.table(Phase.COLD, vips=("10.0.0.7:443", VIP))
    story.syn(to=VIP)
    (wake,) = story.wakes
    assert (wake.address, wake.port) == ("10.0.0.2", 80)


def test_listen_flips_hands_over_and_replays_in_this_order_then_tells_the_controller() -> None:
    story = Story()
    story.table(Phase.COLD)
    story.syn()
    story.table(Phase.WAKING, activation=1)
    effects = story.listens()
    assert kinds(effects)[:4] == ["SetMode", "Watch", "Inject", "ReportListening"]
    assert story.handed_over == {key(VIP): "10.244.0.5:8080"}
    assert story.listenings == [ReportListening(X, 1, OURS.workload, "")]
    assert story.mode() is Mode.SETTLE


def test_the_clients_ack_ends_it_and_the_service_just_passes() -> None:
    story = Story()
    story.table(Phase.COLD)
    story.syn()
    story.table(Phase.WAKING, activation=1)
    story.started()
    story.pass_ms(3)
    story.listens()
    story.pass_ms(0.25)
    story.ack()
    assert story.mode() is Mode.PASS
    assert story.node.held == 0
    assert story.waited_ms == [3.25]
    (cold_start,) = story.cold_starts
    assert (cold_start.outcome, cold_start.clients, cold_start.activation) == ("answered", 1, 1)
    assert cold_start.timeline.total_ns == 3_250_000
    assert story.node.next_deadline_ns() is None
    story.table(Phase.WARM, activation=1)
    assert story.mode() is Mode.PASS
    assert len(story.went_in) == 1


def test_after_the_cold_start_nothing_is_left_to_do_for_ever() -> None:
    story = Story().awake()
    log = list(story.log)
    story.pass_ms(3_600_000)
    assert story.log == log


def test_a_second_wake_is_told_like_the_first() -> None:
    story = Story().awake(activation=1)
    story.table(Phase.DRAINING, activation=1)
    story.table(Phase.COLD, activation=1)
    story.syn("10.0.0.9:40000")
    assert [wake.activation for wake in story.wakes] == [0, 1]
    story.table(Phase.WAKING, activation=2)
    assert story.mode() is Mode.HOLD
    story.listens()
    story.ack("10.0.0.9:40000")
    assert story.clients_in() == [CLIENT, "10.0.0.9:40000"]


# One wake, however many knock.


def test_fifty_clients_make_one_wake() -> None:
    story = Story()
    story.table(Phase.COLD)
    for number in range(50):
        story.syn(client(number))
    assert len(story.wakes) == 1
    assert story.node.held == 50


def test_a_clients_retries_wake_nothing_anew_and_the_newest_goes_in() -> None:
    story = Story()
    story.table(Phase.COLD)
    for _ in range(3):
        story.syn()
        story.pass_ms(1000)
    story.table(Phase.WAKING, activation=1)
    effects = story.listens()
    assert len(story.wakes) == 1
    (inject,) = [effect for effect in effects if isinstance(effect, Inject)]
    # TSval in ms of a clock that began at 1000: the SYN of two seconds later.
    assert inject.held.syn.timestamp == 3000
    assert inject.held.first_seen_ns == story.start_ns


def test_two_services_wake_apart() -> None:
    story = Story()
    other = Endpoint(address="10.244.0.6", node="node1", workload="net:[6]")
    story.table(Phase.COLD)
    story.table(Phase.COLD, name="default/y", vips=("10.0.0.3:80",), endpoints=(other,))
    story.syn(to="10.0.0.3:80")
    assert [wake.service for wake in story.wakes] == ["default/y"]
    story.table(
        Phase.WAKING, name="default/y", activation=1, vips=("10.0.0.3:80",), endpoints=(other,)
    )
    story.listens("net:[6]")
    assert story.mode("10.0.0.3:80") is Mode.SETTLE
    assert story.mode(VIP) is Mode.HOLD
    assert len(story.listenings) == 1


def test_the_same_client_may_wait_for_two_frontends_of_a_service() -> None:
    story = Story()
    vips = (VIP, "10.0.0.3:8443")
    story.table(Phase.COLD, vips=vips)
    story.syn(to=VIP)
    story.syn(to="10.0.0.3:8443")
    story.table(Phase.WAKING, activation=1, vips=vips)
    story.listens(room=lambda: 5)
    assert len(story.went_in) == 2
    assert len(story.wakes) == 1


# Races.


def test_a_syn_judged_cold_that_arrives_after_the_flip_goes_in_at_once() -> None:
    # The prototype that forgot this left 1 client in 150 to its own retry, 1.03 s later.
    story = Story()
    story.table(Phase.COLD)
    story.syn()
    story.table(Phase.WAKING, activation=1)
    story.listens()
    story.ack()
    effects = story.syn("10.0.0.9:40000", judged_ms_ago=0.1)
    assert kinds(effects) == ["SetMode", "Watch", "Inject"]
    assert story.mode() is Mode.SETTLE
    assert len(story.wakes) == 1
    story.ack("10.0.0.9:40000")
    assert story.mode() is Mode.PASS


def test_such_a_late_syn_goes_in_even_long_after_the_cold_start() -> None:
    story = Story().awake()
    story.syn("10.0.0.9:40000", judged_ms_ago=0.1)
    assert story.clients_in() == [CLIENT, "10.0.0.9:40000"]
    story.ack("10.0.0.9:40000")
    assert len(story.cold_starts) == 1, "no wake of its own"
    assert story.node.next_deadline_ns() is None


def test_listen_may_come_before_the_record_says_waking() -> None:
    story = Story()
    story.table(Phase.COLD)
    story.syn()
    story.listens()
    assert story.mode() is Mode.SETTLE
    assert story.listenings == [ReportListening(X, 1, OURS.workload, "")], (
        "of the coming activation"
    )
    story.ack()
    story.table(Phase.WAKING, activation=1)
    assert story.mode() is Mode.PASS, "and waking does not take it back"
    assert story.clients_in() == [CLIENT]


def test_started_may_come_after_the_clients_ack() -> None:
    story = Story()
    story.table(Phase.COLD)
    story.syn()
    story.table(Phase.WAKING, activation=1)
    story.listens()
    story.ack()
    assert story.cold_starts == [], "the controller's part is still on its way"
    story.pass_ms(0.5)
    story.started(ago_ms=0.5)
    (cold_start,) = story.cold_starts
    assert cold_start.outcome == "answered"
    assert "start" in cold_start.timeline.phases_ns()


def test_a_started_that_never_comes_is_waited_for_one_second() -> None:
    story = Story()
    story.table(Phase.COLD)
    story.syn()
    story.table(Phase.WAKING, activation=1)
    story.listens()
    story.ack()
    story.pass_ms(999.999)
    assert story.cold_starts == []
    story.pass_ms(0.001)
    (cold_start,) = story.cold_starts
    assert cold_start.outcome == "answered"
    assert "start" not in cold_start.timeline.phases_ns()
    story.started()
    assert len(story.cold_starts) == 1


def test_a_started_of_an_earlier_wake_is_not_this_ones() -> None:
    story = Story().awake(activation=1)
    story.table(Phase.DRAINING, activation=1)
    story.table(Phase.COLD, activation=1)
    story.syn("10.0.0.9:40000")
    story.started(activation=1)
    story.table(Phase.WAKING, activation=2)
    story.listens()
    story.ack("10.0.0.9:40000")
    assert len(story.cold_starts) == 1, "it still waits for its own"
    story.started(activation=2)
    assert [each.activation for each in story.cold_starts] == [1, 2]


def test_an_ack_that_was_on_its_way_when_the_service_began_to_drain_changes_no_verdict() -> None:
    story = Story()
    story.table(Phase.COLD)
    story.syn()
    story.table(Phase.WAKING, activation=1)
    story.listens()
    story.ack_leaves_kernel()
    story.table(Phase.DRAINING, activation=1)
    effects = story.ack_arrives()
    assert story.mode() is Mode.HOLD
    assert "SetMode" not in kinds(effects)
    assert story.waited_ms == [0.0]


def test_an_ack_on_its_way_lets_no_other_client_in_while_draining() -> None:
    story = Story()
    story.table(Phase.COLD)
    story.syn()
    story.table(Phase.WAKING, activation=1)
    story.listens()
    story.ack_leaves_kernel()
    story.table(Phase.DRAINING, activation=1)
    story.syn("10.0.0.9:40000")
    story.ack_arrives()
    assert story.clients_in() == [CLIENT]


# Repeats and room.


def test_an_unanswered_syn_goes_in_again_after_5_20_and_80_ms_and_is_then_given_up() -> None:
    story = Story()
    story.table(Phase.COLD)
    story.syn()
    story.table(Phase.WAKING, activation=1)
    story.listens()
    story.pass_ms(10_000)
    assert story.went_in == [(0, CLIENT), (5, CLIENT), (25, CLIENT), (105, CLIENT)]
    assert story.gave_up == {"unanswered": 1}
    assert story.watched == set()
    (cold_start,) = story.cold_starts
    assert cold_start.outcome == "timeout"
    assert story.refused == [], "the server may have answered it after all"
    assert story.mode() is Mode.PASS


def test_repeats_are_watched_once() -> None:
    story = Story()
    story.table(Phase.COLD)
    story.syn()
    story.table(Phase.WAKING, activation=1)
    story.listens()
    story.pass_ms(200)
    assert story.log.count("Watch") == 1
    assert story.log.count("Inject") == 4


def test_fifty_clients_of_a_backlog_of_five_all_get_in_five_at_a_time() -> None:
    story = Story()
    story.table(Phase.COLD)
    for number in range(50):
        story.syn(client(number))
    story.table(Phase.WAKING, activation=1)
    accepted = 0
    story.listens(room=lambda: 5)
    while story.watched:
        out = len(story.watched)
        assert out <= 5
        story.ack(client(accepted))
        accepted += 1
        story.pass_ms(0.1)
    assert accepted == 50
    assert story.clients_in() == [client(number) for number in range(50)], "each once, in order"
    assert story.node.held == 0
    assert len(story.cold_starts) + len(story.waited_ms) >= 50


def test_a_server_slow_to_accept_gets_no_more_than_its_queue_takes() -> None:
    story = Story()
    story.table(Phase.COLD)
    for number in range(10):
        story.syn(client(number))
    story.table(Phase.WAKING, activation=1)
    queue: list[int] = []
    story.listens(room=lambda: 3 - len(queue))
    for number in range(3):  # three handshakes end, and nobody accepts
        queue.append(number)
        story.ack(client(number))
    assert story.clients_in() == [client(0), client(1), client(2)]
    story.pass_ms(50)
    assert len(story.went_in) == 3
    queue.clear()  # it accepts all three
    story.pass_ms(2)
    assert story.clients_in() == [client(number) for number in range(6)]


def test_who_comes_after_a_crowd_goes_in_as_the_queue_has_room() -> None:
    """CI saw 4 of 50 whose SYN met a full backlog: dropped, and sent again after 1 s."""
    story = Story()
    story.table(Phase.COLD)
    story.syn(client(0))
    story.syn(client(1))
    story.table(Phase.WAKING, activation=1)
    story.started(activation=1)
    queue: list[int] = []
    story.listens(room=lambda: 2 - len(queue))
    for number in range(2):
        queue.append(number)
        story.ack(client(number))
    assert story.mode() is Mode.METER, "new SYNs still come to the daemon"
    story.syn(client(2))
    assert story.clients_in() == [client(0), client(1)], "though it is alone: no room"
    queue.clear()
    story.pass_ms(2)
    assert story.clients_in() == [client(0), client(1), client(2)]
    story.ack(client(2))
    story.pass_ms(99)
    assert story.mode() is Mode.PASS
    assert len(story.cold_starts) == 1, "and nothing but the first was a cold start"


def test_one_client_is_no_crowd_and_leaves_nobody_to_the_daemon() -> None:
    story = Story().awake()
    assert story.mode() is Mode.PASS
    assert story.node.next_deadline_ns() is None


def test_a_crowd_that_is_put_back_to_sleep_is_held_again() -> None:
    story = Story()
    story.table(Phase.COLD)
    for number in range(2):
        story.syn(client(number))
    story.table(Phase.WAKING, activation=1)
    story.listens(room=lambda: 2)
    for number in range(2):
        story.ack(client(number))
    assert story.mode() is Mode.METER
    story.table(Phase.DRAINING, activation=1)
    story.pass_ms(200)
    assert story.mode() is Mode.HOLD


def test_one_client_alone_goes_in_without_asking_for_room() -> None:
    def never() -> int:
        raise AssertionError("a question to the kernel on the wake path")

    story = Story()
    story.table(Phase.COLD)
    story.syn()
    story.table(Phase.WAKING, activation=1)
    story.listens(room=never)
    assert story.clients_in() == [CLIENT]


def test_where_the_queue_cannot_be_read_five_go_in_at_a_time() -> None:
    story = Story()
    story.table(Phase.COLD)
    for number in range(8):
        story.syn(client(number))
    story.table(Phase.WAKING, activation=1)
    story.listens(room=None)
    assert len(story.went_in) == 5


def test_clients_that_will_never_answer_do_not_keep_a_real_one_waiting() -> None:
    story = Story()
    story.table(Phase.COLD)
    for number in range(5):
        story.syn(client(number))  # spoofed
    story.syn(CLIENT)
    story.table(Phase.WAKING, activation=1)
    story.listens(room=lambda: 5)
    story.pass_ms(110)
    assert CLIENT in story.clients_in()
    assert {who: ms for ms, who in story.went_in}[CLIENT] < 110


# Where it may run.


def test_a_replica_on_another_node_is_handed_over_as_away() -> None:
    story = Story()
    story.table(Phase.COLD, endpoints=(THEIRS,))
    story.syn()
    story.table(Phase.WAKING, activation=1, endpoints=(THEIRS,))
    assert story.mode() is Mode.HOLD
    assert story.went_in == []
    story.table(Phase.WARM, activation=1, endpoints=(THEIRS,))
    assert story.handed_over == {key(VIP): "10.244.1.5:8080 away"}
    assert story.clients_in() == [CLIENT]
    assert story.listenings == [], "its own node's daemon tells of it"


def test_of_two_replicas_the_one_that_listens_gets_the_callers() -> None:
    second = Endpoint(address="10.244.0.6", node="node1", workload="net:[6]")
    story = Story()
    story.table(Phase.COLD, endpoints=(OURS, second))
    story.syn()
    story.table(Phase.WAKING, activation=1, endpoints=(OURS, second))
    story.listens("net:[6]")
    assert story.handed_over == {key(VIP): "10.244.0.6:8080"}


def test_a_routed_replica_needs_no_handover() -> None:
    routed = Endpoint(address="10.244.0.5", node="node1", workload=OURS.workload, is_routed=True)
    story = Story().awake()
    assert story.handed_over == {key(VIP): "10.244.0.5:8080"}
    story.table(Phase.WARM, activation=1, endpoints=(routed,))
    assert story.handed_over == {}
    assert story.mode() is Mode.PASS


def test_a_replica_that_moves_takes_the_handover_along() -> None:
    story = Story().awake()
    story.table(Phase.WARM, activation=1, endpoints=(THEIRS,))
    assert story.handed_over == {key(VIP): "10.244.1.5:8080 away"}
    story.table(Phase.WARM, activation=1, endpoints=(OURS,), target_port=9090)
    assert story.handed_over == {key(VIP): "10.244.0.5:9090"}


def test_an_address_that_only_the_node_can_know_is_taken_from_the_listen() -> None:
    unknown = Endpoint(address="", node="node1", workload="pod-uid")
    story = Story()
    story.table(Phase.COLD, endpoints=())
    story.syn()
    story.table(Phase.WAKING, activation=1, endpoints=(unknown,))
    assert story.handed_over == {}
    story.listens("pod-uid", address="10.244.0.77")
    assert story.handed_over == {key(VIP): "10.244.0.77:8080"}
    assert story.listenings == [ReportListening(X, 1, "pod-uid", "10.244.0.77")]
    assert story.clients_in() == [CLIENT]


# Whose LISTEN it is.


def test_a_listen_of_somebody_elses_workload_wakes_nothing() -> None:
    story = Story()
    story.table(Phase.COLD)
    story.syn()
    story.table(Phase.WAKING, activation=1)
    assert story.listens("net:[666]") == []
    assert story.mode() is Mode.HOLD
    assert story.went_in == []
    assert story.listenings == []


def test_a_listen_on_another_port_wakes_nothing() -> None:
    story = Story()
    story.table(Phase.COLD)
    story.syn()
    story.table(Phase.WAKING, activation=1)
    assert story.listens(port=PORT + 1) == []
    assert story.went_in == []


def test_a_listen_of_a_workload_that_runs_elsewhere_wakes_nothing_here() -> None:
    story = Story()
    story.table(Phase.COLD, endpoints=(THEIRS,))
    story.syn()
    story.table(Phase.WAKING, activation=1, endpoints=(THEIRS,))
    assert story.listens(THEIRS.workload) == []
    assert story.went_in == []


def test_a_listen_of_a_cold_service_that_nobody_woke_reports_nothing() -> None:
    story = Story()
    story.table(Phase.COLD)
    assert story.listens() == []
    assert story.mode() is Mode.HOLD


def test_a_server_that_listened_before_it_was_named_is_remembered() -> None:
    story = Story()
    story.table(Phase.COLD, endpoints=())
    story.syn()
    story.table(Phase.WAKING, activation=1, endpoints=())
    assert story.listens() == []
    story.pass_ms(200)
    story.table(Phase.WAKING, activation=1, endpoints=(OURS,))
    assert story.clients_in() == [CLIENT]
    assert len(story.listenings) == 1


def test_what_listened_six_seconds_before_it_was_named_is_asked_not_believed() -> None:
    # It may have crashed since; or the controller was away, and it waits for its callers.
    story = Story()
    story.table(Phase.COLD, endpoints=())
    story.syn()
    story.table(Phase.WAKING, activation=1, endpoints=())
    story.listens()
    story.pass_ms(6_000)
    story.table(Phase.WAKING, activation=1, endpoints=(OURS,))
    assert story.went_in == []
    assert story.probed == {X: ["10.244.0.5:8080 once"]}


def test_a_listen_of_the_last_activation_does_not_count_for_the_next() -> None:
    story = Story().awake()
    story.table(Phase.DRAINING, activation=1)
    story.table(Phase.COLD, activation=1)
    story.syn("10.0.0.9:40000")
    story.table(Phase.WAKING, activation=2)
    assert story.mode() is Mode.HOLD
    assert story.clients_in() == [CLIENT]


def test_a_server_that_listens_twice_is_let_in_once() -> None:
    story = Story()
    story.table(Phase.COLD)
    story.syn()
    story.table(Phase.WAKING, activation=1)
    story.listens()
    story.listens()
    assert story.clients_in() == [CLIENT]
    assert story.mode() is Mode.SETTLE


def test_the_flip_is_written_for_all_frontends_at_once() -> None:
    story = Story()
    vips = (VIP, "10.96.0.7:80", "192.0.2.1:30080")
    story.table(Phase.COLD, vips=vips)
    story.syn()
    story.table(Phase.WAKING, activation=1, vips=vips)
    effects = story.listens()
    (flip,) = [effect for effect in effects if isinstance(effect, SetMode)]
    assert flip.frontends == tuple(key(vip) for vip in vips)
    (watch,) = [effect for effect in effects if isinstance(effect, Watch)]
    assert effects.index(flip) < effects.index(watch)
