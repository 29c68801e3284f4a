"""What is read off the API server's objects."""

from typing import Any

import pytest

from tests.kube.objects import kube_service, leaving, pod, running, slice_of
from wangell_controller.kube.observed import (
    Pod,
    expects_daemon,
    frontends_of,
    is_owned,
    outside_frontends_of,
    pod_of,
    ready_pods,
    replicas_of,
    service_key,
    version_of,
)
from wangell_proto.vocabulary import EACH_NODE, Frontend


def test_a_pod_is_of_use_from_the_moment_it_is_scheduled() -> None:
    assert pod_of(pod()).node == ""
    assert pod_of(pod(node="node1")) == Pod(
        uid="pod-1",
        node="node1",
        address="",
        is_ready=False,
        is_running=False,
        is_leaving=False,
    )


def test_a_pod_that_runs() -> None:
    found = pod_of(running())
    assert (found.address, found.is_ready, found.is_running) == ("10.244.0.5", True, True)


def test_a_pod_that_is_deleted_serves_nobody_though_it_runs() -> None:
    found = pod_of(leaving(running()))
    assert (found.is_leaving, found.is_ready, found.is_running) == (True, False, False)


@pytest.mark.parametrize("phase", ["Failed", "Succeeded"])
def test_a_pod_that_is_over_is_leaving(phase: str) -> None:
    assert pod_of(pod(node="node1", phase=phase)).is_leaving


@pytest.mark.parametrize(
    "state", [{"waiting": {"reason": "CrashLoopBackOff"}}, {"terminated": {"exitCode": 1}}]
)
def test_a_pod_whose_server_has_ended_does_not_run(state: dict[str, Any]) -> None:
    assert not pod_of(pod(node="node1", state=state)).is_running


def test_whose_an_object_is() -> None:
    assert service_key(running()) == "default/serverless-example"
    assert service_key({"metadata": {"namespace": "default", "name": "x"}}) is None


def test_owned_is_what_we_control() -> None:
    def owned_by(**owner: Any) -> dict[str, Any]:
        return {"metadata": {"ownerReferences": [owner]}}

    assert is_owned(owned_by(uid="a", controller=True), "a")
    assert not is_owned(owned_by(uid="b", controller=True), "a")
    assert not is_owned(owned_by(uid="a"), "a")
    assert not is_owned({"metadata": {}}, "a")


def test_versions_are_numbers() -> None:
    assert version_of({"metadata": {"resourceVersion": "1021"}}) == 1021


def test_replicas() -> None:
    assert replicas_of(None) == 0
    assert replicas_of({"spec": {"replicas": 2}}) == 2
    assert replicas_of({"spec": {}}) == 1, "as Kubernetes has it where nothing is said"


def test_frontends_are_where_callers_from_outside_come() -> None:
    found = frontends_of(kube_service("10.46.100.105", externalIPs=["192.0.2.7"]))
    assert found == (
        Frontend(address="10.46.100.105", port=80),
        Frontend(address="192.0.2.7", port=80),
    )


def test_the_cluster_calls_its_address_or_any_node() -> None:
    service = kube_service("10.46.100.105", clusterIP="10.96.3.4")
    service["spec"]["ports"][0]["nodePort"] = 30080
    found = frontends_of(service)
    assert found == (
        Frontend(address="10.46.100.105", port=80),
        Frontend(address="10.96.3.4", port=80),
        Frontend(address=EACH_NODE, port=30080),
    )
    assert outside_frontends_of(service) == found[:1]


def test_each_port_is_one_at_each_address() -> None:
    service = kube_service(clusterIP="10.96.3.4")
    service["spec"]["ports"] = [{"port": 80, "nodePort": 30080}, {"port": 443}]
    assert frontends_of(service) == (
        Frontend(address="10.96.3.4", port=80),
        Frontend(address="10.96.3.4", port=443),
        Frontend(address=EACH_NODE, port=30080),
    )


@pytest.mark.parametrize(
    "service",
    [
        None,
        kube_service(),
        kube_service(clusterIP="None"),
        kube_service(clusterIP="fd00::7"),
        {"spec": {"ports": [{"port": 80}]}, "metadata": {}},
        {**kube_service(), "status": {"loadBalancer": {"ingress": [{"hostname": "lb.example"}]}}},
        kube_service("not an address"),
        kube_service("2001:db8::1"),
    ],
)
def test_what_is_no_address_yet_is_none(service: Any) -> None:
    assert frontends_of(service) == outside_frontends_of(service) == ()


def test_source_ranges_are_of_the_load_balancers_address_alone() -> None:
    ranges = ["10.0.0.0/8", "203.0.113.7/32"]
    service = kube_service(
        "10.46.100.105",
        clusterIP="10.96.3.4",
        externalIPs=["10.46.100.106"],
        loadBalancerSourceRanges=ranges,
    )
    service["spec"]["ports"][0]["nodePort"] = 30080
    assert [(each.address, each.sources) for each in frontends_of(service)] == [
        ("10.46.100.105", tuple(ranges)),
        ("10.46.100.106", ()),
        ("10.96.3.4", ()),
        (EACH_NODE, ()),
    ]
    assert outside_frontends_of(service) == frontends_of(service)[:2]


MANY = [f"10.0.{each}.0/24" for each in range(99)]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (None, ()),
        ([], ()),
        ([" 10.0.0.0/8 "], ("10.0.0.0/8",)),
        (["10.0.0.7/8", "10.0.0.0/8"], ("10.0.0.0/8",)),
        (["fd00::/8", "10.0.0.0/8"], ("10.0.0.0/8",)),
        (["fd00::/8"], ()),
        (MANY, tuple(MANY[:64])),
    ],
)
def test_ranges_that_another_has_set_are_read_as_kube_proxy_does(said: Any, expected: Any) -> None:
    service = kube_service("10.46.100.105", loadBalancerSourceRanges=said)
    (frontend,) = frontends_of(service)
    assert frontend.sources == expected


def test_an_address_given_twice_is_one() -> None:
    service = kube_service("10.46.100.105", externalIPs=["10.46.100.105"])
    assert len(frontends_of(service)) == 1
    service["spec"]["loadBalancerSourceRanges"] = ["10.0.0.0/8"]
    (frontend,) = frontends_of(service)
    assert frontend.sources == ("10.0.0.0/8",), "with the ranges of the one that has any"


def test_ready_is_what_the_slices_call_ready() -> None:
    assert ready_pods([slice_of("a", "b"), slice_of("c")]) == {"a", "b", "c"}
    assert ready_pods([slice_of("a", ready=False), slice_of("b", ready=None)]) == frozenset()
    assert ready_pods([{"metadata": {}, "endpoints": None}]) == frozenset()
    placeholder = {"endpoints": [{"addresses": ["192.0.2.1"], "conditions": {"ready": True}}]}
    assert ready_pods([placeholder]) == frozenset(), "it is no pod"


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({}, True),
        ({"kubernetes.io/os": "linux"}, True),
        ({"kubernetes.io/os": "windows"}, False),
        ({"kubernetes.io/os": "linux", "type": "virtual-kubelet"}, False),
    ],
)
def test_nodes_without_a_daemon_are_not_waited_for(labels: Any, expected: bool) -> None:
    assert expects_daemon({"metadata": {"name": "node1", "labels": labels}}) is expected
