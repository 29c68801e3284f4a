"""What is good enough, figure by figure. A budget that is not met fails the run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["BUDGETS", "Budget", "Verdict", "figure", "judge"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The most that a figure may be; the figure's name ends in its unit."""

    name: str
    "Keys of the report, joined by dots"
    most: float
    of: str | None = None
    "Another figure of the same run: `most` is times that one"

    def limit(self, figures: Mapping[str, Any]) -> float:
        """Return the most in the figure's own unit."""
        return self.most if self.of is None else self.most * figure(figures, self.of)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A budget beside what was measured."""

    name: str
    value: float
    limit: float
    rule: str
    "How the limit came about, in words"

    @property
    def met(self) -> bool:
        """Whether the figure is within its budget."""
        return self.value <= self.limit

    def as_json(self) -> dict[str, Any]:
        """Return it as the report carries it."""
        limit = round(self.limit, 3)
        return {"value": self.value, "budget": limit, "rule": self.rule, "met": self.met}


# A wake costs encryption, acknowledgement and bookkeeping on top of what an echo costs; twice is
# what those may take. What a controller would otherwise be called by is gRPC.
BUDGETS = (
    Budget(name="wake_us.p50", most=2.0, of="echo_us.p50"),
    Budget(name="wake_us.p50", most=0.35, of="grpc_us.p50"),
    Budget(name="wake_loss10_ms.p99", most=25.0),
    Budget(name="seal_us", most=12.0),
    Budget(name="open_us", most=12.0),
    Budget(name="server.core_share", most=0.20),
    Budget(name="server.bytes_per_peer", most=20 * 1024),
    Budget(name="snapshot_10k_ms", most=400.0),
    Budget(name="fanout_1000_ms", most=200.0),
    Budget(name="resync_unchanged_1000_s", most=5.0),
    Budget(name="details.resync_wake_ms.p99", most=10.0),
)


def figure(figures: Mapping[str, Any], name: str) -> float:
    """Return a figure by its dotted name. Raises KeyError where it was not measured."""
    found: Any = figures
    for key in name.split("."):
        found = found[key]
    return float(found)


def judge(figures: Mapping[str, Any], budgets: Sequence[Budget] = BUDGETS) -> list[Verdict]:
    """Return each budget with its figure. Raises KeyError where one was not measured."""
    return [
        Verdict(
            name=budget.name,
            value=figure(figures, budget.name),
            limit=budget.limit(figures),
            rule=f"{budget.most:g}" if budget.of is None else f"{budget.most:g} x {budget.of}",
        )
        for budget in budgets
    ]
