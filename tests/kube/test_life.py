"""A controller's life on a cluster in memory: it stands by, leads, and leaves."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest

from tests.kube import virtual_time
from tests.kube.fake_cluster import FakeCluster
from tests.kube.virtual_time import settle
from wangell_controller.keys import Keys
from wangell_controller.kube import candidate as candidate_module
from wangell_controller.kube.api import Api
from wangell_controller.kube.errors import RefusedError, UnavailableError
from wangell_controller.kube.lease import DURATION_S, RENEW_WITHIN_S, LeaseLostError
from wangell_controller.kube.life import Life
from wangell_controller.kube.resources import CONTROLLER_NAME, LEASES, NAMESPACES, NODES
from wangell_controller.settings import KubeSettings

SYSTEM = "wangell-system"
LEASE = LEASES.path(SYSTEM, CONTROLLER_NAME)
SETTINGS = KubeSettings(
    kubeconfig=None,
    namespace=SYSTEM,
    identity="controller-1",
    daemon_account="wangell-daemon",
    keys=Keys(private_key=os.urandom(32), psks=(os.urandom(32),)),
    listen=("127.0.0.1", 0),
    health_address=None,
    metrics_address=None,
    keeps_announced=False,
    removes_taint=False,
)


class LeaseCluster(FakeCluster):
    """The same for all of a controller's pools of connections; Leases have a time of creation."""

    host = ""  # No express connection to it.

    def __init__(self) -> None:
        super().__init__()
        self.put(NODES, "node1", None)
        self.put(NAMESPACES, SYSTEM, None)
        self.objects["/version"] = {"metadata": {"resourceVersion": "1"}}

    def twin(self) -> "LeaseCluster":
        return self

    async def aclose(self) -> None:
        """Nothing is open."""

    async def create(self, path: str, body: Any) -> dict[str, Any]:
        stamp = {"creationTimestamp": "2026-11-24T10:00:00Z", **body["metadata"]}
        return await super().create(path, {**body, "metadata": stamp})

    def lead(self, holder: str) -> None:
        """Somebody has the Lease, and renews it no more."""
        spec = {"holderIdentity": holder, "leaseDurationSeconds": DURATION_S, "leaseTransitions": 1}
        stamp = {"creationTimestamp": "2026-11-24T10:00:00Z"}
        self.put(LEASES, CONTROLLER_NAME, SYSTEM, spec=spec)
        self.change(LEASE, metadata=stamp)

    @property
    def holder(self) -> str | None:
        return cast("str | None", self.objects[LEASE]["spec"].get("holderIdentity"))


class Living:
    """One controller that lives."""

    def __init__(self) -> None:
        self.cluster = LeaseCluster()

    def begin(self) -> None:
        self.life = Life(SETTINGS, cast("Api", self.cluster))
        self.task = asyncio.get_running_loop().create_task(self.life.run())

    async def end(self) -> None:
        """SIGTERM."""
        self.life._stop.set()
        await self.task

    @property
    def leads(self) -> bool:
        value = self.life.metrics.registry.get_sample_value("wangell_controller_leader")
        return value == 1.0


@pytest.fixture
def tell(
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[Callable[[Living], Coroutine[Any, Any, None]]], None]:
    """Tells a story in virtual time, on which the Lease's clock goes, too."""

    async def told(story: Callable[[Living], Coroutine[Any, Any, None]]) -> None:
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(candidate_module.time, "clock_gettime", lambda _: loop.time())
        await story(Living())

    return lambda story: virtual_time.run(told(story))


Tell = Callable[[Callable[[Living], Coroutine[Any, Any, None]]], None]


def test_alone_it_leads_and_gives_the_lease_back_at_its_end(tell: Tell) -> None:
    async def story(living: Living) -> None:
        living.begin()
        await settle(2)
        assert (living.life.missing, living.leads) == (None, True)
        assert living.cluster.holder == "controller-1"
        await settle(60)
        assert living.leads
        await living.end()
        assert not living.cluster.holder

    tell(story)


def test_while_another_leads_it_is_ready_and_stands_by(tell: Tell) -> None:
    async def story(living: Living) -> None:
        living.cluster.lead("controller-2")
        living.begin()
        await settle(2)
        assert (living.life.missing, living.leads) == (None, False)
        await settle(DURATION_S - 4)
        assert not living.leads
        await settle(5)
        assert (living.leads, living.cluster.holder) == (True, "controller-1")
        await living.end()

    tell(story)


def test_one_that_never_led_leaves_the_lease_as_it_is(tell: Tell) -> None:
    async def story(living: Living) -> None:
        living.cluster.lead("controller-2")
        living.begin()
        await settle(2)
        await living.end()
        assert living.cluster.holder == "controller-2"

    tell(story)


def test_it_is_not_ready_before_the_cluster_is_read(tell: Tell) -> None:
    async def story(living: Living) -> None:
        away = ("LIST /api/v1/nodes", UnavailableError("restarting"))
        living.cluster.refusals = [away] * 3
        living.begin()
        await settle(0.1)
        assert living.life.missing == "the cluster is being read"
        await settle(30)
        assert living.life.missing is None
        await living.end()

    tell(story)


def test_whoever_lost_the_lease_ends(tell: Tell) -> None:
    """It does not stand by again: its pod begins anew."""

    async def story(living: Living) -> None:
        living.begin()
        await settle(2)
        living.cluster.lead("controller-2")
        with pytest.raises(LeaseLostError, match="held by controller-2"):
            await living.task
        assert not living.leads
        assert living.cluster.holder == "controller-2", "it gives back what is not its own"

    tell(story)


def test_one_that_cannot_renew_ends_in_time(tell: Tell) -> None:
    async def story(living: Living) -> None:
        living.begin()
        await settle(2)
        began = living.life._loop.time()
        living.cluster.refusals = [(f"PATCH {LEASE}", UnavailableError("down"))] * 1000
        with pytest.raises(LeaseLostError, match="not renewed"):
            await living.task
        assert living.life._loop.time() - began <= RENEW_WITHIN_S

    tell(story)


def test_what_the_api_server_refuses_for_good_ends_it(tell: Tell) -> None:
    async def story(living: Living) -> None:
        living.cluster.refusals = [(f"GET {LEASE}", RefusedError("no right"))]
        living.begin()
        with pytest.raises(RefusedError, match="no right"):
            await living.task
        assert living.life.missing is not None

    tell(story)


def test_an_api_server_that_restarts_as_it_begins_is_waited_for(tell: Tell) -> None:
    async def story(living: Living) -> None:
        living.cluster.refusals = [(f"GET {LEASE}", UnavailableError("restarting"))] * 2
        living.begin()
        await settle(10)
        assert living.leads
        await living.end()

    tell(story)


def test_a_part_that_fails_ends_it_and_says_why(tell: Tell) -> None:
    async def story(living: Living) -> None:
        living.begin()
        await settle(2)

        async def fail() -> None:
            raise RuntimeError("a defect")

        living.life._take_on(fail())
        with pytest.raises(RuntimeError, match="a defect"):
            await living.task
        assert not living.cluster.holder, "another leads at once"

    tell(story)
