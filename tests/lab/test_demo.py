"""The demo as `make demo` runs it, only shorter."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from wangell_lab.cold_starts import PHASES

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
