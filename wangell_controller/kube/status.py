"""A WangellService's status, from what the controller knows. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from wangell_controller.backends import Trouble
from wangell_controller.kube.desired import selector_of
from wangell_controller.kube.surroundings import UNSUPPORTED
from wangell_controller.model import rfc3339
from wangell_controller.services import Service
from wangell_proto.vocabulary import EACH_NODE, Frontend, Phase

__all__ = ["Circumstances", "status_of", "status_of_invalid"]

_PHASES = {
    Phase.COLD: "Cold",
    Phase.WAKING: "Waking",
    Phase.WARM: "Warm",
    Phase.DRAINING: "Draining",
}
REASON_CHARS_MAX = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What is known of a service beside the controller's own mind."""

    generation: int
    "metadata.generation of what is declared"
    problem: Trouble | None
    "Why its Deployment or Service is not as it should be, or cannot be"
    before: Mapping[str, Any]
    "The status as it was last written"
    is_supported: bool = True
    "Wangell can work in this cluster; where it cannot, `problem` says why"
    outside: tuple[Frontend, ...] = ()
    "Where callers outside the cluster find it"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Finding:
    type: str
    is_so: bool
    reason: str
    message: str


def status_of(service: Service, around: Circumstances, *, now: datetime) -> dict[str, Any]:
    """Return the whole status. `now` dates conditions that have become others."""
    latest = service.latest_request
    outside, frontends = around.outside, _frontends_for_callers(service, around)
    status = {
        "latestRequest": None if latest is None else rfc3339(datetime.fromtimestamp(latest, UTC)),
        "loadBalancerIP": outside[0].address if outside else None,
        "replicas": service.replicas,
        "address": _url_part(frontends[0]) if frontends else None,
        "phase": _PHASES[service.phase],
        "reason": service.reason[:REASON_CHARS_MAX],
        "awake": _awake(service),
        "activations": service.activation,
        "selector": selector_of(service.manifest.metadata.name),
        "observedGeneration": around.generation,
        "conditions": [_condition(each, around, now) for each in _findings(service, around)],
    }
    return {name: value for name, value in status.items() if value is not None}


def status_of_invalid(around: Circumstances, *, now: datetime) -> dict[str, Any]:
    """Return the status of a declaration that cannot be acted on, here or anywhere."""
    assert around.problem is not None
    reason, message = around.problem.reason, around.problem.message
    finding = _Finding(type="Ready", is_so=False, reason=reason, message=message)
    findings = [finding]
    if not around.is_supported:
        findings.append(_Finding(type=UNSUPPORTED, is_so=True, reason=reason, message=message))
    conditions = [_condition(each, around, now) for each in findings]
    return {"observedGeneration": around.generation, "conditions": conditions}


def _findings(service: Service, around: Circumstances) -> list[_Finding]:
    return [
        _ready(service, around),
        _active(service),
        _assigned(service, around),
        _failed(service),
        _blocked(service),
    ]


def _ready(service: Service, around: Circumstances) -> _Finding:
    """Callers are or would be answered, now or after a wake."""
    trouble = around.problem or service.failure
    if trouble is not None:
        return _Finding(type="Ready", is_so=False, reason=trouble.reason, message=trouble.message)
    assigned = _assigned(service, around)
    if not assigned.is_so:
        return _Finding(type="Ready", is_so=False, reason=assigned.reason, message=assigned.message)
    message = "answers" if service.phase is Phase.WARM else "a call wakes it"
    return _Finding(type="Ready", is_so=True, reason=_PHASES[service.phase], message=message)


def _active(service: Service) -> _Finding:
    return _Finding(
        type="Active",
        is_so=service.phase in (Phase.WARM, Phase.DRAINING),
        reason=_PHASES[service.phase],
        message=service.reason,
    )


def _frontends_for_callers(service: Service, around: Circumstances) -> tuple[Frontend, ...]:
    """Where they find it for whom it is meant; none before a load balancer has given one."""
    is_meant_for_outside = service.manifest.spec.service_type == "LoadBalancer"
    return () if is_meant_for_outside and not around.outside else service.frontends


def _assigned(service: Service, around: Circumstances) -> _Finding:
    frontends = _frontends_for_callers(service, around)
    if frontends:
        found = ", ".join(_url_part(each) for each in frontends)
        return _Finding(type="AddressAssigned", is_so=True, reason="Assigned", message=found)
    return _Finding(
        type="AddressAssigned",
        is_so=False,
        reason="AddressPending",
        message="the Service has no address of a load balancer yet: nobody outside can call it",
    )


def _failed(service: Service) -> _Finding:
    trouble = service.failure or Trouble(
        reason="NotFailed", message="the last activation did not fail"
    )
    return _Finding(
        type="ActivationFailed",
        is_so=service.failure is not None,
        reason=trouble.reason,
        message=trouble.message,
    )


def _awake(service: Service) -> str | None:
    """Why it does not go down; None: it is not up, or is on its way."""
    if service.phase is not Phase.WARM or service.decision is None:
        return None
    return service.decision.reason[:REASON_CHARS_MAX]


def _blocked(service: Service) -> _Finding:
    """Whether it would go down but for a daemon that does not report."""
    decision = service.decision
    if decision is None or not service.blocked_by:
        message = "no daemon that is missing keeps it up"
        return _Finding(type="ScaleDownBlocked", is_so=False, reason="NotBlocked", message=message)
    remedy = "it stays up until that reports again, or its Node is deleted"
    message = f"{decision.reason}: {remedy}"[:REASON_CHARS_MAX]
    return _Finding(type="ScaleDownBlocked", is_so=True, reason="DaemonSilent", message=message)


def _condition(finding: _Finding, around: Circumstances, now: datetime) -> dict[str, Any]:
    status = "True" if finding.is_so else "False"
    before = next(
        (each for each in around.before.get("conditions", ()) if each["type"] == finding.type), None
    )
    is_same = before is not None and before["status"] == status
    return {
        "type": finding.type,
        "status": status,
        "observedGeneration": around.generation,
        "lastTransitionTime": before["lastTransitionTime"] if before and is_same else rfc3339(now),
        "reason": finding.reason,
        "message": finding.message,
    }


def _url_part(frontend: Frontend) -> str:
    """Address and port as one writes them behind http://, where 80 goes without saying."""
    if frontend.address == EACH_NODE:
        return f"each node:{frontend.port}"
    host = f"[{frontend.address}]" if ":" in frontend.address else frontend.address
    return host if frontend.port == 80 else f"{host}:{frontend.port}"
