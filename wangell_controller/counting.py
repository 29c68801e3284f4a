"""Counts of a service's live connections: what daemons are asked, and what they have answered."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from wangell_proto.vocabulary import Count, Counted, Endpoint

__all__ = ["Counting", "Round"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One count, on every node that has a replica. Times are the controller's, monotonic."""

    asked_at: float
    answered_at: float | None
    "When the last of them had answered; None: one has not"
    nodes: frozenset[str]
    connections: Mapping[str, int | None]
    "By node, of those that have answered; None: it could not count"

    @property
    def unanswered(self) -> tuple[str, ...]:
        """The nodes that have not answered."""
        return tuple(sorted(self.nodes - self.connections.keys()))


class Counting:
    """The counts since something happened after which earlier ones prove nothing."""

    def __init__(self) -> None:
        self.rounds: tuple[Round, ...] = ()
        self._number = 0  # never begins anew: a late answer must not be taken for another's

    def forget(self) -> None:
        """What was counted before proves nothing any more."""
        self.rounds = ()

    def ask(
        self, service: str, endpoints: Iterable[Endpoint], *, activation: int, port: int, now: float
    ) -> dict[str, Count]:
        """Begin another round; return the question for each node that has replicas."""
        self._number += 1
        workloads: dict[str, list[str]] = {}
        for each in endpoints:
            workloads.setdefault(each.node, []).append(each.workload)
        begun = Round(
            asked_at=now,
            answered_at=None if workloads else now,
            nodes=frozenset(workloads),
            connections={},
        )
        # Two in a row are all that is ever looked at.
        self.rounds = (*self.rounds[-1:], begun)
        return {
            node: Count(
                service=service,
                activation=activation,
                number=self._number,
                workloads=tuple(there),
                port=port,
            )
            for node, there in workloads.items()
        }

    def answer(self, node: str, counted: Counted, *, now: float) -> bool:
        """Take an answer; return whether it is one to the last question."""
        last = self.rounds[-1] if self.rounds else None
        if last is None or counted.number != self._number or node not in last.nodes:
            return False
        connections = {**last.connections, node: counted.connections}
        answered = replace(last, connections=connections)
        if not answered.unanswered:
            answered = replace(answered, answered_at=now)
        self.rounds = (*self.rounds[:-1], answered)
        return True
