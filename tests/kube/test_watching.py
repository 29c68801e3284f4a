"""A watch tells of every change to the present, whatever ends it in between."""

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.kube import virtual_time
from tests.kube.fake_cluster import FakeCluster, Tap
from tests.kube.virtual_time import settle
from wangell_controller.kube.api import Selection
from wangell_controller.kube.errors import ForbiddenError, GoneError, UnavailableError
from wangell_controller.kube.resources import NODES, PODS
from wangell_controller.kube.valve import Valve
from wangell_controller.kube.watching import Watched

Told = list[tuple[str, str]]


class Watcher:
    """Follows pods, and keeps what it is told: `appeared`, `changed` or `went`, and of whom."""

    def __init__(self, cluster: FakeCluster, *, rest_s: float = 0.0, **narrowed: str) -> None:
        """It rests for so long after what it has told."""
        self.told: Told = []
        self.rest_s = rest_s
        self.watched = Watched(cluster, Selection(resource=PODS, **narrowed), self._on_change)
        self.task = asyncio.get_running_loop().create_task(self.watched.follow())

    def _on_change(
        self, key: str, before: dict[str, Any] | None, after: dict[str, Any] | None
    ) -> None:
        verb = "appeared" if before is None else "went" if after is None else "changed"
        assert self.watched.objects.get(key) == after
        self.told.append((verb, key))
        if self.rest_s:
            self.watched.rest(self.rest_s)

    def hear(self) -> Told:
        told, self.told = self.told, []
        return told


def story(body: Callable[[FakeCluster], Coroutine[Any, Any, None]]) -> None:
    async def told() -> None:
        await body(FakeCluster())

    virtual_time.run(told())


def test_what_is_there_is_told_before_it_is_whole() -> None:
    async def body(cluster: FakeCluster) -> None:
        cluster.put(PODS, "a")
        cluster.put(PODS, "b")
        watcher = Watcher(cluster)
        assert not watcher.watched.whole.is_set()
        await watcher.watched.whole.wait()
        assert watcher.hear() == [("appeared", "default/a"), ("appeared", "default/b")]

    story(body)


def test_what_happens_is_told_as_it_happens() -> None:
    async def body(cluster: FakeCluster) -> None:
        watcher = Watcher(cluster)
        await settle(1)
        cluster.put(PODS, "a")
        cluster.put(PODS, "a", status={"phase": "Running"})
        cluster.remove(PODS.path("default", "a"))
        await settle()
        assert watcher.hear() == [
            ("appeared", "default/a"),
            ("changed", "default/a"),
            ("went", "default/a"),
        ]
        assert watcher.watched.objects == {}

    story(body)


def test_only_the_selection_is_told() -> None:
    async def body(cluster: FakeCluster) -> None:
        watcher = Watcher(cluster, labels="app=hello")
        await settle(1)
        cluster.put(PODS, "other")
        cluster.put(NODES, "node1", None)
        cluster.put(PODS, "hello")
        cluster.change(PODS.path("default", "hello"), metadata={"labels": {"app": "hello"}})
        await settle()
        assert watcher.hear() == [("appeared", "default/hello")]

    story(body)


def test_names_without_a_namespace_are_keys() -> None:
    async def body(cluster: FakeCluster) -> None:
        keys: list[str] = []
        watched = Watched(cluster, Selection(resource=NODES), lambda key, *_: keys.append(key))
        asyncio.get_running_loop().create_task(watched.follow())
        cluster.put(NODES, "node1", None)
        await settle(1)
        assert keys == ["node1"]

    story(body)


def test_a_watch_that_ends_goes_on_where_it_ended() -> None:
    async def body(cluster: FakeCluster) -> None:
        cluster.put(PODS, "a")
        watcher = Watcher(cluster)
        await settle(100)
        watcher.hear()
        cluster.end_watches()
        cluster.put(PODS, "b")
        await settle(1)
        assert watcher.hear() == [("appeared", "default/b")], "and `a` is not told again"

    story(body)


@pytest.mark.parametrize("error", [UnavailableError("restarting"), UnavailableError("silence")])
def test_an_api_server_that_goes_away_loses_nothing(error: UnavailableError) -> None:
    async def body(cluster: FakeCluster) -> None:
        cluster.put(PODS, "a")
        watcher = Watcher(cluster)
        await settle(100)
        watcher.hear()
        cluster.end_watches(error)
        cluster.put(PODS, "b")
        cluster.remove(PODS.path("default", "a"))
        await settle(1)
        assert watcher.hear() == [("appeared", "default/b"), ("went", "default/a")]

    story(body)


def test_a_version_that_is_too_old_means_a_new_list_and_its_difference() -> None:
    async def body(cluster: FakeCluster) -> None:
        for name in ("same", "changes", "goes"):
            cluster.put(PODS, name)
        watcher = Watcher(cluster)
        await settle(100)
        watcher.hear()
        cluster.end_watches(GoneError("410"))
        cluster.put(PODS, "changes", status={"phase": "Running"})
        cluster.remove(PODS.path("default", "goes"))
        cluster.put(PODS, "comes")
        cluster.forget_history()
        await settle(1)
        assert sorted(watcher.hear()) == [
            ("appeared", "default/comes"),
            ("changed", "default/changes"),
            ("went", "default/goes"),
        ]

    story(body)


def test_an_api_server_that_does_not_answer_is_asked_ever_more_seldom() -> None:
    async def body(cluster: FakeCluster) -> None:
        cluster.refusals = [("LIST", UnavailableError("down"))] * 40
        watcher = Watcher(cluster)
        await settle(60)
        left = len(cluster.refusals)
        assert 40 - left < 20, "a minute is no reason to ask sixty times"
        assert not watcher.watched.whole.is_set()
        cluster.refusals.clear()
        await settle(10)
        assert watcher.watched.whole.is_set()

    story(body)


def test_an_api_server_that_is_back_and_says_no_at_first_is_asked_again_soon() -> None:
    async def body(cluster: FakeCluster) -> None:
        away = [("LIST", UnavailableError("down"))] * 10
        refused = [("LIST", ForbiddenError("has no rules yet"))] * 3
        cluster.refusals = [*away, *refused]
        watcher = Watcher(cluster)
        while len(cluster.refusals) >= len(refused):
            await settle(0.1)
        await settle(1)
        assert watcher.watched.whole.is_set()

    story(body)


def test_a_watch_that_ends_at_once_is_not_taken_up_at_once() -> None:
    class Hasty(FakeCluster):
        watches = 0

        async def watch(self, _selection: Selection, _version: str, _valve: Valve) -> Any:
            self.watches += 1
            for nothing in ():
                yield nothing

    async def told() -> None:
        cluster = Hasty()
        Watcher(cluster)
        await settle(30)
        assert 3 < cluster.watches < 15

    virtual_time.run(told())


def test_what_comes_in_a_burst_is_told_at_its_beginning_and_after_a_rest() -> None:
    async def body(cluster: FakeCluster) -> None:
        watcher = Watcher(cluster, rest_s=0.25)
        await settle(1)
        cluster.put(PODS, "a")
        await settle(0.01)
        assert watcher.hear() == [("appeared", "default/a")], "who comes first waits for nothing"
        cluster.put(PODS, "b")
        await settle(0.2)
        cluster.put(PODS, "c")
        await settle(0.03)
        assert watcher.hear() == []
        await settle(0.02)
        assert watcher.hear() == [("appeared", "default/b"), ("appeared", "default/c")]

    story(body)


def test_one_that_rests_before_anything_has_come_tells_it_afterwards() -> None:
    async def body(cluster: FakeCluster) -> None:
        watcher = Watcher(cluster)
        await settle(1)
        watcher.watched.rest(0.25)
        cluster.put(PODS, "a")
        await settle(0.24)
        assert watcher.hear() == []
        await settle(0.02)
        assert watcher.hear() == [("appeared", "default/a")]

    story(body)


def test_a_rest_is_made_shorter_by_another_and_not_longer() -> None:
    async def body(cluster: FakeCluster) -> None:
        watcher = Watcher(cluster)
        await settle(1)
        for first, second in ((0.1, 0.25), (0.25, 0.1)):
            watcher.watched.rest(first)
            watcher.watched.rest(second)
            cluster.put(PODS, f"after-{first}")
            await settle(0.09)
            assert watcher.hear() == []
            await settle(0.02)
            assert len(watcher.hear()) == 1

    story(body)


def test_a_watch_that_begins_during_a_rest_rests() -> None:
    async def body(cluster: FakeCluster) -> None:
        watcher = Watcher(cluster)
        await settle(100)
        watcher.watched.rest(5.0)
        cluster.end_watches()
        await settle(1)
        cluster.put(PODS, "a")
        await settle(1)
        assert watcher.hear() == []
        await settle(5)
        assert watcher.hear() == [("appeared", "default/a")]

    story(body)


def test_a_connection_that_ends_during_a_rest_is_left_as_it_was() -> None:
    async def body(_: FakeCluster) -> None:
        valve, tap = Valve(), Tap()
        with valve.on(tap):
            valve.shut(1.0)
            assert not tap.is_open.is_set()
        assert tap.is_open.is_set(), "it may serve another request"
        assert valve.is_shut

    story(body)


def test_one_that_is_hurried_ends_its_rest_and_rests_no_more_for_so_long() -> None:
    async def body(cluster: FakeCluster) -> None:
        watcher = Watcher(cluster, rest_s=0.25)
        await settle(1)
        cluster.put(PODS, "a")
        await settle(0.01)
        cluster.put(PODS, "b")
        watcher.watched.hurry(1.0)
        await settle(0.01)
        cluster.put(PODS, "c")
        await settle(0.01)
        assert [key for _, key in watcher.hear()] == ["default/a", "default/b", "default/c"]
        await settle(1)
        cluster.put(PODS, "d")
        await settle(0.01)
        cluster.put(PODS, "e")
        await settle(0.01)
        assert [key for _, key in watcher.hear()] == ["default/d"]

    story(body)


def test_one_that_was_hurried_for_good_is_not_slowed_down_by_a_shorter_hurry() -> None:
    async def body(cluster: FakeCluster) -> None:
        watcher = Watcher(cluster, rest_s=0.25)
        watcher.watched.hurry(math.inf)
        watcher.watched.hurry(0.0)
        await settle(1)
        for name in "ab":
            cluster.put(PODS, name)
            await settle(0.01)
        assert [key for _, key in watcher.hear()] == ["default/a", "default/b"]

    story(body)


def test_who_set_which_field_is_not_kept() -> None:
    async def body(cluster: FakeCluster) -> None:
        cluster.put(PODS, "a")
        cluster.change(PODS.path("default", "a"), metadata={"managedFields": [{"manager": "x"}]})
        watcher = Watcher(cluster)
        await settle(1)
        assert "managedFields" not in watcher.watched.objects["default/a"]["metadata"]

    story(body)
