"""Delays, allowances, warmth: the parts that are a rule and little else."""

import asyncio
from typing import Any

import pytest

from tests.kube import virtual_time
from tests.kube.virtual_time import settle
from wangell_controller.kube.allowance import Allowance
from wangell_controller.kube.backoff import Backoff
from wangell_controller.kube.errors import UnavailableError
from wangell_controller.kube.warmth import CONNECTIONS, EVERY_S, keep_warm


def test_delays_double_up_to_the_most_with_jitter_below() -> None:
    backoff = Backoff(0.1, 1.0)
    for most_s in (0.1, 0.2, 0.4, 0.8, 1.0, 1.0):
        assert most_s / 2 <= backoff.next_s() <= most_s


def test_delays_begin_anew_once_it_has_worked() -> None:
    backoff = Backoff(0.1, 1.0)
    for _ in range(9):
        backoff.next_s()
    backoff.reset()
    assert backoff.next_s() <= 0.1


def test_so_many_at_once_then_one_in_a_while() -> None:
    allowance = Allowance(burst=3, refill_s=10.0)
    assert [allowance.take("a", now=100.0) for _ in range(5)] == [True] * 3 + [False] * 2
    assert not allowance.take("a", now=109.9)
    assert allowance.take("a", now=110.0)
    assert not allowance.take("a", now=110.0)
    assert [allowance.take("a", now=1000.0) for _ in range(4)] == [True] * 3 + [False]


def test_each_has_its_own_allowance() -> None:
    allowance = Allowance(burst=1, refill_s=10.0)
    assert allowance.take("a", now=0.0)
    assert allowance.take("b", now=0.0)
    assert not allowance.take("a", now=0.0)


def test_who_has_all_of_it_again_is_forgotten() -> None:
    allowance = Allowance(burst=2, refill_s=10.0)
    for number in range(1000):
        allowance.take(str(number), now=0.0)
    allowance.take("later", now=100.0)
    assert len(allowance._full_at) == 1


class _Api:
    def __init__(self) -> None:
        self.asked: list[float] = []
        self.at_once = self.most_at_once = 0
        self.error: Exception | None = None

    async def get(self, path: str) -> dict[str, Any]:
        assert path == "/version"
        self.asked.append(asyncio.get_running_loop().time())
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0.01)
        self.at_once -= 1
        if self.error is not None:
            raise self.error
        return {}


def test_several_connections_are_kept_warm_by_asking_at_once() -> None:
    async def story() -> None:
        api = _Api()
        asyncio.get_running_loop().create_task(keep_warm(api))
        await settle(3 * EVERY_S + 1)
        assert len(api.asked) == 4 * CONNECTIONS
        assert api.most_at_once == CONNECTIONS, "one after the other they would share one"

    virtual_time.run(story())


def test_an_api_server_that_is_away_is_asked_again() -> None:
    async def story() -> None:
        api = _Api()
        api.error = UnavailableError("restarting")
        asyncio.get_running_loop().create_task(keep_warm(api))
        await settle(2 * EVERY_S + 1)
        assert len(api.asked) == 3 * CONNECTIONS

    virtual_time.run(story())


def test_a_mistake_of_ours_is_no_cold_connection() -> None:
    async def story() -> None:
        api = _Api()
        api.error = TypeError("ours")
        with pytest.raises(TypeError, match="ours"):
            await keep_warm(api)

    virtual_time.run(story())
