"""Where connections go before the node's proxy knows, from the wake until the replica is gone."""

import dataclasses

import pytest

from tests.daemon.story import ELSEWHERE, HERE, OURS, THEIRS, VIP, Story, key
from wangell_daemon.effects import HandOver
from wangell_proto.vocabulary import Endpoint, Phase

SECOND_VIP = "10.0.0.3:80"
TO_OURS = {key(VIP): "10.244.0.5:8080"}
NEXT = Endpoint(address="10.244.0.6", node=HERE, workload="net:[6]")


def routed(endpoint: Endpoint) -> Endpoint:
    return dataclasses.replace(endpoint, is_routed=True)


@pytest.mark.parametrize("phase", [Phase.DRAINING, Phase.COLD])
def test_armed_it_is_over_wherever_the_replica_is(phase: Phase) -> None:
    for replica in (OURS, THEIRS):
        story = Story()
        story.table(Phase.WARM, activation=1, endpoints=(replica,))
        assert story.handed_over
        story.table(phase, activation=1, endpoints=(replica,))
        assert story.handed_over == {}


@pytest.mark.parametrize("replica", [OURS, THEIRS])
def test_with_its_pod_it_goes(replica: Endpoint) -> None:
    """Warm still, for another pod may serve: its address may be anybody's a moment later."""
    story = Story()
    story.table(Phase.WARM, activation=1, endpoints=(replica,))
    story.table(Phase.WARM, activation=1, endpoints=())
    assert story.handed_over == {}


def test_the_next_wake_goes_to_the_next_pod_and_never_to_the_last_one() -> None:
    story = Story().awake()
    story.table(Phase.DRAINING, activation=1)
    story.table(Phase.COLD, activation=1)
    story.syn()
    assert story.handed_over == TO_OURS, "while it is held, to whatever the record names"
    story.table(Phase.WAKING, activation=2, endpoints=())
    assert story.handed_over == {}
    unknown = dataclasses.replace(NEXT, address="")
    story.table(Phase.WAKING, activation=2, endpoints=(unknown,))
    story.listens(NEXT.workload, address=NEXT.address)
    assert story.handed_over == {key(VIP): "10.244.0.6:8080"}


def test_a_replica_that_comes_to_listen_beside_one_that_is_routed_waits_to_be_ready() -> None:
    """An update's new pod: the proxy sends to it when its probe says so, and not before."""
    story = Story().awake()
    story.table(Phase.WARM, activation=1, endpoints=(routed(OURS),))
    story.table(Phase.WARM, activation=1, endpoints=(routed(OURS), NEXT))
    story.listens(NEXT.workload)
    story.table(Phase.WARM, activation=1, endpoints=(routed(OURS), NEXT))
    assert story.handed_over == {}


def test_alone_it_is_handed_over_to_until_it_is_routed_itself() -> None:
    story = Story().awake()
    story.table(Phase.WARM, activation=1, endpoints=(routed(OURS), NEXT))
    story.table(Phase.WARM, activation=1, endpoints=(NEXT,))
    assert story.handed_over == {key(VIP): "10.244.0.6:8080"}
    story.table(Phase.WARM, activation=1, endpoints=(routed(NEXT),))
    assert story.handed_over == {}


def test_another_node_that_has_been_told_of_a_new_pod_does_not_send_there_either() -> None:
    """It hears no LISTEN of another node's, and would take the one that is its own."""
    story = Story()
    story.table(Phase.WARM, activation=1, endpoints=(routed(THEIRS), OURS))
    assert story.handed_over == {}
    assert THEIRS.node == ELSEWHERE


def test_a_pod_whose_sandbox_was_made_anew_has_the_address_that_was_read_there() -> None:
    """The record has the old one until kubelet has told, and that may be another pod's."""
    story = Story().awake()
    story.table(Phase.WAKING, activation=2)
    story.listens(address="10.244.0.99")
    assert story.handed_over == {key(VIP): "10.244.0.99:8080"}
    fresh = dataclasses.replace(OURS, address="10.244.0.99")
    story.table(Phase.WARM, activation=2, endpoints=(fresh,))
    assert story.handed_over == {key(VIP): "10.244.0.99:8080"}


def test_ready_late_it_is_kept_and_said_once() -> None:
    """Renewed by the agent, without end: here only a record ends it."""
    story = Story().awake()
    for _ in range(60):
        story.pass_ms(1_000)
        story.beat()
        effects = story.table(Phase.WARM, activation=1)
        assert not [each for each in effects if isinstance(each, HandOver)]
    assert story.handed_over == TO_OURS


def test_every_frontend_is_handed_over_and_those_that_leave_are_not() -> None:
    story = Story()
    story.table(Phase.WARM, activation=1, vips=(VIP, SECOND_VIP))
    assert story.handed_over.keys() == {key(VIP), key(SECOND_VIP)}
    story.table(Phase.WARM, activation=1, vips=(SECOND_VIP,))
    assert story.handed_over == {key(SECOND_VIP): "10.244.0.5:8080"}


def test_what_a_predecessor_left_stays_until_the_table_is_whole() -> None:
    story = Story(adopted={key(VIP): 5})
    story.table(Phase.WARM, activation=1, endpoints=(routed(OURS),))
    assert story.left_handed_over == {key(VIP)}
    story.synced()
    assert story.left_handed_over == set()


def test_of_its_own_nothing_is_ended_by_another_controllers_table() -> None:
    story = Story().awake()
    story.synced()
    assert story.handed_over == TO_OURS
