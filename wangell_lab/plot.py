"""The demo's picture: what callers of a service at zero waited, beside the published figures."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from wangell_lab.errors import LabError

__all__ = ["REFERENCES_MS", "check_suffix", "draw"]

REFERENCES_MS = {"published prototype": 1038.0, "Knative, as published there": 1307.0}
COLOURS = ("#0b7a75", "#e08e1b", "#9aa0a6", "#6a4c93")
REFERENCE_COLOUR = "#a4243b"
# On a log axis, so that 2 ms and 1000 ms both have their place; 12 to a decade.
BINS_PER_DECADE = 12
AXIS_MS = (0.1, 3000.0)


def check_suffix(path: Path) -> None:
    """Raises LabError where nothing can be drawn into a file of that name."""
    known = FigureCanvasBase.get_supported_filetypes()
    if path.suffix.lstrip(".").lower() not in known:
        raise LabError(
            f"{path}: cannot draw that; its name may end in .{', .'.join(sorted(known))}"
        )


def draw(distributions_ms: Mapping[str, Sequence[float]], path: Path, *, note: str) -> None:
    """Write a PNG (or what the suffix says) with one histogram for each name.

    `note` goes below the picture. Raises OSError.
    """
    with mpl.rc_context({"font.size": 10.5, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(9.6, 4.8), layout="constrained")
        axes = figure.subplots()
        for colour, (name, values) in zip(COLOURS, distributions_ms.items(), strict=False):
            _histogram(axes, name, values, colour)
        for row, (name, at_ms) in enumerate(REFERENCES_MS.items()):
            _reference(axes, name, at_ms, row)
        _dress(axes)
        figure.supxlabel(note, fontsize=8, color="#5f6368", x=0.01, ha="left")
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150)


def _histogram(axes: Axes, name: str, values: Sequence[float], colour: str) -> None:
    decades = np.log10(AXIS_MS[1] / AXIS_MS[0])
    edges = np.geomspace(*AXIS_MS, int(decades * BINS_PER_DECADE) + 1).tolist()
    # Outliers count where they can be seen: in the outermost bins.
    shown = np.clip(values, *AXIS_MS)
    weights = np.full(len(shown), 100 / len(shown))
    median = float(np.median(values))
    label = f"{name}: median {median:.2g} ms" if median < 10 else f"{name}: median {median:.0f} ms"
    axes.hist(shown, edges, weights=weights, color=colour, alpha=0.35)
    axes.hist(shown, edges, weights=weights, color=colour, histtype="step", lw=1.6, label=label)


def _reference(axes: Axes, name: str, at_ms: float, row: int) -> None:
    axes.axvline(at_ms, color=REFERENCE_COLOUR, lw=1.3, ls=(0, (4, 3)))
    axes.annotate(
        f"{at_ms:.0f} ms  {name}",
        xy=(at_ms, 0.93 - 0.08 * row),
        xycoords=("data", "axes fraction"),
        xytext=(-6, 0),
        textcoords="offset points",
        ha="right",
        color=REFERENCE_COLOUR,
        bbox={"boxstyle": "square,pad=0.15", "fc": "white", "ec": "none"},
    )


def _dress(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.set_ylim(0, 130)  # Room for the legend above the highest bar.
    axes.set_xlim(*AXIS_MS)
    axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1.0,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda ms, _: f"{ms:g} ms"))
    title = "Waking a service that is at zero: what the caller waits"
    axes.set_title(title, loc="left", weight="bold")
    axes.set_xlabel("connect() to the first byte of the response")
    axes.set_yticks(range(0, 101, 20))
    axes.set_ylabel("share of requests (%)")
    axes.grid(axis="x", which="major", color="#e3e5e8", zorder=0)
    axes.set_axisbelow(True)
    axes.legend(loc="upper left", frameon=False)
