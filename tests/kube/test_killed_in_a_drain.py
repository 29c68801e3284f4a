"""A leader is killed between its PATCH to zero and its word that the service is Cold.

Its daemons hold, and know of a drain alone; the pod of before answers for a while yet.
"""

from tests.kube.house import KEY, NAME, KubeHouse
from tests.kube.rivals import StandingBy
from tests.kube.stories import story
from tests.kube.virtual_time import settle
from wangell_controller.kube.resources import DEPLOYMENTS
from wangell_controller.kube.takeover import take_over
from wangell_proto.vocabulary import Endpoint, Listening, Phase, Raised, Started

ACTIVATION = 1
"Of the drain"


async def killed(house: KubeHouse) -> StandingBy:
    """All have armed, it has sent its PATCH, and it is no more."""
    await house.draining()
    other = await StandingBy(house.cluster).begin()
    for peer in ("node1", "node2"):
        other.stand_in.link_up(peer)
    await house.armed()
    await settle(0.0015)
    assert house.replicas == 0
    await house.end()
    return other


async def succeeded(other: StandingBy) -> KubeHouse:
    """The other has taken the Lease."""
    await take_over(other.cluster, other.inventory, epoch=7)
    successor = KubeHouse(other.cluster, other.inventory)
    successor.succeed()
    await settle(0.01)
    return successor


def told(other: StandingBy) -> list[Started | Raised]:
    return [each for to, each in other.link.sent if isinstance(each, Started | Raised)]


@story
async def test_whoever_stands_by_names_no_pod_of_before(house: KubeHouse) -> None:
    other = await killed(house)
    other.wake(ACTIVATION)
    await settle(0.5)
    assert (told(other), house.replicas) == ([], 0), "it may be kept, or not"
    house.delete_pod()
    await settle(0.05)
    assert house.replicas == 1
    (started,) = told(other)
    assert isinstance(started, Started)
    assert (started.activation, started.kept) == (ACTIVATION + 1, ())
    house.schedule("pod-2")
    await settle(0.05)
    named = [each for each in told(other) if isinstance(each, Raised)]
    assert {each.activation for each in named} == {ACTIVATION + 1}
    assert {end.workload for each in named for end in each.endpoints} == {"pod-2"}
    await other.end()


@story
async def test_it_is_said_to_every_daemon_that_the_next_one_listens(house: KubeHouse) -> None:
    other = await killed(house)
    house.delete_pod()
    other.wake(ACTIVATION)
    await settle(0.05)
    house.schedule("pod-2", node="node2")
    await settle(0.05)
    report = Listening(
        service=KEY, activation=ACTIVATION + 1, workload="pod-2", address="10.244.1.6"
    )
    other.stand_in.hear("node2", report, received_ns=0)
    placed = Endpoint(address="10.244.1.6", node="node2", workload="pod-2")
    last = {to: each for to, each in other.link.sent if isinstance(each, Raised)}
    assert set(last) == {"node1", "node2"}
    assert all(each.is_listening and each.endpoints == (placed,) for each in last.values())
    await other.end()


@story
async def test_its_successor_calls_it_cold_and_names_no_pod(house: KubeHouse) -> None:
    successor = await succeeded(other := await killed(house))
    assert (successor.phase, successor.record.endpoints) == (Phase.COLD, ())
    assert successor.service.activation == ACTIVATION
    successor.wake()
    await settle(0.5)
    assert (successor.phase, successor.record.endpoints) == (Phase.WAKING, ())
    assert (successor.replicas, successor.link.sent) == (0, [])
    successor.delete_pod()
    successor.schedule("pod-2")
    await settle(0.05)
    assert successor.replicas == 1
    assert [each.workload for each in successor.record.endpoints] == ["pod-2"]
    assert successor.phase is Phase.WAKING, "no LISTEN of the new one has come"
    await successor.end()
    await other.end()


@story
async def test_one_that_was_woken_standing_by_leads_before_the_pod_goes(house: KubeHouse) -> None:
    """It raises to the end what it was raising; and as the leader it is woken for it, too."""
    other = await killed(house)
    other.wake(ACTIVATION)
    await settle(0.1)
    successor = await succeeded(other)
    successor.wake()
    await settle(0.5)
    assert (successor.replicas, successor.record.endpoints) == (0, ())
    successor.delete_pod()
    await settle(0.05)
    successor.schedule("pod-2")
    await settle(0.05)
    assert (successor.replicas, successor.phase) == (1, Phase.WAKING)
    assert [each.workload for each in successor.record.endpoints] == ["pod-2"]
    await successor.end()
    await other.end()


@story
async def test_its_successor_finds_it_raised_while_the_pod_of_before_still_ends(
    house: KubeHouse,
) -> None:
    other = await killed(house)
    other.wake(ACTIVATION)
    house.delete_pod()
    await settle(0.05)
    house.schedule("pod-2")
    successor = await succeeded(other)
    assert (successor.phase, successor.record.activation) == (Phase.WAKING, ACTIVATION + 1)
    assert [each.workload for each in successor.record.endpoints] == ["pod-2"]
    assert int(house.cluster.of(DEPLOYMENTS, NAME)["spec"]["replicas"]) == 1
    await successor.end()
    await other.end()
