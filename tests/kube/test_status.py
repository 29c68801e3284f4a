"""A status says what is so, why, and since when."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.controller.helpers import service as manifest
from wangell_controller.backends import Trouble
from wangell_controller.decide import Decision
from wangell_controller.kube.crd import crd
from wangell_controller.kube.status import Circumstances, status_of, status_of_invalid
from wangell_controller.services import Service
from wangell_proto.vocabulary import EACH_NODE, Frontend, Phase

NOW = datetime(2026, 11, 24, 10, 0, 0, tzinfo=UTC)
HERE = (Frontend(address="10.46.100.105", port=80),)
PULL = Trouble(reason="ImagePullBackOff", message="Back-off pulling image")


def kept(phase: Phase = Phase.COLD, **known: Any) -> Service:
    usual = {"manifest": manifest(), "frontends": HERE}
    return Service(phase_since=0.0, phase=phase, **{**usual, **known})


def status(
    service: Service,
    *,
    problem: Trouble | None = None,
    before: Any = None,
    now: datetime = NOW,
    outside: tuple[Frontend, ...] | None = None,
) -> dict[str, Any]:
    around = Circumstances(
        generation=3,
        problem=problem,
        before=before or {},
        outside=service.frontends if outside is None else outside,
    )
    return status_of(service, around, now=now)


def condition(found: dict[str, Any], kind: str) -> dict[str, Any]:
    (one,) = [each for each in found["conditions"] if each["type"] == kind]
    return dict(one)


def said(found: dict[str, Any], kind: str) -> tuple[str, str]:
    one = condition(found, kind)
    return one["status"], one["reason"]


def test_at_zero_it_is_ready_for_a_call() -> None:
    found = status(kept(latest_request=1731774554.9, activation=4, reason="idle for 1800 s"))
    conditions = found.pop("conditions")
    assert found == {
        "latestRequest": "2024-11-16T16:29:14Z",
        "loadBalancerIP": "10.46.100.105",
        "replicas": 0,
        "address": "10.46.100.105",
        "phase": "Cold",
        "reason": "idle for 1800 s",
        "activations": 4,
        "selector": "wangell.loutres.me/service=serverless-example",
        "observedGeneration": 3,
    }
    assert [each["type"] for each in conditions] == [
        "Ready",
        "Active",
        "AddressAssigned",
        "ActivationFailed",
        "ScaleDownBlocked",
    ]
    found["conditions"] = conditions
    assert said(found, "Ready") == ("True", "Cold")
    assert said(found, "Active") == ("False", "Cold")
    assert said(found, "AddressAssigned") == ("True", "Assigned")
    assert said(found, "ActivationFailed") == ("False", "NotFailed")


@pytest.mark.parametrize(
    ("phase", "replicas", "active"),
    [
        (Phase.COLD, 0, "False"),
        (Phase.WAKING, 1, "False"),
        (Phase.WARM, 1, "True"),
        (Phase.DRAINING, 1, "True"),
    ],
)
def test_replicas_and_activity_by_phase(phase: Phase, replicas: int, active: str) -> None:
    found = status(kept(phase))
    assert found["replicas"] == replicas
    assert condition(found, "Active")["status"] == active
    assert condition(found, "Ready")["status"] == "True"


def test_replicas_that_are_asked_for_count() -> None:
    service = Service(manifest=manifest(spec__replicas=3), phase_since=0.0, phase=Phase.WARM)
    assert status(service)["replicas"] == 3


def test_without_an_address_nobody_can_call() -> None:
    found = status(kept(frontends=()))
    assert {"loadBalancerIP", "address", "latestRequest"}.isdisjoint(found)
    assert said(found, "AddressAssigned") == ("False", "AddressPending")
    assert said(found, "Ready") == ("False", "AddressPending")


INSIDE = (Frontend(address="10.96.3.4", port=80), Frontend(address=EACH_NODE, port=30080))


def test_before_a_load_balancer_has_given_an_address_only_the_cluster_can_call() -> None:
    found = status(kept(frontends=INSIDE), outside=())
    assert {"loadBalancerIP", "address"}.isdisjoint(found)
    assert said(found, "AddressAssigned") == ("False", "AddressPending")
    assert said(found, "Ready") == ("False", "AddressPending")


def test_all_its_addresses_are_said_and_the_load_balancers_is_the_one() -> None:
    found = status(kept(frontends=HERE + INSIDE), outside=HERE)
    assert (found["loadBalancerIP"], found["address"]) == ("10.46.100.105", "10.46.100.105")
    assert condition(found, "AddressAssigned")["message"] == (
        "10.46.100.105, 10.96.3.4, each node:30080"
    )


@pytest.mark.parametrize("kind", ["ClusterIP", "NodePort"])
def test_a_service_that_is_meant_for_the_cluster_needs_no_load_balancer(kind: str) -> None:
    service = kept(frontends=INSIDE, manifest=manifest(spec__serviceType=kind))
    found = status(service, outside=())
    assert "loadBalancerIP" not in found
    assert found["address"] == "10.96.3.4"
    assert said(found, "AddressAssigned") == ("True", "Assigned")
    assert said(found, "Ready") == ("True", "Cold")


def test_a_port_that_does_not_go_without_saying_is_said() -> None:
    assert status(kept(frontends=(Frontend(address="10.0.0.1", port=6379),)))["address"] == (
        "10.0.0.1:6379"
    )
    assert status(kept(frontends=(Frontend(address="2001:db8::1", port=80),)))["address"] == (
        "[2001:db8::1]"
    )


def test_a_failed_activation_is_said_in_kubernetes_words() -> None:
    found = status(kept(failure=PULL))
    assert said(found, "ActivationFailed") == ("True", "ImagePullBackOff")
    assert said(found, "Ready") == ("False", "ImagePullBackOff")
    assert condition(found, "Ready")["message"] == "Back-off pulling image"


def test_a_deployment_that_cannot_be_comes_first() -> None:
    taken = Trouble(reason="NameTaken", message="Deployment default/x exists")
    assert said(status(kept(failure=PULL), problem=taken), "Ready") == ("False", "NameTaken")


def test_a_condition_keeps_its_date_until_it_turns() -> None:
    first = status(kept())
    later = status(kept(Phase.WARM), before=first, now=NOW + timedelta(hours=1))
    assert condition(later, "Ready")["lastTransitionTime"] == "2026-11-24T10:00:00Z"
    assert condition(later, "Ready")["reason"] == "Warm", "though it has another reason"
    assert condition(later, "Active")["lastTransitionTime"] == "2026-11-24T11:00:00Z"


def test_nothing_new_is_the_same_status() -> None:
    first = status(kept())
    assert status(kept(), before=first, now=NOW + timedelta(days=1)) == first


def test_an_invalid_declaration_is_told_so() -> None:
    problem = Trouble(reason="Invalid", message="spec.port: should be less than or equal to 65535")
    around = Circumstances(generation=2, problem=problem, before={})
    found = status_of_invalid(around, now=NOW)
    assert said(found, "Ready") == ("False", "Invalid")
    assert found["observedGeneration"] == 2


@pytest.mark.parametrize("phase", list(Phase))
def test_every_field_is_one_of_the_schema(phase: Phase) -> None:
    (version,) = crd()["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]["properties"]["status"]
    found = status(kept(phase, latest_request=1.0, failure=PULL))
    assert set(found) <= set(schema["properties"])
    assert found["phase"] in schema["properties"]["phase"]["enum"]
    shape = schema["properties"]["conditions"]["items"]
    for each in found["conditions"]:
        assert set(each) == set(shape["properties"])
        assert set(shape["required"]) <= set(each)
        assert len(each["reason"]) >= shape["properties"]["reason"]["minLength"]


SILENT = Decision(happened=None, reason="node2's daemon is silent", missing=("node2",))


def test_warm_it_says_why_it_is_not_let_go() -> None:
    busy = Decision(happened=None, reason="3 connections on node1")
    found = status(kept(Phase.WARM, decision=busy))
    assert found["awake"] == "3 connections on node1"
    assert said(found, "ScaleDownBlocked") == ("False", "NotBlocked")


@pytest.mark.parametrize("phase", [Phase.COLD, Phase.WAKING, Phase.DRAINING])
def test_in_no_other_phase_it_says_so(phase: Phase) -> None:
    assert "awake" not in status(kept(phase, decision=SILENT))


def test_a_daemon_that_is_silent_blocks_scale_down_and_the_remedy_is_named() -> None:
    found = status(kept(Phase.WARM, decision=SILENT))
    assert said(found, "ScaleDownBlocked") == ("True", "DaemonSilent")
    assert condition(found, "ScaleDownBlocked")["message"] == (
        "node2's daemon is silent: it stays up until that reports again, or its Node is deleted"
    )
    assert found["awake"] == "node2's daemon is silent"


@pytest.mark.parametrize("phase", [Phase.COLD, Phase.WAKING])
def test_what_is_not_up_yet_or_any_more_is_not_blocked(phase: Phase) -> None:
    """What was decided last is of before it went down; a start waits for daemons, too."""
    found = status(kept(phase, decision=SILENT))
    assert said(found, "ScaleDownBlocked") == ("False", "NotBlocked")
