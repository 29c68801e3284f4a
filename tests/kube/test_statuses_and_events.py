"""What is said of services: written soon, bounded, and never in anybody's way."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.kube import virtual_time
from tests.kube.fake_cluster import FakeCluster
from tests.kube.virtual_time import settle
from wangell_controller.backends import Trouble
from wangell_controller.kube.errors import ConflictError, NotFoundError, UnavailableError
from wangell_controller.kube.events import BURST, WAITING_MAX, Events, Story, event_of
from wangell_controller.kube.resources import EVENTS, WANGELL_SERVICES
from wangell_controller.kube.statuses import REQUEST_EVERY_S, WRITE_AFTER_S, Statuses
from wangell_proto.vocabulary import ColdStart

PATH = WANGELL_SERVICES.path("default", "a")
WRITE = f"PATCH {PATH}/status"


class Desk:
    """Statuses of services `a`..., as they should be in `wanted`."""

    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.statuses = Statuses(self.cluster, self._read)
        self.wanted: dict[str, dict[str, Any]] = {}

    def _read(self, key: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        live = self.cluster.of(WANGELL_SERVICES, key.partition("/")[2])
        return self.wanted[key], live.get("status", {})

    def want(self, name: str = "a", **status: Any) -> None:
        if WANGELL_SERVICES.path("default", name) not in self.cluster.objects:
            self.cluster.put(WANGELL_SERVICES, name)
        self.wanted[f"default/{name}"] = status
        self.statuses.write_soon(f"default/{name}")

    @property
    def written(self) -> dict[str, Any]:
        return dict(self.cluster.of(WANGELL_SERVICES, "a").get("status", {}))


def story(body: Callable[[Desk], Coroutine[Any, Any, None]]) -> None:
    async def told() -> None:
        desk = Desk()
        await body(desk)
        await desk.statuses.aclose()

    virtual_time.run(told())


def test_many_changes_are_one_write_of_the_last() -> None:
    async def body(desk: Desk) -> None:
        for phase in ("Waking", "Warm", "Draining"):
            desk.want(phase=phase)
            await settle(WRITE_AFTER_S / 4)
        assert desk.cluster.did() == []
        await settle(WRITE_AFTER_S)
        assert desk.cluster.did() == [WRITE]
        assert desk.written == {"phase": "Draining"}

    story(body)


def test_what_is_written_already_is_not_written_again() -> None:
    async def body(desk: Desk) -> None:
        desk.want(phase="Warm")
        await settle(1)
        desk.cluster.did()
        desk.want(phase="Warm")
        await settle(1)
        assert desk.cluster.did() == []

    story(body)


def test_fields_that_are_no_more_go() -> None:
    async def body(desk: Desk) -> None:
        desk.want(phase="Warm", loadBalancerIP="10.0.0.1")
        await settle(1)
        desk.want(phase="Warm")
        await settle(1)
        assert desk.written == {"phase": "Warm"}

    story(body)


def test_the_latest_request_alone_is_written_now_and_then() -> None:
    async def body(desk: Desk) -> None:
        for second in range(61):
            desk.want(latestRequest=f"second {second}")
            await settle(1)
        assert 5 <= desk.cluster.did().count(WRITE) <= 8
        await settle(REQUEST_EVERY_S)
        assert desk.written == {"latestRequest": "second 60"}, "and the last is not forgotten"

    story(body)


def test_a_latest_request_that_waits_keeps_no_phase_waiting() -> None:
    """As a service that was called a moment ago goes to sleep, and is called again."""

    async def body(desk: Desk) -> None:
        desk.want(phase="Warm", latestRequest="1")
        await settle(1)
        desk.want(phase="Warm", latestRequest="2")
        await settle(1)
        desk.want(phase="Cold", latestRequest="2")
        await settle(WRITE_AFTER_S + 0.01)
        assert desk.written == {"phase": "Cold", "latestRequest": "2"}
        assert desk.cluster.did() == [WRITE, WRITE]
        await settle(2 * REQUEST_EVERY_S)
        assert desk.cluster.did() == [], "the timer of before is no more"

    story(body)


def test_what_keeps_it_awake_is_written_as_seldom() -> None:
    async def body(desk: Desk) -> None:
        for second in range(61):
            desk.want(phase="Warm", awake=f"{second} connections on node1")
            await settle(1)
        assert desk.cluster.did().count(WRITE) <= 8
        await settle(REQUEST_EVERY_S)
        assert desk.written["awake"] == "60 connections on node1"

    story(body)


def test_anything_else_takes_the_latest_request_along() -> None:
    async def body(desk: Desk) -> None:
        desk.want(phase="Warm", latestRequest="1")
        await settle(1)
        desk.want(phase="Draining", latestRequest="2")
        await settle(1)
        assert desk.written == {"phase": "Draining", "latestRequest": "2"}

    story(body)


@pytest.mark.parametrize("error", [UnavailableError("down"), ConflictError("changed")], ids=str)
def test_a_write_that_failed_is_tried_again_with_what_is_true_then(error: Exception) -> None:
    async def body(desk: Desk) -> None:
        desk.cluster.refusals = [(WRITE, error)] * 3  # type: ignore[list-item]
        desk.want(phase="Waking")
        await settle(1)
        desk.want(phase="Warm")
        await settle(60)
        assert desk.written == {"phase": "Warm"}

    story(body)


def test_a_service_that_has_gone_needs_no_status() -> None:
    async def body(desk: Desk) -> None:
        desk.cluster.refusals = [(WRITE, NotFoundError("gone"))]
        desk.want(phase="Waking")
        await settle(60)
        assert desk.cluster.did() == [WRITE]
        desk.want(phase="Warm")
        del desk.wanted["default/a"]
        await settle(60)
        assert desk.cluster.did() == []

    story(body)


def test_few_are_written_at_a_time() -> None:
    async def body(desk: Desk) -> None:
        at_once: list[int] = []
        desk.cluster.before = lambda _: at_once.append(desk.statuses._turns._value)
        for number in range(100):
            desk.want(f"s{number}", phase="Warm")
        await settle(WRITE_AFTER_S + 0.01)
        assert len(desk.cluster.did()) < 100, "the rest waits"
        await settle(5)
        assert len(at_once) == 100

    story(body)


def test_closing_writes_what_waits() -> None:
    async def body(desk: Desk) -> None:
        desk.want(phase="Warm")
        await desk.statuses.aclose()
        assert desk.written == {"phase": "Warm"}

    story(body)


# --- Events ---------------------------------------------------------------------------------------

ABOUT = {"metadata": {"namespace": "default", "name": "a", "uid": "uid-1"}}


class Teller:
    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.about: Mapping[str, Any] | None = ABOUT
        self.events = Events(self.cluster, lambda _: self.about, instance="controller-1")
        self.task = asyncio.get_running_loop().create_task(self.events.send())

    @property
    def told(self) -> list[dict[str, Any]]:
        path = EVENTS.path("default")
        return [each for at, each in self.cluster.objects.items() if at.startswith(path)]

    def woke(self, outcome: str = "answered", total_s: float = 0.1714) -> None:
        report = ColdStart(
            service="default/a", activation=1, outcome=outcome, total_s=total_s, clients=1
        )
        self.events.woke("default/a", report)


def tale(body: Callable[[Teller], Coroutine[Any, Any, None]]) -> None:
    async def told() -> None:
        await body(Teller())

    virtual_time.run(told())


def test_an_event_is_about_its_service() -> None:
    now = datetime(2026, 11, 24, 10, 0, 0, 171000, tzinfo=UTC)
    story = Story(reason="Woke", action="Wake", note="woke in 171 ms")
    assert event_of(ABOUT, story, instance="controller-1", now=now, token="f00") == {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"namespace": "default", "name": "a.f00"},
        "eventTime": "2026-11-24T10:00:00.171000Z",
        "reportingController": "wangell-controller",
        "reportingInstance": "controller-1",
        "type": "Normal",
        "reason": "Woke",
        "action": "Wake",
        "note": "woke in 171 ms",
        "regarding": {
            "apiVersion": "wangell.loutres.me/v1alpha1",
            "kind": "WangellService",
            "namespace": "default",
            "name": "a",
            "uid": "uid-1",
        },
    }


def test_a_note_is_no_longer_than_the_api_takes() -> None:
    story = Story(reason="X", action="Y", note="n" * 5000)
    now = datetime.now(UTC)
    assert len(event_of(ABOUT, story, instance="i", now=now, token="t")["note"]) == 1024


def test_stories_are_told_in_the_users_words() -> None:
    async def body(teller: Teller) -> None:
        teller.woke()
        teller.events.failed("default/a", Trouble(reason="ImagePullBackOff", message="Back-off"))
        teller.events.slept("default/a", "idle for 1800 s")
        teller.events.hindered("default/a", Trouble(reason="NameTaken", message="exists"))
        await settle(1)
        assert [(each["type"], each["reason"], each["note"]) for each in teller.told] == [
            ("Normal", "Woke", "woke in 171 ms"),
            ("Warning", "ActivationFailed", "activation failed: ImagePullBackOff: Back-off"),
            ("Normal", "ScaledToZero", "scaled to zero: idle for 1800 s"),
            ("Warning", "NameTaken", "exists"),
        ]

    tale(body)


@pytest.mark.parametrize("outcome", ["timeout", "failed", "abandoned"])
def test_a_cold_start_that_answered_nobody_did_not_wake_in_any_time(outcome: str) -> None:
    async def body(teller: Teller) -> None:
        teller.woke(outcome)
        await settle(1)
        assert teller.told == []

    tale(body)


def test_a_service_that_wakes_all_the_time_is_told_of_now_and_then() -> None:
    async def body(teller: Teller) -> None:
        for _ in range(100):
            teller.woke()
            await settle(0.1)
        assert len(teller.told) == BURST

    tale(body)


def test_many_wakes_do_not_use_up_what_a_failure_has_to_say() -> None:
    async def body(teller: Teller) -> None:
        for _ in range(100):
            teller.woke()
        teller.events.failed("default/a", Trouble(reason="ImagePullBackOff", message="Back-off"))
        await settle(1)
        assert "ActivationFailed" in [each["reason"] for each in teller.told]

    tale(body)


def test_of_a_service_that_has_gone_there_is_nothing_to_tell() -> None:
    async def body(teller: Teller) -> None:
        teller.about = None
        teller.woke()
        await settle(1)
        assert teller.cluster.did() == []

    tale(body)


def test_an_event_that_does_not_get_through_is_lost_and_the_next_is_told() -> None:
    async def body(teller: Teller) -> None:
        teller.cluster.refusals = [("POST", UnavailableError("down"))]
        teller.woke(total_s=0.1)
        teller.woke(total_s=0.2)
        await settle(1)
        assert [each["note"] for each in teller.told] == ["woke in 200 ms"]

    tale(body)


def test_what_waits_to_be_told_is_bounded() -> None:
    async def body(teller: Teller) -> None:
        for number in range(WAITING_MAX + 50):
            teller.about = {"metadata": {**ABOUT["metadata"], "uid": f"uid-{number}"}}
            teller.events.slept(f"default/{number}", "idle")
        await settle(60)
        assert len(teller.cluster.did()) == WAITING_MAX

    tale(body)
