"""A program's life: ready or not, stopped or killed, and what its log says."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab.helpers import ended
from wangell_lab import Lab, LabError
from wangell_lab.process import Process

NOTIFY = """
import os, socket
def notify(text):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier:
        notifier.sendto(text, os.environ["NOTIFY_SOCKET"])
"""
FOR_EVER = "import signal\nsignal.pause()\n"

Make = Callable[[str], Process]


@pytest.fixture
def program(lab: Lab) -> Iterator[Make]:
    """Make a process of a Python program, in the node's namespace."""
    made: list[Process] = []

    def make(source: str) -> Process:
        argv = ["/usr/bin/python3", "-I", "-S", "-c", source]
        process = Process(
            name="program", namespace=lab.namespace("node1"), argv=argv, directory=lab.directory
        )
        made.append(process)
        return process

    yield make
    for process in made:
        process.kill()


def test_it_is_started_when_it_says_that_it_is_ready(program: Make) -> None:
    process = program(f"{NOTIFY}print('hello', flush=True)\nnotify(b'READY=1')\n{FOR_EVER}")
    process.start()
    assert process.running
    assert process.log_tail() == "hello"


def test_other_notifications_do_not_make_it_ready(program: Make) -> None:
    source = f"{NOTIFY}notify(b'STATUS=compiling')\nnotify(b'XREADY=1')\n{FOR_EVER}"
    process = program(source)
    with pytest.raises(LabError, match=r"program was not ready after 0\.5 s"):
        process.start(timeout_s=0.5)
    assert not process.running


def test_readiness_may_stand_among_other_lines(program: Make) -> None:
    process = program(f"{NOTIFY}notify(b'STATUS=serving\\nREADY=1\\n')\n{FOR_EVER}")
    process.start()
    assert process.running


def test_one_that_ends_at_once_is_told_with_its_log(program: Make) -> None:
    process = program("raise SystemExit('no such interface: eth7')")
    with pytest.raises(LabError, match=r"ended before it was ready[\s\S]*no such interface: eth7"):
        process.start(timeout_s=30)
    assert not process.running


def test_it_runs_in_its_namespace(program: Make, lab: Lab) -> None:
    process = program(f"{NOTIFY}notify(b'READY=1')\n{FOR_EVER}")
    process.start()
    found = Path(f"/proc/{process.pid}/ns/net").stat()
    assert (found.st_dev, found.st_ino) == lab.namespace("node1").identity


def test_ctrl_c_in_the_terminal_does_not_reach_it(program: Make) -> None:
    """It is sent to the lab's process group; the lab then ends its programs in order."""
    process = program(f"{NOTIFY}notify(b'READY=1')\n{FOR_EVER}")
    process.start()
    assert os.getpgid(process.pid) != os.getpgrp()


def test_stop_is_sigterm_and_waits(program: Make) -> None:
    source = (
        f"{NOTIFY}import signal\n"
        "def leave(*_):\n    print('leaving', flush=True)\n    raise SystemExit(7)\n"
        f"signal.signal(signal.SIGTERM, leave)\nnotify(b'READY=1')\n{FOR_EVER}"
    )
    process = program(source)
    process.start()
    pid = process.pid
    assert process.stop() == 7
    assert ended(pid, timeout_s=0)
    assert process.log_tail() == "leaving"


def test_one_that_does_not_heed_sigterm_is_killed(program: Make) -> None:
    source = (
        f"{NOTIFY}import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"notify(b'READY=1')\n{FOR_EVER}"
    )
    process = program(source)
    process.start()
    assert process.stop(timeout_s=0.2) == -signal.SIGKILL


def test_kill_gives_it_no_chance(program: Make) -> None:
    source = (
        f"{NOTIFY}import signal\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('leaving', flush=True))\n"
        f"notify(b'READY=1')\n{FOR_EVER}"
    )
    process = program(source)
    process.start()
    assert process.kill() == -signal.SIGKILL
    assert process.log_tail() == ""


def test_restarted_it_is_another_process_with_the_same_log(program: Make) -> None:
    process = program(f"{NOTIFY}print('up', flush=True)\nnotify(b'READY=1')\n{FOR_EVER}")
    process.start()
    first = process.pid
    process.restart()
    assert process.pid != first
    assert ended(first, timeout_s=0)
    assert process.log_tail().splitlines() == ["up", "up"]


def test_started_twice_is_refused_and_the_first_goes_on(program: Make) -> None:
    process = program(f"{NOTIFY}notify(b'READY=1')\n{FOR_EVER}")
    process.start()
    first = process.pid
    with pytest.raises(LabError, match="running already"):
        process.start()
    assert process.pid == first
    assert process.running


def test_stopping_what_does_not_run_is_nothing(program: Make) -> None:
    process = program(FOR_EVER)
    assert process.stop() == 0
    with pytest.raises(LabError, match="program is not running"):
        _ = process.pid


def test_a_program_of_the_lab_ends_with_the_lab(tmp_path: Path) -> None:
    with Lab() as lab:
        process = Process(
            name="forgotten",
            namespace=lab.namespace("controller1"),
            argv=["/usr/bin/python3", "-I", "-S", "-c", f"{NOTIFY}notify(b'READY=1')\n{FOR_EVER}"],
            directory=tmp_path,
        )
        process.start()
        pid = process.pid
    assert ended(pid, timeout_s=0)
    process.kill()
