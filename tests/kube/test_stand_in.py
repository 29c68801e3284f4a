"""A controller that does not lead: it raises whatever it is woken for, and lowers nothing."""

import pytest

from tests.controller.helpers import RecordingLink
from tests.kube.house import KEY, NAME, KubeHouse
from tests.kube.rivals import StandingBy
from tests.kube.stories import story
from tests.kube.virtual_time import settle
from wangell_controller.controller import ACTIVATION_MAX
from wangell_controller.kube.endpoints import ENDING_S_MAX
from wangell_controller.kube.errors import RefusedError, UnavailableError
from wangell_controller.kube.observed import raised_of
from wangell_controller.kube.resources import DEPLOYMENTS, RAISED, WANGELL_SERVICES
from wangell_proto.vocabulary import Activity, Armed, ColdStart, Listening, Phase, Started

DEPLOYMENT = DEPLOYMENTS.path("default", NAME)
RAISE = f"PATCH {DEPLOYMENT}"
DECLARATION = WANGELL_SERVICES.path("default", NAME)


@story
async def test_a_wake_is_one_patch_of_replicas_and_activation(house: KubeHouse) -> None:
    await house.cold()
    other = await StandingBy(house.cluster).begin()
    other.wake(0)
    await settle(0.01)
    assert house.cluster.did() == [RAISE]
    assert house.cluster.bodies(RAISE) == [
        {"metadata": {"annotations": {RAISED: "1"}}, "spec": {"replicas": 1}}
    ]
    assert house.replicas == 1
    await other.end()


@story
async def test_the_leader_sees_it_and_follows(house: KubeHouse) -> None:
    """The daemon need not tell it, and it asks for nothing."""
    await house.cold()
    other = await StandingBy(house.cluster).begin()
    other.wake(0)
    await settle(0.1)
    assert house.phase is Phase.WAKING
    assert house.service.activation == 1
    assert [each for each in house.cluster.did() if each.endswith("/scale")] == []
    await other.end()


@story
async def test_while_it_is_not_woken_it_reads_what_a_wake_changes_when_the_wake_is_over(
    house: KubeHouse,
) -> None:
    await house.cold()
    other = await StandingBy(house.cluster).begin()
    house.schedule("pod-1")
    await settle(0.01)
    house.schedule("pod-2")
    await settle(0.01)
    assert list(other.inventory.pods(KEY)) == []
    other.wake(0)
    await settle(0.01)
    assert len(list(other.inventory.pods(KEY))) == 2, "somebody waits: there is no time to rest"
    await other.end()


@story
async def test_who_woke_it_is_told_when_the_api_has_answered(house: KubeHouse) -> None:
    await house.cold()
    other = await StandingBy(house.cluster).begin()
    other.wake(0, peer="node2")
    assert other.link.sent == []
    await settle(0.01)
    ((peer, started),) = other.link.sent
    assert peer == "node2"
    assert isinstance(started, Started)
    assert (started.activation, started.clock, started.received_ns) == (1, "other boot", 1_000)
    await other.end()


@story
async def test_both_may_raise_it_at_once(house: KubeHouse) -> None:
    await house.cold()
    other = await StandingBy(house.cluster).begin()
    house.wake()
    other.wake(0)
    await settle(1)
    assert house.replicas == 1
    assert (house.phase, house.service.activation) == (Phase.WAKING, 1)
    await other.end()


@story
async def test_several_daemons_and_repeats_are_one_patch(house: KubeHouse) -> None:
    await house.cold()
    other = await StandingBy(house.cluster).begin()
    other.wake(0, peer="node1")
    other.wake(0, peer="node2")
    await settle(1)
    other.wake(0, peer="node1")
    await settle(1)
    assert house.cluster.did().count(RAISE) == 1
    assert sorted(peer for peer, _ in other.link.sent) == ["node1", "node1", "node2"]
    await other.end()


@story
async def test_one_that_is_up_is_made_another_version_all_the_same(house: KubeHouse) -> None:
    """In a drain: the leader's lowering, wherever it is just now, must fail."""
    await house.draining()
    other = await StandingBy(house.cluster).begin()
    before = house.cluster.deployment()["metadata"]
    other.wake(house.record.activation)
    await settle(0.01)
    after = house.cluster.deployment()["metadata"]
    assert after["resourceVersion"] != before["resourceVersion"]
    assert after["generation"] == before["generation"]
    assert house.replicas == 1
    ((_, started),) = other.link.sent
    assert isinstance(started, Started)
    assert started.kept == ("pod-1",), "so that its daemons let callers in"
    await other.end()


@story
async def test_one_that_was_lowered_meanwhile_keeps_nothing(house: KubeHouse) -> None:
    """The leader's PATCH came first, and our watch has not told it yet: the pod is going."""
    await house.draining()
    other = await StandingBy(house.cluster).begin()
    house.cluster.change(DEPLOYMENT, spec={"replicas": 0})
    other.wake(house.record.activation)
    await settle(0.5)
    assert (house.replicas, other.link.sent) == (0, [])
    house.delete_pod()
    await settle(0.5)
    assert house.replicas == 1
    ((_, started),) = other.link.sent
    assert isinstance(started, Started)
    assert started.kept == ()
    await other.end()


@story
async def test_pods_that_nobody_deletes_are_waited_for_no_longer_than_that(
    house: KubeHouse,
) -> None:
    await house.draining()
    house.cluster.change(DEPLOYMENT, spec={"replicas": 0})
    other = await StandingBy(house.cluster).begin()
    other.wake(1)
    await settle(ENDING_S_MAX + 0.5)
    assert house.replicas == 1
    await other.end()


@story
async def test_raising_lowers_nothing(house: KubeHouse) -> None:
    await house.warm()
    other = await StandingBy(house.cluster).begin()
    house.cluster.change(DEPLOYMENT, spec={"replicas": 3})
    await settle(0.0001)
    other.wake(house.record.activation)
    await settle(0.005)
    assert house.cluster.bodies(RAISE)[-1]["spec"] == {"replicas": 3}
    await other.end()


@story
async def test_as_many_as_are_asked_for(house: KubeHouse) -> None:
    await house.cold()
    other = await StandingBy(house.cluster).begin()
    house.cluster.change(DECLARATION, spec={"replicas": 2})
    await settle(0.0001)
    other.wake(0)
    await settle(0.005)
    assert house.cluster.bodies(RAISE)[-1]["spec"] == {"replicas": 2}
    await other.end()


@story
async def test_an_api_server_that_restarts_is_asked_again_within_the_clients_second(
    house: KubeHouse,
) -> None:
    await house.cold()
    other = await StandingBy(house.cluster).begin()
    house.cluster.refusals = [(RAISE, UnavailableError("restarting"))] * 4
    other.wake(0)
    await settle(0.9)
    assert house.replicas == 1
    await other.end()


@story
async def test_a_refusal_is_the_end_of_it_and_nobody_is_told(house: KubeHouse) -> None:
    await house.cold()
    other = await StandingBy(house.cluster).begin()
    house.cluster.refusals = [(RAISE, RefusedError("a policy"))]
    other.wake(0)
    await settle(60)
    assert house.cluster.did().count(RAISE) == 1
    assert other.link.sent == []
    await other.end()


@story
async def test_an_api_server_that_stays_away_is_not_asked_for_ever(house: KubeHouse) -> None:
    await house.cold()
    other = await StandingBy(house.cluster).begin()
    house.cluster.refusals = [(RAISE, UnavailableError("down"))] * 1000
    other.wake(0)
    await settle(120)
    asked = house.cluster.did().count(RAISE)
    assert 30 <= asked <= 60
    await settle(120)
    assert house.cluster.did() == []
    await other.end()


@story
async def test_a_wake_that_was_long_on_its_way_starts_nothing(house: KubeHouse) -> None:
    await house.warm()
    await settle(1)
    assert house.declaration["status"]["activations"] == 1
    house.cluster.change(DECLARATION, status={"activations": 5})
    other = await StandingBy(house.cluster).begin()
    house.cluster.did()
    other.wake(0)
    other.wake(3)
    await settle(0.05)
    assert RAISE not in house.cluster.did()
    other.wake(4)
    await settle(0.05)
    assert RAISE in house.cluster.did()
    await other.end()


@story
async def test_what_is_not_declared_or_is_going_is_not_raised(house: KubeHouse) -> None:
    await house.cold()
    other = await StandingBy(house.cluster).begin()
    other.wake(0, key="default/unknown")
    other.wake(ACTIVATION_MAX + 1)
    other.wake(-1)
    house.cluster.change(DECLARATION, metadata={"deletionTimestamp": "2026-11-24T10:00:00Z"})
    await settle(0.0001)
    other.wake(0)
    await settle(0.05)
    assert RAISE not in house.cluster.did()
    await other.end()


@story
async def test_a_strangers_deployment_is_not_touched(house: KubeHouse) -> None:
    house.cluster.put(DEPLOYMENTS, NAME, spec={"replicas": 0})
    await house.begin()
    house.declare()
    await settle(1)
    other = await StandingBy(house.cluster).begin()
    other.wake(0)
    await settle(1)
    assert RAISE not in house.cluster.did()
    await other.end()


@story
async def test_all_else_that_it_hears_changes_nothing(house: KubeHouse) -> None:
    """The leader hears it, or hears it again."""
    await house.cold()
    other = await StandingBy(house.cluster, RecordingLink()).begin()
    for report in (
        Listening(service=KEY, activation=1, workload="pod-1", address=""),
        Armed(service=KEY, activation=1, connections=0),
        Activity(services=()),
    ):
        other.stand_in.hear("node1", report, received_ns=0)
    await settle(5)
    assert house.cluster.did() == []
    assert other.link.sent == []
    await other.end()


@story
async def test_a_cold_start_that_only_it_heard_of_is_an_event(house: KubeHouse) -> None:
    await house.cold()
    other = await StandingBy(house.cluster).begin()
    for key in (KEY, "default/unknown"):
        report = ColdStart(service=key, activation=1, outcome="answered", total_s=0.8, clients=1)
        other.stand_in.hear("node1", report, received_ns=0)
    await settle(1)
    assert house.told == ["woke in 800 ms"]
    await other.end()


@story
async def test_links_are_only_spoken_of(house: KubeHouse) -> None:
    await house.cold()
    other = await StandingBy(house.cluster).begin()
    other.stand_in.link_up("node1")
    other.stand_in.link_down("node1", "silence")
    assert house.cluster.did() == []
    await other.end()


@pytest.mark.parametrize("text", ["", "-1", "x", "٣", "9" * 5000])
def test_nonsense_in_the_annotation_is_no_activation(text: str) -> None:
    assert raised_of({"metadata": {"annotations": {RAISED: text}}}) == 0
