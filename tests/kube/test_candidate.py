"""Candidates at one API server: who leads, until when, and what becomes of it."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from tests.kube import virtual_time
from tests.kube.fake_cluster import FakeCluster
from tests.kube.virtual_time import settle
from wangell_controller.kube.candidate import REQUEST_S, Candidate, since_boot
from wangell_controller.kube.errors import (
    ConflictError,
    ForbiddenError,
    KubeError,
    UnavailableError,
)
from wangell_controller.kube.lease import DURATION_S, RENEW_WITHIN_S, LeaseLostError
from wangell_controller.kube.resources import CONTROLLER_NAME, LEASES

NAMESPACE = "wangell-system"
PATH = LEASES.path(NAMESPACE, CONTROLLER_NAME)
RENEWAL = f"PATCH {PATH}"


class Clock:
    """The loop's, with jumps: a suspended machine's goes on while nothing runs."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return asyncio.get_running_loop().time() + self.ahead_s


class Away:
    """A way to the API server that may be cut: what is asked then hangs."""

    def __init__(self, cluster: FakeCluster) -> None:
        self.cluster = cluster
        self.is_cut = False
        self.loses_answers = False

    async def get(self, path: str) -> dict[str, Any]:
        return await self._through(self.cluster.get(path))

    async def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return await self._through(self.cluster.create(path, body))

    async def merge(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return await self._through(self.cluster.merge(path, body))

    async def _through(self, asked: Any) -> dict[str, Any]:
        if self.is_cut:
            asked.close()
            await asyncio.sleep(1e6)
        answer: dict[str, Any] = await asked
        if self.loses_answers:
            self.loses_answers = False
            await asyncio.sleep(1e6)
        return answer


class Rival:
    """One controller."""

    def __init__(self, cluster: FakeCluster, name: str) -> None:
        self.clock = Clock()
        self.way = Away(cluster)
        self.candidate = Candidate(self.way, namespace=NAMESPACE, identity=name, clock=self.clock)
        self.epoch: int | None = None
        self.won_at = self.lost_at = 0.0
        self.lost = ""
        self.task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        self.epoch = await self.candidate.win()
        self.won_at = asyncio.get_running_loop().time()
        try:
            await self.candidate.keep()
        except LeaseLostError as error:
            self.lost, self.lost_at = str(error), asyncio.get_running_loop().time()

    async def leave(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.candidate.release()


def spec(cluster: FakeCluster) -> dict[str, Any]:
    return dict(cluster.of(LEASES, CONTROLLER_NAME, NAMESPACE)["spec"])


async def two(cluster: FakeCluster) -> tuple[Rival, Rival]:
    """The first leads."""
    first = Rival(cluster, "one")
    await settle(1)
    second = Rival(cluster, "two")
    await settle(5)
    assert first.candidate.leads
    assert not second.candidate.leads
    return first, second


# --- Winning --------------------------------------------------------------------------------------


def test_the_first_creates_it_and_the_second_waits() -> None:
    async def story() -> None:
        cluster = FakeCluster()
        first, second = await two(cluster)
        await settle(600)
        assert first.candidate.leads
        assert second.epoch is None
        assert spec(cluster)["holderIdentity"] == "one"
        assert spec(cluster)["leaseTransitions"] == 1

    virtual_time.run(story())


def test_of_many_that_begin_together_one_wins() -> None:
    async def story() -> None:
        cluster = FakeCluster()
        rivals = [Rival(cluster, f"controller-{number}") for number in range(5)]
        for _ in range(20):
            await settle(1)
            assert sum(each.candidate.leads for each in rivals) == 1
        assert spec(cluster)["leaseTransitions"] == 1

    virtual_time.run(story())


def test_the_epoch_that_is_led_with_is_the_leases() -> None:
    async def story() -> None:
        cluster = FakeCluster()
        first, second = await two(cluster)
        seen = await second.candidate.epoch()
        assert seen == first.epoch
        await first.leave()
        await settle(3)
        assert second.epoch == seen + 1

    virtual_time.run(story())


def test_before_there_is_a_lease_the_epoch_is_none() -> None:
    async def story() -> None:
        candidate = Candidate(FakeCluster(), namespace=NAMESPACE, identity="one")
        assert await candidate.epoch() == 0

    virtual_time.run(story())


def test_rights_that_come_a_moment_later_are_waited_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story() -> None:
        cluster = FakeCluster()
        cluster.refusals = [(f"GET {PATH}", ForbiddenError("rbac"))] * 5
        only = Rival(cluster, "one")
        await settle(4)
        assert not only.candidate.leads
        await settle(3)
        assert only.candidate.leads

    virtual_time.run(story())
    assert [each.message for each in caplog.records].count("the Lease: rbac") == 1


# --- Keeping --------------------------------------------------------------------------------------


def test_it_is_renewed_every_two_seconds() -> None:
    async def story() -> None:
        cluster = FakeCluster()
        await two(cluster)
        cluster.did()
        await settle(20)
        assert cluster.did() == [RENEWAL] * 10, "who stands by only looks"

    virtual_time.run(story())


def test_an_api_server_that_restarts_costs_nothing() -> None:
    async def story() -> None:
        cluster = FakeCluster()
        first, second = await two(cluster)
        cluster.refusals = [(RENEWAL, UnavailableError("restarting"))] * 8
        await settle(30)
        assert cluster.refusals == []
        assert first.candidate.leads
        assert second.epoch is None

    virtual_time.run(story())


@pytest.mark.parametrize("cut_s", [30, 3600])
def test_one_that_is_cut_off_has_stopped_before_another_leads(cut_s: float) -> None:
    async def story() -> None:
        cluster = FakeCluster()
        first, second = await two(cluster)
        first.way.is_cut = True
        await settle(cut_s)
        assert "was not renewed for 12 s" in first.lost
        assert not first.candidate.leads
        assert second.candidate.leads
        assert second.won_at - first.lost_at >= DURATION_S - RENEW_WITHIN_S - 2 * REQUEST_S
        assert second.won_at > first.lost_at

    virtual_time.run(story())


def test_a_request_that_hangs_is_given_up_and_sent_again() -> None:
    async def story() -> None:
        cluster = FakeCluster()
        first, second = await two(cluster)
        first.way.is_cut = True
        await settle(REQUEST_S + 2)
        first.way.is_cut = False
        await settle(60)
        assert first.lost == ""
        assert first.candidate.leads
        assert second.epoch is None

    virtual_time.run(story())


def test_a_renewal_whose_answer_is_lost_is_recognised_as_ours() -> None:
    async def story() -> None:
        cluster = FakeCluster()
        first, _second = await two(cluster)
        first.way.loses_answers = True
        await settle(60)
        assert not first.way.loses_answers
        assert first.candidate.leads
        assert spec(cluster)["leaseTransitions"] == 1

    virtual_time.run(story())


def test_a_taking_whose_answer_is_lost_is_taken_again_under_another_epoch() -> None:
    async def story() -> None:
        cluster = FakeCluster()
        first, second = await two(cluster)
        second.way.loses_answers = False
        await first.leave()
        cluster.before = lambda request: (
            setattr(second.way, "loses_answers", True)
            if (request == RENEWAL and spec(cluster)["leaseTransitions"] == 1)
            else None
        )
        await settle(20)
        assert second.candidate.leads
        assert spec(cluster)["leaseTransitions"] == 3, "taken twice, led once"

    virtual_time.run(story())


def test_one_whose_machine_was_suspended_leads_no_more() -> None:
    """CLOCK_MONOTONIC would have stood still."""

    async def story() -> None:
        cluster = FakeCluster()
        first, _second = await two(cluster)
        first.clock.ahead_s += 30
        assert not first.candidate.leads, "before anything of it has run"
        await settle(3)
        assert "leading no more" in first.lost

    virtual_time.run(story())


def test_one_that_waits_and_whose_clock_jumps_takes_nothing_that_is_renewed() -> None:
    async def story() -> None:
        cluster = FakeCluster()
        first, second = await two(cluster)
        for _ in range(10):
            second.clock.ahead_s += 3600
            await settle(5)
        assert first.candidate.leads
        assert second.epoch is None
        assert spec(cluster)["leaseTransitions"] == 1

    virtual_time.run(story())


def test_a_lease_that_was_deleted_ends_who_leads() -> None:
    async def story() -> None:
        cluster = FakeCluster()
        first, second = await two(cluster)
        cluster.remove(PATH)
        await settle(5)
        assert "has deleted the Lease" in first.lost
        assert second.candidate.leads

    virtual_time.run(story())


def test_two_of_one_name_are_told_the_remedy() -> None:
    async def story() -> None:
        cluster = FakeCluster()
        first = Rival(cluster, "same")
        await settle(5)
        second = Rival(cluster, "same")
        await settle(5)
        assert "give each its own --identity" in first.lost
        assert second.candidate.leads

    virtual_time.run(story())


def test_somebodys_label_on_the_lease_is_no_loss() -> None:
    async def story() -> None:
        cluster = FakeCluster()
        first, second = await two(cluster)
        cluster.change(PATH, metadata={"labels": {"seen": "by-me"}})
        await settle(30)
        assert first.candidate.leads
        assert second.epoch is None

    virtual_time.run(story())


# --- Leaving --------------------------------------------------------------------------------------


def test_given_back_it_is_anothers_within_a_second() -> None:
    async def story() -> None:
        cluster = FakeCluster()
        first, second = await two(cluster)
        left_at = asyncio.get_running_loop().time()
        await first.leave()
        assert not first.candidate.leads
        await settle(2)
        assert second.candidate.leads
        assert second.won_at - left_at < 1.1
        assert spec(cluster)["holderIdentity"] == "two"

    virtual_time.run(story())


def test_one_that_never_led_gives_nothing_back() -> None:
    async def story() -> None:
        cluster = FakeCluster()
        first, second = await two(cluster)
        cluster.did()
        await second.leave()
        assert cluster.did() == []
        assert first.candidate.leads

    virtual_time.run(story())


@pytest.mark.parametrize("error", [UnavailableError("down"), ConflictError("changed")])
def test_one_that_cannot_be_given_back_ends_by_itself(error: KubeError) -> None:
    async def story() -> None:
        cluster = FakeCluster()
        first, second = await two(cluster)
        cluster.refusals = [(RENEWAL, error)]
        await first.leave()
        assert not first.candidate.leads
        await settle(DURATION_S - 3)
        assert second.epoch is None
        await settle(5)
        assert second.candidate.leads

    virtual_time.run(story())


def test_the_clock_is_one_that_a_suspend_does_not_stop() -> None:
    first = since_boot()
    assert 0 <= since_boot() - first < 60
