"""Any history of candidates that sleep, die, hang and are suspended has one leader at a time."""

import heapq
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from wangell_controller.kube.lease import (
    DURATION_S,
    Create,
    Election,
    GiveUp,
    Lease,
    Renew,
    Step,
    Take,
    Wait,
)

HEALED_S = 3 * DURATION_S
REQUEST_S = 3.0


class ApiServer:
    """One Lease, behind a compare-and-swap."""

    def __init__(self) -> None:
        self.lease: Lease | None = None
        self.epochs: list[int] = []

    def write(self, body: Mapping[str, Any], *, is_new: bool) -> Lease | None:
        """Return it as it is now; None: refused."""
        spec = body["spec"]
        before = self.lease
        if is_new != (before is None):
            return None
        if before is not None and body["metadata"]["resourceVersion"] != before.version:
            return None
        transitions = spec.get("leaseTransitions", before.transitions if before else 0)
        if before is None or transitions != before.transitions:
            self.epochs.append(transitions)
        self.lease = Lease(
            version=str(int(before.version) + 1 if before else 1),
            holder=spec.get("holderIdentity", before.holder if before else "") or "",
            duration_s=DURATION_S,
            transitions=transitions,
            epoch=transitions,
        )
        return self.lease


@dataclass
class Candidate:
    """A process: what it does next happens after a pause that the history chooses."""

    name: str
    election: Election
    epoch: int = 0
    is_over: bool = False
    sent: tuple[Step, float] | None = None


@dataclass
class World:
    """Candidates by name, and what is due when."""

    pauses_s: list[float]
    server: ApiServer = field(default_factory=ApiServer)
    now: float = 0.0

    def __post_init__(self) -> None:
        self.queue: list[tuple[float, int, Candidate]] = []
        self.order = itertools.count()
        self.candidates = [Candidate(name, Election(name)) for name in ("one", "two", "three")]
        for each in self.candidates:
            self.plan(each, 0.0)

    def pause_s(self) -> float:
        """How long the next step takes: a request, a descheduling, a SIGSTOP, a suspend."""
        return self.pauses_s.pop() if self.pauses_s else 0.01

    def plan(self, candidate: Candidate, after_s: float) -> None:
        due = self.now + after_s + self.pause_s()
        heapq.heappush(self.queue, (due, next(self.order), candidate))

    def run(self, until: float) -> None:
        while self.queue and self.queue[0][0] <= until:
            self.now, _, candidate = heapq.heappop(self.queue)
            self.act(candidate)
            self.check()
        self.now = until

    def check(self) -> None:
        """At most one leads, whatever the time is."""
        leaders = [each for each in self.candidates if each.election.leads(self.now)]
        assert len(leaders) <= 1, [each.name for each in leaders]

    def act(self, candidate: Candidate) -> None:
        """One step of a candidate: a request arrives, or it looks and decides."""
        if candidate.is_over:  # Its pod begins anew.
            candidate.election, candidate.is_over = Election(candidate.name), False
        if candidate.sent is not None:
            self.arrive(candidate)
            return
        election = candidate.election
        if candidate.epoch:
            step = election.next(now=self.now)
        else:
            step = election.look(self.server.lease, now=self.now)
        if isinstance(step, Wait):
            self.plan(candidate, step.seconds)
        elif isinstance(step, GiveUp):
            self.end(candidate)
        else:
            candidate.sent = step, self.now
            self.plan(candidate, 0.0)

    def arrive(self, candidate: Candidate) -> None:
        """The API server carries it out; the answer is of use if it came in time."""
        assert candidate.sent is not None
        (step, sent_at), candidate.sent = candidate.sent, None
        assert isinstance(step, Create | Take | Renew)
        lease = self.server.write(step.body, is_new=isinstance(step, Create))
        is_late = self.now - sent_at > REQUEST_S
        if lease is not None and not is_late:
            if not candidate.epoch:
                candidate.election.won(lease, sent_at=sent_at)
                candidate.epoch = lease.epoch
            else:
                candidate.election.renewed(lease, sent_at=sent_at)
        elif candidate.epoch and candidate.election.check(self.server.lease) is not None:
            self.end(candidate)
            return
        self.plan(candidate, 0.0)

    def end(self, candidate: Candidate) -> None:
        candidate.epoch, candidate.is_over = 0, True
        candidate.election.release(now=self.now)
        self.plan(candidate, 1.0)


pauses = st.lists(
    st.one_of(
        st.floats(0, 0.1),
        st.floats(0, 5),
        st.sampled_from([2.99, 3.01, 9.99, 10.01, 14.99, 15.01, 30.0, 3600.0]),
    ),
    max_size=120,
)


@settings(max_examples=300, deadline=None)
@given(pauses)
def test_one_leads_at_a_time_and_no_epoch_is_given_twice(pauses_s: list[float]) -> None:
    world = World(list(pauses_s))
    world.run(until=600.0)
    assert world.server.epochs == sorted(set(world.server.epochs))


@settings(max_examples=150, deadline=None)
@given(pauses)
def test_once_all_is_well_somebody_leads_and_stays(pauses_s: list[float]) -> None:
    world = World([min(each, 30.0) for each in pauses_s])
    while world.pauses_s:
        world.run(until=world.now + 60)
    world.run(until=world.now + 30 + HEALED_S)
    leaders = [each.name for each in world.candidates if each.election.leads(world.now)]
    assert len(leaders) == 1
    epochs = list(world.server.epochs)
    world.run(until=world.now + 120)
    assert world.server.epochs == epochs, "nobody takes what is renewed"


@settings(max_examples=100, deadline=None)
@given(pauses)
def test_whoever_leads_has_the_newest_epoch(pauses_s: list[float]) -> None:
    world = World(list(pauses_s))
    for second in range(1, 120):
        world.run(until=float(second))
        for each in world.candidates:
            if each.election.leads(world.now):
                assert each.election.epoch == world.server.epochs[-1]
