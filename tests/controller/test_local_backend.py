"""The local backend with real processes in real namespaces."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.controller.local import (
    Stage,
    descriptors,
    environment,
    ignores,
    runs,
    script,
    servers,
    settings,
    started,
    until,
)
from wangell_controller.backends import (
    ReplicaEnded,
    ReplicaFailed,
    ReplicaStarted,
    ServicePlaced,
)
from wangell_proto.vocabulary import Endpoint, Frontend


def own_netns() -> str:
    return str(Path("/proc/thread-self/ns/net").readlink())


def netns_of(pid: int) -> str:
    return str(Path(f"/proc/{pid}/ns/net").readlink())


def workload(path: Path) -> str:
    return f"net:[{path.stat().st_ino}]"


def test_declaring_tells_where_the_service_is(netns: Path, tmp_path: Path) -> None:
    async def story() -> None:
        async with Stage(settings(netns), tmp_path) as stage:
            expected = ServicePlaced(
                frontends=(Frontend(address="10.46.100.105", port=80),),
                endpoints=(Endpoint(address="10.244.0.5", node="node1", workload=workload(netns)),),
            )
            assert stage.told == [(Stage.KEY, expected)]
            assert stage.backend.nodes == {"node1"}
            assert servers() == set(), "nothing runs that nobody asked for"

    asyncio.run(story())


def test_start_has_spawned_and_told_before_it_returns(netns: Path, tmp_path: Path) -> None:
    async def story() -> None:
        async with Stage(settings(netns), tmp_path) as stage:
            before_ns = time.monotonic_ns()
            pid = stage.start(activation=7)
            told = started(stage.told[-1][1])
            assert told.activation == 7
            assert before_ns < told.spawned_ns < time.monotonic_ns()
            assert servers() == {pid}

    asyncio.run(story())


def test_the_server_is_in_its_namespace_and_the_controller_in_its_own(
    netns: Path, tmp_path: Path
) -> None:
    async def story() -> None:
        home = own_netns()
        async with Stage(settings(netns), tmp_path) as stage:
            pid = stage.start()
            assert netns_of(pid) == workload(netns)
            assert own_netns() == home != workload(netns)

    asyncio.run(story())


def test_the_server_finds_its_port_and_nothing_of_the_controllers(
    netns: Path, tmp_path: Path
) -> None:
    async def story() -> None:
        async with Stage(settings(netns), tmp_path) as stage:
            pid = stage.start()
            assert environment(pid)["PORT"] == "8080"
            held = descriptors(pid)
            assert held["0"] == "/dev/null"
            assert set(held) == {"0", "1", "2"}, "no descriptor of the controller's leaks"
            assert os.getsid(pid) == pid != os.getsid(0), "a terminal's Ctrl-C is not for it"
            assert not ignores(pid, signal.SIGPIPE), "Python's own setting is not for it"

    asyncio.run(story())


def test_output_goes_to_the_log(netns: Path, tmp_path: Path) -> None:
    async def story() -> None:
        log = tmp_path / "server.log"
        local = settings(netns, command=script("echo out; echo err >&2"), log=str(log))
        async with Stage(local, tmp_path) as stage:
            for count in (1, 2):
                stage.backend.start(Stage.KEY, count)
                await stage.heard(ReplicaEnded, count=count)
        assert log.read_text() == "out\nerr\n" * 2, "appended"

    asyncio.run(story())


def test_a_second_start_starts_no_second_server(netns: Path, tmp_path: Path) -> None:
    async def story() -> None:
        async with Stage(settings(netns), tmp_path) as stage:
            pid = stage.start(activation=1)
            stage.backend.start(Stage.KEY, 2)
            assert servers() == {pid}
            first, second = (event for _, event in stage.told if isinstance(event, ReplicaStarted))
            assert (second.activation, second.spawned_ns) == (2, first.spawned_ns)

    asyncio.run(story())


def test_an_end_is_told_with_its_reason(netns: Path, tmp_path: Path) -> None:
    async def story(text: str, reason: str) -> None:
        async with Stage(settings(netns, command=script(text)), tmp_path) as stage:
            stage.backend.start(Stage.KEY, 3)
            ended = await stage.heard(ReplicaEnded)
            assert ended == ReplicaEnded(activation=3, reason=reason)
            assert servers() == set(), "no zombie is left"

    asyncio.run(story("exit 0", "exited with 0"))
    asyncio.run(story("exit 7", "exited with 7"))
    asyncio.run(story("kill -SEGV $$", "killed by SIGSEGV"))


def test_stop_is_a_sigterm(netns: Path, tmp_path: Path) -> None:
    async def story() -> None:
        async with Stage(settings(netns), tmp_path) as stage:
            stage.start()
            stage.backend.stop(Stage.KEY)
            stage.backend.stop(Stage.KEY)
            ended = await stage.heard(ReplicaEnded)
            assert ended == ReplicaEnded(activation=1, reason="killed by SIGTERM")

    asyncio.run(story())


def test_what_ignores_sigterm_is_killed_after_its_grace(netns: Path, tmp_path: Path) -> None:
    async def story() -> None:
        ready = tmp_path / "ready"
        stubborn = script(f"trap '' TERM; touch {ready}; while :; do sleep 1000; done")
        async with Stage(settings(netns, command=stubborn), tmp_path, stop_grace_s=0.2) as stage:
            stage.start()
            await until(ready.exists)
            began = time.monotonic()
            stage.backend.stop(Stage.KEY)
            ended = await stage.heard(ReplicaEnded)
            assert ended == ReplicaEnded(activation=1, reason="killed by SIGKILL")
            assert time.monotonic() - began >= 0.2

    asyncio.run(story())


def test_what_the_server_forked_ends_with_it(netns: Path, tmp_path: Path) -> None:
    async def story() -> None:
        pidfile = tmp_path / "forked"
        forking = script(f"sleep 1000 & echo $! > {pidfile}.new; mv {pidfile}.new {pidfile}; wait")
        async with Stage(settings(netns, command=forking), tmp_path) as stage:
            stage.start()
            await until(pidfile.exists)
            forked = int(pidfile.read_text())
            assert netns_of(forked) == workload(netns)
            stage.backend.stop(Stage.KEY)
            await stage.heard(ReplicaEnded)
            await until(lambda: not runs(forked))

    asyncio.run(story())


def test_a_start_while_the_old_one_stops_follows_its_end(netns: Path, tmp_path: Path) -> None:
    """They would share a port; and whoever waits must not wait for the whole grace."""

    async def story() -> None:
        ready = tmp_path / "ready"
        stubborn = script(f"trap '' TERM; touch {ready}; while :; do sleep 1000; done")
        async with Stage(settings(netns, command=stubborn), tmp_path, stop_grace_s=100) as stage:
            old = stage.start(activation=1)
            await until(ready.exists)
            stage.backend.stop(Stage.KEY)
            stage.backend.start(Stage.KEY, 2)
            assert servers() == {old}, "never two at once"
            told = started(await stage.heard(ReplicaStarted, count=2))
            assert told.activation == 2
            assert old not in servers()
            ended = await stage.heard(ReplicaEnded)
            assert ended == ReplicaEnded(activation=1, reason="killed by SIGKILL")
            stage.stop_grace_s = 0
            for pid in servers():
                os.kill(pid, signal.SIGKILL)

    asyncio.run(story())


def test_a_stop_takes_back_a_start_that_waited(netns: Path, tmp_path: Path) -> None:
    async def story() -> None:
        async with Stage(settings(netns), tmp_path) as stage:
            stage.start(activation=1)
            stage.backend.stop(Stage.KEY)
            stage.backend.start(Stage.KEY, 2)
            stage.backend.stop(Stage.KEY)
            await stage.heard(ReplicaEnded)
            assert servers() == set()
            assert stage.kinds().count("ReplicaStarted") == 1

    asyncio.run(story())


def test_a_program_that_is_gone_fails_after_start_has_returned(netns: Path, tmp_path: Path) -> None:
    async def story() -> None:
        program = tmp_path / "server"
        program.write_text("#!/bin/sh\nsleep 1000\n")
        program.chmod(0o755)
        async with Stage(settings(netns, command=[str(program)]), tmp_path) as stage:
            program.unlink()
            home = own_netns()
            stage.backend.start(Stage.KEY, 4)
            assert stage.kinds() == ["ServicePlaced"], "the caller finishes first"
            failed = await stage.heard(ReplicaFailed)
            assert failed == ReplicaFailed(
                activation=4, reason=f"{program}: No such file or directory"
            )
            assert own_netns() == home
            program.write_text("#!/bin/sh\nsleep 1000\n")
            program.chmod(0o755)
            stage.start(activation=5)

    asyncio.run(story())


def test_a_namespace_that_was_replaced_is_noticed(
    new_netns: Callable[[], Path], tmp_path: Path
) -> None:
    """Its descriptor keeps the old one alive: a server there would hear nobody."""

    async def story() -> None:
        link = tmp_path / "netns"
        link.symlink_to(new_netns())
        async with Stage(settings(link), tmp_path) as stage:
            link.unlink()
            link.symlink_to(new_netns())
            stage.backend.start(Stage.KEY, 1)
            failed = await stage.heard(ReplicaFailed)
            assert isinstance(failed, ReplicaFailed)
            assert "was deleted or replaced (SIGHUP reads it anew)" in failed.reason
            assert servers() == set()

    asyncio.run(story())


def test_forgetting_stops_and_declaring_again_starts_anew(netns: Path, tmp_path: Path) -> None:
    async def story() -> None:
        async with Stage(settings(netns), tmp_path) as stage:
            stage.start()
            stage.backend.forget(Stage.KEY)
            await stage.heard(ReplicaEnded)
            assert servers() == set()

    asyncio.run(story())


def test_closing_ends_every_server_and_leaves_no_descriptor(netns: Path, tmp_path: Path) -> None:
    async def story() -> None:
        local = settings(netns, "a", "b", "c", log=str(tmp_path / "log"))
        async with Stage(local, tmp_path) as stage:
            for key in local.services:
                stage.backend.start(key, 1)
            await until(lambda: len(servers()) == 3)
        assert servers() == set()
        assert stage.kinds().count("ReplicaEnded") == 3

    async def counted() -> tuple[int, int]:
        before = len(descriptors(os.getpid()))
        await story()
        return before, len(descriptors(os.getpid()))

    before, after = asyncio.run(counted())
    assert after == before


def test_a_spawn_costs_the_wake_less_than_its_budget(netns: Path, tmp_path: Path) -> None:
    """0.4 ms of the platform's 1 ms. The best of many: other tests share the machine."""

    async def story() -> None:
        async with Stage(settings(netns, command=["true"]), tmp_path) as stage:
            seconds = []
            for activation in range(1, 40):
                began = time.perf_counter()
                stage.backend.start(Stage.KEY, activation)
                seconds.append(time.perf_counter() - began)
                await stage.heard(ReplicaEnded, count=activation)
            assert min(seconds) < 0.0004, f"{min(seconds) * 1e6:.0f} us"

    asyncio.run(story())
