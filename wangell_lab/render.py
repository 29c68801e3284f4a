"""What the demo shows on the terminal: tables of steps and of figures."""

from collections.abc import Mapping, Sequence

from rich.table import Table

from wangell_lab.client import CurlExchange, Exchange
from wangell_lab.cold_starts import PHASES
from wangell_lab.figures import Summary, summarize
from wangell_lab.report import Series
from wangell_lab.wakes import Wake

__all__ = ["series_table", "wakes_table"]

STEPS = {
    "detect": "the SYN, held by XDP, reaches the daemon",
    "notify": "the wake reaches the controller",
    "start": "the server's process is spawned",
    "listen": "the server's own start, until it listens",
    "replay": "the held SYN is injected",
    "handshake": "SYN-ACK, and the client's ACK",
}
NOTHING = "[dim]-[/dim]"


def wakes_table(wakes: Mapping[str, Wake], warm: Exchange | CurlExchange) -> Table:
    """Return the steps of single cold starts side by side, and a warm request beside them."""
    table = Table(title="Cold starts, step by step (ms)", title_justify="left")
    table.add_column("step")
    table.add_column("what happens", style="dim")
    for name in (*wakes, "warm request"):
        table.add_column(name, justify="right")
    for phase in PHASES:
        took = [_ms(wake.cold_start.phases_ms.get(phase)) for wake in wakes.values()]
        table.add_row(phase, STEPS[phase], *took, NOTHING, end_section=phase == PHASES[-1])
    starts = [wake.cold_start for wake in wakes.values()]
    callers = [*(wake.caller for wake in wakes.values()), warm]
    totals = [_ms(each.total_ms) for each in starts]
    table.add_row("cold start", "first SYN to the client's ACK", *totals, NOTHING, style="bold")
    platform = [_ms(each.platform_ms) for each in starts]
    table.add_row("platform", "all but `listen`", *platform, NOTHING, end_section=True)
    table.add_row("connect", "as the caller sees it", *(_ms(each.connect_ms) for each in callers))
    table.add_row("first byte", "of the response", *(_ms(each.first_byte_ms) for each in callers))
    syns = [str(wake.client_syns) for wake in wakes.values()]
    table.add_row("client's SYNs", "captured on its interface", *syns, NOTHING)
    return table


def series_table(several: Sequence[Series]) -> Table:
    """Return the figures of several series side by side."""
    table = Table(title="Many cold starts (ms)", title_justify="left")
    table.add_column("")
    for series in several:
        name = {"listen": "LISTEN seen", "probe": "SYN probes"}.get(series.readiness, "")
        table.add_column(f"{name or series.readiness}\np50", justify="right", style="bold")
        for figure in ("p99", "min", "max"):
            table.add_column(f"\n{figure}", justify="right")
    for phase in PHASES:
        rows = [_phase(series, phase) for series in several]
        table.add_row(phase, *_figures(rows), end_section=phase == PHASES[-1])
    table.add_row("cold start", *_figures([_totals(series) for series in several]), style="bold")
    table.add_row("platform", *_figures([_platform(series) for series in several]))
    table.add_row("first byte", *_figures([summarize(each.first_byte_ms) for each in several]))
    table.add_row("warm request", *_figures([summarize(each.warm_ms) for each in several]))
    return table


def _phase(series: Series, phase: str) -> Summary:
    return summarize([wake.cold_start.phases_ms[phase] for wake in series.wakes])


def _totals(series: Series) -> Summary:
    return summarize([wake.cold_start.total_ms or 0.0 for wake in series.wakes])


def _platform(series: Series) -> Summary:
    return summarize([wake.cold_start.platform_ms for wake in series.wakes])


def _figures(summaries: Sequence[Summary]) -> list[str]:
    return [_ms(each) for one in summaries for each in (one.p50, one.p99, one.min, one.max)]


def _ms(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}"
