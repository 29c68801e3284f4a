"""What should happen to a service, given what is known of it. Pure.

Missing data is never zero traffic. Nothing goes down before every expected daemon has reported
lately and every one of them calls the service idle; and because both idleness and the activation
deadline count from when this controller saw the phase begin, a restarted controller with an empty
memory takes nothing down.
"""

from dataclasses import dataclass

from wangell_controller.observe import Observed, Sight
from wangell_controller.phases import PhaseInput
from wangell_proto.vocabulary import Phase

__all__ = ["ARM_TIMEOUT_S", "Decision", "decide"]

# A daemon counts twice, 1 s apart, and its answer may need some retransmissions.
ARM_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One input for the phase table, or none, and why."""

    happened: PhaseInput | None
    reason: str
    missing: tuple[str, ...] = ()
    "Nodes without whose daemon nothing may be lowered: but for them, something would have been"


def decide(observed: Observed, *, now: float) -> Decision:
    """Return what the passing of time and the daemons' reports mean for the service."""
    return _DECIDERS[observed.phase](observed, now)


def _cold(observed: Observed, now: float) -> Decision:
    if not observed.is_wake_waiting and not observed.replicas_min:
        return Decision(happened=None, reason="at zero")
    wait_s = observed.may_start_at - now
    if wait_s > 0:
        return Decision(happened=None, reason=f"failed before: starts again in {wait_s:.0f} s")
    asked = "spec.replicas" if observed.replicas_min else "a SYN has waited since the last failure"
    return Decision(happened=PhaseInput.WAKE, reason=asked)


def _waking(observed: Observed, now: float) -> Decision:
    if observed.watched_since is None:
        missing = _missing(observed)
        reason = f"no daemon to see it listen: {_names(missing)}"
        return Decision(happened=None, reason=reason, missing=missing)
    waited_s = now - max(observed.phase_since, observed.watched_since)
    if waited_s < observed.activation_timeout_s:
        return Decision(happened=None, reason=f"starting for {waited_s:.0f} s")
    reason = f"nothing listens after {observed.activation_timeout_s:.0f} s"
    return Decision(happened=PhaseInput.DEADLINE, reason=reason)


def _warm(observed: Observed, now: float) -> Decision:
    if observed.replicas_min:
        return Decision(happened=None, reason="kept up by spec.replicas")
    warm_s = now - observed.phase_since
    if warm_s < observed.idle_timeout_s:
        return Decision(happened=None, reason=f"warm for {warm_s:.0f} s")
    for node, sight in observed.sights.items():
        if sight is not None and _is_busy(sight, observed.idle_timeout_s):
            return Decision(happened=None, reason=f"packet {sight.idle_s:.0f} s ago on {node}")
    missing = _missing(observed)
    if missing or not observed.sights:
        return Decision(happened=None, reason=f"no report from {_names(missing)}", missing=missing)
    idle_s = min(sight.idle_s for sight in observed.sights.values() if sight is not None)
    return Decision(happened=PhaseInput.IDLE, reason=f"idle for {idle_s:.0f} s")


def _draining(observed: Observed, now: float) -> Decision:
    busy = {node: live for node, live in observed.armed.items() if live}
    if busy:
        live = ", ".join(f"{count} on {node}" for node, count in busy.items())
        return Decision(happened=PhaseInput.ARMED_BUSY, reason=f"connections: {live}")
    unarmed = tuple(node for node in observed.sights if node not in observed.armed)
    if not unarmed and observed.sights:
        return Decision(happened=PhaseInput.ARMED_EMPTY, reason="no connection on any node")
    if now - observed.phase_since < ARM_TIMEOUT_S:
        return Decision(happened=None, reason=f"waiting for {_names(unarmed)} to arm")
    reason = f"{_names(unarmed)} did not arm within {ARM_TIMEOUT_S:.0f} s"
    return Decision(happened=PhaseInput.UNARMED, reason=reason, missing=unarmed)


_DECIDERS = {
    Phase.COLD: _cold,
    Phase.WAKING: _waking,
    Phase.WARM: _warm,
    Phase.DRAINING: _draining,
}


def _is_busy(sight: Sight, idle_timeout_s: float) -> bool:
    return sight.held > 0 or sight.idle_s < idle_timeout_s


def _missing(observed: Observed) -> tuple[str, ...]:
    return tuple(node for node, sight in observed.sights.items() if sight is None)


def _names(nodes: tuple[str, ...]) -> str:
    return ", ".join(f"{node}'s daemon" for node in nodes) or "any daemon: none is expected"
