"""One leader after another: whatever the first had begun to lower, stays up."""

import asyncio
from collections.abc import Mapping
from typing import Any

from tests.kube.fake_cluster import FakeCluster
from tests.kube.house import KEY, NAME, SCALE, KubeHouse
from tests.kube.rivals import StandingBy
from tests.kube.stories import story
from tests.kube.virtual_time import settle
from wangell_controller.kube.errors import NotFoundError, UnavailableError
from wangell_controller.kube.inventory import Bystander, Inventory
from wangell_controller.kube.resources import DEPLOYMENTS, EPOCH, RAISED
from wangell_controller.kube.takeover import take_over
from wangell_proto.vocabulary import Phase

DEPLOYMENT = DEPLOYMENTS.path("default", NAME)
CLAIM = f"PATCH {DEPLOYMENT}"


async def inventory_of(cluster: FakeCluster) -> Inventory:
    inventory = Inventory(cluster, Bystander())
    task = asyncio.get_running_loop().create_task(inventory.follow())
    task.add_done_callback(lambda _: None)
    await inventory.whole()
    return inventory


def annotations(house: KubeHouse) -> dict[str, str]:
    return dict(house.cluster.deployment()["metadata"].get("annotations", {}))


# --- Taking over ----------------------------------------------------------------------------------


@story
async def test_what_is_up_is_claimed_and_what_is_at_zero_is_not(house: KubeHouse) -> None:
    await house.warm()
    house.declare("asleep")
    await settle(1)
    house.cluster.did()
    assert await take_over(house.cluster, await inventory_of(house.cluster), epoch=7) == 1
    assert house.cluster.did() == [CLAIM]
    assert house.cluster.bodies(CLAIM) == [{"metadata": {"annotations": {EPOCH: "7"}}}]
    assert house.replicas == 1


@story
async def test_it_ends_when_the_inventory_has_seen_it(house: KubeHouse) -> None:
    await house.warm()
    inventory = await inventory_of(house.cluster)
    await take_over(house.cluster, inventory, epoch=7)
    seen = inventory.deployment(KEY)
    assert seen is not None
    assert seen["metadata"]["annotations"][EPOCH] == "7"


@story
async def test_a_watch_that_lags_is_waited_for(house: KubeHouse) -> None:
    await house.warm()
    inventory = Inventory(house.cluster, Bystander())
    following = asyncio.get_running_loop().create_task(inventory.follow())
    await inventory.whole()
    following.cancel()
    taking = asyncio.get_running_loop().create_task(take_over(house.cluster, inventory, epoch=7))
    await settle(60)
    assert not taking.done(), "it would lead with what was true before its Lease"
    following = asyncio.get_running_loop().create_task(inventory.follow())
    await settle(1)
    assert taking.done()
    following.cancel()


@story
async def test_an_api_server_that_is_away_is_waited_for(house: KubeHouse) -> None:
    await house.warm()
    inventory = await inventory_of(house.cluster)
    house.cluster.refusals = [
        ("LIST /apis/apps/v1/deployments", UnavailableError("down")),
        (CLAIM, UnavailableError("down")),
    ]
    assert await take_over(house.cluster, inventory, epoch=7) == 1
    assert house.cluster.refusals == []
    assert annotations(house) == {EPOCH: "7"}


@story
async def test_one_that_goes_meanwhile_is_no_hindrance(house: KubeHouse) -> None:
    await house.warm()
    inventory = await inventory_of(house.cluster)
    house.cluster.refusals = [(CLAIM, NotFoundError("deployments"))]
    await take_over(house.cluster, inventory, epoch=7)


# --- Who slept ------------------------------------------------------------------------------------


@story
async def test_a_leader_that_slept_lowers_nothing_that_another_has_taken_over(
    house: KubeHouse,
) -> None:
    """Stopped between the arm acknowledgements and its PATCH; its successor found it up."""
    await house.draining()
    inventory = await inventory_of(house.cluster)
    await take_over(house.cluster, inventory, epoch=7)
    await house.armed()
    await settle(60)
    assert house.replicas == 1
    assert len(house.cluster.bodies(SCALE)) == 2, "one to raise it, one refused"


@story
async def test_a_leader_that_slept_lowers_nothing_that_another_was_woken_for(
    house: KubeHouse,
) -> None:
    await house.draining()
    other = await StandingBy(house.cluster).begin()
    other.wake(house.record.activation)
    await house.armed()  # It goes on before its watch has told it anything.
    await settle(60)
    assert house.replicas == 1
    assert house.phase is Phase.WARM, "it has listened all the time"
    assert annotations(house) == {RAISED: "2"}
    await other.end()


@story
async def test_a_request_to_lower_that_was_long_on_its_way_is_refused(house: KubeHouse) -> None:
    """Sent before anybody was woken, carried out after."""
    await house.draining()
    other = await StandingBy(house.cluster).begin()
    activation = house.record.activation
    woken: list[int] = []

    def meanwhile(request: str) -> None:
        if request == SCALE and not woken:
            woken.append(activation)
            house.cluster.change(DEPLOYMENT, metadata={"annotations": {RAISED: "2"}})

    house.cluster.before = meanwhile
    await house.armed()
    await settle(60)
    assert woken
    assert house.replicas == 1
    await other.end()


@story
async def test_the_next_drain_is_not_hindered_by_old_claims(house: KubeHouse) -> None:
    await house.warm(spec__idleTimeout=5)
    await take_over(house.cluster, await inventory_of(house.cluster), epoch=7)
    other = await StandingBy(house.cluster).begin()
    other.wake(house.record.activation)
    await settle(1)
    await house.pass_s(7, idle_s=100.0)
    assert house.phase is Phase.DRAINING
    await house.armed()
    await settle(1)
    assert (house.replicas, house.phase) == (0, Phase.COLD)
    await other.end()


@story
async def test_one_that_leads_no_more_sends_no_lowering(house: KubeHouse) -> None:
    await house.draining()
    house.cluster.did()
    house.leads = False
    await house.armed()
    await settle(60)
    assert SCALE not in house.cluster.did()
    assert house.replicas == 1


# --- Succession -----------------------------------------------------------------------------------


@story
async def test_a_successor_adopts_what_runs_and_asks_for_nothing(house: KubeHouse) -> None:
    await house.warm()
    await house.end()
    successor = KubeHouse(house.cluster, await inventory_of(house.cluster))
    successor.succeed()
    await settle(0.01)
    assert successor.phase is Phase.WAKING
    assert successor.service.activation == 1
    assert [each for each in house.cluster.did() if "/scale" in each] == []
    await successor.end()


@story
async def test_a_successor_knows_of_an_activation_that_no_status_tells_yet(
    house: KubeHouse,
) -> None:
    """Raised by one that stood by, while nobody led."""
    await house.cold()
    await house.end()
    other = await StandingBy(house.cluster).begin()
    other.wake(0)
    await settle(1)
    assert house.declaration["status"].get("activations", 0) == 0
    successor = KubeHouse(house.cluster, other.inventory)
    successor.succeed()
    await settle(0.01)
    assert successor.service.activation == 1
    await successor.end()
    await other.end()


@story
async def test_one_raised_before_the_answer_to_a_lowering_came_is_not_missed(
    house: KubeHouse,
) -> None:
    """The watch tells of it while the lowering is under way; nobody tells of it again."""
    await house.draining()
    merge = house.cluster.merge

    async def answers_late(path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        answer = await merge(path, body)
        if body.get("spec", {}).get("replicas") == 0:
            house.cluster.change(DEPLOYMENT, spec={"replicas": 1})
            await settle(0.05)
        return answer

    house.cluster.merge = answers_late  # type: ignore[method-assign]
    await house.armed()
    await settle(1)
    assert house.phase is Phase.WAKING
    assert house.replicas == 1
