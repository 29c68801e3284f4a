"""The command line: it teaches, refuses clearly, cleans up."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from wangell_lab import cli, demo
from wangell_lab.namespaces import NETNS_DIRECTORY, Namespace
from wangell_lab.reaper import end_all
from wangell_lab.registry import RUN_DIRECTORY

WANGELL_LAB = str(Path(sys.executable).parent / "wangell-lab")


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [WANGELL_LAB, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


@contextmanager
def lab_up(*options: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """`up` in another process; yields it and the lab's id once it is up."""
    with subprocess.Popen(
        [WANGELL_LAB, "up", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as up:
        assert up.stdout is not None
        try:
            yield up, up.stdout.readline().split()[1]
        finally:
            up.terminate()


def test_every_command_is_explained() -> None:
    told = run("--help")
    assert told.returncode == 0
    for word in ("up", "down", "demo", "root", "side by"):
        assert word in told.stdout
    for command, word in (("up", "examples"), ("down", "killed labs left"), ("demo", "--runs 200")):
        told = run(command, "--help")
        assert told.returncode == 0
        assert word in told.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "required"),
        (("sideways",), "invalid choice"),
        (("demo", "--runs", "0"), "'0' is not a number from 1"),
        (("demo", "--runs", "-3"), "is not a number from 1"),
        (("demo", "--runs", "many"), "'many' is not a number"),
        (("demo", "--server", "no-such-server"), "no such program"),
        (("demo", "--server", ""), "no such program"),
        (("demo", "--server", "'unbalanced"), "No closing quotation"),
        (("up", "--readiness", "guess"), "invalid choice"),
        (("up", "--idle-timeout", "0"), "is not a number from 1"),
        (("up", "--nodes", "4"), "invalid choice: 4"),
        (("demo", "--controllers", "3"), "invalid choice: 3"),
    ],
)
def test_a_wrong_argument_is_named_and_nothing_is_made(
    arguments: tuple[str, ...], said: str
) -> None:
    before = set(NETNS_DIRECTORY.iterdir())
    refused = run(*arguments)
    assert refused.returncode == 2
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not {path for path in set(NETNS_DIRECTORY.iterdir()) - before if ours(path)}


def ours(path: Path) -> bool:
    """Whether a namespace is of this process's children: other labs may come and go meanwhile."""
    if not path.name.startswith("wl-"):
        return False
    lock = RUN_DIRECTORY / path.name.split("-")[1] / "lock"
    return lock.exists() and lock.read_text().strip() == str(os.getpid())


def test_a_picture_that_cannot_be_drawn_is_refused_before_the_runs() -> None:
    refused = run("demo", "--plot", "demo.txt")
    assert refused.returncode == 1
    assert "cannot draw that" in refused.stderr
    assert refused.stdout == ""


def test_not_being_root_is_said_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for command in ("up", "down", "demo"):
        assert cli.main([command]) == 1
        assert "not root" in (said := capsys.readouterr().err)
        assert "sudo" in said


def test_a_missing_command_is_named_with_its_package(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cli.main(["up", "--bare"]) == 1
    assert "apt-get install curl iproute2 nftables" in capsys.readouterr().err


def test_up_says_how_to_enter_and_those_commands_work() -> None:
    with lab_up("--bare") as (up, lab_id):
        client = f"nsenter --net=/run/netns/wl-{lab_id}-client"
        printed_until(up, client)
        shown = subprocess.run(
            [*client.split(), "ip", "-brief", "addr"], capture_output=True, text=True, check=True
        )
        assert "10.46.100.1/24" in shown.stdout


def printed_until(up: "subprocess.Popen[str]", wanted: str) -> list[str]:
    """Return the lines that `up` prints up to the one that holds `wanted`."""
    assert up.stdout is not None
    lines = [up.stdout.readline()]
    while wanted not in lines[-1]:
        assert lines[-1], f"{wanted} was not printed"
        lines.append(up.stdout.readline())
    return lines


def test_up_wakes_its_service_by_the_command_it_prints(c_server: Path) -> None:
    with lab_up("--server", str(c_server)) as (up, _):
        *_, command = printed_until(up, "curl --noproxy '*' http://10.46.100.105/")
        shown = subprocess.run(
            shlex.split(command), capture_output=True, text=True, timeout=10, check=True
        )
        assert shown.stdout == "hello\n"
        *_, command = printed_until(up, "http://10.46.100.2:9401/metrics")
        metrics = subprocess.run(
            shlex.split(command), capture_output=True, text=True, timeout=10, check=True
        ).stdout
        assert "wangell_cold_start_seconds_count" in metrics


def test_up_ends_when_one_of_its_programs_does_and_says_why(c_server: Path) -> None:
    with lab_up("--server", str(c_server)) as (up, lab_id):
        printed_until(up, "http://10.46.100.2:9401/metrics")
        assert end_all([Namespace(f"wl-{lab_id}-node1")]) == 1
        _, errors = up.communicate(timeout=20)
    assert up.returncode == 1
    assert "daemon-node1 has ended. The end of its log:" in errors
    assert not list(NETNS_DIRECTORY.glob(f"wl-{lab_id}-*"))


def test_up_goes_on_when_one_of_two_controllers_ends(c_server: Path) -> None:
    size = ("--nodes", "2", "--controllers", "2")
    with lab_up("--server", str(c_server), *size) as (up, lab_id):
        *_, command = printed_until(up, "curl --noproxy '*' http://10.46.100.105/")
        printed_until(up, "http://10.46.100.12:9401/metrics")
        assert end_all([Namespace(f"wl-{lab_id}-controller1")]) == 1
        printed_until(up, "controller1 has ended; controller2 is left.")
        shown = subprocess.run(
            shlex.split(command), capture_output=True, text=True, timeout=10, check=True
        )
        assert shown.stdout == "hello\n"
        assert end_all([Namespace(f"wl-{lab_id}-controller2")]) == 1
        _, errors = up.communicate(timeout=20)
    assert up.returncode == 1
    assert "controller2 has ended. The end of its log:" in errors
    assert not list(NETNS_DIRECTORY.glob(f"wl-{lab_id}-*"))


def test_ctrl_c_cleans_up_and_is_quiet() -> None:
    with lab_up("--bare") as (up, lab_id):
        up.send_signal(signal.SIGINT)
        _, errors = up.communicate(timeout=20)
    assert up.returncode == 130
    assert errors == ""
    assert not list(NETNS_DIRECTORY.glob(f"wl-{lab_id}-*"))
    assert not (RUN_DIRECTORY / lab_id).exists()


def test_down_lists_living_labs_ends_the_named_and_leaves_the_others() -> None:
    with lab_up("--bare") as (one, first), lab_up("--bare") as (other, second):
        listed = run("down").stdout
        assert f"wangell-lab down {first}" in listed
        assert f"wangell-lab down {second}" in listed
        told = run("down", first)
        assert told.returncode == 0
        assert f"Lab {first} is down." in told.stdout
        assert one.wait(5) == 143
        assert other.poll() is None
        assert not list(NETNS_DIRECTORY.glob(f"wl-{first}-*"))
        assert list(NETNS_DIRECTORY.glob(f"wl-{second}-*"))


def test_down_of_an_unknown_lab_says_which_there_are() -> None:
    refused = run("down", "nothere")
    assert refused.returncode == 1
    assert "no living lab nothere; living labs:" in refused.stderr


def test_a_demo_that_broke_the_promise_fails_and_says_which_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "run", lambda *_: ["run 7 (probe): 2 SYNs of the client"])
    assert cli.main(["demo"]) == 1
    told = capsys.readouterr()
    assert "run 7 (probe): 2 SYNs" in told.err
    assert "One SYN" not in told.out


def test_a_demo_that_kept_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "run", lambda *_: [])
    assert cli.main(["demo"]) == 0
    assert "One SYN of the client in every wake." in capsys.readouterr().out
