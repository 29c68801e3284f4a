"""out/e2e.json: what was measured, added to by each test that measures. out/e2e.png: the first."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["PICTURE", "record", "record_within", "summary"]

FILE = Path(__file__).parents[2] / "out/e2e.json"
PICTURE = FILE.with_suffix(".png")


def summary(times_ms: Sequence[float]) -> dict[str, float]:
    """The figures of one series."""
    ordered = sorted(times_ms)
    rank = min(len(ordered) - 1, round(0.99 * len(ordered)))
    found = {
        "p50": statistics.median(ordered),
        "p99": ordered[rank],
        "min": ordered[0],
        "max": ordered[-1],
        "stdev": statistics.stdev(ordered),
    }
    return {name: round(value, 1) for name, value in found.items()}


def record(**figures: Any) -> None:
    """Add figures to the file, in place of those of the same names."""
    known = json.loads(FILE.read_text()) if FILE.exists() else {}
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps({**known, **figures}, indent=2) + "\n")


def record_within(group: str, name: str, **figures: Any) -> None:
    """Add figures of one of many, in place of its former ones."""
    known = json.loads(FILE.read_text()).get(group, {}) if FILE.exists() else {}
    record(**{group: {**known, name: figures}})
