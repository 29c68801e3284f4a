"""The log of cold starts, which tests and the demo read back."""

import json
from pathlib import Path

import pytest

from wangell_daemon.cold_start_log import ColdStartLog, as_sentence
from wangell_daemon.effects import EndColdStart
from wangell_daemon.timeline import Timeline

MS = 1_000_000


def ended(*, outcome: str = "answered", clients: int = 1) -> EndColdStart:
    timeline = Timeline(first_syn_ns=1_000 * MS, detected_ns=1_000 * MS + 100_000)
    if outcome == "answered":
        timeline.place_start(received_ns=1_000 * MS + 300_000, spawned_ns=1_001 * MS, rtt_ns=None)
        timeline.listened_ns = 1_003 * MS
        timeline.injected_ns = 1_003 * MS + 250_000
        timeline.acked_ns = 1_003 * MS + 410_000
    return EndColdStart("default/x", 7, outcome, clients, timeline)


def read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_cold_start_is_one_line_of_json(tmp_path: Path) -> None:
    log = ColdStartLog(tmp_path / "log")
    log.write(ended(clients=3))
    # Read while the daemon runs: each line is there when it is written.
    (line,) = read(tmp_path / "log")
    assert line == {
        "service": "default/x",
        "activation": 7,
        "outcome": "answered",
        "clients": 3,
        "total_ms": 3.41,
        "phases_ms": {
            "detect": 0.1,
            "notify": 0.2,
            "start": 0.7,
            "listen": 2.0,
            "replay": 0.25,
            "handshake": 0.16,
        },
        "first_syn_ns": 1_000 * MS,
        "listened_ns": 1_003 * MS,
        "replayed_ns": 1_003 * MS + 250_000,
        "acked_ns": 1_003 * MS + 410_000,
    }
    log.close()


def test_the_phases_in_a_line_add_up_to_its_total(tmp_path: Path) -> None:
    log = ColdStartLog(tmp_path / "log")
    log.write(ended())
    log.close()
    (line,) = read(tmp_path / "log")
    phases = line["phases_ms"]
    assert isinstance(phases, dict)
    assert sum(phases.values()) == pytest.approx(line["total_ms"])


def test_a_wake_that_was_never_answered_has_no_total(tmp_path: Path) -> None:
    log = ColdStartLog(tmp_path / "log")
    log.write(ended(outcome="timeout"))
    log.close()
    (line,) = read(tmp_path / "log")
    assert (line["outcome"], line["total_ms"], line["acked_ns"]) == ("timeout", None, None)
    assert line["phases_ms"] == {"detect": 0.1}


def test_a_restarted_daemon_adds_to_the_file(tmp_path: Path) -> None:
    for _ in range(2):
        log = ColdStartLog(tmp_path / "log")
        log.write(ended())
        log.close()
    assert len(read(tmp_path / "log")) == 2


def test_without_a_file_nothing_is_written(tmp_path: Path) -> None:
    log = ColdStartLog(None)
    log.write(ended())
    log.close()
    assert list(tmp_path.iterdir()) == []


def test_a_person_is_told_in_one_sentence() -> None:
    assert as_sentence(ended()) == (
        "default/x: answered, 1 client, 3.41 ms (detect 0.10, notify 0.20, start 0.70, "
        "listen 2.00, replay 0.25, handshake 0.16)"
    )
    assert as_sentence(ended(outcome="timeout", clients=50)) == "default/x: timeout, 50 clients"
