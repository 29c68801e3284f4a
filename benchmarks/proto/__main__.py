"""`python -m benchmarks.proto`: measures, says what met its budget, writes JSON and a picture."""

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.proto.budgets import Verdict, judge
from benchmarks.proto.errors import BenchmarkError
from benchmarks.proto.measure import load_average, measurements, merge
from benchmarks.proto.network import Network
from benchmarks.proto.plan import FULL, QUICK, Plan
from benchmarks.proto.plot import draw
from wangell_lab import preflight
from wangell_lab.errors import LabError
from wangell_lab.plot import check_suffix
from wangell_lab.report import machine
from wangell_lab.signals import unwinding

INTERRUPTED = 130  # As a shell reports a program that Ctrl-C ended.


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and return its exit status."""
    arguments = parser().parse_args(argv)
    console = Console()
    try:
        preflight.check()
        if arguments.plot is not None:
            check_suffix(arguments.plot)
        with unwinding():
            report = run(QUICK if arguments.quick else FULL, console)
    except (BenchmarkError, LabError) as error:
        print(f"benchmarks.proto: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    verdicts = judge(report)
    report["budgets"] = [{"figure": each.name, **each.as_json()} for each in verdicts]
    console.print(table(verdicts), note(report), sep="\n")
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    if arguments.plot is not None:
        draw(report, verdicts, arguments.plot, note=note(report))
    missed = [each for each in verdicts if not each.met]
    return 1 if missed and not arguments.no_fail else 0


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.proto",
        description="How fast is the peer protocol, beside a UDP echo and gRPC? Needs root: it "
        "makes two network namespaces and removes them.",
        epilog="Exit status: 0; 1 if a budget was missed or nothing could be measured.",
    )
    made.add_argument("--quick", action="store_true", help="fewer of everything: half a minute")
    made.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    made.add_argument("--plot", type=Path, metavar="FILE", help="draw them there: .png, .svg, ...")
    made.add_argument("--no-fail", action="store_true", help="exit 0 though a budget was missed")
    return made


def run(plan: Plan, console: Console) -> dict[str, Any]:
    """Measure everything. Raises BenchmarkError and LabError."""
    figures: dict[str, Any] = {}
    loads: dict[str, float] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Network.made() as network, Progress(*columns, console=console) as progress:
        for each in measurements(plan):
            task = progress.add_task(each.title, total=each.ticks)
            loads[each.name] = load_average()
            merge(figures, each.take(network, plan, partial(progress.advance, task)))
    details = figures.pop("details")
    return {**figures, "machine": {**machine(), "load_average": loads}, "details": details}


def table(verdicts: Sequence[Verdict]) -> Table:
    """Return the budgets beside what was measured."""
    shown = Table(box=SIMPLE_HEAD, title="Figures and budgets", title_justify="left")
    shown.add_column("figure", no_wrap=True)
    for name in ("measured", "at most", "rule"):
        shown.add_column(name, justify="right")
    shown.add_column("")
    for each in verdicts:
        verdict = "met" if each.met else "[bold red]missed[/]"
        shown.add_row(each.name, f"{each.value:.4g}", f"{each.limit:.4g}", each.rule, verdict)
    return shown


def note(report: dict[str, Any]) -> str:
    """Say what it was measured on."""
    seen = report["machine"]
    loads = seen["load_average"].values()
    return (
        f"Linux {seen['kernel']}, {seen['cpus']} x {seen['cpu']}, Python {seen['python']}, "
        f"commit {seen['commit']}, load average {min(loads):g} to {max(loads):g}"
    )


if __name__ == "__main__":
    sys.exit(main())
