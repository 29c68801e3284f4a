"""The daemon's log, read while it is being written."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.lab.helpers import a_cold_start
from wangell_lab import LabError
from wangell_lab.cold_starts import PHASES, ColdStartLog, parse

LINE: dict[str, Any] = {
    "service": "default/serverless-example",
    "activation": 3,
    "outcome": "answered",
    "clients": 1,
    "total_ms": 4.0,
    "phases_ms": {
        "detect": 0.1,
        "notify": 0.3,
        "start": 0.4,
        "listen": 2.5,
        "replay": 0.5,
        "handshake": 0.2,
    },
    "first_syn_ns": 1_000_000,
    "listened_ns": 4_300_000,
    "replayed_ns": 4_800_000,
    "acked_ns": 5_000_000,
}


def line(**changed: object) -> str:
    return json.dumps({**LINE, **changed}) + "\n"


def test_a_line_is_read_whole() -> None:
    cold_start = parse(line())
    assert (cold_start.service, cold_start.activation) == ("default/serverless-example", 3)
    assert cold_start.answered
    assert (cold_start.first_syn_ns, cold_start.replayed_ns) == (1_000_000, 4_800_000)
    assert cold_start.acked_ns == 5_000_000
    assert tuple(cold_start.phases_ms) == PHASES


def test_the_platform_is_everything_but_the_servers_own_start() -> None:
    assert parse(line()).platform_ms == pytest.approx(1.5)
    assert a_cold_start(listen_ms=3000.0).platform_ms == pytest.approx(1.0)


def test_one_that_was_not_answered_has_no_platform_figure() -> None:
    failed = parse(line(outcome="timeout", total_ms=None, acked_ns=None, phases_ms={}))
    assert not failed.answered
    with pytest.raises(LabError, match="default/serverless-example was not answered: timeout"):
        _ = failed.platform_ms


def test_fields_of_a_newer_daemon_are_ignored() -> None:
    assert parse(line(weather="fair")) == parse(line())


@pytest.mark.parametrize(
    "wrong",
    [
        *("", "{", "[]", "null", json.dumps({"service": "x"})),
        *(line(total_ms="fast"), line(phases_ms=None), line(phases_ms={"detect": None})),
    ],
)
def test_what_is_no_such_line_is_an_error_that_shows_it(wrong: str) -> None:
    with pytest.raises(LabError, match="no line of a cold-start log"):
        parse(wrong)


def test_each_line_is_read_once_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = ColdStartLog(path)
    assert log.unread() == []
    path.write_text(line(activation=1) + line(activation=2))
    assert [each.activation for each in log.unread()] == [1, 2]
    assert log.unread() == []
    with path.open("a") as file:
        file.write(line(activation=3))
    assert [each.activation for each in log.unread()] == [3]


def test_a_line_that_is_half_written_comes_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log, text = ColdStartLog(path), line(activation=1)
    path.write_text(text[:40])
    assert log.unread() == []
    path.write_text(text)
    assert [each.activation for each in log.unread()] == [1]


def test_waiting_for_one_ends_in_time_and_says_what_was_missing(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"a cold start: not within 0\.1 s"):
        ColdStartLog(tmp_path / "log").next(timeout_s=0.1)


def test_two_where_one_was_expected_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(line(activation=1) + line(activation=2))
    with pytest.raises(LabError, match="the daemon tells of 2"):
        ColdStartLog(path).next(timeout_s=0.1)
