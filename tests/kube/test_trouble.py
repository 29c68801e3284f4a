"""Kubernetes's own words for why a replica does not come up."""

from typing import Any

import pytest

from tests.kube.objects import leaving, pod, running
from wangell_controller.backends import Trouble
from wangell_controller.kube.trouble import trouble_of


def waiting(reason: str | None, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


@pytest.mark.parametrize(
    "reason", ["ImagePullBackOff", "ErrImagePull", "CreateContainerConfigError", "CrashLoopBackOff"]
)
def test_what_a_container_waits_for(reason: str) -> None:
    each = pod(node="node1", state=waiting(reason, 'Back-off pulling image "nobody/has:it"'))
    assert trouble_of(None, [each]) == Trouble(
        reason=reason, message='Back-off pulling image "nobody/has:it"'
    )


@pytest.mark.parametrize("reason", ["ContainerCreating", "PodInitializing", None])
def test_what_is_on_its_way_is_in_no_trouble(reason: str | None) -> None:
    assert trouble_of(None, [pod(node="node1", state=waiting(reason))]) is None


@pytest.mark.parametrize("pods", [[], [pod()], [pod(node="node1")], [running()]])
def test_no_news_is_no_trouble(pods: list[Any]) -> None:
    assert trouble_of(None, pods) is None
    assert trouble_of({"status": {}}, pods) is None


def test_an_image_that_an_init_container_cannot_have() -> None:
    each = pod(node="node1")
    each["status"]["initContainerStatuses"] = [{"name": "i", "state": waiting("ErrImagePull")}]
    assert trouble_of(None, [each]) == Trouble(reason="ErrImagePull", message="ErrImagePull")


def test_a_pod_that_no_node_can_take() -> None:
    message = "0/2 nodes are available: 2 Insufficient memory."
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": message,
    }
    found = trouble_of(None, [pod(conditions=[condition])])
    assert found == Trouble(reason="Unschedulable", message=message)


def test_a_server_that_has_ended() -> None:
    state = {"terminated": {"exitCode": 3, "reason": "Error"}}
    assert trouble_of(None, [pod(node="node1", state=state)]) == Trouble(
        reason="Error", message="container server ended with 3"
    )


def test_a_server_that_ended_before_and_runs_again_has_said_why() -> None:
    each = running()
    each["status"]["containerStatuses"][0]["lastState"] = {
        "terminated": {"exitCode": 137, "reason": "OOMKilled"}
    }
    found = trouble_of(None, [each])
    assert found is not None
    assert found.reason == "OOMKilled"


def test_a_server_that_ended_well_is_in_no_trouble() -> None:
    assert trouble_of(None, [pod(state={"terminated": {"exitCode": 0}})]) is None


def test_a_pod_that_was_evicted() -> None:
    found = trouble_of(None, [pod(phase="Failed", reason="Evicted", message="low on memory")])
    assert found == Trouble(reason="Evicted", message="low on memory")


def test_a_pod_that_is_being_deleted_has_no_say() -> None:
    each = leaving(pod(node="node1", state=waiting("ImagePullBackOff")))
    assert trouble_of(None, [each]) is None


def test_a_pod_that_could_not_be_created() -> None:
    condition = {
        "type": "ReplicaFailure",
        "status": "True",
        "reason": "FailedCreate",
        "message": "exceeded quota",
    }
    found = trouble_of({"status": {"conditions": [condition]}}, [])
    assert found == Trouble(reason="FailedCreate", message="exceeded quota")
    assert trouble_of({"status": {"conditions": [{**condition, "status": "False"}]}}, []) is None


def test_a_pods_trouble_comes_before_its_deployments() -> None:
    deployment = {"status": {"conditions": [{"type": "ReplicaFailure", "status": "True"}]}}
    found = trouble_of(deployment, [pod(state=waiting("ErrImagePull"))])
    assert found is not None
    assert found.reason == "ErrImagePull"


def test_trouble_reads_as_a_sentence() -> None:
    assert (
        str(Trouble(reason="ImagePullBackOff", message="Back-off")) == "ImagePullBackOff: Back-off"
    )
