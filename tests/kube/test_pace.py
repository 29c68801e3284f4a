"""What is read when: a wake's thirty events must not take the CPU that starts its pod."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.kube import virtual_time
from tests.kube.fake_cluster import FakeCluster
from tests.kube.virtual_time import settle
from wangell_controller.kube.inventory import Bystander, Inventory
from wangell_controller.kube.pace import (
    LISTENS_WITHIN_S,
    PLACED_S,
    PODS_REST_S,
    REST_S,
    STANDBY_REST_S,
)
from wangell_controller.kube.resources import (
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    MANAGED_BY,
    PODS,
    SERVICE_LABEL,
    Resource,
)

KEY, OTHER = "default/hello", "default/other"


class Reader:
    """An inventory, and what happens in its cluster."""

    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.inventory = Inventory(self.cluster, Bystander())
        self.task = asyncio.get_running_loop().create_task(self.inventory.follow())

    def put(self, resource: Resource, name: str, service: str = KEY, **fields: Any) -> None:
        """An object of a service."""
        labels = {SERVICE_LABEL: service.partition("/")[2], MANAGED_BY: "wangell"}
        metadata = {"uid": name, "labels": labels}
        self.cluster.put(resource, name, metadata=metadata, **fields)

    def bind(self, pod: str, service: str = KEY) -> None:
        """It has a node."""
        self.put(PODS, pod, service, spec={"nodeName": "node1"})

    def phase(self, pod: str, phase: str, service: str = KEY) -> None:
        """Its status changes."""
        self.put(PODS, pod, service, status={"phase": phase})

    def read(self, service: str = KEY) -> list[str]:
        """The phase of each of its pods, as it is known."""
        pods = self.inventory.pods(service)
        return [each.get("status", {}).get("phase", "Pending") for each in pods]


def story(body: Callable[[Reader], Coroutine[Any, Any, None]], *, leads: bool = True) -> None:
    async def told() -> None:
        reader = Reader()
        await settle(1)
        if leads:
            reader.inventory.pace.lead()
        await body(reader)

    virtual_time.run(told())


def test_who_leads_reads_in_one_batch_what_comes_until_a_woken_services_pod_has_a_node() -> None:
    async def body(reader: Reader) -> None:
        reader.inventory.pace.expect_pod(KEY)
        reader.put(PODS, "pod")
        await settle(PLACED_S - 0.01)
        assert reader.read() == []
        reader.bind("pod")
        await settle(0.02)
        assert reader.read() == ["Pending"]

    story(body)


def test_what_becomes_of_a_pod_that_has_a_node_is_read_when_the_wake_is_over() -> None:
    async def body(reader: Reader) -> None:
        reader.inventory.pace.expect_pod(KEY)
        reader.bind("pod")
        await settle(PLACED_S + 0.01)
        reader.phase("pod", "Running")
        await settle(REST_S - 0.02)
        assert reader.read() == ["Pending"]
        await settle(0.02)
        assert reader.read() == ["Running"]

    story(body)


def test_another_wake_has_its_pod_read_soon() -> None:
    async def body(reader: Reader) -> None:
        reader.inventory.pace.expect_pod(KEY)
        reader.bind("pod")
        await settle(PLACED_S + 0.01)
        reader.inventory.pace.expect_pod(OTHER)
        reader.bind("other", OTHER)
        await settle(PLACED_S + 0.01)
        assert reader.read(OTHER) == ["Pending"]

    story(body)


def test_a_pod_that_listens_late_or_has_no_node_is_read_as_soon_as_any() -> None:
    async def body(reader: Reader) -> None:
        reader.inventory.pace.expect_pod(KEY)
        reader.put(PODS, "pod")
        await settle(PLACED_S + 0.01)
        for phase in ("Unschedulable", "Starting"):
            reader.phase("pod", phase)
            await settle(PODS_REST_S + 0.01)
            assert reader.read() == [phase]
            reader.bind("pod")
            await settle(LISTENS_WITHIN_S + REST_S)

    story(body)


@pytest.mark.parametrize("is_bound", [True, False])
def test_that_it_was_raised_is_read_with_its_pod_and_the_rest_later(is_bound: bool) -> None:
    async def body(reader: Reader) -> None:
        reader.inventory.pace.expect_pod(KEY)
        if is_bound:
            reader.bind("pod")
        reader.put(DEPLOYMENTS, "hello", spec={"replicas": 1})
        reader.put(ENDPOINT_SLICES, "hello-x2")
        await settle(PLACED_S - 0.01)
        assert reader.inventory.deployment(KEY) is None
        await settle(0.02)
        reader.put(DEPLOYMENTS, "hello", spec={"replicas": 2})
        await settle(0.01)
        deployment = reader.inventory.deployment(KEY)
        assert deployment is not None
        assert deployment["spec"]["replicas"] == 1
        assert list(reader.inventory.slices(KEY)) == []

    story(body)


def test_who_stands_by_reads_what_begins_a_wake_and_the_rest_when_it_is_over() -> None:
    async def body(reader: Reader) -> None:
        await settle(STANDBY_REST_S)
        reader.put(DEPLOYMENTS, "hello")
        await settle(0.01)
        assert reader.inventory.deployment(KEY) is not None
        reader.bind("pod")
        await settle(STANDBY_REST_S - 0.02)
        assert reader.read() == []
        await settle(0.02)
        assert reader.read() == ["Pending"]

    story(body, leads=False)


def test_who_stands_by_rests_as_long_where_a_pod_comes_first() -> None:
    async def body(reader: Reader) -> None:
        reader.phase("pod", "Pending")
        await settle(0.01)
        reader.phase("pod", "Running")
        await settle(STANDBY_REST_S - 0.02)
        assert reader.read() == ["Pending"]
        await settle(0.02)
        assert reader.read() == ["Running"]

    story(body, leads=False)


def test_who_stands_by_and_is_asked_reads_as_it_comes() -> None:
    async def body(reader: Reader) -> None:
        reader.put(DEPLOYMENTS, "hello")
        await settle(0.01)
        reader.inventory.pace.hurry(1.0)
        for phase in ("Pending", "Running"):
            reader.phase("pod", phase)
            await settle(0.01)
            assert reader.read() == [phase]

    story(body, leads=False)


def test_where_other_pods_are_to_end_before_each_end_is_read_as_it_comes() -> None:
    async def body(reader: Reader) -> None:
        reader.bind("old")
        reader.bind("older")
        await settle(1)
        reader.inventory.pace.expect_pod(KEY, others_end=True)
        for left in (1, 0):
            reader.cluster.remove(PODS.path("default", ("older", "old")[left]))
            await settle(0.01)
            assert len(reader.read()) == left

    story(body)
