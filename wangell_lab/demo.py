"""The demo: a service that is at zero is woken, for real, and every step of it is told.

One service, first by hand: woken by curl, asked again while warm, left alone until it is scaled
down, woken again. Then many times over, once for each way to know that the server is ready.
"""

import json
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from wangell_lab.client import Exchange
from wangell_lab.errors import LabError
from wangell_lab.lab import Lab
from wangell_lab.plot import draw
from wangell_lab.render import WAYS, difference, series_table, wakes_table
from wangell_lab.report import Series, machine, report
from wangell_lab.topology import EXAMPLE, example
from wangell_lab.wakes import Wake, back_to_zero, problem_with, wake

__all__ = ["Settings", "run"]

READINESS = ("listen", "probe")
START_TIMEOUT_S = 10.0
# Beyond idleTimeout: the daemons report each second, and connections are counted twice, 1 s apart.
SCALE_DOWN_MARGIN_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the demo was asked for."""

    runs: int
    "Cold starts for each way of readiness"
    server: Sequence[str]
    idle_timeout_s: int
    "In place of the sample's 1800 s, which nobody would watch"
    json_path: Path | None
    plot_path: Path | None
    nodes: int = 1
    "With several, the pod is not on the one that callers come to"
    controllers: int = 1


@dataclass(slots=True, kw_only=True)
class _Demo:
    """One run of it, and what went wrong so far."""

    settings: Settings
    lab: Lab
    console: Console
    problems: list[str] = field(default_factory=list)

    def story(self) -> dict[str, float]:
        """Wake, ask again, wait for the scale-down, wake again; return how long that took."""
        first = self._wake("1st wake", wake(self.lab, self.lab.client.curl))
        warm = self.lab.client.get()
        waited_s = self._scale_down()
        second = self._wake("2nd wake", wake(self.lab, self.lab.client.get))
        self.console.print()
        wakes = {"1st wake\n(curl)": first, "2nd wake\n(socket)": second}
        self.console.print(wakes_table(wakes, warm))
        return {"idle_timeout_s": self.settings.idle_timeout_s, "waited_s": round(waited_s, 3)}

    def series(self, readiness: str) -> Series:
        """Wake the service again and again, each time from zero."""
        wakes: list[Wake] = []
        warm: list[Exchange] = []
        with self._progress() as progress:
            task = progress.add_task(
                f"cold starts, readiness by {readiness}", total=self.settings.runs
            )
            for number in range(1, self.settings.runs + 1):
                back_to_zero(self.lab, EXAMPLE.service)
                title = f"run {number} ({readiness})"
                try:
                    wakes.append(self._wake(title, wake(self.lab, self.lab.client.get)))
                    warm.append(self.lab.client.get())
                except (OSError, LabError) as error:
                    self.problems.append(f"{title} did not complete: {error}")
                    break  # Where the service is now, nobody knows.
                progress.advance(task)
        return Series(
            readiness=readiness, wakes=wakes, warm_ms=[each.first_byte_ms for each in warm]
        )

    def _wake(self, title: str, woken: Wake) -> Wake:
        problem = problem_with(woken)
        if problem is not None:
            self.problems.append(f"{title}: {problem}")
        return woken

    def _scale_down(self) -> float:
        idle_timeout_s = self.settings.idle_timeout_s
        asked_at_s = time.monotonic()
        with self.console.status(f"no request for {idle_timeout_s} s, then it is scaled down ..."):
            self.lab.wait_until_at_zero(timeout_s=idle_timeout_s + SCALE_DOWN_MARGIN_S)
        waited_s = time.monotonic() - asked_at_s
        left = len(self.lab.server_pids())
        if left:
            self.problems.append(f"scaled down, but {left} processes are left in the pod")
        self.console.print(
            f"Scaled down {waited_s:.1f} s after the last request (idleTimeout: {idle_timeout_s})."
        )
        return waited_s

    def _progress(self) -> Progress:
        return Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self.console,
        )


def run(settings: Settings, console: Console) -> list[str]:
    """Show it, write what was asked for; return what broke the promise. Raises LabError."""
    exposures = (example(nodes=settings.nodes),)
    with Lab(nodes=settings.nodes, controllers=settings.controllers, exposures=exposures) as lab:
        demo = _Demo(settings=settings, lab=lab, console=console)
        console.print(_introduction(settings))
        lab.start_controllers(server=settings.server, idle_timeout_s=settings.idle_timeout_s)
        lab.start_daemons(readiness=READINESS[0])
        lab.wait_until_at_zero(timeout_s=START_TIMEOUT_S)
        scale_down = demo.story()
        several = [demo.series(READINESS[0])]
        for readiness in READINESS[1:]:
            for daemon in lab.daemons.values():
                daemon.stop()
            lab.start_daemons(readiness=readiness)
            several.append(demo.series(readiness))
    if all(series.cold_starts and series.warm_ms for series in several):
        console.print()
        console.print(series_table(several))
        for other in several[1:]:
            console.print(difference(several[0], other))
        result = report(several, scale_down=scale_down, server=settings.server)
        _write({**result, "problems": demo.problems}, several, settings, console)
    return demo.problems


def _named(server: Sequence[str]) -> str:
    """Return a command line without its directories, which say nothing to a reader."""
    return shlex.join([Path(server[0]).name, *(Path(each).name for each in server[1:])])


def _introduction(settings: Settings) -> str:
    where = "" if settings.nodes == 1 else " (its pod is on node2, its callers come to node1)"
    return (
        f"{EXAMPLE.service} at {EXAMPLE.address}:{EXAMPLE.port} is at zero{where}. "
        f"Its server: [bold]{_named(settings.server)}[/bold]\n"
        f"samples/serverless-example.yaml, but with idleTimeout {settings.idle_timeout_s} "
        f"in place of 1800, so that you can watch it scale down."
    )


def _write(
    result: dict[str, Any], several: Sequence[Series], settings: Settings, console: Console
) -> None:
    if settings.json_path is not None:
        settings.json_path.parent.mkdir(parents=True, exist_ok=True)
        settings.json_path.write_text(json.dumps(result, indent=2) + "\n")
        console.print(f"Written: {settings.json_path}")
    if settings.plot_path is not None:
        distributions = {f"cold, {WAYS[each.readiness]}": each.first_byte_ms for each in several}
        distributions["warm"] = [ms for each in several for ms in each.warm_ms]
        here = machine()
        note = (
            f"{settings.runs} cold starts each way. Server: {_named(settings.server)}. "
            f"Linux {here['kernel']}, {here['cpus']} x {here['cpu']}, commit {here['commit']}"
        )
        draw(distributions, settings.plot_path, note=note)
        console.print(f"Written: {settings.plot_path}")
