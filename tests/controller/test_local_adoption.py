"""A killed controller leaves its servers running; the next one finds them, and only them."""

import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.controller.local import (
    LISTENER,
    SLEEPER,
    Stage,
    script,
    servers,
    settings,
    until,
)
from tests.controller.local import runs as runs_now
from wangell_controller.backends import ReplicaEnded, ReplicaFound, ReplicaStarted
from wangell_controller.backends.local.adopt import find_replicas, is_listening

# A controller's process: starts the service, says so, and waits to be killed.
PREDECESSOR = """
import asyncio, sys
from pathlib import Path
from tests.controller.local import Stage, settings

async def main():
    netns, run_dir, activation, *command = sys.argv[1:]
    stage = Stage(settings(Path(netns), command=command), Path(run_dir))
    await stage.__aenter__()
    print(stage.start(int(activation)), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@contextmanager
def left_by_a_killed_controller(
    netns: Path, run_dir: Path, *, activation: int = 3, command: list[str] = SLEEPER
) -> Iterator[int]:
    """Start a server in a controller of its own, kill that with -9; yield the server's id."""
    controller = subprocess.Popen(
        [sys.executable, "-c", PREDECESSOR, str(netns), str(run_dir), str(activation), *command],
        stdout=subprocess.PIPE,
        text=True,
    )
    with controller:
        assert controller.stdout is not None
        pid = int(controller.stdout.readline())
        pidfd = os.pidfd_open(pid)
        controller.kill()
    try:
        yield pid
    finally:
        if runs_now(pid):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.close(pidfd)


def test_the_server_outlives_its_controller_and_is_found(netns: Path, tmp_path: Path) -> None:
    async def story() -> None:
        with left_by_a_killed_controller(netns, tmp_path, activation=3) as pid:
            assert runs_now(pid)
            async with Stage(settings(netns), tmp_path) as stage:
                found = await stage.heard(ReplicaFound)
                assert isinstance(found, ReplicaFound)
                assert (found.activation, found.is_listening) == (3, False)
                assert stage.kinds() == ["ServicePlaced", "ReplicaFound"]
                stage.backend.start(Stage.KEY, 4)
                assert servers() == set(), "it runs: no second one"
                told = await stage.heard(ReplicaStarted)
                assert isinstance(told, ReplicaStarted)
                assert told.spawned_ns == found.spawned_ns

    asyncio.run(story())


def test_one_that_listens_is_said_to(netns: Path, tmp_path: Path) -> None:
    async def story() -> None:
        with left_by_a_killed_controller(netns, tmp_path, command=LISTENER) as pid:
            await until(lambda: is_listening(pid, 8080))
            assert not is_listening(pid, 8081)
            async with Stage(settings(netns, command=LISTENER), tmp_path) as stage:
                found = await stage.heard(ReplicaFound)
                assert isinstance(found, ReplicaFound)
                assert found.is_listening

    asyncio.run(story())


def test_loopback_is_no_service(netns: Path, tmp_path: Path) -> None:
    subprocess.run(["ip", "-n", netns.name, "link", "set", "lo", "up"], check=True)

    async def story() -> None:
        local = [word.replace("(''", "('127.0.0.1'") for word in LISTENER]
        async with Stage(settings(netns, command=local), tmp_path) as stage:
            pid = stage.start()
            table = Path(f"/proc/{pid}/net/tcp")
            await until(lambda: " 0A " in table.read_text())
            assert not is_listening(pid, 8080)

    asyncio.run(story())


def test_the_adopted_ones_end_is_told(netns: Path, tmp_path: Path) -> None:
    async def story() -> None:
        with left_by_a_killed_controller(netns, tmp_path) as pid:
            async with Stage(settings(netns), tmp_path) as stage:
                os.kill(pid, signal.SIGSEGV)
                ended = await stage.heard(ReplicaEnded)
                assert ended == ReplicaEnded(activation=3, reason="ended")
                stage.start(activation=4)

    asyncio.run(story())


def test_the_adopted_one_is_stopped_like_any(netns: Path, tmp_path: Path) -> None:
    async def story() -> None:
        with left_by_a_killed_controller(netns, tmp_path) as pid:
            async with Stage(settings(netns), tmp_path) as stage:
                stage.backend.stop(Stage.KEY)
                await stage.heard(ReplicaEnded)
                assert not runs_now(pid)

    asyncio.run(story())


def test_closing_ends_the_adopted_one(netns: Path, tmp_path: Path) -> None:
    async def story() -> None:
        with left_by_a_killed_controller(netns, tmp_path) as pid:
            async with Stage(settings(netns), tmp_path):
                pass
            assert not runs_now(pid)

    asyncio.run(story())


def test_another_controllers_server_is_left_alone(netns: Path, tmp_path: Path) -> None:
    async def story() -> None:
        (tmp_path / "theirs").mkdir()
        (tmp_path / "ours").mkdir()
        with left_by_a_killed_controller(netns, tmp_path / "theirs") as pid:
            async with Stage(settings(netns), tmp_path / "ours") as stage:
                stage.backend.end_orphans()
                assert stage.kinds() == ["ServicePlaced"]
            assert runs_now(pid)

    asyncio.run(story())


def test_a_child_of_the_server_is_not_taken_for_it(netns: Path, tmp_path: Path) -> None:
    """It has inherited the marks."""

    async def story() -> None:
        forked = tmp_path / "forked"
        forking = script(f"sleep 1000 & echo $! > {forked}.new; mv {forked}.new {forked}; wait")
        with left_by_a_killed_controller(netns, tmp_path, command=forking) as pid:
            await until(forked.exists)
            found = list(find_replicas(tmp_path))
            assert [each.replica.pid for each in found] == [pid]
            os.close(found[0].replica.pidfd)
            os.kill(int(forked.read_text()), signal.SIGKILL)

    asyncio.run(story())


def test_nobody_elses_marks_are_believed(netns: Path, tmp_path: Path) -> None:
    marks = {"WANGELL_RUN_DIR": str(tmp_path), "WANGELL_SERVICE": Stage.KEY}
    incomplete = subprocess.Popen(SLEEPER, env=os.environ | marks, start_new_session=True)
    forged = marks | {"WANGELL_ACTIVATION": "1", "WANGELL_SPAWNED_NS": "1"}
    nobody = subprocess.Popen(SLEEPER, env=os.environ | forged, start_new_session=True, user=65534)
    with incomplete, nobody:
        try:
            assert list(find_replicas(tmp_path)) == []
        finally:
            incomplete.kill()
            nobody.kill()


def test_a_server_whose_service_is_gone_is_ended(netns: Path, tmp_path: Path) -> None:
    async def story() -> None:
        with left_by_a_killed_controller(netns, tmp_path) as pid:
            async with Stage(settings(netns, "other"), tmp_path) as stage:
                assert runs_now(pid), "only when all services are known"
                stage.backend.end_orphans()
                await until(lambda: not runs_now(pid))
                assert stage.kinds() == ["ServicePlaced"]

    asyncio.run(story())


def test_a_server_in_another_namespace_is_ended(
    new_netns: Callable[[], Path], tmp_path: Path
) -> None:
    async def story() -> None:
        with left_by_a_killed_controller(new_netns(), tmp_path) as pid:
            async with Stage(settings(new_netns()), tmp_path) as stage:
                await until(lambda: not runs_now(pid))
                assert stage.kinds() == ["ServicePlaced"]

    asyncio.run(story())


@pytest.mark.parametrize("moment_s", [0.0, 0.0001, 0.0002, 0.0004])
def test_whenever_the_controller_is_killed_no_server_is_lost(
    netns: Path, tmp_path: Path, moment_s: float
) -> None:
    """Not even between the spawn and whatever would note its process id in a file."""
    controller = subprocess.Popen(
        [sys.executable, "-c", SPAWNER, str(netns), str(tmp_path)], stdout=subprocess.PIPE
    )
    with controller:
        assert controller.stdout is not None
        controller.stdout.read(1)
        select.select([], [], [], moment_s)
        controller.kill()

    async def story() -> None:
        await until(lambda: processes_in(netns) == found_in(tmp_path))
        for pid in found_in(tmp_path):
            os.kill(pid, signal.SIGKILL)

    asyncio.run(story())


SPAWNER = """
import asyncio, sys
from pathlib import Path
from tests.controller.local import Stage, settings

async def main():
    stage = Stage(settings(Path(sys.argv[1])), Path(sys.argv[2]))
    await stage.__aenter__()
    sys.stdout.write("!")
    sys.stdout.flush()
    stage.backend.start(Stage.KEY, 1)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def found_in(run_dir: Path) -> set[int]:
    found = list(find_replicas(run_dir))
    for each in found:
        os.close(each.replica.pidfd)
    return {each.replica.pid for each in found}


def processes_in(netns: Path) -> set[int]:
    inode = netns.stat().st_ino
    members = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (entry / "ns/net").stat().st_ino == inode and runs_now(int(entry.name)):
                members.add(int(entry.name))
    return members
