"""Who leads, by a Lease of coordination.k8s.io: what a candidate does next. Pure.

Rules:
1. A Lease is another's until the same version of it has been seen for as long as it says. The clock
   is the candidate's own, from when it first saw that version: clocks of two machines are never
   compared, and what is written of times is for people.
2. Whatever is written names the version that was seen. Of several who take it, one does; a holder
   that renewed meanwhile keeps it, however long the candidate was away.
3. The write that takes it counts one transition up, and the fencing epoch is made of that count: no
   moment is without its epoch, and none has two.
4. Who holds it leads for RENEW_WITHIN_S from when the last renewal that succeeded was *sent*. That
   ends before anybody else may take it, for they saw that renewal no sooner, and wait longer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from wangell_controller.kube.errors import KubeError
from wangell_controller.kube.resources import CONTROLLER_NAME, LEASES

__all__ = [
    "DURATION_S",
    "GAP_S",
    "LOOK_EVERY_S",
    "RENEW_EVERY_S",
    "RENEW_WITHIN_S",
    "TRANSITIONS_MAX",
    "Create",
    "Election",
    "GiveUp",
    "Lease",
    "LeaseLostError",
    "Renew",
    "Step",
    "Take",
    "Wait",
    "epoch_of",
    "lease_of",
]

# Kubernetes's own components have 15, 10 and 2 s; an API server that restarts may be away for 10.
# Nobody waits for a wake meanwhile: who stands by raises, too.
DURATION_S = 15
RENEW_WITHIN_S = 12.0
RENEW_EVERY_S = 2.0
# One small GET. A leader that leaves in order is followed after half of it.
LOOK_EVERY_S = 1.0
# A look and a request that hangs: who has not looked for longer knows nothing of the time between.
GAP_S = 5.0
# A restart each minute for two years.
TRANSITIONS_MAX = 2**20


class LeaseLostError(KubeError):
    """This controller leads no more. The message has the reason."""

    is_passing = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The Lease, as the API server has it."""

    version: str
    "resourceVersion: another with each write"
    holder: str
    "Empty: nobody, it was given back"
    duration_s: float
    "Nobody else may take it for so long after each renewal"
    transitions: int
    "How often it was taken"
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """There is no Lease: create it."""

    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """It is nobody's: take it."""

    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Renew:
    """It is ours: say so again."""

    body: Mapping[str, Any]
    within_s: float
    "From now; after that it counts for nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Nothing now; look again after this."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp:
    """It is ours no more, or may be another's soon: lead no more."""

    reason: str


Step = Create | Take | Renew | Wait | GiveUp


class Election:
    """One candidate's view. Times are seconds of its own clock, which never goes back."""

    def __init__(self, identity: str) -> None:
        self._identity = identity
        self._lease: Lease | None = None
        self._seen_at = 0.0
        "When this version of it was first seen"
        self._looked_at = 0.0
        self._until: float | None = None
        "We lead until then; None: we never did"
        self._renewed_at = 0.0
        self.epoch = 0
        "Ours since we took it"

    def leads(self, now: float) -> bool:
        """Whether this one leads, and nobody else can."""
        return self._until is not None and now < self._until

    # Before it is ours.

    def look(self, lease: Lease | None, *, now: float) -> Step:
        """Return what to do, as the API server has the Lease now. None: there is none."""
        if lease is None:
            self._lease = None
            return Create(body=_creation(self._identity))
        was_away, self._looked_at = now - self._looked_at > GAP_S, now
        if self._lease is None or lease.version != self._lease.version or was_away:
            self._lease, self._seen_at = lease, now
        # Ours by name is an earlier life's: a pod's containers do not run side by side.
        if lease.holder in ("", self._identity):
            return Take(body=_taking(lease, self._identity))
        left_s = self._seen_at + lease.duration_s - now
        if left_s <= 0:
            return Take(body=_taking(lease, self._identity))
        return Wait(seconds=min(left_s, LOOK_EVERY_S))

    def won(self, lease: Lease, *, sent_at: float) -> None:
        """The Lease was created or taken, by a request that was sent then."""
        self.epoch = lease.epoch
        self.renewed(lease, sent_at=sent_at)

    # While it is ours.

    def next(self, *, now: float) -> Step:
        """Return what who leads has to do now."""
        assert self._until is not None
        if not self.leads(now):
            return GiveUp(reason=f"the Lease was not renewed for {RENEW_WITHIN_S:.0f} s")
        due_in_s = self._renewed_at + RENEW_EVERY_S - now
        if due_in_s > 0:
            return Wait(seconds=due_in_s)
        assert self._lease is not None
        return Renew(body=_renewal(self._lease), within_s=self._until - now)

    def renewed(self, lease: Lease, *, sent_at: float) -> None:
        """The Lease was renewed, by a request that was sent then."""
        self._lease = lease
        self._until, self._renewed_at = sent_at + RENEW_WITHIN_S, sent_at

    def check(self, lease: Lease | None) -> Step | None:
        """A renewal was refused, for this is what the Lease is by now. None: it is still ours."""
        if lease is None:
            return GiveUp(reason="somebody has deleted the Lease")
        if lease.holder == self._identity and lease.epoch == self.epoch:
            self._lease = lease  # A renewal of ours whose answer was lost, or somebody's label.
            return None
        self._until = float("-inf")
        whose = "another controller of our name: give each its own --identity"
        if lease.holder != self._identity:
            whose = lease.holder or "nobody"
        return GiveUp(reason=f"the Lease is held by {whose}")

    def release(self, *, now: float) -> Mapping[str, Any] | None:
        """Lead no more; return what gives the Lease back, if it is ours to give."""
        is_ours = self.leads(now)
        self._until = float("-inf")
        if not is_ours or self._lease is None:
            return None
        spec = {"holderIdentity": None, "leaseDurationSeconds": 1, "renewTime": _micro_time()}
        return {**_at(self._lease), "spec": spec}


def lease_of(found: Mapping[str, Any]) -> Lease:
    """Read a Lease."""
    spec = found.get("spec", {})
    return Lease(
        version=found["metadata"]["resourceVersion"],
        holder=spec.get("holderIdentity") or "",
        duration_s=float(spec.get("leaseDurationSeconds") or DURATION_S),
        transitions=int(spec.get("leaseTransitions") or 0),
        epoch=epoch_of(found),
    )


def epoch_of(lease: Mapping[str, Any]) -> int:
    """Return the fencing epoch that a Lease stands for.

    It is made of the time the Lease was created and of its count of transitions: so it grows even
    where somebody has deleted the Lease.
    """
    created = datetime.fromisoformat(lease["metadata"]["creationTimestamp"])
    transitions = int(lease.get("spec", {}).get("leaseTransitions") or 0)
    return int(created.timestamp()) * TRANSITIONS_MAX + transitions


def _creation(identity: str) -> Mapping[str, Any]:
    return {
        **LEASES.type_meta,
        "metadata": {"name": CONTROLLER_NAME},
        "spec": _spec(identity, 1),
    }


def _taking(lease: Lease, identity: str) -> Mapping[str, Any]:
    return {**_at(lease), "spec": _spec(identity, lease.transitions + 1)}


def _renewal(lease: Lease) -> Mapping[str, Any]:
    return {**_at(lease), "spec": {"renewTime": _micro_time()}}


def _at(lease: Lease) -> dict[str, Any]:
    return {"metadata": {"resourceVersion": lease.version}}


def _spec(identity: str, transitions: int) -> dict[str, Any]:
    now = _micro_time()
    return {
        "holderIdentity": identity,
        "leaseDurationSeconds": DURATION_S,
        "leaseTransitions": transitions,
        "acquireTime": now,
        "renewTime": now,
    }


def _micro_time() -> str:
    """The time for people: nothing is decided by it."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
