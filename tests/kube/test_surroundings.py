"""Beside Cilium's kube-proxy replacement nothing is held and nothing made, and it says why."""

from typing import Any

import pytest

from tests.kube.house import KEY, NAME, KubeHouse
from tests.kube.stories import story
from tests.kube.virtual_time import settle
from wangell_controller.kube.errors import ForbiddenError, UnavailableError
from wangell_controller.kube.resources import CONFIG_MAPS, DEPLOYMENTS, SERVICES
from wangell_controller.kube.surroundings import LOOK_S, Surroundings, trouble_with
from wangell_proto.vocabulary import Phase

DEPLOYMENT, SERVICE = DEPLOYMENTS.path("default", NAME), SERVICES.path("default", NAME)


def cilium(house: KubeHouse, said: str) -> None:
    data = {"kube-proxy-replacement": said}
    house.cluster.put(CONFIG_MAPS, "cilium-config", "kube-system", data=data)


def surroundings(house: KubeHouse) -> Surroundings:
    return Surroundings(house.cluster, on_change=house.operator.surrounded)


def conditions(house: KubeHouse) -> dict[str, tuple[str, str]]:
    found = house.declaration["status"]["conditions"]
    return {each["type"]: (each["status"], each["reason"]) for each in found}


@pytest.mark.parametrize("said", ["true", "True", "strict", "partial", "probe"])
def test_cilium_in_kube_proxys_place_is_trouble(said: str) -> None:
    trouble = trouble_with({"data": {"kube-proxy-replacement": said}})
    assert trouble is not None
    assert trouble.reason == "CiliumReplacesKubeProxy"
    assert f"kube-proxy-replacement: {said.lower()} in kube-system/cilium-config" in trouble.message
    assert "kubeProxyReplacement: false" in trouble.message, "the remedy"


@pytest.mark.parametrize(
    "config",
    [
        None,
        {},
        {"data": None},
        {"data": {"ipam": "kubernetes"}},
        {"data": {"kube-proxy-replacement": "false"}},
        {"data": {"kube-proxy-replacement": "disabled"}},
    ],
)
def test_cilium_beside_kube_proxy_and_no_cilium_are_none(config: Any) -> None:
    assert trouble_with(config) is None


@story
async def test_what_is_declared_there_is_not_made_and_is_told(house: KubeHouse) -> None:
    await house.begin()
    cilium(house, "true")
    await surroundings(house).look()
    house.declare()
    await settle(3)
    assert DEPLOYMENT not in house.cluster.objects
    assert SERVICE not in house.cluster.objects
    assert KEY not in house.link.table, "no daemon holds anything"
    assert conditions(house) == {
        "Ready": ("False", "CiliumReplacesKubeProxy"),
        "Unsupported": ("True", "CiliumReplacesKubeProxy"),
    }
    assert any("Cilium replaces kube-proxy" in note for note in house.told)
    assert not house.declaration["metadata"].get("finalizers"), "there is nothing to wait for"


@story
async def test_what_runs_when_cilium_comes_is_left_and_held_no_more(house: KubeHouse) -> None:
    await house.warm()
    around = surroundings(house)
    cilium(house, "true")
    await around.look()
    await settle(3)
    assert KEY not in house.link.table
    assert house.replicas == 1
    assert conditions(house)["Unsupported"][0] == "True"
    await house.pass_s(30)
    assert DEPLOYMENT not in " ".join(house.cluster.did())


@story
async def test_all_is_served_once_kube_proxy_is_back(house: KubeHouse) -> None:
    await house.begin()
    around = surroundings(house)
    cilium(house, "true")
    await around.look()
    house.declare()
    await settle(3)
    cilium(house, "false")
    await around.look()
    await settle(1)
    house.assign()
    await settle(3)
    assert house.phase is Phase.COLD
    assert house.record.phase is Phase.COLD
    assert "Unsupported" not in conditions(house)
    assert conditions(house)["Ready"] == ("True", "Cold")


@story
async def test_one_that_was_declared_there_can_be_deleted(house: KubeHouse) -> None:
    await house.begin()
    cilium(house, "true")
    await surroundings(house).look()
    house.declare()
    await settle(1)
    house.delete()
    await settle(2)
    assert not [path for path in house.cluster.objects if NAME in path and "events" not in path]


@story
async def test_while_nobody_says_what_was_known_holds(house: KubeHouse) -> None:
    await house.cold()
    around = surroundings(house)
    await around.look()
    house.tasks.append(house.loop.create_task(around.follow()))
    house.cluster.refusals = [("GET", UnavailableError("down")), ("GET", ForbiddenError("rbac"))]
    await settle(2 * LOOK_S + 1)
    assert house.phase is Phase.COLD
    cilium(house, "true")
    await settle(LOOK_S + 3)
    assert KEY not in house.controller.services
    assert conditions(house)["Unsupported"][0] == "True"
