"""What keeps a sleeping service announced: made where it is asked for, mended, gone with it."""

from pathlib import Path
from typing import Any

import pytest

import wangell_daemon.datapath
from tests.controller.helpers import service
from tests.kube import virtual_time
from tests.kube.house import KEY, NAME, KubeHouse
from tests.kube.objects import LABELS
from tests.kube.stories import Body, story
from tests.kube.virtual_time import settle
from wangell_controller.kube.observed import is_ready, ready_pods
from wangell_controller.kube.placeholder import (
    ADDRESS,
    has_placeholder,
    node_for,
    node_of,
    placeholder,
)
from wangell_controller.kube.resources import ENDPOINT_SLICES, NODES, WANGELL_SERVICES
from wangell_proto.vocabulary import Phase

SLICE = ENDPOINT_SLICES.path("default", NAME)


def announced(body: Body) -> Any:
    """A story in a house that keeps its services announced."""

    def test() -> None:
        async def told() -> None:
            house = KubeHouse(keeps_announced=True)
            await body(house)
            await house.end()

        virtual_time.run(told())

    test.__name__, test.__doc__ = body.__name__, body.__doc__
    return test


def node_named(house: KubeHouse) -> str | None:
    return node_of(house.cluster.of(ENDPOINT_SLICES, NAME))


# --- What it is -----------------------------------------------------------------------------------


def test_it_serves_is_not_ready_and_has_no_port() -> None:
    made = placeholder(service(), "uid-1", node="node2")
    assert made["endpoints"] == [
        {
            "addresses": ["192.0.2.222"],
            "conditions": {"ready": False, "serving": True, "terminating": True},
            "nodeName": "node2",
        }
    ]
    assert (made["addressType"], made["ports"]) == ("IPv4", [])


def test_it_is_the_services_and_ours() -> None:
    metadata = placeholder(service(), "uid-1", node="node2")["metadata"]
    assert metadata["labels"]["kubernetes.io/service-name"] == NAME
    assert metadata["labels"].items() >= LABELS.items(), "our watch shows it"
    manager = metadata["labels"]["endpointslice.kubernetes.io/managed-by"]
    assert manager == "wangell-controller", "and Kubernetes's own controller leaves it alone"
    (owner,) = metadata["ownerReferences"]
    assert (owner["uid"], owner["controller"]) == ("uid-1", True)


def test_the_daemons_rules_drop_what_is_sent_to_it() -> None:
    rules = Path(wangell_daemon.datapath.__file__).with_name("handover.nft").read_text()
    assert rules.count(f"ip daddr {ADDRESS} counter name placeholder drop") == 2


@pytest.mark.parametrize(
    ("kind", "expected"), [("LoadBalancer", True), ("NodePort", False), ("ClusterIP", False)]
)
def test_only_a_load_balancer_announces(kind: str, expected: bool) -> None:
    assert has_placeholder(service(spec__serviceType=kind)) is expected


def test_services_are_spread_and_stay_where_they_are() -> None:
    ready = {"node1", "node2", "node3"}
    keys = [f"default/service-{number}" for number in range(60)]
    named = {key: node_for(key, None, ready=ready, holding=ready) for key in keys}
    assert set(named.values()) == ready
    for key in keys:
        live = placeholder(service(), "uid-1", node="node3")
        stays = node_for(key, live, ready=ready, holding=ready)
        assert stays == "node3", "no other hash moves it"
        moved = node_for(key, live, ready=ready - {"node3"}, holding=ready)
        assert moved in {"node1", "node2"}
    assert node_for(KEY, None, ready=set(), holding=ready) is None


def test_one_whose_daemon_holds_nothing_yet_is_not_chosen_and_not_left() -> None:
    keys, ready = [f"default/service-{number}" for number in range(60)], {"node1", "node2"}
    for key in keys:
        assert node_for(key, None, ready=ready, holding={"node2"}) == "node2"
        assert node_for(key, None, ready=ready, holding=set()) is None
        live = placeholder(service(), "uid-1", node="node1")
        stays = node_for(key, live, ready=ready, holding={"node2"})
        assert stays == "node1", "a daemon that restarts moves nothing"


@pytest.mark.parametrize("live", [None, {}, {"endpoints": None}, {"endpoints": [{}]}])
def test_one_without_a_node_names_none(live: Any) -> None:
    assert node_of(live) is None


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ([{"type": "Ready", "status": "True"}], True),
        ([{"type": "Ready", "status": "False"}], False),
        ([{"type": "Ready", "status": "Unknown"}], False),
        ([{"type": "DiskPressure", "status": "True"}], False),
        ([], False),
    ],
)
def test_a_node_is_ready_when_kubernetes_says_so(conditions: Any, expected: bool) -> None:
    node: dict[str, Any] = {"metadata": {"name": "node1"}, "status": {"conditions": conditions}}
    assert is_ready(node) is expected
    node["metadata"]["deletionTimestamp"] = "2026-11-24T10:00:00Z"
    assert not is_ready(node)


# --- In the life of a service ---------------------------------------------------------------------


@announced
async def test_it_comes_with_the_service(house: KubeHouse) -> None:
    await house.begin()
    house.declare()
    await settle(1)
    assert node_named(house) in {"node1", "node2"}
    asked = house.cluster.did()
    assert asked.index(f"APPLY {SLICE}") == 3, "after the finalizer, the Service, the Deployment"


@story
async def test_it_does_not_come_unasked(house: KubeHouse) -> None:
    await house.cold()
    house.put_node("node1", ready=False)
    await house.pass_s(5)
    assert SLICE not in house.cluster.objects
    house.delete()
    await settle(2)
    assert not any("endpointslices" in asked for asked in house.cluster.did())


@announced
async def test_at_rest_and_over_a_wake_nothing_is_asked_of_it(house: KubeHouse) -> None:
    await house.warm()
    await house.pass_s(60)
    assert not [each for each in house.cluster.did() if SLICE in each]


@announced
async def test_a_service_of_no_load_balancer_has_none(house: KubeHouse) -> None:
    await house.cold(spec__serviceType="ClusterIP")
    assert SLICE not in house.cluster.objects


@announced
async def test_it_goes_when_the_type_changes(house: KubeHouse) -> None:
    await house.cold()
    house.declare(spec__serviceType="NodePort")
    await settle(2)
    assert SLICE not in house.cluster.objects


@announced
async def test_it_goes_with_the_service(house: KubeHouse) -> None:
    await house.cold()
    house.delete()
    await settle(2)
    assert SLICE not in house.cluster.objects
    assert WANGELL_SERVICES.path("default", NAME) not in house.cluster.objects


@pytest.mark.parametrize(
    "drift",
    [
        {"endpoints": [{"addresses": ["10.0.0.9"], "conditions": {"ready": True}}]},
        {"ports": [{"name": "tcp", "port": 8080}]},
        {"metadata": {"labels": {"kubernetes.io/service-name": "other"}}},
        {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}},
    ],
)
def test_drift_is_repaired(drift: dict[str, Any]) -> None:
    @announced
    async def told(house: KubeHouse) -> None:
        await house.cold()
        named = node_named(house)
        house.cluster.change(SLICE, **drift)
        await settle(1)
        found = house.cluster.of(ENDPOINT_SLICES, NAME)
        assert found["endpoints"][0]["addresses"] == [ADDRESS]
        assert found["ports"] == []
        assert found["metadata"]["labels"]["kubernetes.io/service-name"] == NAME
        assert node_named(house) in ({named} if "endpoints" not in drift else {"node1", "node2"})
        assert house.cluster.did().count(f"APPLY {SLICE}") == 1

    told()


@announced
async def test_deleted_it_comes_again(house: KubeHouse) -> None:
    await house.cold()
    house.cluster.remove(SLICE)
    await settle(1)
    assert node_named(house) in {"node1", "node2"}


@announced
async def test_one_of_that_name_that_is_somebody_elses_is_left(house: KubeHouse) -> None:
    await house.begin()
    house.cluster.put(ENDPOINT_SLICES, NAME, endpoints=[])
    house.declare()
    await settle(3)
    assert house.condition("Ready")[1] == "NameTaken"
    assert house.cluster.of(ENDPOINT_SLICES, NAME)["endpoints"] == []
    assert house.replicas == 0, "the rest is made all the same"


@announced
async def test_it_leaves_a_node_that_is_not_ready_any_more(house: KubeHouse) -> None:
    await house.cold()
    named = node_named(house)
    assert named is not None
    house.put_node(named, ready=False)
    await settle(1)
    other = node_named(house)
    assert other in {"node1", "node2"} - {named}
    house.put_node(named)
    await settle(1)
    assert node_named(house) == other, "no reason to move back"
    assert house.cluster.did() == [f"APPLY {SLICE}"]


@announced
async def test_it_leaves_a_node_that_is_gone(house: KubeHouse) -> None:
    await house.cold()
    named = node_named(house)
    assert named is not None
    house.cluster.remove(NODES.path(None, named))
    await settle(1)
    assert node_named(house) in {"node1", "node2"} - {named}


@announced
async def test_without_a_node_that_is_ready_it_waits_for_one(house: KubeHouse) -> None:
    await house.begin()
    for node in ("node1", "node2"):
        house.put_node(node, ready=False)
    await settle(1)
    house.declare()
    await settle(1)
    assert SLICE not in house.cluster.objects
    assert house.replicas == 0
    house.put_node("node2")
    await settle(1)
    assert node_named(house) == "node2"


@announced
async def test_it_waits_for_a_daemon_that_holds_what_sleeps(house: KubeHouse) -> None:
    await house.begin(holding=())
    house.declare()
    await settle(5)
    assert SLICE not in house.cluster.objects, "nodes are ready, and hold nothing"
    house.following("node2")
    await settle(1)
    assert node_named(house) == "node2"
    house.following("node1")
    await settle(1)
    assert node_named(house) == "node2"
    assert house.cluster.did().count(f"APPLY {SLICE}") == 1


@announced
async def test_a_node_that_joins_takes_none_before_its_daemon(house: KubeHouse) -> None:
    await house.cold()
    for node in ("node1", "node2"):
        house.put_node(node, ready=False)
    house.put_node("node3")
    await settle(1)
    assert node_named(house) in {"node1", "node2"}, "as long as there is no better"
    house.controller.link_up("node3")
    await settle(1)
    assert node_named(house) != "node3", "linked is not enough"
    house.following("node3")
    await settle(1)
    assert node_named(house) == "node3"


@announced
async def test_nobody_takes_it_for_an_endpoint(house: KubeHouse) -> None:
    await house.cold()
    assert list(house.inventory.slices(KEY)) == []
    assert house.inventory.placeholder(KEY) is not None
    ready = {"endpoints": [{"conditions": {"ready": True}, "targetRef": {"uid": "pod-1"}}]}
    house.cluster.change(SLICE, **ready)  # For as long as it takes to mend it.
    await settle(0.002)
    assert ready_pods(house.inventory.slices(KEY)) == frozenset()
    assert house.record.endpoints == ()


@announced
async def test_it_wakes_nothing_and_keeps_nothing_up(house: KubeHouse) -> None:
    await house.draining()
    house.cluster.change(SLICE, ports=[{"name": "tcp", "port": 1}])
    await settle(1)
    await house.armed()
    await house.pass_s(3, idle_s=100.0)
    assert house.phase is Phase.COLD
