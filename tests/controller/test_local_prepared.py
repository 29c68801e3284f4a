"""What waits to become a server: it is none before its line has come, and the same one after."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.controller.local import (
    SLEEPER,
    Stage,
    children,
    declared,
    environment,
    prepared,
    runs,
    servers,
    settings,
    until,
)
from wangell_controller.backends import ReplicaEnded, ReplicaFailed, ReplicaStarted
from wangell_controller.backends.local import plan, starter
from wangell_controller.backends.local.adopt import find_replica, find_replicas
from wangell_controller.backends.local.starter import Starter

KEY = Stage.KEY
# A controller's process: has a service, starts nothing, and waits to be killed.
IDLE = """
import asyncio, sys
from pathlib import Path
from tests.controller.local import Stage, prepared, settings

async def main():
    netns, run_dir = map(Path, sys.argv[1:])
    stage = Stage(settings(netns), run_dir)
    await stage.__aenter__()
    print(*prepared(), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def is_in(netns: Path, pid: int) -> bool:
    return Path(f"/proc/{pid}/ns/net").stat().st_ino == netns.stat().st_ino


def command_of(pid: int) -> list[str]:
    program, *arguments = Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]
    return [Path(program).name, *arguments]


def script_without_a_first_line(directory: Path) -> str:
    program = directory / "server"
    program.write_text("sleep 1000\n")
    program.chmod(0o755)
    return str(program)


def test_one_waits_in_the_services_place_and_is_no_server(netns: Path, tmp_path: Path) -> None:
    async def story() -> None:
        async with Stage(settings(netns), tmp_path) as stage:
            [pid] = prepared()
            assert is_in(netns, pid)
            assert os.getsid(pid) == pid
            assert find_replica(pid, tmp_path) is None
            assert list(find_replicas(tmp_path)) == []
            assert stage.kinds() == ["ServicePlaced"], "nobody is told"

    asyncio.run(story())


def test_a_start_makes_it_the_server(netns: Path, tmp_path: Path) -> None:
    async def story() -> None:
        async with Stage(settings(netns), tmp_path) as stage:
            waiting = prepared()
            pid = stage.start(activation=7)
            assert {pid} == waiting
            assert command_of(pid) == SLEEPER
            assert prepared() == set(), "of a service that runs"
            found = find_replica(pid, tmp_path)
            assert found is not None
            assert (found.service, found.replica.activation) == (KEY, 7)
            told = stage.told[-1][1]
            assert isinstance(told, ReplicaStarted)
            assert found.replica.spawned_ns <= told.spawned_ns < found.replica.spawned_ns + 10**8
            os.close(found.replica.pidfd)

    asyncio.run(story())


def test_its_environment_is_that_of_a_spawned_one(netns: Path, tmp_path: Path) -> None:
    async def story() -> None:
        async with Stage(settings(netns), tmp_path) as stage:
            released = environment(stage.start(activation=1))
        launches = plan(settings(netns), declared(settings(netns)), origin=tmp_path)
        spawner = Starter(tmp_path)
        replica = spawner.start(launches[KEY], activation=2)
        await until(lambda: bool(environment(replica.pid)))
        spawned = environment(replica.pid)
        replica.signal(signal.SIGKILL)
        await until(lambda: not runs(replica.pid))
        replica.reap()
        spawner.close()
        launches[KEY].close()
        differing = {name for name, _ in released.items() ^ spawned.items()}
        # A shell sets some that it was not given, to what they would have been.
        shells_own = {"PWD", "OLDPWD", "SHLVL", "_", "OPTIND"}
        assert differing <= {"WANGELL_ACTIVATION", "WANGELL_SPAWNED_NS"} | shells_own

    asyncio.run(story())


def test_the_next_one_is_made_ready_when_a_server_has_ended(netns: Path, tmp_path: Path) -> None:
    async def story() -> None:
        async with Stage(settings(netns), tmp_path) as stage:
            first = stage.start(activation=1)
            os.kill(first, signal.SIGKILL)
            await stage.heard(ReplicaEnded)
            await until(lambda: len(prepared()) == 1)
            second = prepared()
            assert {stage.start(activation=2)} == second

    asyncio.run(story())


def test_it_ends_with_its_controller_however_that_ends(netns: Path, tmp_path: Path) -> None:
    idle = [sys.executable, "-c", IDLE, str(netns), str(tmp_path)]
    with subprocess.Popen(idle, stdout=subprocess.PIPE, text=True) as controller:
        assert controller.stdout is not None
        waiting = int(controller.stdout.readline())
        assert runs(waiting)
        controller.kill()
    asyncio.run(until(lambda: not runs(waiting)))


def test_closing_leaves_none(netns: Path, tmp_path: Path) -> None:
    async def story() -> None:
        async with Stage(settings(netns, "a", "b"), tmp_path) as stage:
            assert len(prepared()) == 2
            stage.backend.forget("default/a")
            assert len(prepared()) == 1
        assert children() == set()

    asyncio.run(story())


def test_leaving_while_a_server_ends_leaves_none(netns: Path, tmp_path: Path) -> None:
    async def story() -> None:
        stage = Stage(settings(netns), tmp_path)
        await stage.__aenter__()
        os.kill(stage.start(), signal.SIGKILL)
        await stage.heard(ReplicaEnded)
        stage.backend.leave()
        await asyncio.sleep(0.01)
        assert children() == set()

    asyncio.run(story())


def test_there_are_no_more_than_its_bound_and_the_others_are_spawned(
    netns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starter, "PREPARED_MAX", 2)

    async def story() -> None:
        local = settings(netns, "a", "b", "c")
        async with Stage(local, tmp_path) as stage:
            assert len(prepared()) == 2
            for key in local.services:
                stage.backend.start(key, 1)
            await until(lambda: len(servers()) == 3)
            assert prepared() == set()

    asyncio.run(story())


def test_one_that_was_killed_is_no_loss(netns: Path, tmp_path: Path) -> None:
    async def story() -> None:
        async with Stage(settings(netns), tmp_path) as stage:
            [waiting] = prepared()
            os.kill(waiting, signal.SIGKILL)
            await until(lambda: not runs(waiting))
            stage.backend.start(KEY, 1)
            await until(lambda: len(servers()) == 1)
            assert waiting not in children(), "no zombie"
            assert stage.kinds() == ["ServicePlaced", "ReplicaStarted"]

    asyncio.run(story())


def test_new_launches_are_not_served_by_an_old_one(
    netns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with Stage(settings(netns), tmp_path) as stage:
            old = prepared()
            monkeypatch.setenv("COLOUR", "new")
            services = declared(stage.local)
            launches = plan(stage.local, services, origin=tmp_path)
            stage.backend.replan(launches, stop_grace_s=5.0)
            assert prepared() == set()
            for each in services.values():
                stage.backend.declare(each)
            pid = stage.start()
            assert pid not in old
            assert environment(pid)["COLOUR"] == "new"

    asyncio.run(story())


def test_one_that_was_noted_and_not_released_is_nobodys_server(netns: Path, tmp_path: Path) -> None:
    """Its controller was killed in between, or stands still there: another one starts its own."""

    async def story() -> None:
        async with Stage(settings(netns), tmp_path) as stage:
            [waiting] = prepared()
            note = tmp_path / "servers" / KEY
            note.parent.mkdir(parents=True)
            note.write_text(f"1 {waiting}".ljust(47) + "\n")
            launches = plan(stage.local, declared(stage.local), origin=tmp_path)
            other = Starter(tmp_path)
            replica = other.start_once(launches[KEY], activation=2)
            assert replica is not None
            assert replica.pid != waiting
            replica.signal(signal.SIGKILL)
            await until(lambda: not runs(replica.pid))
            replica.reap()
            other.close()
            launches[KEY].close()

    asyncio.run(story())


def test_what_only_a_shell_would_run_is_not_prepared_and_refused(
    netns: Path, tmp_path: Path
) -> None:
    async def story() -> None:
        command = [script_without_a_first_line(tmp_path)]
        async with Stage(settings(netns, command=command), tmp_path) as stage:
            assert prepared() == set()
            stage.backend.start(KEY, 1)
            failed = await stage.heard(ReplicaFailed)
            assert isinstance(failed, ReplicaFailed)
            assert failed.reason == f"{command[0]}: Exec format error"

    asyncio.run(story())


def test_variables_that_a_shell_would_drop_reach_the_server(
    netns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("java.io.tmpdir", "/tmp")

    async def story() -> None:
        async with Stage(settings(netns), tmp_path) as stage:
            assert prepared() == set()
            assert environment(stage.start())["java.io.tmpdir"] == "/tmp"

    asyncio.run(story())


def test_an_interpreter_that_is_not_there_is_said(netns: Path, tmp_path: Path) -> None:
    async def story() -> None:
        program = tmp_path / "server"
        program.write_text("#!/nowhere/to/be/found\n")
        program.chmod(0o755)
        log = tmp_path / "log"
        local = settings(netns, command=[str(program)], log=str(log))
        async with Stage(local, tmp_path) as stage:
            stage.backend.start(KEY, 1)
            ended = await stage.heard(ReplicaEnded)
            assert isinstance(ended, ReplicaEnded)
            assert ended.reason == "exited with 127 (not found, or its interpreter is not)"
            assert str(program) in log.read_text()

    asyncio.run(story())
