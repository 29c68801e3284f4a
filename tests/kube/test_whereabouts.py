"""What was raised while the leader is dead: every daemon hears where it is, and when it listens."""

from tests.kube.house import KEY, NAME, KubeHouse
from tests.kube.rivals import StandingBy
from tests.kube.stories import story
from tests.kube.virtual_time import settle
from wangell_controller.kube.pace import REST_S
from wangell_controller.kube.resources import DEPLOYMENTS, RAISED
from wangell_controller.kube.whereabouts import ENDPOINTS_MAX, FOLLOW_S
from wangell_proto.vocabulary import Endpoint, Listening, Raised

POD = Endpoint(address="", node="node1", workload="pod-1")


def raised(*endpoints: Endpoint, activation: int = 1, is_listening: bool = False) -> Raised:
    return Raised(
        service=KEY, activation=activation, endpoints=endpoints, is_listening=is_listening
    )


async def standing_by(house: KubeHouse) -> StandingBy:
    """The leader is dead: of what follows it hears nothing."""
    await house.cold()
    other = await StandingBy(house.cluster).begin()
    for peer in ("node1", "node2"):
        other.stand_in.link_up(peer)
    return other


def listens(other: StandingBy, peer: str = "node1", uid: str = "pod-1", **changes: object) -> None:
    fields: dict[str, object] = {"service": KEY, "activation": 1, "workload": uid, "address": ""}
    report = Listening(**(fields | changes))  # type: ignore[arg-type]
    other.stand_in.hear(peer, report, received_ns=0)


def up(house: KubeHouse) -> None:
    """The leader has raised it before it died."""
    house.cluster.change(DEPLOYMENTS.path("default", NAME), spec={"replicas": 1})


def told(other: StandingBy, peer: str = "node1") -> list[Raised]:
    """What one daemon was told of places, once."""
    found = [report for to, report in other.link.sent if to == peer and isinstance(report, Raised)]
    other.link.sent[:] = [each for each in other.link.sent if each[0] != peer]
    return found


@story
async def test_every_daemon_is_told_where_the_pod_is_as_it_becomes_known(house: KubeHouse) -> None:
    """By its UID as soon as it is scheduled: its node's daemon knows whose LISTEN it is by that."""
    other = await standing_by(house)
    other.wake(0)
    await settle(0.05)
    assert told(other) == told(other, "node2") == []
    house.schedule()
    await settle(0.05)
    assert told(other) == told(other, "node2") == [raised(POD)]
    house.run(address="10.244.0.5")
    await settle(0.05)
    placed = Endpoint(address="10.244.0.5", node="node1", workload="pod-1")
    assert told(other) == told(other, "node2") == [raised(placed)]
    await other.end()


@story
async def test_a_pod_that_listens_lets_the_other_nodes_callers_in(house: KubeHouse) -> None:
    other = await standing_by(house)
    other.wake(0, peer="node2")
    await settle(0.05)
    house.schedule()
    await settle(0.05)
    told(other, "node2")
    listens(other, address="10.244.0.9")
    placed = Endpoint(address="10.244.0.9", node="node1", workload="pod-1")
    assert told(other, "node2") == [raised(placed, is_listening=True)]
    await other.end()


@story
async def test_of_several_pods_those_that_listen_are_told(house: KubeHouse) -> None:
    other = await standing_by(house)
    other.wake(0)
    house.schedule("pod-1")
    house.schedule("pod-2", node="node2")
    await settle(0.05)
    told(other)
    listens(other, "node2", "pod-2", address="10.244.1.9")
    second = Endpoint(address="10.244.1.9", node="node2", workload="pod-2")
    assert told(other) == [raised(second, is_listening=True)]
    await other.end()


@story
async def test_a_leader_killed_after_its_record_leaves_the_listen_to_be_passed_on(
    house: KubeHouse,
) -> None:
    """It has raised it and told where it is: nobody has woken us, and nobody need."""
    other = await standing_by(house)
    house.schedule()
    await settle(0.05)
    listens(other, activation=7, address="10.244.0.9")
    await settle(0.01)
    placed = Endpoint(address="10.244.0.9", node="node1", workload="pod-1")
    assert told(other, "node2") == [raised(placed, activation=7, is_listening=True)]
    await other.end()


@story
async def test_a_listen_that_comes_before_its_pod_is_read_has_the_pod_read(
    house: KubeHouse,
) -> None:
    """Nobody has woken us, so we read with rests: what the pod became is not known yet."""
    other = await standing_by(house)
    up(house)
    house.schedule("pod-0", node="node2")
    await settle(0.05)
    house.schedule("pod-1")
    await settle(0.05)
    listens(other, address="10.244.0.9")
    assert told(other, "node2") == []
    await settle(0.01)
    placed = Endpoint(address="10.244.0.9", node="node1", workload="pod-1")
    assert told(other, "node2") == [raised(placed, is_listening=True)]
    await other.end()


@story
async def test_of_listens_whose_pods_never_come_one_is_kept_for_each_daemon(
    house: KubeHouse,
) -> None:
    other = await standing_by(house)
    up(house)
    for number in range(1000):
        listens(other, uid=f"nobody-{number}")
        listens(other, uid="stranger", service=f"default/other-{number}")
    house.schedule("pod-1")
    listens(other, "node2", uid="pod-1")
    await settle(2 * REST_S)
    assert told(other) == told(other, "node2") == [], "node2 has no such pod"
    await other.end()


@story
async def test_whoever_asks_again_is_told_again_and_nobody_else(house: KubeHouse) -> None:
    other = await standing_by(house)
    other.wake(0)
    await settle(0.05)
    house.schedule()
    await settle(0.05)
    assert (told(other), told(other, "node2")) == ([raised(POD)], [raised(POD)])
    other.wake(0)
    await settle(0.05)
    assert (told(other), told(other, "node2")) == ([raised(POD)], [])
    await other.end()


@story
async def test_of_pods_that_have_gone_nothing_is_told_again(house: KubeHouse) -> None:
    """A service that was deleted and is declared anew counts its wakes from the first."""
    other = await standing_by(house)
    other.wake(0)
    house.schedule()
    await settle(0.05)
    listens(other, address="10.244.0.9")
    house.end_pod()
    anew = {"metadata": {"annotations": {RAISED: None}}, "spec": {"replicas": 0}}
    house.cluster.change(DEPLOYMENTS.path("default", NAME), **anew)
    await settle(0.05)
    told(other)
    other.wake(0)
    await settle(0.05)
    other.stand_in.link_up("node3")
    assert told(other) == told(other, "node3") == []
    house.schedule("pod-2")
    await settle(0.05)
    second = Endpoint(address="", node="node1", workload="pod-2")
    assert told(other) == told(other, "node3") == [raised(second)]
    await other.end()


@story
async def test_a_daemon_that_links_late_is_told(house: KubeHouse) -> None:
    other = await standing_by(house)
    other.wake(0)
    await settle(0.05)
    house.schedule()
    await settle(0.05)
    other.stand_in.link_up("node3")
    assert told(other, "node3") == [raised(POD)]
    other.stand_in.link_down("node3", "silence")
    listens(other)
    assert told(other, "node3") == []
    await other.end()


@story
async def test_only_a_pods_own_node_says_that_it_listens(house: KubeHouse) -> None:
    other = await standing_by(house)
    other.wake(0)
    await settle(0.05)
    house.schedule()
    await settle(0.05)
    told(other, "node2")
    listens(other, "node2")
    listens(other, uid="pod-2")
    listens(other, service="default/other")
    listens(other, activation=0)
    assert told(other, "node2") == []
    listens(other, address="not an address")
    assert told(other, "node2") == [raised(POD, is_listening=True)]
    await other.end()


@story
async def test_no_node_can_count_for_another(house: KubeHouse) -> None:
    """A daemon that says a LISTEN of days to come does not keep a wake from being answered."""
    other = await standing_by(house)
    up(house)
    house.schedule()
    await settle(0.05)
    listens(other, activation=2**40)
    await settle(0.01)
    told(other)
    other.wake(0)
    await settle(0.05)
    assert told(other) == [raised(POD)]
    await other.end()


@story
async def test_without_a_wake_nobody_is_told_anything(house: KubeHouse) -> None:
    other = await standing_by(house)
    house.schedule()
    house.run()
    await settle(1)
    assert other.link.sent == []
    await other.end()


@story
async def test_what_nobody_asks_for_any_more_is_forgotten(house: KubeHouse) -> None:
    other = await standing_by(house)
    other.wake(0)
    await settle(FOLLOW_S + 1)
    house.schedule()
    await settle(1)
    assert told(other) == []
    await other.end()


@story
async def test_a_thousand_replicas_are_one_message(house: KubeHouse) -> None:
    other = await standing_by(house)
    up(house)
    for number in range(ENDPOINTS_MAX + 1):
        house.schedule(f"pod-{number}")
    await settle(0.05)
    other.wake(0)
    await settle(0.05)
    (one,) = told(other)
    assert len(one.endpoints) == ENDPOINTS_MAX
    await other.end()


@story
async def test_it_is_told_only_once_it_is_up(house: KubeHouse) -> None:
    """Pods of before, in a Deployment that is still at zero, are on their way out."""
    other = await standing_by(house)
    house.schedule()
    await settle(0.05)
    other.wake(0)
    await settle(0.5)
    assert other.link.sent == []
    house.delete_pod()
    await settle(0.05)
    house.schedule("pod-2")
    await settle(0.05)
    kinds = [type(report).__name__ for to, report in other.link.sent if to == "node1"]
    assert kinds == ["Started", "Raised"]
    await other.end()
