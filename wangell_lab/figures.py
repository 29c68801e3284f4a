"""Many numbers in a few: percentiles and their like."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Summary", "percentile", "summarize"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A distribution. The unit is that of the numbers it was made from."""

    count: int
    p50: float
    p99: float
    min: float
    max: float
    stdev: float
    "Of the sample; 0 where there is only one number"

    def rounded(self, *names: str) -> dict[str, float]:
        """Return these figures by name, to a thousandth: of what is in ms, a microsecond."""
        return {name: round(getattr(self, name), 3) for name in names}


def summarize(values: Sequence[float]) -> Summary:
    """Return the figures of at least one number. Raises ValueError where there is none."""
    if not values:
        raise ValueError("no numbers, no distribution")
    return Summary(
        count=len(values),
        p50=percentile(values, 50),
        p99=percentile(values, 99),
        min=min(values),
        max=max(values),
        stdev=statistics.stdev(values) if len(values) > 1 else 0.0,
    )


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest of `values` that at least `share` percent do not exceed (nearest rank).

    Always a number that was measured: below 100 of them p99 is the largest, and hides no outlier.
    """
    rank = -(-len(values) * share // 100)  # Rounded up.
    return sorted(values)[max(1, int(rank)) - 1]
