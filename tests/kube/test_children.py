"""An object is applied when there is a reason, and only then."""

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.kube import virtual_time
from tests.kube.fake_cluster import FakeCluster
from wangell_controller.kube.children import Children, NotOursError, is_other
from wangell_controller.kube.errors import UnavailableError
from wangell_controller.kube.resources import DEPLOYMENTS

KEY, PATH = "default/a", DEPLOYMENTS.path("default", "a")
OWNER = {"uid": "owner-1", "controller": True}


def desired(replicas: int = 0, image: str = "x") -> Callable[[Any], dict[str, Any]]:
    def made(live: Any) -> dict[str, Any]:
        version = {"resourceVersion": live["metadata"]["resourceVersion"]} if live else {}
        return {
            "metadata": {
                "name": "a",
                "namespace": "default",
                "labels": {"l": "1"},
                "ownerReferences": [OWNER],
                **version,
            },
            "spec": {"replicas": replicas, "image": image},
        }

    return made


class Nursery:
    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.children = Children(self.cluster)

    async def ensure(self, wish: Callable[[Any], dict[str, Any]], *, unseen: bool = False) -> None:
        live = None if unseen else self.cluster.objects.get(PATH)
        await self.children.ensure(DEPLOYMENTS, live, wish, key=KEY, uid="owner-1")


def story(body: Callable[[Nursery], Coroutine[Any, Any, None]]) -> None:
    async def told() -> None:
        await body(Nursery())

    virtual_time.run(told())


def test_what_is_not_there_is_made() -> None:
    async def body(nursery: Nursery) -> None:
        await nursery.ensure(desired())
        assert nursery.cluster.objects[PATH]["spec"] == {"replicas": 0, "image": "x"}

    story(body)


def test_what_is_as_it_should_be_is_left() -> None:
    async def body(nursery: Nursery) -> None:
        await nursery.ensure(desired())
        nursery.cluster.did()
        await nursery.ensure(desired())
        assert nursery.cluster.did() == []

    story(body)


def test_another_wish_is_a_reason() -> None:
    async def body(nursery: Nursery) -> None:
        await nursery.ensure(desired())
        nursery.cluster.did()
        await nursery.ensure(desired(image="y"))
        await nursery.ensure(desired(image="y", replicas=1))
        assert nursery.cluster.did() == [f"APPLY {PATH}"] * 2

    story(body)


@pytest.mark.parametrize(
    "drift",
    [
        {"spec": {"image": "z"}},
        {"spec": {"replicas": 9}},
        {"spec": {"more": 1}},
        {"metadata": {"labels": {"l": "2"}}},
        {"metadata": {"ownerReferences": [{"uid": "owner-1", "controller": True, "kind": "X"}]}},
    ],
)
def test_another_hand_is_a_reason_once(drift: dict[str, Any]) -> None:
    async def body(nursery: Nursery) -> None:
        await nursery.ensure(desired())
        nursery.cluster.did()
        nursery.cluster.change(PATH, **drift)
        await nursery.ensure(desired())
        await nursery.ensure(desired())
        assert nursery.cluster.did() == [f"APPLY {PATH}"]

    story(body)


@pytest.mark.parametrize(
    "change", [{"status": {"ready": 1}}, {"metadata": {"annotations": {"revision": "2"}}}]
)
def test_what_is_not_ours_is_none(change: dict[str, Any]) -> None:
    async def body(nursery: Nursery) -> None:
        await nursery.ensure(desired())
        nursery.cluster.did()
        nursery.cluster.change(PATH, **change)
        await nursery.ensure(desired())
        assert nursery.cluster.did() == []

    story(body)


def test_one_that_is_somebody_elses_is_refused_and_left() -> None:
    async def body(nursery: Nursery) -> None:
        nursery.cluster.put(DEPLOYMENTS, "a", spec={"replicas": 4})
        with pytest.raises(NotOursError, match="Deployment default/a exists"):
            await nursery.ensure(desired(), unseen=True)
        with pytest.raises(NotOursError):
            await nursery.ensure(desired())
        assert nursery.cluster.did() == []

    story(body)


def test_one_of_ours_that_the_watch_does_not_show_is_mended() -> None:
    async def body(nursery: Nursery) -> None:
        await nursery.ensure(desired())
        nursery.cluster.change(PATH, metadata={"labels": {"l": None}})
        await nursery.ensure(desired(), unseen=True)
        assert nursery.cluster.objects[PATH]["metadata"]["labels"] == {"l": "1"}

    story(body)


def test_an_apply_that_failed_is_not_remembered() -> None:
    async def body(nursery: Nursery) -> None:
        await nursery.ensure(desired())
        nursery.cluster.refusals = [("APPLY", UnavailableError("down"))]
        with pytest.raises(UnavailableError):
            await nursery.ensure(desired(image="y"))
        await nursery.ensure(desired(image="y"))
        assert nursery.cluster.objects[PATH]["spec"]["image"] == "y"

    story(body)


def test_removal_deletes_ours_and_says_when_it_is_gone() -> None:
    async def body(nursery: Nursery) -> None:
        await nursery.ensure(desired())
        assert not await nursery.children.remove(DEPLOYMENTS, key=KEY, uid="owner-1")
        assert PATH not in nursery.cluster.objects
        assert await nursery.children.remove(DEPLOYMENTS, key=KEY, uid="owner-1")

    story(body)


def test_removal_leaves_somebody_elses() -> None:
    async def body(nursery: Nursery) -> None:
        nursery.cluster.put(DEPLOYMENTS, "a", spec={"replicas": 4})
        assert await nursery.children.remove(DEPLOYMENTS, key=KEY, uid="owner-1")
        assert PATH in nursery.cluster.objects

    story(body)


def test_what_is_made_anew_after_its_service_was_forgotten_is_applied() -> None:
    async def body(nursery: Nursery) -> None:
        await nursery.ensure(desired())
        nursery.children.forget(KEY)
        nursery.cluster.did()
        await nursery.ensure(desired())
        assert nursery.cluster.did() == [f"APPLY {PATH}"]

    story(body)


@pytest.mark.parametrize(
    ("change", "is_more"),
    [
        ({}, False),
        ({"resourceVersion": "9"}, False),  # As each write of the status makes it.
        ({"generation": 2}, True),  # As each change of the spec makes it.
        ({"labels": {"l": "2"}}, True),
        ({"ownerReferences": []}, True),
        ({"uid": "another"}, True),
    ],
)
def test_what_has_another_status_only_is_not_another(change: dict[str, Any], is_more: bool) -> None:
    metadata = {"uid": "d", "generation": 1, "labels": {"l": "1"}, "ownerReferences": [OWNER]}
    before = {"metadata": {**metadata, "resourceVersion": "8"}, "status": {"replicas": 0}}
    after = {"metadata": {**before["metadata"], **change}, "status": {"replicas": 1}}

    assert is_other(before, after) is is_more
