"""A new daemon takes over what its predecessor left in the kernel: verdicts, slots, held SYNs."""

import pytest

from tests.daemon.packets import Segment, held
from tests.daemon.story import OURS, VIP, Story, X, client, key
from wangell_daemon.effects import ForgetFrontends, GiveUp, Mode
from wangell_proto.vocabulary import Endpoint, Phase

CLIENT = "10.0.0.1:40000"
SECOND_VIP, STALE_VIP = "10.0.0.3:80", "10.0.0.9:80"
Y = "default/y"
OTHER = Endpoint(address="10.244.0.6", node="node1", workload="net:[6]")


def test_what_a_predecessor_holds_stays_held_until_the_table_says_more() -> None:
    story = Story(adopted={key(VIP): 5})
    assert story.mode() is Mode.HOLD
    story.syn()
    assert story.node.held == 1
    assert story.wakes == []


def test_the_record_takes_the_early_syns_and_wakes_for_them() -> None:
    story = Story(adopted={key(VIP): 5})
    story.syn(client(1))
    story.syn(client(2))
    story.table(Phase.COLD, activation=4)
    assert len(story.wakes) == 1
    assert story.node.held == 2
    assert story.slots[key(VIP)] == 5


def test_early_syns_of_a_service_that_is_warm_by_now_go_in_at_once() -> None:
    story = Story(adopted={key(VIP): 5})
    story.syn()
    story.table(Phase.WARM, activation=4)
    assert story.clients_in() == [CLIENT]
    assert story.wakes == []


def test_early_syns_wait_for_their_own_record_whatever_else_comes() -> None:
    story = Story(adopted={key(VIP): 5, key(SECOND_VIP): 6})
    story.syn()
    story.table(Phase.COLD, name=Y, vips=(SECOND_VIP,), endpoints=(OTHER,))
    assert story.wakes == []
    assert story.node.held == 1
    story.table(Phase.COLD)
    assert [wake.service for wake in story.wakes] == [X]


def test_a_repeat_of_an_early_syn_replaces_it() -> None:
    story = Story(adopted={key(VIP): 5})
    story.syn()
    story.pass_ms(1_000)
    story.syn()
    assert story.node.held == 1
    story.table(Phase.WARM, activation=4)
    assert story.clients_in() == [CLIENT]


def test_frontends_that_nobody_claims_are_forgotten_once_the_table_is_whole() -> None:
    story = Story(adopted={key(VIP): 5, key(STALE_VIP): 6})
    story.table(Phase.COLD)
    effects = story.synced()
    assert effects[0] == ForgetFrontends((key(STALE_VIP),))
    assert story.mode(STALE_VIP) is None
    assert story.mode(VIP) is Mode.HOLD


def test_their_early_syns_are_counted_not_forgotten() -> None:
    story = Story(adopted={key(STALE_VIP): 6})
    story.syn(to=STALE_VIP)
    assert GiveUp("no_service", 1) in story.synced()
    assert story.node.held == 0
    assert story.node.syn(held(Segment(vip=STALE_VIP)), now_ns=1) == [GiveUp("no_service", 1)]


def test_a_second_sync_forgets_nothing_more() -> None:
    story = Story(adopted={key(VIP): 5})
    story.table(Phase.COLD)
    story.synced()
    log = list(story.log)
    story.synced()
    assert story.log == log


def test_a_frontend_is_the_tables_once_its_record_came_even_before_the_sync() -> None:
    story = Story(adopted={key(VIP): 5})
    story.table(Phase.COLD)
    story.deleted()
    assert story.mode() is None
    story.synced()
    assert story.mode() is None


# Slots of the predecessor.


def test_two_services_that_were_one_do_not_share_its_slot() -> None:
    story = Story(adopted={key(VIP): 5, key(SECOND_VIP): 5})
    story.table(Phase.COLD)
    story.table(Phase.COLD, name=Y, vips=(SECOND_VIP,), endpoints=(OTHER,))
    assert story.slots[key(VIP)] == 5
    assert story.slots[key(SECOND_VIP)] != 5


def test_new_services_do_not_get_slots_that_are_still_spoken_for() -> None:
    story = Story(adopted={key(VIP): 0, key(SECOND_VIP): 1})
    story.table(Phase.COLD, name="default/new", vips=("10.0.0.77:80",), endpoints=())
    assert story.slots[key("10.0.0.77:80")] not in (0, 1)


def test_slots_that_nobody_claimed_are_free_after_the_sync() -> None:
    story = Story(adopted={key(VIP): 0, key(STALE_VIP): 1})
    story.table(Phase.COLD, vips=(VIP,))
    story.synced()
    vips = [f"10.7.0.{number}:80" for number in range(1, 4)]
    for vip in vips:
        story.table(Phase.COLD, name=vip, vips=(vip,), endpoints=())
    slots = [story.slots[key(vip)] for vip in (VIP, *vips)]
    assert 1 in slots
    assert len(set(slots)) == 4


def test_one_service_that_was_two_keeps_one_slot_and_the_other_is_free_again() -> None:
    story = Story(adopted={key(VIP): 0, key(SECOND_VIP): 1})
    story.table(Phase.COLD, vips=(VIP, SECOND_VIP))
    story.synced()
    assert story.slots[key(VIP)] == story.slots[key(SECOND_VIP)]
    story.table(Phase.COLD, name=Y, vips=("10.0.0.77:80",), endpoints=())
    assert {story.slots[key(VIP)], story.slots[key("10.0.0.77:80")]} == {0, 1}


# A wake under way when the daemon was killed.


def test_a_wake_under_way_goes_on_with_the_clients_next_retry() -> None:
    story = Story(adopted={key(VIP): 5})
    story.table(Phase.WAKING, activation=1)
    story.synced()
    story.syn()
    assert story.wakes == [], "the controller knows"
    story.listens()
    assert story.clients_in() == [CLIENT]
    story.ack()
    story.pass_ms(1_000)
    assert [each.outcome for each in story.cold_starts] == ["answered"]


def test_a_server_that_listened_while_no_daemon_ran_is_found_by_one_probe() -> None:
    story = Story(adopted={key(VIP): 5})
    story.syn()
    story.table(Phase.WAKING, activation=1)
    assert story.probed == {X: ["10.244.0.5:8080 once"]}
    story.listens()
    assert story.clients_in() == [CLIENT]
    assert len(story.listenings) == 1


# Another controller.


def test_another_controller_is_told_what_waits_and_what_listens() -> None:
    story = Story()
    story.table(Phase.COLD)
    story.syn()
    story.synced()
    assert [wake.activation for wake in story.wakes] == [0, 0]
    story.table(Phase.WAKING, activation=1)
    story.listens()
    story.synced()
    assert len(story.listenings) == 2
    assert len(story.wakes) == 2
    assert len(story.went_in) == 1, "and nothing goes in twice for it"


def test_a_wake_that_nobody_was_there_to_hear_is_told_with_the_table() -> None:
    story = Story()
    story.table(Phase.COLD)
    story.syn()
    story.synced()
    story.syn(client(2))
    assert len(story.wakes) == 2, "once each controller"


def test_another_controller_is_told_nothing_of_services_at_rest() -> None:
    story = Story().awake()
    story.table(Phase.COLD, name=Y, vips=(SECOND_VIP,), endpoints=(OTHER,))
    story.synced()
    log = list(story.log)
    story.synced()
    assert story.log == log


def test_a_drain_is_counted_again_for_another_controller() -> None:
    story = Story().awake()
    story.table(Phase.DRAINING, activation=1)
    story.synced()
    assert len(story.counts) == 2


@pytest.mark.parametrize("phase", [Phase.COLD, Phase.WAKING, Phase.WARM, Phase.DRAINING])
def test_a_record_that_comes_again_with_the_table_is_no_change(phase: Phase) -> None:
    story = Story()
    story.table(phase, activation=1, endpoints=(OURS,))
    modes = dict(story.modes)
    story.table(phase, activation=1, endpoints=(OURS,))
    story.synced()
    assert story.modes == modes
    assert story.went_in == []
    assert story.refused == []
