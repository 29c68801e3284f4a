"""What the demo shows on the terminal: tables of steps and of figures."""

from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from wangell_lab.client import CurlExchange, Exchange
from wangell_lab.cold_starts import PHASES
from wangell_lab.figures import Summary, summarize
from wangell_lab.report import Series
from wangell_lab.wakes import Wake

__all__ = ["WAYS", "difference", "series_table", "wakes_table"]

STEPS = {
    "detect": "the daemon has the held SYN",
    "notify": "the controller has the wake",
    "start": "the server's process is spawned",
    "listen": "the server's own start",
    "replay": "the held SYN is injected",
    "handshake": "SYN-ACK, and the client's ACK",
}
WAYS = {"listen": "LISTEN seen", "probe": "SYN probes"}
FIGURES = ("p50", "p99", "max")
NOTHING = "-"


def wakes_table(wakes: Mapping[str, Wake], warm: Exchange | CurlExchange) -> Table:
    """Return the steps of single cold starts side by side, and a warm request beside them."""
    table = _table("Cold starts, step by step (ms)", "step", "what happens", *wakes, "warm")
    for phase in PHASES:
        took = [_ms(wake.cold_start.phases_ms.get(phase)) for wake in wakes.values()]
        table.add_row(phase, STEPS[phase], *took, NOTHING, end_section=phase == PHASES[-1])
    starts = [wake.cold_start for wake in wakes.values()]
    callers = [*(wake.caller for wake in wakes.values()), warm]
    totals = [_ms(each.total_ms) for each in starts]
    table.add_row("cold start", "first SYN to client's ACK", *totals, NOTHING, style="bold")
    platform = [_ms(each.platform_ms if each.answered else None) for each in starts]
    table.add_row("platform", "all but `listen`", *platform, NOTHING, end_section=True)
    table.add_row("connect", "as the caller sees it", *(_ms(each.connect_ms) for each in callers))
    table.add_row("first byte", "of the response", *(_ms(each.first_byte_ms) for each in callers))
    syns = [str(wake.client_syns) for wake in wakes.values()]
    table.add_row("client's SYNs", "on its interface", *syns, NOTHING)
    return table


def series_table(several: Sequence[Series]) -> Table:
    """Return the figures of several series side by side."""
    columns = [
        f"{WAYS[each.readiness] if name == FIGURES[0] else ''}\n{name}"
        for each in several
        for name in FIGURES
    ]
    table = _table("Many cold starts (ms)", "", *columns, described=False)
    for phase in PHASES:
        rows = [_phase(series, phase) for series in several]
        table.add_row(phase, *_figures(rows), end_section=phase == PHASES[-1])
    table.add_row("cold start", *_figures([_totals(series) for series in several]), style="bold")
    table.add_row("platform", *_figures([_platform(series) for series in several]))
    table.add_row("first byte", *_figures([summarize(each.first_byte_ms) for each in several]))
    table.add_row("warm request", *_figures([summarize(each.warm_ms) for each in several]))
    return table


def difference(one: Series, other: Series) -> str:
    """Say by how much the medians of two ways of readiness differ."""
    median_ms = _totals(other).p50 - _totals(one).p50
    word = "longer" if median_ms >= 0 else "shorter"
    return (
        f"With {WAYS[other.readiness]}, the median cold start is {abs(median_ms):.2f} ms {word} "
        f"than with {WAYS[one.readiness]}."
    )


def _table(title: str, *columns: str, described: bool = True) -> Table:
    # Narrow enough for 80 columns: a demo's output is often read in a log.
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1))
    table.add_column(columns[0], no_wrap=True)
    for number, column in enumerate(columns[1:]):
        if described and number == 0:
            table.add_column(column, style="dim", no_wrap=True)
        else:
            table.add_column(column, justify="right", no_wrap=True)
    return table


def _phase(series: Series, phase: str) -> Summary:
    return summarize([each.phases_ms[phase] for each in series.cold_starts])


def _totals(series: Series) -> Summary:
    return summarize([each.total_ms or 0.0 for each in series.cold_starts])


def _platform(series: Series) -> Summary:
    return summarize([each.platform_ms for each in series.cold_starts])


def _figures(summaries: Sequence[Summary]) -> list[str]:
    return [_ms(getattr(each, name)) for each in summaries for name in FIGURES]


def _ms(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}"
