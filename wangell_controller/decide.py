"""What should happen to a service, given what is known of it. Pure.

Missing data is never zero traffic. Nothing goes down before every expected daemon has reported
lately and every one of them calls the service idle; and because both idleness and the activation
deadline count from when this controller saw the phase begin, a restarted controller with an empty
memory takes nothing down.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from wangell_controller.ages import ago
from wangell_controller.counting import Round
from wangell_controller.observe import Observed
from wangell_controller.phases import PhaseInput
from wangell_proto.vocabulary import Phase

__all__ = ["ARM_TIMEOUT_S", "COUNT_AGAIN_S", "RECOUNT_S", "Decision", "decide"]

# Daemons count twice, 1 s apart, and their answers may need some retransmissions.
ARM_TIMEOUT_S = 10.0
# A SYN that passed just before its daemon armed is at its server by then, and counted there.
COUNT_AGAIN_S = 1.0
# How long a count is good while warm. One takes 0.4 ms: the kernel walks all its sockets.
RECOUNT_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One input for the phase table, or none, and why."""

    happened: PhaseInput | None
    reason: str
    missing: tuple[str, ...] = ()
    "Nodes without whose daemon nothing may be lowered: but for them, something would have been"
    asks_for_count: bool = False
    "Daemons are to count the connections that live now"


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
    busy = _busiest(observed)
    if busy is not None:
        return Decision(happened=None, reason=busy)
    warm_s = now - observed.phase_since
    if warm_s < observed.idle_timeout_s:
        return Decision(happened=None, reason=f"began to be watched {ago(warm_s)}")
    missing = _missing(observed)
    if missing or not observed.sights:
        return Decision(happened=None, reason=_silent(missing), missing=missing)
    return _idle(observed, now)


def _busiest(observed: Observed) -> str | None:
    """When a caller was seen last, or where one waits; None where that is long ago."""
    seen = {node: sight for node, sight in observed.sights.items() if sight is not None}
    if not seen:
        return None
    node = min(seen, key=lambda each: (-seen[each].held, seen[each].idle_s))
    if seen[node].held:
        return f"a caller waits on {node}"
    is_busy = seen[node].idle_s < observed.idle_timeout_s
    # Without the node: since it is warm counts as since a packet, on nodes that have seen none.
    return f"packet {ago(seen[node].idle_s)}" if is_busy else None


def _idle(observed: Observed, now: float) -> Decision:
    """No packet on any node: it goes down unless a connection lives.

    Counted before anything is held: else a silent connection would cost callers a detour each time.
    """
    last = observed.rounds[-1] if observed.rounds else None
    if last is None or now - last.asked_at >= RECOUNT_S:
        return _counting(last)
    if last.answered_at is None or _live(last):
        return Decision(happened=None, reason=_live(last) or _COUNTING)
    idle_s = min(sight.idle_s for sight in observed.sights.values() if sight is not None)
    return Decision(happened=PhaseInput.IDLE, reason=f"idle for {idle_s:.0f} s")


def _counting(last: Round | None) -> Decision:
    """Ask anew; whoever has not answered the last time keeps the service."""
    unanswered = last.unanswered if last is not None else ()
    reason = (last is not None and _live(last)) or _COUNTING
    if unanswered:
        reason = f"no count of connections from {_names(unanswered)}"
    return Decision(happened=None, reason=reason, missing=unanswered, asks_for_count=True)


def _draining(observed: Observed, now: float) -> Decision:
    live = _live_on(observed.armed) or "; ".join(filter(None, map(_live, observed.rounds)))
    if live:
        return Decision(happened=PhaseInput.ARMED_BUSY, reason=live)
    unarmed = tuple(node for node in observed.sights if node not in observed.armed)
    if unarmed or not observed.sights:
        return _late(observed, unarmed, "arm", now)
    last = observed.rounds[-1] if observed.rounds else None
    if last is None:
        return Decision(happened=None, reason=_COUNTING, asks_for_count=True)
    if last.answered_at is None:
        return _late(observed, last.unanswered, "count", now)
    if len(observed.rounds) > 1:
        return Decision(happened=PhaseInput.ARMED_EMPTY, reason="no connection on any node")
    is_due = now - last.answered_at >= COUNT_AGAIN_S
    return Decision(happened=None, reason=_COUNTING, asks_for_count=is_due)


def _late(observed: Observed, nodes: tuple[str, ...], task: str, now: float) -> Decision:
    """Wait for these, but not for ever: callers are held."""
    if now - observed.phase_since < ARM_TIMEOUT_S:
        return Decision(happened=None, reason=f"waiting for {_names(nodes)} to {task}")
    reason = f"{_names(nodes)} did not {task} within {ARM_TIMEOUT_S:.0f} s"
    return Decision(happened=PhaseInput.UNARMED, reason=reason, missing=nodes)


_COUNTING = "idle; counting its connections"


_DECIDERS = {
    Phase.COLD: _cold,
    Phase.WAKING: _waking,
    Phase.WARM: _warm,
    Phase.DRAINING: _draining,
}


def _live(counted: Round) -> str:
    """What lives, in words; empty if nothing does, as far as was answered."""
    return _live_on(counted.connections)


def _live_on(connections: Mapping[str, int | None]) -> str:
    unknown = tuple(sorted(node for node, count in connections.items() if count is None))
    if unknown:
        return f"{_names(unknown)} cannot count the connections"
    busy = {node: count for node, count in sorted(connections.items()) if count}
    total = sum(count for count in busy.values() if count)
    where = " and ".join(busy)
    return f"{total} connection{'s' if total > 1 else ''} on {where}" if busy else ""


def _silent(nodes: tuple[str, ...]) -> str:
    if not nodes:
        return "no daemon is expected: none can call it idle"
    return f"{_names(nodes)} {'is' if len(nodes) == 1 else 'are'} silent"


def _missing(observed: Observed) -> tuple[str, ...]:
    return tuple(node for node, sight in observed.sights.items() if sight is None)


def _names(nodes: tuple[str, ...]) -> str:
    return ", ".join(f"{node}'s daemon" for node in nodes) or "any daemon: none is expected"
