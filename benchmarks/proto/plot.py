"""The picture: a bar for each figure, its budget as a line across it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from benchmarks.proto.budgets import Verdict, figure

__all__ = ["draw"]

OURS, OTHERS, BUDGET = "#0b7a75", "#9aa0a6", "#a4243b"
# Figure, label, and whether it is a comparison's other side.
TIMES_US = (
    ("echo_us.p50", "bare UDP echo, p50", True),
    ("wake_us.p50", "wake, p50", False),
    ("grpc_us.p50", "gRPC call, p50", True),
    ("wake_us.p99", "wake, p99", False),
    ("grpc_us.p99", "gRPC call, p99", True),
    ("seal_us", "seal a wake", False),
    ("open_us", "open a wake", False),
)
TIMES_MS = (
    ("wake_loss10_ms.p99", "wake at 10 % loss, p99", False),
    ("grpc_loss10_ms.p99", "gRPC call at 10 % loss, p99", True),
    ("snapshot_10k_ms", "10,000 records to a new peer", False),
    ("fanout_1000_ms", "a change to 1,000 peers", False),
    ("resync_unchanged_1000_s", "1,000 peers resync", False),
    ("details.resync_wake_ms.p99", "wake meanwhile, p99", False),
)
Row = tuple[str, str, bool]


def draw(figures: Mapping[str, Any], verdicts: Sequence[Verdict], path: Path, *, note: str) -> None:
    """Write a PNG (or what the suffix says); `note` goes below it. Raises OSError."""
    with mpl.rc_context({"font.size": 9.5, "axes.spines.top": False, "axes.spines.right": False}):
        rendered = Figure(figsize=(9.6, 6.4), layout="constrained")
        upper, lower = rendered.subplots(2, 1)
        _bars(upper, TIMES_US, figures, verdicts, unit="µs")
        _bars(lower, TIMES_MS, figures, verdicts, unit="ms")
        title = "The peer protocol (green), what it is compared with (grey), budgets (red)"
        upper.set_title(title, loc="left", weight="bold")
        rendered.supxlabel(note, fontsize=8, color="#5f6368", x=0.01, ha="left")
        path.parent.mkdir(parents=True, exist_ok=True)
        rendered.savefig(path, dpi=150)


def _bars(
    axes: Axes,
    rows: Sequence[Row],
    figures: Mapping[str, Any],
    verdicts: Sequence[Verdict],
    *,
    unit: str,
) -> None:
    labels = []
    for place, (name, label, is_other) in enumerate(rows):
        scale = 1e3 if name.endswith("_s") else 1.0
        value = figure(figures, name) * scale
        limits = [verdict.limit * scale for verdict in verdicts if verdict.name == name]
        # Beside the bar the figure would lie on a budget's line.
        labels.append(f"{label}:  {value:,.{0 if value >= 100 else 1}f} {unit}")
        axes.barh(place, value, height=0.6, color=OTHERS if is_other else OURS, zorder=2)
        axes.vlines(limits, place - 0.42, place + 0.42, color=BUDGET, lw=2, zorder=3)
    axes.set_yticks(range(len(rows)), labels)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(left=1.0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g} {unit}"))
    axes.grid(axis="x", which="major", color="#e3e5e8", zorder=0)
