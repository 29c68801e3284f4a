"""Records: what a node refuses, how addresses and replicas change hands, whose slot is whose."""

import contextlib

import pytest

from tests.daemon.packets import Segment, held
from tests.daemon.story import HERE, OURS, VIP, Story, X, client, key, record
from wangell_daemon.effects import ForgetReplica, GiveUp, Mode, ReportListening
from wangell_daemon.node import Listens, Node, RecordRefusedError
from wangell_daemon.slots import SLOTS_MAX
from wangell_proto.vocabulary import Endpoint, Phase

Y, Z = "default/y", "default/z"
OTHER_VIP = "10.0.0.3:80"
OTHER = Endpoint(address="10.244.0.6", node=HERE, workload="net:[6]")


def woken_by(story: Story, workload: str, port: int = 8080) -> list[str]:
    """Which waking services a LISTEN of this workload is taken for."""
    listened = story.listens(workload, port)
    return [effect.service for effect in listened if isinstance(effect, ReportListening)]


# Refusals.


def test_an_address_has_one_owner_and_the_refusal_names_both() -> None:
    story = Story()
    story.table(Phase.COLD)
    with pytest.raises(RecordRefusedError, match=r"10\.0\.0\.2:80 belongs to default/x"):
        story.table(Phase.COLD, name=Y, vips=(OTHER_VIP, VIP), endpoints=(OTHER,))


def test_a_refused_record_of_a_new_service_changes_nothing() -> None:
    story = Story()
    story.table(Phase.COLD)
    with pytest.raises(RecordRefusedError):
        story.table(Phase.WAKING, name=Y, vips=(OTHER_VIP, VIP), endpoints=(OTHER,))
    assert Y not in story.node
    assert story.mode(VIP) is Mode.HOLD
    assert story.mode(OTHER_VIP) is None
    assert woken_by(story, OTHER.workload) == []
    story.syn()
    assert [wake.service for wake in story.wakes] == [X]


def test_a_refused_change_leaves_the_old_record_in_force() -> None:
    story = Story()
    story.table(Phase.COLD)
    story.table(Phase.COLD, name=Y, vips=(OTHER_VIP,), endpoints=(OTHER,))
    with pytest.raises(RecordRefusedError):
        story.table(Phase.WARM, name=Y, vips=(VIP,), endpoints=())
    assert story.mode(OTHER_VIP) is Mode.HOLD
    story.syn(to=OTHER_VIP)
    assert [wake.service for wake in story.wakes] == [Y]
    assert woken_by(story, OTHER.workload) == [Y]


def test_the_same_frontend_twice_in_one_record_is_one() -> None:
    story = Story()
    story.table(Phase.COLD, vips=(VIP, VIP))
    story.table(Phase.COLD, vips=(VIP,))
    assert story.mode() is Mode.HOLD
    assert story.syn()


# Addresses that change hands: a resync sends records in any order.


def test_an_address_is_free_once_its_owner_gives_it_up() -> None:
    story = Story()
    story.table(Phase.COLD, vips=(VIP, OTHER_VIP))
    story.table(Phase.COLD, vips=(VIP,))
    assert story.mode(OTHER_VIP) is None
    story.table(Phase.COLD, name=Y, vips=(OTHER_VIP,), endpoints=(OTHER,))
    story.syn(to=OTHER_VIP)
    assert [wake.service for wake in story.wakes] == [Y]


def test_an_address_whose_new_owner_is_told_first_goes_over_when_the_old_one_is_deleted() -> None:
    story = Story()
    story.table(Phase.COLD)
    with pytest.raises(RecordRefusedError):
        story.table(Phase.COLD, name=Y, endpoints=(OTHER,))
    story.deleted(X)
    assert story.mode(VIP) is Mode.HOLD
    story.syn()
    assert [wake.service for wake in story.wakes] == [Y]


def test_and_when_the_old_owner_moves_away_from_it() -> None:
    story = Story()
    story.table(Phase.COLD)
    with pytest.raises(RecordRefusedError):
        story.table(Phase.COLD, name=Y, endpoints=(OTHER,))
    story.table(Phase.COLD, vips=(OTHER_VIP,))
    assert story.mode(VIP) is Mode.HOLD
    assert story.mode(OTHER_VIP) is Mode.HOLD
    story.syn(to=VIP)
    story.syn(to=OTHER_VIP)
    assert [wake.service for wake in story.wakes] == [Y, X]


def test_a_refused_record_that_was_taken_back_is_not_applied_later() -> None:
    story = Story()
    story.table(Phase.COLD)
    with pytest.raises(RecordRefusedError):
        story.table(Phase.COLD, name=Y, endpoints=(OTHER,))
    story.deleted(Y)
    story.deleted(X)
    assert Y not in story.node
    assert story.mode(VIP) is None


def test_only_the_newest_refused_record_is_applied_later() -> None:
    story = Story()
    story.table(Phase.COLD)
    for phase in (Phase.COLD, Phase.WARM):
        with pytest.raises(RecordRefusedError):
            story.table(phase, name=Y, activation=1, endpoints=(OTHER,))
    story.deleted(X)
    assert story.mode(VIP) is Mode.PASS


def test_two_services_may_swap_their_addresses() -> None:
    story = Story()
    story.table(Phase.COLD, vips=(VIP,))
    story.table(Phase.COLD, name=Y, vips=(OTHER_VIP,), endpoints=(OTHER,))
    with pytest.raises(RecordRefusedError):
        story.table(Phase.COLD, vips=(OTHER_VIP,))
    with contextlib.suppress(RecordRefusedError):
        story.table(Phase.COLD, name=Y, vips=(VIP,), endpoints=(OTHER,))
    story.syn(to=VIP)
    story.syn(to=OTHER_VIP)
    assert [wake.service for wake in story.wakes] == [Y, X]


def test_callers_of_an_address_that_left_the_service_do_not_go_in() -> None:
    # Nothing sends them on any more, and the kernel would not tell of their ACK.
    story = Story()
    story.table(Phase.COLD, vips=(VIP, OTHER_VIP))
    story.syn(client(1), to=OTHER_VIP)
    story.syn(client(2), to=VIP)
    story.table(Phase.WAKING, activation=1, vips=(VIP,))
    story.listens(room=lambda: 5)
    assert story.clients_in() == [client(2)]
    story.pass_ms(60_000)
    assert story.refused == [client(1)]
    assert story.node.held == 0


# Replicas.


def test_a_replica_is_known_by_workload_and_port_on_its_own_node_only() -> None:
    elsewhere = Endpoint(address="10.244.1.5", node="node2", workload="net:[2]")
    story = Story()
    story.table(Phase.WAKING, activation=1, endpoints=(OURS, elsewhere))
    assert woken_by(story, OURS.workload, 8081) == []
    assert woken_by(story, elsewhere.workload) == []
    assert woken_by(story, OURS.workload) == [X]


def test_another_nodes_workload_of_the_same_name_takes_nothing_along_when_it_goes() -> None:
    # Two machines have namespaces of the same inode number as often as not.
    namesake = Endpoint(address="10.244.1.5", node="node2", workload=OURS.workload)
    story = Story()
    story.table(Phase.WAKING, activation=1)
    story.table(Phase.COLD, name=Y, vips=(OTHER_VIP,), endpoints=(namesake,))
    story.deleted(Y)
    assert woken_by(story, OURS.workload) == [X]


def test_a_replica_that_leaves_is_forgotten_one_that_stays_is_not() -> None:
    story = Story()
    story.table(Phase.WAKING, activation=1, endpoints=(OURS, OTHER))
    effects = story.table(Phase.WAKING, activation=1, endpoints=(OTHER,))
    assert ForgetReplica(OURS.workload, 8080) in effects
    assert story.gone == [(OURS.workload, 8080)]
    assert woken_by(story, OURS.workload) == []
    assert woken_by(story, OTHER.workload) == [X]


def test_a_changed_target_port_is_another_replica() -> None:
    story = Story()
    story.table(Phase.WAKING, activation=1)
    story.table(Phase.WAKING, activation=1, target_port=9090)
    assert story.gone == [(OURS.workload, 8080)]
    assert woken_by(story, OURS.workload, 8080) == []
    assert woken_by(story, OURS.workload, 9090) == [X]


def test_deleting_forgets_the_replicas() -> None:
    story = Story()
    story.table(Phase.COLD, endpoints=(OURS, OTHER))
    story.deleted()
    assert sorted(story.gone) == sorted([(OURS.workload, 8080), (OTHER.workload, 8080)])
    assert woken_by(story, OURS.workload) == []


def test_listens_of_strangers_are_remembered_within_bounds() -> None:
    story = Story()
    for number in range(1_000):
        story.listens(f"net:[{number + 100}]")
    newest = Endpoint(address="10.244.0.7", node=HERE, workload="net:[1099]")
    oldest = Endpoint(address="10.244.0.8", node=HERE, workload="net:[100]")
    story.table(Phase.WAKING, activation=1, endpoints=(newest,))
    assert story.mode() is Mode.PASS
    story.table(Phase.WAKING, name=Y, activation=1, vips=(OTHER_VIP,), endpoints=(oldest,))
    assert story.mode(OTHER_VIP) is Mode.HOLD


# Deleting.


def test_deleting_what_is_not_there_does_nothing() -> None:
    assert Node(HERE).record(X, None, now_ns=0) == []


def test_events_of_a_deleted_service_do_nothing() -> None:
    story = Story().awake()
    flow = held(Segment()).syn.flow
    story.deleted()
    node, now_ns = story.node, story.now_ns
    assert node.answered(flow, seen_ns=now_ns, is_reset=False, now_ns=now_ns) == []
    assert node.syn(held(Segment()), now_ns=now_ns) == [GiveUp("no_service", 1)]
    listening = Listens(workload=OURS.workload, port=8080, seen_ns=now_ns)
    assert node.listens(listening, now_ns=now_ns) == []
    node.injected(held(Segment()), now_ns=now_ns)
    assert story.started() == []


def test_a_deleted_service_may_come_back() -> None:
    story = Story().awake()
    story.deleted()
    story.table(Phase.COLD)
    assert story.mode() is Mode.HOLD
    story.syn()
    assert len(story.wakes) == 2


# Slots.


def test_every_service_has_a_slot_of_its_own() -> None:
    story = Story()
    for number in range(50):
        story.table(
            Phase.COLD, name=f"default/{number}", vips=(f"10.7.0.{number}:80",), endpoints=()
        )
    assert len(set(story.slots.values())) == 50


def test_a_slot_that_is_given_back_is_used_again() -> None:
    story = Story()
    story.table(Phase.COLD)
    slot = story.slots[key(VIP)]
    story.deleted()
    story.table(Phase.COLD, name=Y)
    assert story.slots[key(VIP)] == slot


def test_without_a_free_slot_a_new_service_is_refused_until_one_goes() -> None:
    node = Node(HERE)
    for number in range(SLOTS_MAX):
        vip = f"10.{number >> 14}.{(number >> 7) & 127}.{number & 127}:80"
        node.record(f"default/{number}", record(vips=(vip,), endpoints=()), now_ns=0)
    with pytest.raises(RecordRefusedError, match="serves 16384 services already"):
        node.record(X, record(vips=("10.99.0.1:80",)), now_ns=0)
    assert X not in node
    node.record("default/7", record(Phase.WARM, vips=("10.0.0.7:80",), endpoints=()), now_ns=0)
    node.record("default/7", None, now_ns=0)
    assert X in node
