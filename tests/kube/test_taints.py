"""The taint of a joining node: it goes once the node's daemon holds what sleeps, and no sooner."""

from typing import Any

import pytest

from tests.kube import virtual_time
from tests.kube.house import KubeHouse
from tests.kube.stories import Body, story
from tests.kube.virtual_time import settle
from wangell_controller.kube.errors import ForbiddenError, NotFoundError, UnavailableError
from wangell_controller.kube.resources import NODES
from wangell_controller.kube.taints import others_of

OURS = {"key": "wangell.loutres.me/daemon-not-ready", "effect": "NoSchedule"}
NOT_READY = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
NODE3 = NODES.path(None, "node3")
PATCH = f"PATCH {NODE3}"


def untainting(body: Body) -> Any:
    """A story in a house whose controller has the component's flag."""

    def test() -> None:
        async def told() -> None:
            house = KubeHouse(removes_taint=True)
            await body(house)
            await house.end()

        virtual_time.run(told())

    test.__name__, test.__doc__ = body.__name__, body.__doc__
    return test


def register(house: KubeHouse, *taints: dict[str, str]) -> None:
    """A kubelet makes its Node."""
    house.cluster.put(NODES, "node3", None, spec={"taints": list(taints)})


def taints(house: KubeHouse) -> Any:
    return house.cluster.objects[NODE3]["spec"]["taints"]


@pytest.mark.parametrize(
    ("node", "others"),
    [
        (None, None),
        ({}, None),
        ({"spec": None}, None),
        ({"spec": {"taints": None}}, None),
        ({"spec": {"taints": [NOT_READY]}}, None),
        ({"spec": {"taints": [OURS]}}, []),
        ({"spec": {"taints": [OURS, NOT_READY, {**OURS, "effect": "NoExecute"}]}}, [NOT_READY]),
    ],
)
def test_ours_is_known_by_its_key_whatever_its_effect(node: Any, others: Any) -> None:
    assert others_of(node) == others


@untainting
async def test_it_goes_once_the_daemon_holds_what_sleeps(house: KubeHouse) -> None:
    await house.begin()
    register(house, OURS, NOT_READY)
    await settle(1)
    house.controller.link_up("node3")
    await settle(5)
    assert taints(house) == [OURS, NOT_READY], "linked is not enough"
    house.following("node3")
    await settle(1)
    assert taints(house) == [NOT_READY], "another's stays"
    assert house.cluster.did() == [PATCH]


@untainting
async def test_a_daemon_that_was_there_before_its_node_frees_it_at_once(house: KubeHouse) -> None:
    """Its Node was deleted, and has registered again."""
    await house.begin("node1", "node3")
    house.cluster.remove(NODE3)
    await settle(1)
    register(house, OURS)
    await settle(1)
    assert taints(house) == []


@untainting
async def test_a_daemon_that_has_gone_frees_nothing(house: KubeHouse) -> None:
    await house.begin("node1", "node3")
    house.controller.link_down("node3", "silent")
    register(house, OURS)
    await settle(5)
    assert taints(house) == [OURS]
    house.controller.link_up("node3")
    house.following("node3")
    await settle(1)
    assert taints(house) == []


@untainting
async def test_a_taint_of_the_same_moment_is_not_lost(house: KubeHouse) -> None:
    """The list is one value; the request names the version that it was made from."""
    await house.begin()
    register(house, OURS)
    await settle(1)

    def meanwhile(request: str) -> None:
        if request == PATCH:
            house.cluster.before = lambda _: None
            register(house, OURS, NOT_READY)

    house.cluster.before = meanwhile
    house.controller.link_up("node3")
    house.following("node3")
    await settle(2)
    assert taints(house) == [NOT_READY]
    assert house.cluster.did() == [PATCH, PATCH]


@untainting
async def test_while_the_api_server_will_not_it_is_asked_again(house: KubeHouse) -> None:
    await house.begin()
    register(house, OURS)
    await settle(1)
    house.cluster.refusals = [
        (PATCH, ForbiddenError("no rule yet")),
        (PATCH, UnavailableError("")),
    ]
    house.controller.link_up("node3")
    house.following("node3")
    await settle(5)
    assert taints(house) == []


@untainting
async def test_a_node_that_goes_meanwhile_is_no_trouble(house: KubeHouse) -> None:
    await house.begin()
    register(house, OURS)
    await settle(1)
    house.cluster.refusals = [(PATCH, NotFoundError("gone"))]
    house.controller.link_up("node3")
    house.following("node3")
    await settle(60)
    assert house.cluster.did() == [PATCH], "and is not asked for again"


@untainting
async def test_at_rest_nothing_is_asked(house: KubeHouse) -> None:
    await house.begin()
    register(house, NOT_READY)
    house.controller.link_up("node3")
    house.following("node3")
    house.put_node("node1", ready=False)
    await house.pass_s(60)
    assert house.cluster.did() == []


@story
async def test_without_the_component_no_node_is_touched(house: KubeHouse) -> None:
    await house.begin()
    register(house, OURS)
    house.controller.link_up("node3")
    house.following("node3")
    await settle(60)
    assert taints(house) == [OURS]
    assert house.cluster.did() == []
