"""A PATCH to zero that is not a drain's usual one: its answer was lost, or it is a user's.

Callers come meanwhile, and the pod of before answers for a while yet.
"""

from collections.abc import Mapping
from typing import Any

from tests.kube.house import NAME, SCALE, KubeHouse
from tests.kube.stories import story
from tests.kube.virtual_time import settle
from wangell_controller.kube.errors import UnavailableError
from wangell_controller.kube.resources import DEPLOYMENTS
from wangell_proto.vocabulary import Phase

DEPLOYMENT = DEPLOYMENTS.path("default", NAME)
# It is sent again 0.1 s later; in this cluster each request takes 1 ms.
SENT_AGAIN_AFTER_S = 0.1
REFUSED_AFTER_S = SENT_AGAIN_AFTER_S + 0.0025


async def lower(house: KubeHouse) -> None:
    """Its PATCH to zero is carried out, and the connection breaks before its answer."""
    await house.draining()
    merge = house.cluster.merge

    async def breaks(path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        house.cluster.merge = merge  # type: ignore[method-assign]
        await merge(path, body)
        raise UnavailableError("the connection is closed")

    house.cluster.merge = breaks  # type: ignore[method-assign]
    await house.armed()


async def wake_and_see_it_end_first(house: KubeHouse) -> None:
    """The pod of before answers for a while yet, and would take its callers along."""
    house.wake()
    await settle(0.5)
    assert (house.replicas, house.phase) == (0, Phase.WAKING)
    assert house.record.endpoints == ()
    house.delete_pod()
    await settle(0.05)
    assert (house.replicas, house.phase) == (1, Phase.WAKING)


@story
async def test_sent_again_it_meets_the_version_that_it_has_made_itself(house: KubeHouse) -> None:
    await lower(house)
    await settle(1)
    assert house.cluster.did().count(SCALE) == 2
    assert (house.replicas, house.phase) == (0, Phase.COLD)
    assert house.record.endpoints == ()
    await wake_and_see_it_end_first(house)


@story
async def test_a_call_at_once_is_not_let_in_to_what_goes(house: KubeHouse) -> None:
    await lower(house)
    await settle(0.0001)
    await wake_and_see_it_end_first(house)


@story
async def test_nor_is_one_before_it_is_sent_again(house: KubeHouse) -> None:
    await lower(house)
    await settle(SENT_AGAIN_AFTER_S / 2)
    await wake_and_see_it_end_first(house)
    assert not [each for each in house.told if "failed" in each]


@story
async def test_nor_is_one_as_it_is_refused(house: KubeHouse) -> None:
    await lower(house)
    await settle(REFUSED_AFTER_S)
    await wake_and_see_it_end_first(house)


@story
async def test_an_api_server_that_does_not_say_is_asked_again(house: KubeHouse) -> None:
    house.cluster.refusals = [(f"GET {DEPLOYMENT}", UnavailableError("restarting"))] * 2
    await lower(house)
    await settle(0.001)
    await wake_and_see_it_end_first(house)
    assert house.cluster.refusals == []


@story
async def test_one_that_somebody_has_raised_again_is_not_taken_for_lowered(
    house: KubeHouse,
) -> None:
    await lower(house)
    await settle(SENT_AGAIN_AFTER_S / 2)
    house.cluster.change(DEPLOYMENT, spec={"replicas": 1})
    await settle(1)
    assert house.replicas == 1
    assert house.phase is not Phase.COLD


@story
async def test_one_that_was_deleted_meanwhile_is_made_anew(house: KubeHouse) -> None:
    await lower(house)
    await settle(SENT_AGAIN_AFTER_S / 2)
    house.cluster.remove(DEPLOYMENT)
    house.end_pod()
    house.wake()
    await settle(1)
    assert (house.replicas, house.phase) == (1, Phase.WAKING)


@story
async def test_scaled_to_zero_by_hand_it_is_cold_at_once_and_names_no_pod(
    house: KubeHouse,
) -> None:
    await house.warm()
    house.cluster.change(DEPLOYMENT, spec={"replicas": 0})
    await settle(0.001)
    assert (house.phase, house.record.endpoints) == (Phase.COLD, ())
    assert house.service.failure is None
    await wake_and_see_it_end_first(house)


@story
async def test_scaled_to_zero_and_called_again_and_again_each_call_has_its_own_pod(
    house: KubeHouse,
) -> None:
    """Two wakes 2 s apart, of which the first one's pod takes longer than that to end."""
    await house.warm()
    for before, after in (("pod-1", "pod-2"), ("pod-2", "pod-3"), ("pod-3", "pod-4")):
        house.cluster.change(DEPLOYMENT, spec={"replicas": 0})
        await settle(0.2)
        house.wake()
        house.delete_pod(before)
        await settle(0.05)
        house.run(after, address="10.244.0.6")
        await settle(0.05)
        assert [each.workload for each in house.record.endpoints] == [after]
        assert house.phase is Phase.WAKING
        house.listening(uid=after)
        assert house.phase is Phase.WARM
        assert [each.workload for each in house.record.endpoints] == [after]
        await settle(1.7)
    assert not [each for each in house.told if "failed" in each]
