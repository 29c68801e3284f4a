"""The soak runs as long as asked and, where a history fails, says how to have it again."""

import re

import pytest

from tests.proto import soak


def test_it_ends_after_so_many_histories(capsys: pytest.CaptureFixture[str]):
    assert soak.main(["--seed", "7", "--steps", "20", "--histories", "2"]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[0] == "from seed 7 on"
    assert "2 histories of 20 steps, none failed" in said


def test_it_ends_after_so_many_minutes(capsys: pytest.CaptureFixture[str]):
    assert soak.main(["--minutes", "0"]) == 0
    assert "0 histories" in capsys.readouterr().out


def test_what_it_prints_of_a_failure_replays_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    # Nothing is known to have been received, so repetitions are delivered.
    monkeypatch.setattr("wangell_proto.window.SlidingWindow.seen", lambda *_: False)
    assert soak.main(["--seed", "1", "--steps", "120", "--histories", "20"]) == 1
    captured = capsys.readouterr()
    replay = re.search(r"FAILED: python -m tests.proto.soak (.*)", captured.out)[1].split()
    reason = captured.err.splitlines()[-2:]
    assert soak.main(replay) == 1
    assert capsys.readouterr().err.splitlines()[-2:] == reason
