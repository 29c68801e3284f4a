"""Replicas as a Deployment's: raised by one PATCH, lowered behind a fence, told as they are."""

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any
from unittest.mock import ANY

from tests.kube.house import KEY, SCALE, KubeHouse
from tests.kube.stories import story
from tests.kube.virtual_time import settle
from wangell_controller.kube.endpoints import ENDING_S_MAX
from wangell_controller.kube.errors import (
    ConflictError,
    NotFoundError,
    RefusedError,
    UnavailableError,
)
from wangell_controller.kube.pace import PLACED_S, PODS_REST_S, REST_S
from wangell_controller.kube.resources import DEPLOYMENTS, NODES, SERVICES
from wangell_proto.vocabulary import Endpoint, Frontend, Phase, Started

DEPLOYMENT = DEPLOYMENTS.path("default", "serverless-example")


# --- Raising --------------------------------------------------------------------------------------


@story
async def test_a_wake_is_one_patch_of_the_scale_and_comes_first(house: KubeHouse) -> None:
    await house.cold()
    house.wake()
    await settle(0.01)
    assert house.cluster.did() == [SCALE]
    assert house.cluster.bodies(SCALE) == [{"spec": {"replicas": 1}}]
    assert house.replicas == 1


@story
async def test_started_is_told_when_the_api_has_answered_and_not_before(house: KubeHouse) -> None:
    await house.cold()
    house.wake()
    house.schedule()
    assert house.link.sent == []
    await settle(PLACED_S + 0.01)
    ((peer, started),) = house.link.sent
    assert peer == "node1"
    assert isinstance(started, Started)
    assert started.activation == 1


@story
async def test_daemons_hear_of_a_wake_with_its_first_replica(house: KubeHouse) -> None:
    await house.cold()
    house.wake()
    await settle(0.3)
    assert (house.record.phase, house.link.sent) == (Phase.COLD, []), "nothing to be done there"
    house.schedule()
    await settle(PODS_REST_S)
    assert house.record.phase is Phase.WAKING
    assert [each.workload for each in house.record.endpoints] == ["pod-1"]
    assert [peer for peer, _ in house.link.sent] == ["node1"]


@story
async def test_a_wake_whose_replica_no_node_has_yet_is_told_by_the_clock(house: KubeHouse) -> None:
    await house.cold()
    house.wake()
    house.controller.tick()
    assert (house.record.phase, house.record.endpoints) == (Phase.WAKING, ())


@story
async def test_a_wake_that_finds_the_express_connection_busy_is_raised_by_the_library(
    house: KubeHouse,
) -> None:
    await house.cold()
    house.cluster.merge_now("/apis/other", {})
    house.wake()
    await settle(0.01)
    assert house.replicas == 1


@story
async def test_of_what_a_wake_changes_pods_alone_are_read_soon(house: KubeHouse) -> None:
    await house.cold()
    house.wake()
    await settle(0.01)
    house.schedule()
    await settle(PLACED_S)
    assert [each.workload for each in house.record.endpoints] == ["pod-1"]
    house.cluster.change(DEPLOYMENT, status={"replicas": 1})
    await settle(0.01)
    assert "status" not in (house.inventory.deployment(KEY) or {})
    await settle(REST_S)
    assert "status" in (house.inventory.deployment(KEY) or {})


@story
async def test_a_second_wake_asks_for_nothing(house: KubeHouse) -> None:
    await house.cold()
    house.wake("node1")
    house.wake("node2")
    await settle(1)
    assert house.cluster.did().count(SCALE) == 1
    house.schedule()
    await settle(1)
    assert sorted(peer for peer, _ in house.link.sent) == ["node1", "node2"]


@story
async def test_an_api_server_that_restarts_is_asked_again_within_the_clients_second(
    house: KubeHouse,
) -> None:
    await house.cold()
    house.cluster.refusals = [(SCALE, UnavailableError("restarting"))] * 4
    house.wake()
    await settle(0.9)
    assert house.replicas == 1
    assert house.phase is Phase.WAKING
    assert house.cluster.did().count(SCALE) == 5


@story
async def test_a_deployment_that_was_deleted_is_made_anew_and_raised(house: KubeHouse) -> None:
    await house.cold()
    house.cluster.refusals = [(SCALE, NotFoundError("deployments"))]
    house.wake()
    house.cluster.remove(DEPLOYMENT)
    await settle(1)
    assert house.replicas == 1
    assert house.phase is Phase.WAKING


@story
async def test_a_refusal_fails_the_activation_in_the_api_servers_words(house: KubeHouse) -> None:
    await house.cold()
    house.cluster.refusals = [(SCALE, RefusedError("a policy forbids replicas"))]
    house.wake()
    await settle(1)
    assert house.phase is Phase.COLD
    assert house.condition("ActivationFailed")[:2] == ("True", "StartFailed")
    assert "a policy forbids replicas" in house.condition("ActivationFailed")[2]
    assert house.cluster.did().count(SCALE) == 1


@story
async def test_a_wake_that_its_deadline_overtakes_asks_no_more(house: KubeHouse) -> None:
    await house.cold(spec__activationTimeout=3)
    house.cluster.refusals = [(SCALE, UnavailableError("down"))] * 1000
    house.wake()
    await house.pass_s(5)
    assert house.phase is Phase.COLD
    house.cluster.refusals.clear()
    house.cluster.did()
    await settle(100)
    assert house.replicas == 0


@story
async def test_as_many_are_raised_as_are_asked_for(house: KubeHouse) -> None:
    await house.cold()
    house.declare(spec__replicas=3)
    await settle(1)
    assert house.replicas == 3
    assert house.phase is Phase.WAKING


# --- Where they are -------------------------------------------------------------------------------


@story
async def test_a_pod_is_in_the_record_as_soon_as_a_node_has_it(house: KubeHouse) -> None:
    await house.cold()
    house.wake()
    await settle(0.01)
    assert house.record.endpoints == ()
    house.schedule()
    await settle(PLACED_S + 0.01)
    assert house.record.endpoints == (Endpoint(address="", node="node1", workload="pod-1"),)
    assert house.phase is Phase.WAKING


@story
async def test_listening_makes_it_warm_and_the_address_read_there_is_in_the_record(
    house: KubeHouse,
) -> None:
    await house.cold()
    house.wake("node2")
    house.schedule()
    await settle(PLACED_S + 0.01)
    house.listening("node1", address="10.244.0.5")
    assert house.phase is Phase.WARM
    assert house.record.endpoints[0].address == "10.244.0.5", "before the API knows it"
    assert house.record.endpoints[0].is_routed is False


@story
async def test_nobody_reports_another_nodes_pod(house: KubeHouse) -> None:
    await house.cold()
    house.wake()
    house.schedule(node="node1")
    await settle(PLACED_S + 0.01)
    house.listening("node2", address="10.66.6.6")
    assert house.phase is Phase.WAKING
    assert house.record.endpoints[0].address == ""


@story
async def test_it_is_routed_five_seconds_after_its_slice_is_ready(house: KubeHouse) -> None:
    await house.warm()
    house.call_ready("pod-1")
    await settle(4.9)
    assert not house.record.endpoints[0].is_routed
    await settle(0.2)
    assert house.record.endpoints[0].is_routed, "by the clock, without an event"


@story
async def test_the_address_of_the_load_balancer_is_the_frontend(house: KubeHouse) -> None:
    await house.begin()
    house.declare()
    await settle(1)
    assert KEY not in house.link.table, "nobody can call it yet"
    house.assign("10.46.100.105")
    await settle(1)
    assert house.record.frontends == (Frontend(address="10.46.100.105", port=80),)
    house.assign("10.46.100.106")
    await settle(1)
    assert house.record.frontends == (Frontend(address="10.46.100.106", port=80),)


@story
async def test_the_cluster_can_call_before_a_load_balancer_has_given_an_address(
    house: KubeHouse,
) -> None:
    await house.begin()
    house.declare()
    await settle(1)
    house.cluster.change(
        SERVICES.path("default", "serverless-example"), spec={"clusterIP": "10.96.3.4"}
    )
    await settle(1)
    assert house.record.frontends == (Frontend(address="10.96.3.4", port=80),)


@story
async def test_expected_daemons_are_the_clusters_nodes(house: KubeHouse) -> None:
    await house.begin("node1", "node2")
    assert house.backend.nodes == {"node1", "node2"}
    house.cluster.put(NODES, "node3", None)
    await settle()
    assert "node3" in house.backend.nodes
    house.cluster.remove(NODES.path(None, "node1"))
    await settle()
    assert house.backend.nodes == {"node2", "node3"}


# --- Lowering -------------------------------------------------------------------------------------


@story
async def test_it_is_lowered_with_the_version_read_before_the_drain(house: KubeHouse) -> None:
    await house.draining()
    version = house.cluster.deployment()["metadata"]["resourceVersion"]
    await house.armed()
    await settle(1)
    assert house.phase is Phase.COLD
    assert house.cluster.bodies(SCALE)[-1] == {
        "metadata": {"resourceVersion": version},
        "spec": {"replicas": 0},
    }
    assert house.replicas == 0


@story
async def test_a_status_that_changed_meanwhile_does_not_keep_it_up(house: KubeHouse) -> None:
    await house.draining()
    house.cluster.change(DEPLOYMENT, status={"readyReplicas": 1})
    await house.armed()
    await settle(1)
    assert (house.replicas, house.phase) == (0, Phase.COLD)


@story
async def test_whoever_raised_it_meanwhile_is_not_overruled(house: KubeHouse) -> None:
    """The leader that slept: it decided to lower, another has raised since."""

    def meanwhile() -> None:
        house.cluster.change(DEPLOYMENT, spec={"replicas": 0})
        house.cluster.change(DEPLOYMENT, spec={"replicas": 1})
        house.cluster.end_watches()

    await house.draining()
    await house.armed(meanwhile=meanwhile)
    await settle(1)
    assert house.replicas == 1
    assert house.phase is Phase.WARM, "the same pod, which has listened all the time"
    assert house.service.reason == "and listens"


@story
async def test_one_that_was_replaced_meanwhile_is_waited_for(house: KubeHouse) -> None:
    def meanwhile() -> None:
        house.cluster.change(DEPLOYMENT, spec={"replicas": 0})
        house.end_pod()
        house.cluster.change(DEPLOYMENT, spec={"replicas": 1})
        house.schedule("pod-2")
        house.run("pod-2")
        house.cluster.end_watches()

    await house.draining()
    await house.armed(meanwhile=meanwhile)
    await settle(1)
    assert house.replicas == 1
    assert house.phase is Phase.WAKING


@story
async def test_a_wake_while_it_is_being_lowered_wins(house: KubeHouse) -> None:
    await house.draining()
    house.cluster.refusals = [(SCALE, UnavailableError("slow"))]
    await house.armed()
    await settle(0.01)
    assert house.phase is Phase.COLD
    house.wake()
    await settle(5)
    assert (house.replicas, house.phase) == (1, Phase.WAKING)


@story
async def test_lowering_waits_for_an_api_server_that_is_away(house: KubeHouse) -> None:
    await house.draining()
    house.cluster.refusals = [(SCALE, UnavailableError("down"))] * 5
    await house.armed()
    await settle(60)
    assert house.replicas == 0


@story
async def test_lowering_what_is_gone_is_done(house: KubeHouse) -> None:
    await house.draining()
    house.cluster.refusals = [(SCALE, NotFoundError("deployments"))]
    await house.armed()
    await settle(1)
    assert house.phase is Phase.COLD


# --- A call just after it was lowered -------------------------------------------------------------


async def just_lowered(house: KubeHouse) -> None:
    await house.draining()
    await house.armed()
    await settle(0.01)
    assert (house.replicas, house.phase) == (0, Phase.COLD)
    house.cluster.did()


@story
async def test_it_is_raised_once_its_pod_is_being_deleted(house: KubeHouse) -> None:
    """Raised before, Kubernetes may keep the pod: no LISTEN would come, and the caller wait 1 s."""
    await just_lowered(house)
    house.wake()
    await settle(0.5)
    assert house.phase is Phase.WAKING
    assert house.replicas == 0
    house.delete_pod()
    await settle(0.01)
    assert house.replicas == 1
    assert house.cluster.did().count(SCALE) == 1


@story
async def test_no_daemon_is_told_of_a_pod_that_is_to_go(house: KubeHouse) -> None:
    """It would answer a probe, or a caller, and take it along as it ends."""
    await just_lowered(house)
    assert house.record.endpoints == ()
    house.wake()
    await settle(0.5)
    assert house.record.endpoints == ()
    house.delete_pod()
    house.schedule("pod-2")
    await settle(0.1)
    assert [each.workload for each in house.record.endpoints] == ["pod-2"]
    house.listening(uid="pod-2")
    assert house.phase is Phase.WARM


@story
async def test_a_pod_that_nobody_deletes_is_kept(house: KubeHouse) -> None:
    """Kubernetes's own controllers are away."""
    await just_lowered(house)
    house.wake()
    await settle(ENDING_S_MAX - 0.5)
    assert house.replicas == 0
    await settle(1)
    assert house.replicas == 1
    assert [each.workload for each in house.record.endpoints] == ["pod-1"]


@story
async def test_a_call_before_the_patch_was_sent_finds_it_listening(house: KubeHouse) -> None:
    """In the same turn: nothing is lowered, and no LISTEN comes of what has listened all along."""
    await house.draining()
    house.cluster.did()
    await house.armed()
    assert house.phase is Phase.COLD
    house.wake()
    await settle(0.01)
    assert (house.replicas, house.phase) == (1, Phase.WARM)
    assert house.cluster.did().count(SCALE) == 1
    assert house.cluster.bodies(SCALE)[-1] == {"spec": {"replicas": 1}}
    assert [each.workload for each in house.record.endpoints] == ["pod-1"]


@story
async def test_a_lowering_that_was_refused_leaves_it_listening(house: KubeHouse) -> None:
    """Somebody has changed the Deployment since the drain began."""
    await house.draining()
    house.cluster.refusals = [(SCALE, ConflictError("changed"))]
    await house.armed()
    await settle(0.0001)
    house.wake()
    await settle(0.05)
    assert (house.replicas, house.phase) == (1, Phase.WARM)


@story
async def test_one_that_may_have_been_lowered_is_not_taken_to_listen(house: KubeHouse) -> None:
    await house.draining()
    house.cluster.refusals = [(SCALE, UnavailableError("no answer"))]
    await house.armed()
    await settle(0.0001)
    house.wake()
    await settle(0.05)
    assert house.phase is Phase.WAKING


@story
async def test_one_that_was_not_lowered_after_all_is_raised_at_once(house: KubeHouse) -> None:
    await house.draining()
    house.cluster.refusals = [(SCALE, UnavailableError("down"))]
    await house.armed()
    await settle(0.001)
    house.wake()
    await settle(0.05)
    assert (house.replicas, house.phase) == (1, Phase.WAKING)
    assert [each.workload for each in house.record.endpoints] == ["pod-1"]


@story
async def test_a_successor_lets_a_pod_end_that_its_predecessor_lowered(house: KubeHouse) -> None:
    await just_lowered(house)
    successor = await restarted(house)
    successor.wake()
    await settle(0.5)
    assert (successor.replicas, successor.record.endpoints) == (0, ())
    successor.delete_pod()
    await settle(0.01)
    assert successor.replicas == 1
    await successor.end()


# --- What others do -------------------------------------------------------------------------------


@story
async def test_one_that_another_raises_is_waited_for_and_kept(house: KubeHouse) -> None:
    await house.cold()
    house.cluster.change(DEPLOYMENT, spec={"replicas": 1})
    await settle(1)
    assert house.phase is Phase.WAKING
    assert house.record.activation == 1, "it counts as an activation"
    assert house.replicas == 1


@story
async def test_one_that_another_scales_to_zero_is_cold(house: KubeHouse) -> None:
    await house.warm()
    house.cluster.change(DEPLOYMENT, spec={"replicas": 0})
    await settle(1)
    assert (house.phase, house.replicas) == (Phase.COLD, 0)
    assert house.service.failure is None
    house.delete_pod()
    house.wake()
    await settle(1)
    assert house.replicas == 1, "and the next call wakes it"


@story
async def test_nor_has_one_failed_whose_pod_was_seen_to_go_before_that(house: KubeHouse) -> None:
    """Two watches have no order between them."""
    await house.warm()
    house.end_pod()
    await settle(0.01)
    assert house.phase is Phase.WAKING
    house.cluster.change(DEPLOYMENT, spec={"replicas": 0})
    await settle(1)
    assert (house.phase, house.service.failure) == (Phase.COLD, None)
    house.wake()
    await settle(0.01)
    assert house.replicas == 1, "nor does the next call wait"


@story
async def test_more_than_there_should_be_become_what_there_should_be(house: KubeHouse) -> None:
    await house.warm()
    house.cluster.change(DEPLOYMENT, spec={"replicas": 5})
    await settle(1)
    assert (house.replicas, house.phase) == (1, Phase.WARM)


@story
async def test_our_own_write_is_not_taken_for_anothers(house: KubeHouse) -> None:
    """A watch may lag behind the answer of the PATCH: it still shows zero replicas."""
    await house.cold()
    house.wake()
    await settle(0.01)
    stale = {**house.cluster.deployment()}
    stale["metadata"] = {**stale["metadata"], "resourceVersion": "1"}
    stale["spec"] = {**stale["spec"], "replicas": 0}
    house.backend.deployed(KEY, stale)
    assert house.phase is Phase.WAKING


@story
async def test_a_pod_that_is_replaced_holds_callers_until_the_next_listens(
    house: KubeHouse,
) -> None:
    await house.warm()
    house.end_pod()
    await settle(0.01)
    assert house.phase is Phase.WAKING
    assert house.record.activation == 2, "what was said of the other one is history"
    house.run("pod-2", address="10.244.0.6")
    await settle(PODS_REST_S)
    house.listening(uid="pod-2")
    assert house.phase is Phase.WARM
    assert [each.workload for each in house.record.endpoints] == ["pod-2"]
    assert house.cluster.did() == [], "Kubernetes did it all"


@story
async def test_a_server_that_crashes_is_waited_for_in_its_own_pod(house: KubeHouse) -> None:
    await house.warm()
    house.crash()
    await settle(0.01)
    assert house.phase is Phase.WAKING
    house.run()
    await settle(0.01)
    house.listening()
    assert house.phase is Phase.WARM


@story
async def test_an_update_is_no_cold_start(house: KubeHouse) -> None:
    await house.warm()
    house.declare(spec__image="registry.loutres.me/helloworld-go:2")
    house.schedule("pod-2", node="node2")
    await settle(1)
    assert house.phase is Phase.WARM
    assert [each.workload for each in house.record.endpoints] == ["pod-1"], (
        "pod-2 serves nobody yet"
    )
    house.run("pod-2", node="node2", address="10.244.1.6")
    await settle(PODS_REST_S)
    assert {each.workload for each in house.record.endpoints} == {"pod-1", "pod-2"}
    house.end_pod("pod-1")
    await settle(PODS_REST_S)
    assert (house.phase, house.record.activation) == (Phase.WARM, 1)
    assert [each.workload for each in house.record.endpoints] == ["pod-2"]


# --- Trouble --------------------------------------------------------------------------------------


@story
async def test_a_wake_that_fails_says_what_kubernetes_says(house: KubeHouse) -> None:
    await house.cold(spec__activationTimeout=5)
    house.wake()
    house.schedule()
    await settle(0.1)
    state = {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}
    house.cluster.change(
        "/api/v1/namespaces/default/pods/pod-1",
        status={"containerStatuses": [{"name": "server", "state": state}]},
    )
    await house.pass_s(7)
    assert house.phase is Phase.COLD
    assert house.condition("ActivationFailed") == (
        "True",
        "ImagePullBackOff",
        "Back-off pulling image",
    )
    assert house.condition("Ready")[:2] == ("False", "ImagePullBackOff")
    assert house.told == ["activation failed: ImagePullBackOff: Back-off pulling image"]
    assert house.replicas == 0


@story
async def test_the_next_success_clears_it(house: KubeHouse) -> None:
    await house.cold(spec__activationTimeout=5)
    house.cluster.refusals = [(SCALE, RefusedError("no"))]
    house.wake()
    await settle(3)
    house.wake()
    house.schedule()
    await settle(1)
    house.listening()
    await settle(1)
    assert house.condition("ActivationFailed")[:2] == ("False", "NotFailed")
    assert house.condition("Ready")[:2] == ("True", "Warm")


# --- The next controller --------------------------------------------------------------------------


async def restarted(house: KubeHouse) -> KubeHouse:
    """Another controller on the same cluster."""
    await house.end()
    successor = KubeHouse(house.cluster)
    await successor.begin()
    return successor


@story
async def test_a_successor_finds_what_runs_and_lowers_nothing(house: KubeHouse) -> None:
    await house.warm()
    house.call_ready("pod-1")
    successor = await restarted(house)
    assert successor.phase is Phase.WAKING
    assert successor.record.activation == 1, "as the status remembers"
    assert [each.workload for each in successor.record.endpoints] == ["pod-1"]
    assert not [ask for ask in house.cluster.did() if ask == SCALE]
    successor.listening()
    assert successor.phase is Phase.WARM
    await successor.end()


@story
async def test_a_successor_counts_on_and_knows_the_latest_request(house: KubeHouse) -> None:
    await house.warm()
    latest = house.service.latest_request
    await settle(20)
    successor = await restarted(house)
    assert successor.service.activation == 1
    assert latest is not None
    assert successor.service.latest_request == int(latest)
    await successor.end()


@story
async def test_a_successor_wakes_at_once_what_its_predecessor_put_to_sleep(
    house: KubeHouse,
) -> None:
    await house.draining()
    await house.armed()
    await settle(1)
    house.delete_pod()
    successor = await restarted(house)
    assert successor.phase is Phase.COLD
    successor.wake()
    await settle(0.01)
    assert successor.replicas == 1
    await successor.end()


@story
async def test_leaving_leaves_what_runs(house: KubeHouse) -> None:
    await house.warm()
    await house.backend.aclose()
    assert house.replicas == 1
    assert house.cluster.did() == []


@story
async def test_conflicts_on_the_way_up_are_tried_again(house: KubeHouse) -> None:
    await house.cold()
    house.cluster.refusals = [(SCALE, ConflictError("try again"))] * 2
    house.wake()
    await settle(0.5)
    assert house.replicas == 1


# --- A PATCH to zero and a wake that cross --------------------------------------------------------


@story
async def test_a_wake_that_overtakes_the_lowering_is_sent_again(house: KubeHouse) -> None:
    """On another connection: the API server reads the raise first, which then changes nothing."""
    await house.draining()
    lowering = house.cluster.merge
    is_first = True

    async def merge(path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        nonlocal is_first
        if is_first:
            is_first = False
            await asyncio.sleep(0.02)
        return await lowering(path, body)

    house.backend._api = SimpleNamespace(merge=merge, get=house.cluster.get)  # type: ignore[assignment]
    await house.armed()
    await settle(0.005)
    house.delete_pod()
    house.wake()
    await settle(0.5)
    assert house.cluster.bodies(SCALE)[-3:] == [
        {"spec": {"replicas": 1}},
        {"metadata": ANY, "spec": {"replicas": 0}},
        {"spec": {"replicas": 1}},
    ]
    assert (house.replicas, house.phase) == (1, Phase.WAKING)
    assert not [each for each in house.told if "failed" in each]
