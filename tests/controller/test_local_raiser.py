"""Controllers that raise the same service at the same moment: one server, whoever was first."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.controller.local import (
    SLEEPER,
    Stage,
    children,
    declared,
    is_prepared,
    prepared,
    runs,
    settings,
    until,
)
from wangell_controller.backends import ReplicaEnded, ReplicaFound, ReplicaStarted
from wangell_controller.backends.local import Launch, LocalRaiser, plan
from wangell_controller.backends.local.adopt import BIRTH_S_MAX, await_birth
from wangell_controller.backends.local.starter import Starter

KEY = Stage.KEY
# Raises the service as soon as it is told to, says so, and leaves the server running.
RIVAL = """
import sys
from pathlib import Path
from tests.controller.test_local_raiser import launch_of, KEY
from wangell_controller.backends.local.starter import Starter

netns, run_dir = map(Path, sys.argv[1:])
launch, starter = launch_of(netns), Starter(run_dir)
print("ready", flush=True)
sys.stdin.readline()
replica = starter.start_once(launch, activation=1)
print(replica.pid if replica else None, flush=True)
sys.stdin.readline()
"""


def launches_of(netns: Path, command: list[str] = SLEEPER) -> dict[str, Launch]:
    local = settings(netns, command=command)
    return plan(local, declared(local), origin=Path("local.yaml"))


def launch_of(netns: Path) -> Launch:
    return launches_of(netns)[KEY]


def servers(netns: Path) -> list[int]:
    listed = subprocess.run(
        ["ip", "netns", "pids", netns.name], capture_output=True, text=True, check=True
    )
    return [pid for pid in map(int, listed.stdout.split()) if not is_prepared(pid)]


@contextmanager
def none_left(netns: Path) -> Iterator[None]:
    """End what a raiser leaves behind, for it ends nothing itself."""
    try:
        yield
    finally:
        for pid in servers(netns):
            os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)


def raiser(
    netns: Path,
    run_dir: Path,
    *,
    activations: Mapping[str, int] | None = None,
    **options: list[str],
) -> LocalRaiser:
    return LocalRaiser(
        launches_of(netns, **options), run_dir=run_dir, activations=lambda: activations or {}
    )


def test_raising_twice_starts_one_server(netns: Path, tmp_path: Path) -> None:
    async def story() -> None:
        one, other = raiser(netns, tmp_path), raiser(netns, tmp_path)
        first_ns = one.raise_from_zero(KEY, 1)
        [pid] = servers(netns)
        assert first_ns is not None
        for each in (one, other, one):
            again_ns = each.raise_from_zero(KEY, 1)
            assert again_ns is not None
            assert abs(again_ns - first_ns) < 50_000_000, "of the same server"
        assert servers(netns) == [pid]
        one.close()
        other.close()
        assert runs(pid), "what runs is the leader's"

    with none_left(netns):
        asyncio.run(story())


def test_many_that_start_at_the_same_moment_start_one(netns: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", RIVAL, str(netns), str(tmp_path)]
    with none_left(netns):
        rivals = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(4)
        ]
        assert {_said(rival) for rival in rivals} == {"ready"}
        for rival in rivals:
            _say(rival)
        said = [_said(rival) for rival in rivals]
        assert servers(netns) == [int(said[0])]
        assert len(set(said)) == 1, "and all know which"
        for rival in rivals:
            with rival:
                _say(rival)
                assert rival.wait(10) == 0


def _said(rival: "subprocess.Popen[str]") -> str:
    assert rival.stdout is not None
    return rival.stdout.readline().strip()


def _say(rival: "subprocess.Popen[str]") -> None:
    assert rival.stdin is not None
    rival.stdin.write("\n")
    rival.stdin.flush()


def test_a_late_wake_of_a_server_that_has_gone_starts_none(netns: Path, tmp_path: Path) -> None:
    """It would run for nobody: the leader has lowered the service since."""

    async def story() -> None:
        late = raiser(netns, tmp_path)
        assert late.raise_from_zero(KEY, 2) is not None
        [pid] = servers(netns)
        os.kill(pid, signal.SIGKILL)
        await until(lambda: not runs(pid))
        assert late.raise_from_zero(KEY, 2) is None
        assert late.raise_from_zero(KEY, 1) is None
        assert servers(netns) == []
        assert late.raise_from_zero(KEY, 3) is not None, "the next wake is no late one"
        late.close()
        told = raiser(netns, tmp_path / "other", activations={KEY: 5})
        assert told.raise_from_zero(KEY, 5) is None, "the leader has written it down"
        assert told.raise_from_zero("default/unknown", 1) is None
        told.close()

    with none_left(netns):
        (tmp_path / "other").mkdir()
        asyncio.run(story())


def test_a_server_that_ends_while_standing_by_leaves_no_zombie(netns: Path, tmp_path: Path) -> None:
    async def story() -> None:
        one = raiser(netns, tmp_path, command=["true"])
        assert one.raise_from_zero(KEY, 1) is not None
        await until(lambda: children() == set())
        one.close()

    asyncio.run(story())


def test_one_that_cannot_be_started_is_none_and_harms_nobody(netns: Path, tmp_path: Path) -> None:
    async def story() -> None:
        program = tmp_path / "server"
        program.write_text("#!/nowhere/to/be/found\n")
        program.chmod(0o755)
        one = raiser(netns, tmp_path, command=[str(program)])
        assert one.raise_from_zero(KEY, 1) is None
        assert servers(netns) == []
        one.close()

    asyncio.run(story())


def test_the_leader_finds_what_one_that_stood_by_had_raised(netns: Path, tmp_path: Path) -> None:
    """While it led: the wake came to the other first. Its start is told as its own."""

    async def story() -> None:
        async with Stage(settings(netns), tmp_path) as leading:
            standing_by = raiser(netns, tmp_path)
            assert standing_by.raise_from_zero(KEY, 8) is not None
            [pid] = servers(netns)
            leading.backend.start(KEY, 9)
            assert servers(netns) == [pid]
            assert isinstance(leading.told[-1][1], ReplicaStarted)
            leading.backend.stop(KEY)
            ended = await leading.heard(ReplicaEnded)
            assert isinstance(ended, ReplicaEnded)
            assert ended.activation == 9, "as it was asked for"
            assert servers(netns) == []
            standing_by.close()

    asyncio.run(story())


def test_what_it_raised_is_its_own_once_it_leads(netns: Path, tmp_path: Path) -> None:
    """The same process: its child must be waited for, and what that forked must end with it."""

    async def story() -> None:
        standing_by = raiser(netns, tmp_path)
        assert standing_by.raise_from_zero(KEY, 1) is not None
        [pid] = servers(netns)
        standing_by.close()
        async with Stage(settings(netns), tmp_path) as leading:
            await leading.heard(ReplicaFound)
            os.kill(pid, signal.SIGTERM)
            ended = await leading.heard(ReplicaEnded)
            assert ended == ReplicaEnded(activation=1, reason="killed by SIGTERM")
            assert children() == prepared(), "no zombie"

    asyncio.run(story())


def test_a_leader_that_leaves_its_servers_leaves_them_running(netns: Path, tmp_path: Path) -> None:
    async def story() -> None:
        stage = Stage(settings(netns), tmp_path)
        await stage.__aenter__()
        pid = stage.start(1)
        stage.backend.leave()
        assert runs(pid)
        async with Stage(settings(netns), tmp_path) as heir:
            await heir.heard(ReplicaFound)

    with none_left(netns):
        asyncio.run(story())


@pytest.mark.parametrize("note", ["1 -1", "something else", "1 0 2"])
def test_a_start_that_was_cut_short_is_looked_for_everywhere(
    netns: Path, tmp_path: Path, note: str
) -> None:
    """A controller killed between its spawn and its note has started a server all the same."""
    with none_left(netns):
        launch, starter = launch_of(netns), Starter(tmp_path)
        running = starter.start(launch, activation=1)
        (tmp_path / "servers" / KEY).write_text(note)
        assert starter.start(launch, activation=2).pid == running.pid
        assert servers(netns) == [running.pid]
        starter.close()


def test_a_note_of_a_process_that_is_another_by_now_is_not_believed(
    netns: Path, tmp_path: Path
) -> None:
    with none_left(netns):
        launch, starter = launch_of(netns), Starter(tmp_path)
        for pid in (os.getpid(), 1, 2**22):
            path = tmp_path / "servers" / KEY
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"1 {pid}".ljust(47) + "\n")
            started = starter.start(launch, activation=2)
            assert servers(netns) == [started.pid]
            os.kill(started.pid, signal.SIGKILL)
            started.reap()
        starter.close()


def test_an_end_is_noted_and_not_in_place_of_a_later_start(netns: Path, tmp_path: Path) -> None:
    with none_left(netns):
        launch, starter, other = launch_of(netns), Starter(tmp_path), Starter(tmp_path)
        first = starter.start(launch, activation=1)
        os.kill(first.pid, signal.SIGKILL)
        first.reap()
        starter.ended(KEY, first.pid)
        assert (tmp_path / "servers" / KEY).read_text().split() == ["1", "0"]
        second = other.start(launch, activation=2)
        starter.ended(KEY, first.pid)
        assert (tmp_path / "servers" / KEY).read_text().split() == ["2", str(second.pid)]
        assert starter.start(launch, activation=3).pid == second.pid
        starter.close()
        other.close()


def test_a_note_that_was_deleted_is_made_anew_and_locked_by_both(
    netns: Path, tmp_path: Path
) -> None:
    with none_left(netns):
        launch, starter, other = launch_of(netns), Starter(tmp_path), Starter(tmp_path)
        first = starter.start(launch, activation=1)
        os.kill(first.pid, signal.SIGKILL)
        first.reap()
        (tmp_path / "servers" / KEY).unlink()
        second = other.start(launch, activation=2)
        assert starter.start(launch, activation=3).pid == second.pid
        starter.close()
        other.close()


def test_a_server_spawned_a_moment_ago_is_known_by_its_marks(tmp_path: Path) -> None:
    """posix_spawn() returns before the exec has set up the environment."""
    environment = {"WANGELL_RUN_DIR": str(tmp_path)}
    for _ in range(200):
        pid = os.posix_spawn("/bin/sleep", ["sleep", "60"], environment)
        try:
            await_birth(pid)
            assert b"WANGELL_RUN_DIR" in Path(f"/proc/{pid}/environ").read_bytes()
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def test_nobody_waits_for_the_birth_of_what_has_ended_or_will_never_have_marks() -> None:
    ended = os.posix_spawn("/bin/true", ["true"], {})
    os.waitid(os.P_PID, ended, os.WEXITED | os.WNOWAIT)  # a zombie from here on
    began_s = time.monotonic()
    await_birth(ended)
    os.waitpid(ended, 0)
    await_birth(ended)  # nobody's number now
    await_birth(2)  # a kernel thread, whose environment is always empty
    assert time.monotonic() - began_s < 10 * BIRTH_S_MAX
