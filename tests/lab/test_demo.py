"""The demo as `make demo` runs it, only shorter."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from tests.lab.clusters import losing_syn_acks
from wangell_lab import Lab, demo
from wangell_lab.client import CurlExchange, Exchange
from wangell_lab.cold_starts import PHASES
from wangell_lab.servers import PYTHON_SERVER
from wangell_lab.wakes import Wake, wake

WANGELL_LAB = str(Path(sys.executable).parent / "wangell-lab")


@pytest.mark.timeout(180)
def test_it_shows_it_all_and_writes_what_was_asked_for(tmp_path: Path) -> None:
    json_path, plot_path = tmp_path / "out" / "demo.json", tmp_path / "out" / "demo.png"
    shown = subprocess.run(
        [
            *(WANGELL_LAB, "demo", "--runs", "5", "--idle-timeout", "1"),
            *("--json", str(json_path), "--plot", str(plot_path)),
        ],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    assert shown.stderr == ""
    for phase in PHASES:
        assert phase in shown.stdout
    assert "with idleTimeout 1" in shown.stdout
    assert "Scaled down" in shown.stdout
    assert "One SYN of the client in every wake." in shown.stdout
    assert max(len(line) for line in shown.stdout.splitlines()) <= 100
    told = json.loads(json_path.read_text())
    assert told["runs"] == 5
    assert told["client_syns_per_wake"]["max"] == 1
    assert told["platform_ms"]["p50"] < told["cold_start_ms"]["p50"] < 900
    assert 0 < told["warm_ms"]["p50"] < told["first_byte_ms"]["p50"]
    assert set(told["readiness"]) == {"listen", "probe"}
    assert told["scale_down"]["waited_s"] >= 0.9
    assert told["problems"] == []
    assert plot_path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.timeout(120)
def test_a_server_that_does_not_answer_fails_the_demo_and_is_named(tmp_path: Path) -> None:
    failed = subprocess.run(
        [WANGELL_LAB, "demo", "--runs", "1", "--server", "false"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, "COLUMNS": "80"},
    )
    assert failed.returncode == 1
    assert "wangell-lab:" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert list(tmp_path.iterdir()) == []


class Unlucky:
    """The real `wake`, but its third caller loses the first SYN-ACKs, and has to send again."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, lab: Lab, call: Callable[[], Exchange | CurlExchange]) -> Wake:
        self.calls += 1
        if self.calls != 3:
            return wake(lab, call)
        client = lab.namespace("client")
        client.run(["nft", "-f", "-"], given=losing_syn_acks(6), check=True)
        try:
            return wake(lab, call)
        finally:
            client.run(["nft", "delete", "table", "ip", "lossy"], check=True)


@pytest.mark.timeout(120)
def test_one_wake_of_two_syns_fails_the_demo_and_stands_in_its_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "wake", Unlucky())
    json_path = tmp_path / "demo.json"
    settings = demo.Settings(
        runs=3, server=PYTHON_SERVER, idle_timeout_s=1, json_path=json_path, plot_path=None
    )
    problems = demo.run(settings, Console(file=StringIO()))
    (problem,) = problems
    # The first two wakes are the story's.
    assert problem.startswith("run 1 (listen): ")
    assert "SYNs of the client, where one should do" in problem
    told = json.loads(json_path.read_text())
    assert told["problems"] == problems
    assert told["client_syns_per_wake"]["max"] >= 2
    assert told["readiness"]["probe"]["client_syns_per_wake"]["max"] == 1
    assert told["first_byte_ms"]["max"] > 900


@pytest.mark.timeout(120)
def test_a_run_that_does_not_complete_ends_its_series_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def gives_up(lab: Lab, call: Callable[[], Exchange | CurlExchange]) -> Wake:
        nonlocal calls
        calls += 1
        if calls == 4:
            lab.daemon.kill()
            lab.controller.kill()
            return wake(lab, lambda: lab.client.get(timeout_s=0.5))
        return wake(lab, call)

    monkeypatch.setattr(demo, "wake", gives_up)
    monkeypatch.setattr(demo, "READINESS", ("listen",))
    settings = demo.Settings(
        runs=5, server=PYTHON_SERVER, idle_timeout_s=1, json_path=None, plot_path=None
    )
    (problem,) = demo.run(settings, Console(file=StringIO()))
    assert problem.startswith("run 2 (listen) did not complete: ")
    assert calls == 4
