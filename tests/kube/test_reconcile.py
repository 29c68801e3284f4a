"""Each key is looked at when it should be, one look at a time, and fails by itself."""

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.kube import virtual_time
from tests.kube.virtual_time import settle
from wangell_controller.kube.errors import ConflictError, RefusedError, UnavailableError
from wangell_controller.kube.reconcile import LOOKS_MAX, Outcome, Reconciler


class Looks:
    """What the reconciler does: when each key was looked at, and how many at a time."""

    def __init__(self) -> None:
        self.reconciler = Reconciler(self._look)
        self.seen: list[tuple[str, float]] = []
        self.outcomes: dict[str, list[Outcome | Exception]] = {}
        self.under_way: set[str] = set()
        self.most = 0
        self.takes_s = 0.0
        self.loop = asyncio.get_running_loop()
        self.began_at = self.loop.time()

    async def _look(self, key: str) -> Outcome:
        assert key not in self.under_way, "one look at a time"
        self.under_way.add(key)
        self.most = max(self.most, len(self.under_way))
        self.seen.append((key, self.loop.time() - self.began_at))
        try:
            await asyncio.sleep(self.takes_s)
        finally:
            self.under_way.discard(key)
        outcome = self.outcomes.get(key, [Outcome.DONE]).pop(0) if self.outcomes.get(key) else None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome or Outcome.DONE

    def count(self, key: str) -> int:
        return [each for each, _ in self.seen].count(key)


def story(body: Callable[[Looks], Coroutine[Any, Any, None]]) -> None:
    async def told() -> None:
        looks = Looks()
        await body(looks)
        await looks.reconciler.close()

    virtual_time.run(told())


def test_one_look_for_many_events() -> None:
    async def body(looks: Looks) -> None:
        for _ in range(10):
            looks.reconciler.hurry("a")
        await settle(1)
        assert looks.count("a") == 1

    story(body)


def test_events_during_a_look_are_one_more_look() -> None:
    async def body(looks: Looks) -> None:
        looks.takes_s = 1.0
        looks.reconciler.hurry("a")
        await settle(0.5)
        for _ in range(5):
            looks.reconciler.hurry("a")
        await settle(10)
        assert [at for _, at in looks.seen] == [0.0, 1.0]

    story(body)


@pytest.mark.parametrize(
    "trouble",
    [Outcome.AGAIN, UnavailableError("x"), ConflictError("x"), RefusedError("x")],
    ids=str,
)
def test_a_look_that_came_to_nothing_comes_again_ever_later(trouble: Outcome | Exception) -> None:
    async def body(looks: Looks) -> None:
        looks.outcomes["a"] = [trouble] * 6
        looks.reconciler.hurry("a")
        await settle(30)
        times = [at for _, at in looks.seen]
        assert len(times) == 7
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        for gap, most in zip(gaps, (0.1, 0.2, 0.4, 0.8, 1.6, 3.2), strict=True):
            assert most / 2 <= gap <= most + 0.01

    story(body)


def test_success_ends_the_back_off() -> None:
    async def body(looks: Looks) -> None:
        looks.outcomes["a"] = [Outcome.AGAIN] * 5
        looks.reconciler.hurry("a")
        await settle(30)
        looks.outcomes["a"] = [Outcome.AGAIN]
        looks.reconciler.hurry("a")
        await settle(0.2)
        assert looks.count("a") == 8

    story(body)


def test_an_event_does_not_wait_for_the_back_off() -> None:
    async def body(looks: Looks) -> None:
        looks.outcomes["a"] = [Outcome.AGAIN] * 8
        looks.reconciler.hurry("a")
        await settle(8)
        before = looks.count("a")
        looks.reconciler.hurry("a")
        await settle(0.01)
        assert looks.count("a") == before + 1

    story(body)


def test_nobody_waits_for_anothers_trouble() -> None:
    async def body(looks: Looks) -> None:
        looks.outcomes["bad"] = [UnavailableError("x")] * 50
        looks.reconciler.hurry("bad")
        await settle(5)
        looks.reconciler.hurry("good")
        await settle(0.01)
        assert looks.seen[-1][0] == "good"

    story(body)


def test_only_so_many_at_a_time_and_all_in_the_end() -> None:
    async def body(looks: Looks) -> None:
        looks.takes_s = 0.1
        for number in range(100):
            looks.reconciler.hurry(str(number))
        await settle(10)
        assert looks.most == LOOKS_MAX
        assert len({key for key, _ in looks.seen}) == 100

    story(body)


def test_what_is_forgotten_is_looked_at_no_more() -> None:
    async def body(looks: Looks) -> None:
        looks.outcomes["a"] = [Outcome.AGAIN] * 50
        looks.reconciler.hurry("a")
        await settle(1)
        looks.reconciler.forget("a")
        before = looks.count("a")
        await settle(200)
        assert looks.count("a") == before

    story(body)


def test_closed_it_looks_at_nothing() -> None:
    async def body(looks: Looks) -> None:
        looks.outcomes["a"] = [Outcome.AGAIN] * 50
        looks.takes_s = 5.0
        looks.reconciler.hurry("a")
        await settle(1)
        await looks.reconciler.close()
        assert looks.under_way == set()
        await settle(100)
        assert looks.count("a") == 1

    story(body)


def test_a_mistake_of_ours_is_told_to_the_loop() -> None:
    async def told() -> None:
        looks = Looks()
        looks.outcomes["a"] = [TypeError("ours")]
        looks.reconciler.hurry("a")
        await settle(1)

    with pytest.raises(TypeError, match="ours"):
        virtual_time.run(told())
