"""What is declared comes to be, stays so, and leaves nothing."""

from typing import Any

from tests.kube.house import KEY, NAME, STATUS, KubeHouse
from tests.kube.objects import running
from tests.kube.stories import story
from tests.kube.virtual_time import settle
from wangell_controller.kube.errors import ForbiddenError, RefusedError, UnavailableError
from wangell_controller.kube.resources import (
    DEPLOYMENTS,
    FINALIZER,
    PODS,
    SERVICES,
    WANGELL_SERVICES,
)
from wangell_proto.vocabulary import Phase

DECLARATION = WANGELL_SERVICES.path("default", NAME)
DEPLOYMENT = DEPLOYMENTS.path("default", NAME)
SERVICE = SERVICES.path("default", NAME)


# --- Coming to be ---------------------------------------------------------------------------------


@story
async def test_a_declaration_is_held_and_becomes_its_objects(house: KubeHouse) -> None:
    await house.begin()
    house.declare()
    await settle(0.1)
    assert house.cluster.did() == [
        f"APPLY {DECLARATION}",
        f"APPLY {SERVICE}",
        f"APPLY {DEPLOYMENT}",
    ]
    assert house.declaration["metadata"]["finalizers"] == [FINALIZER]
    assert house.replicas == 0
    assert house.declaration["spec"]["image"], "an apply of a finalizer is of nothing else"


@story
async def test_at_rest_nothing_more_is_asked(house: KubeHouse) -> None:
    await house.cold()
    await house.pass_s(300)
    assert house.cluster.did() == []


@story
async def test_its_status_is_told(house: KubeHouse) -> None:
    await house.cold()
    status = house.declaration["status"]
    assert status["loadBalancerIP"] == "10.46.100.105"
    assert (status["phase"], status["replicas"], status["observedGeneration"]) == ("Cold", 0, 1)
    assert house.condition("Ready")[:2] == ("True", "Cold")


@story
async def test_a_changed_declaration_changes_its_objects(house: KubeHouse) -> None:
    await house.cold()
    house.declare(spec__image="registry.loutres.me/helloworld-go:2", spec__port=81)
    await settle(2)
    container = house.cluster.deployment()["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "registry.loutres.me/helloworld-go:2"
    assert house.cluster.kube_service()["spec"]["ports"][0]["port"] == 81
    assert house.record.frontends[0].port == 81
    assert house.declaration["status"]["observedGeneration"] == 2


@story
async def test_fifty_at_once(house: KubeHouse) -> None:
    await house.begin()
    for number in range(50):
        house.declare(f"service-{number}")
    await settle(5)
    made = [path for path in house.cluster.objects if "/deployments/" in path]
    assert len(made) == 50
    assert len([ask for ask in house.cluster.did() if ask.startswith("APPLY")]) == 150


@story
async def test_an_api_server_that_is_away_delays_and_loses_nothing(house: KubeHouse) -> None:
    await house.begin()
    house.cluster.refusals = [("APPLY", UnavailableError("down"))] * 7
    house.declare()
    await settle(60)
    assert house.replicas == 0
    assert house.cluster.kube_service()["spec"]["type"] == "LoadBalancer"


@story
async def test_rights_that_come_late_are_waited_for(house: KubeHouse) -> None:
    house.cluster.refusals = [("LIST /api/v1/pods", ForbiddenError("rbac"))] * 3
    await house.cold()
    assert house.phase is Phase.COLD


@story
async def test_source_ranges_are_the_services_and_the_records(house: KubeHouse) -> None:
    await house.cold(spec__loadBalancerSourceRanges=["10.0.0.0/8"])
    assert house.cluster.kube_service()["spec"]["loadBalancerSourceRanges"] == ["10.0.0.0/8"]
    assert house.record.frontends[0].sources == ("10.0.0.0/8",)
    house.declare(spec__loadBalancerSourceRanges=["192.168.0.0/16"])
    await settle(2)
    assert house.record.frontends[0].sources == ("192.168.0.0/16",)
    assert house.phase is Phase.COLD


# --- Drift ----------------------------------------------------------------------------------------


@story
async def test_a_field_that_another_has_changed_is_changed_back(house: KubeHouse) -> None:
    await house.cold()
    house.cluster.change(SERVICE, spec={"selector": {"wangell.loutres.me/service": "other"}})
    await settle(1)
    found = house.cluster.kube_service()["spec"]["selector"]
    assert found == {"wangell.loutres.me/service": NAME}
    assert house.cluster.did() == [f"APPLY {SERVICE}"], "and that is all it takes"


@story
async def test_objects_that_another_has_deleted_are_made_anew(house: KubeHouse) -> None:
    await house.cold()
    house.cluster.remove(SERVICE)
    house.cluster.remove(DEPLOYMENT)
    await settle(1)
    assert house.cluster.kube_service()["metadata"]["ownerReferences"][0]["name"] == NAME
    assert house.replicas == 0


@story
async def test_labels_that_another_has_taken_off_are_put_back(house: KubeHouse) -> None:
    await house.cold()
    house.cluster.change(
        DEPLOYMENT, metadata={"labels": {"app.kubernetes.io/managed-by": "another"}}
    )
    await settle(1)
    labels = house.cluster.deployment()["metadata"]["labels"]
    assert labels["app.kubernetes.io/managed-by"] == "wangell"


@story
async def test_our_finalizer_is_put_back(house: KubeHouse) -> None:
    await house.cold()
    house.cluster.change(DECLARATION, metadata={"finalizers": []})
    await settle(1)
    assert house.declaration["metadata"]["finalizers"] == [FINALIZER]


@story
async def test_what_others_add_stays(house: KubeHouse) -> None:
    await house.cold()
    house.cluster.change(SERVICE, metadata={"annotations": {"metallb.io/pool": "a"}})
    await settle(1)
    assert house.cluster.kube_service()["metadata"]["annotations"] == {"metallb.io/pool": "a"}
    assert house.cluster.did() == []


@story
async def test_a_status_that_changes_is_no_drift(house: KubeHouse) -> None:
    await house.cold()
    house.cluster.change(DEPLOYMENT, status={"observedGeneration": 1})
    await settle(1)
    assert house.cluster.did() == []


# --- What is in the way ---------------------------------------------------------------------------


@story
async def test_somebody_elses_object_is_left_alone(house: KubeHouse) -> None:
    await house.begin()
    house.cluster.put(DEPLOYMENTS, NAME, spec={"replicas": 4})
    house.declare()
    await settle(2)
    assert house.cluster.deployment()["spec"] == {"replicas": 4}
    status, reason, message = house.condition("Ready")
    assert (status, reason) == ("False", "NameTaken")
    assert f"Deployment {KEY} exists and does not belong to this WangellService" in message
    assert house.told == [message]


@story
async def test_once_it_is_out_of_the_way_all_is_well(house: KubeHouse) -> None:
    await house.begin()
    house.cluster.put(DEPLOYMENTS, NAME, spec={"replicas": 4})
    house.declare()
    await settle(2)
    house.cluster.remove(DEPLOYMENT)
    house.assign()
    await settle(70)
    assert house.condition("Ready")[:2] == ("True", "Cold")
    assert house.replicas == 0


@story
async def test_what_the_api_server_refuses_is_said_in_its_words(house: KubeHouse) -> None:
    await house.begin()
    message = 'spec.template.spec.volumes[0].name: Invalid value: "A_B"'
    house.cluster.refusals = [(f"APPLY {DEPLOYMENT}", RefusedError(message))] * 8
    house.declare()
    await settle(1)
    assert house.condition("Ready") == ("False", "Refused", message)
    await settle(60)
    assert house.condition("Ready")[1] != "Refused"


@story
async def test_a_declaration_that_an_older_schema_let_in_is_told_what_is_wrong(
    house: KubeHouse,
) -> None:
    await house.begin()
    house.declare(spec__port=70_000)
    house.declare("other")
    await settle(2)
    status, reason, message = house.condition("Ready")
    assert (status, reason) == ("False", "Invalid")
    assert message == "spec.port: should be less than or equal to 65535, got 70000"
    assert DEPLOYMENT not in house.cluster.objects
    assert "default/other" in house.controller.services, "it is nobody else's trouble"
    house.declare()
    await settle(2)
    assert house.replicas == 0


# --- Going ----------------------------------------------------------------------------------------


@story
async def test_a_deleted_service_leaves_nothing(house: KubeHouse) -> None:
    await house.warm()
    house.delete()
    await settle(2)
    assert [
        path for path in house.cluster.objects if path in (DECLARATION, DEPLOYMENT, SERVICE)
    ] == []
    assert KEY not in house.link.table
    assert KEY not in house.controller.services
    assert house.metric_series() == set()


@story
async def test_daemons_let_go_before_its_address_is_given_back(house: KubeHouse) -> None:
    await house.warm()
    at: list[bool] = []
    house.cluster.before = lambda ask: (
        at.append(KEY in house.link.table) if ask == f"DELETE {SERVICE}" else None
    )
    house.delete()
    await settle(2)
    assert at == [False]


@story
async def test_it_goes_only_once_what_was_made_for_it_has_gone(house: KubeHouse) -> None:
    await house.cold()
    house.cluster.change(SERVICE, metadata={"finalizers": ["service.kubernetes.io/load-balancer"]})
    house.delete()
    await settle(5)
    assert house.declaration["metadata"]["finalizers"] == [FINALIZER]
    house.cluster.change(SERVICE, metadata={"finalizers": []})
    await settle(60)
    assert DECLARATION not in house.cluster.objects


@story
async def test_the_finalizers_of_others_stay(house: KubeHouse) -> None:
    await house.cold()
    house.cluster.change(DECLARATION, metadata={"finalizers": [FINALIZER, "other.example/x"]})
    house.delete()
    await settle(5)
    assert house.declaration["metadata"]["finalizers"] == ["other.example/x"]


@story
async def test_somebody_elses_objects_survive_it(house: KubeHouse) -> None:
    await house.begin()
    house.cluster.put(DEPLOYMENTS, NAME, spec={"replicas": 4})
    house.declare()
    await settle(2)
    house.delete()
    await settle(2)
    assert DECLARATION not in house.cluster.objects
    assert house.cluster.deployment()["spec"] == {"replicas": 4}


@story
async def test_one_that_is_deleted_while_we_are_away_goes_when_we_are_back(
    house: KubeHouse,
) -> None:
    await house.cold()
    await house.end()
    house.delete()
    assert "deletionTimestamp" in house.declaration["metadata"]
    successor = KubeHouse(house.cluster)
    await successor.begin()
    await settle(2)
    assert {DECLARATION, DEPLOYMENT, SERVICE}.isdisjoint(house.cluster.objects)
    await successor.end()


@story
async def test_created_anew_under_its_name_it_is_another(house: KubeHouse) -> None:
    await house.warm()
    house.delete()
    await settle(2)
    house.declare()
    await settle(1)
    assert (house.phase, house.replicas) == (Phase.COLD, 0)


# --- Leaving --------------------------------------------------------------------------------------


@story
async def test_uninstalled_it_lets_go_of_everything_at_once(house: KubeHouse) -> None:
    await house.warm()
    house.declare("other")
    await settle(1)
    house.cluster.did()
    await house.operator.leave()
    assert house.link.table == {}
    assert (
        "finalizers" not in house.declaration["metadata"]
        or not house.declaration["metadata"]["finalizers"]
    )
    other = WANGELL_SERVICES.path("default", "other")
    assert sorted(house.cluster.did()) == sorted([f"PATCH {DECLARATION}", f"PATCH {other}"])
    await settle(60)
    assert house.cluster.did() == [], "and takes hold of nothing again"
    assert house.replicas == 1


@story
async def test_what_cannot_be_let_go_of_keeps_nobody_else(house: KubeHouse) -> None:
    await house.cold()
    house.declare("other")
    await settle(1)
    house.cluster.refusals = [(f"PATCH {DECLARATION}", ForbiddenError("rights are gone"))]
    await house.operator.leave()
    assert house.declaration["metadata"]["finalizers"] == [FINALIZER]
    assert house.cluster.of(WANGELL_SERVICES, "other")["metadata"]["finalizers"] == []


# --- Scale ----------------------------------------------------------------------------------------


@story
async def test_scaled_up_it_wakes_and_stays(house: KubeHouse) -> None:
    await house.cold(spec__idleTimeout=5)
    house.declare(spec__replicas=1, spec__idleTimeout=5)
    await settle(0.1)
    assert house.replicas == 1
    house.schedule()
    await settle(0.1)
    house.listening()
    await house.pass_s(30, idle_s=1000.0)
    assert (house.phase, house.replicas) == (Phase.WARM, 1)


@story
async def test_scaled_to_zero_it_drains_at_once(house: KubeHouse) -> None:
    await house.cold()
    house.declare(spec__replicas=1)
    await settle(0.1)
    house.schedule()
    await settle(0.1)
    house.listening()
    house.declare(spec__replicas=0)
    await settle(0.1)
    assert house.phase is Phase.DRAINING
    await house.armed()
    await settle(1)
    assert (house.phase, house.replicas) == (Phase.COLD, 0)


@story
async def test_scaled_to_zero_it_waits_for_those_who_are_served(house: KubeHouse) -> None:
    await house.cold()
    house.declare(spec__replicas=1)
    await settle(0.1)
    house.schedule()
    await settle(0.1)
    house.listening()
    house.declare(spec__replicas=0)
    await settle(0.1)
    await house.armed(connections=2)
    await settle(1)
    assert (house.phase, house.replicas) == (Phase.WARM, 1)


@story
async def test_scaled_while_awake_it_follows(house: KubeHouse) -> None:
    await house.warm()
    house.declare(spec__replicas=3)
    await settle(1)
    assert house.replicas == 3
    assert house.declaration["status"]["replicas"] == 3


# --- Statuses -------------------------------------------------------------------------------------


@story
async def test_a_wake_is_one_write_of_its_status(house: KubeHouse) -> None:
    await house.cold()
    house.wake()
    house.schedule()
    await settle(0.17)
    house.run()
    house.listening()
    house.cold_start()
    await settle(2)
    assert house.cluster.did().count(STATUS) == 1
    assert house.declaration["status"]["phase"] == "Warm"
    assert house.told == ["woke in 171 ms"]


@story
async def test_a_busy_service_is_written_now_and_then(house: KubeHouse) -> None:
    await house.warm()
    await house.pass_s(60, idle_s=0.0)
    assert 3 <= house.cluster.did().count(STATUS) <= 7
    latest = house.declaration["status"]["latestRequest"]
    await house.pass_s(11, idle_s=0.0)
    assert house.declaration["status"]["latestRequest"] > latest


@story
async def test_a_status_that_another_has_changed_is_not_fought_over(house: KubeHouse) -> None:
    await house.cold()
    house.cluster.change(DECLARATION, status={"phase": "Warm"})
    await house.pass_s(5)
    assert house.cluster.did() == []
    house.wake()
    await settle(1)
    assert house.declaration["status"]["phase"] == "Waking"


@story
async def test_an_address_that_goes_leaves_the_status(house: KubeHouse) -> None:
    await house.cold()
    house.cluster.change(SERVICE, status={"loadBalancer": {"ingress": []}})
    await settle(1)
    assert "loadBalancerIP" not in house.declaration["status"]
    assert house.condition("AddressAssigned")[0] == "False"
    assert KEY not in house.link.table


@story
async def test_pods_of_a_service_that_nobody_declared_are_passed_over(house: KubeHouse) -> None:
    await house.begin()
    each: dict[str, Any] = running()
    house.cluster.put(PODS, "pod-1", metadata=each["metadata"], spec=each["spec"])
    await settle(1)
    assert house.link.table == {}
