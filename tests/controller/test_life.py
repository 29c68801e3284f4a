"""The real program: real processes, the real protocol on loopback, real signals and kills."""

import asyncio
import os
import signal
import socket
import subprocess
from pathlib import Path

import yaml

from tests.controller.helpers import manifest
from tests.controller.local import LISTENER, SLEEPER, until
from tests.controller.local import runs as is_running
from tests.controller.process import KEY, Daemon, Home, free_port, home
from wangell_controller.backends.local.adopt import is_listening
from wangell_proto import DropReason, Lane
from wangell_proto.vocabulary import Phase, Started

BOOT_ID = Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def daemon_of(at: Home, **changes: object) -> Daemon:
    return Daemon(at.port, at.keys, **changes)  # type: ignore[arg-type]


def status(at: Home) -> dict[str, object]:
    found: dict[str, object] = yaml.safe_load(at.status.read_text())["status"]
    return found


def test_a_cold_start_and_the_way_back_to_zero(netns: Path, tmp_path: Path) -> None:
    async def story(at: Home) -> None:
        async with daemon_of(at) as daemon:
            cold = await daemon.record(Phase.COLD)
            assert (cold.activation, cold.target_port) == (0, 8080)
            assert at.server_pids() == []
            daemon.wake(0)
            started = await daemon.started(1)
            assert 0 < started.spawned_ns - started.received_ns < 100_000_000
            assert started.clock == BOOT_ID
            assert (await daemon.record(Phase.WAKING)).activation == 1
            pid = await at.server()
            await until(lambda: is_listening(pid, 8080))
            daemon.listening(netns, 1)
            await daemon.record(Phase.WARM)
            await until(lambda: status(at)["replicas"] == 1)
            while daemon.records[-1].phase is Phase.WARM:  # type: ignore[union-attr]
                daemon.idle()
                await asyncio.sleep(0.3)
            daemon.armed(1)
            await daemon.record(Phase.COLD)
            await until(lambda: at.server_pids() == [])
            await until(lambda: status(at)["replicas"] == 0)

    with home(tmp_path, netns) as at:
        at.declare(manifest(spec__idleTimeout=1))
        at.start()
        asyncio.run(story(at))
        at.signal(signal.SIGTERM)
        assert at.wait() == 0
        lines = at.log.read_text().splitlines()
        assert [line.partition(" INFO ")[2] for line in lines if " -> " in line] == [
            f"{KEY}: cold -> waking (SYN to 10.46.100.105:80)",
            f"{KEY}: waking -> warm (listens on node1)",
            f"{KEY}: warm -> draining (idle for 1000 s)",
            f"{KEY}: draining -> cold (no connection on any node)",
        ]


def test_the_status_is_the_published_manifest(netns: Path, tmp_path: Path) -> None:
    async def story(at: Home) -> None:
        async with daemon_of(at) as daemon:
            await daemon.record(Phase.COLD)
            assert status(at) == {"loadBalancerIP": "10.46.100.105", "replicas": 0}
            daemon.wake(0)
            await daemon.started(1)
            await until(lambda: status(at)["replicas"] == 1)
            assert str(status(at)["latestRequest"]).endswith("Z")

    with home(tmp_path, netns) as at:
        at.start()
        asyncio.run(story(at))


def test_fifty_wakes_at_once_are_one_server(netns: Path, tmp_path: Path) -> None:
    async def story(at: Home) -> None:
        async with daemon_of(at) as one, daemon_of(at, name="node2") as two:
            await one.record(Phase.COLD)
            await two.record(Phase.COLD)
            for _ in range(25):
                one.wake(0)
                two.wake(0)
            answers = {await one.started(1), await two.started(1)}
            assert len(answers) == 1
            await one.record(Phase.WAKING)
            pid = await at.server()
            assert at.server_pids() == [pid]
            assert {each.activation for each in one.reports + two.reports} == {1}  # type: ignore[union-attr]

    with home(tmp_path, netns) as at:
        at.start()
        asyncio.run(story(at))
        assert at.log.read_text().count("cold -> waking") == 1


def test_killed_between_syn_and_listen_the_wake_completes(netns: Path, tmp_path: Path) -> None:
    ready = tmp_path / "may-listen"
    slow = ["sh", "-c", f'until [ -e {ready} ]; do sleep 0.01; done; exec "$0" "$@"']

    async def story(at: Home) -> None:
        async with daemon_of(at) as daemon:
            await daemon.record(Phase.COLD)
            daemon.wake(0)
            await daemon.started(1)
            pid = await at.server()
            at.kill()
            assert is_running(pid)
            seen = len(daemon.records)
            at.start()
            daemon.wake(0)
            again = await daemon.until(lambda: _second(daemon))
            assert again.activation == 1
            ready.touch()
            await until(lambda: is_listening(pid, 8080))
            daemon.listening(netns, 1)
            warm = await daemon.record(Phase.WARM)
            assert warm.activation == 1
            phases = {each.phase for each in daemon.records[seen:] if each}
            assert Phase.COLD not in phases, "its daemon would answer the held SYNs with RST"
            assert pid in at.server_pids()

    with home(tmp_path, netns, command=[*slow, *LISTENER]) as at:
        at.start()
        asyncio.run(story(at))
        # None where it was killed after the answer and before it had logged.
        assert at.log.read_text().count("cold -> waking (SYN") <= 1, "no second server"


def test_killed_while_warm_it_stays_warm(netns: Path, tmp_path: Path) -> None:
    async def story(at: Home) -> None:
        async with daemon_of(at) as daemon:
            await daemon.record(Phase.COLD)
            daemon.wake(0)
            await daemon.started(1)
            pid = await at.server()
            await until(lambda: is_listening(pid, 8080))
            daemon.listening(netns, 1)
            await daemon.record(Phase.WARM)
            seen = len(daemon.records)
            at.kill()
            at.start()
            daemon.wake(0)
            answer = await daemon.until(lambda: _second(daemon))
            assert answer.activation == 1
            assert daemon.records[seen:] == [], "the same record: daemons notice nothing"
            assert at.server_pids() == [pid]

    with home(tmp_path, netns) as at:
        at.start()
        asyncio.run(story(at))


def test_killed_and_started_while_nothing_runs_counts_go_on(netns: Path, tmp_path: Path) -> None:
    async def story(at: Home) -> None:
        async with daemon_of(at) as daemon:
            await daemon.record(Phase.COLD)
            daemon.wake(0)
            await daemon.started(1)
            await daemon.record(Phase.WAKING)
            await at.server()
            for pid in at.server_pids():
                os.kill(pid, signal.SIGKILL)
            assert (await daemon.record(Phase.COLD)).activation == 1
            await until((tmp_path / "run/activations.json").exists)
            at.kill()
            at.start()
            daemon.wake(1)
            await daemon.started(2)

    with home(tmp_path, netns) as at:
        at.start()
        asyncio.run(story(at))


def test_asked_to_end_it_ends_its_servers_and_says_so(netns: Path, tmp_path: Path) -> None:
    async def story(at: Home, number: signal.Signals) -> None:
        async with daemon_of(at) as daemon:
            await daemon.record(Phase.COLD)
            daemon.wake(daemon.records[-1].activation)  # type: ignore[union-attr]
            await daemon.record(Phase.WAKING)
            at.signal(number)
            await daemon.record(Phase.COLD)
            assert at.server_pids() == []

    for number in (signal.SIGTERM, signal.SIGINT):
        (tmp_path / number.name).mkdir()
        with home(tmp_path / number.name, netns) as at:
            at.start()
            asyncio.run(story(at, number))
            assert at.wait() == 0
            assert "Traceback" not in at.log.read_text()


def test_a_second_signal_does_not_wait_for_the_grace(netns: Path, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    stubborn = ["sh", "-c", f"trap '' TERM; touch {ready}; while :; do sleep 1000; done"]

    async def story(at: Home) -> None:
        async with daemon_of(at) as daemon:
            await daemon.record(Phase.COLD)
            daemon.wake(0)
            await until(ready.exists)
            at.signal(signal.SIGTERM)
            await until(lambda: at.logged("stopping the servers and leaving"))
            at.signal(signal.SIGTERM)
            await daemon.record(Phase.COLD)

    with home(tmp_path, netns, command=stubborn) as at:
        at.local.write_text(at.local.read_text().replace("stop_grace_s: 2", "stop_grace_s: 100"))
        at.start()
        asyncio.run(story(at))
        assert at.wait() == 0


def test_a_wake_while_it_ends_starts_nothing(netns: Path, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    stubborn = ["sh", "-c", f"trap '' TERM; touch {ready}; while :; do sleep 1000; done"]

    async def story(at: Home) -> None:
        async with daemon_of(at) as daemon:
            await daemon.record(Phase.COLD)
            daemon.wake(0)
            await until(ready.exists)
            at.signal(signal.SIGTERM)
            await until(lambda: at.logged("stopping the servers and leaving"))
            for pid in at.server_pids():
                os.kill(pid, signal.SIGKILL)
            await daemon.record(Phase.COLD)
            daemon.wake(1)

    with home(tmp_path, netns, command=stubborn) as at:
        at.start()
        asyncio.run(story(at))
        assert at.wait() == 0
        assert at.server_pids() == []


def test_hangup_follows_the_manifests(netns: Path, tmp_path: Path) -> None:
    async def story(at: Home) -> None:
        async with daemon_of(at) as daemon:
            await daemon.record(Phase.COLD)
            daemon.wake(0)
            await daemon.record(Phase.WAKING)
            at.declare(manifest(spec__port=8080))
            at.signal(signal.SIGHUP)
            moved = await daemon.until(
                lambda: next((r for r in daemon.records if r and r.frontends[0].port == 8080), None)
            )
            assert moved.phase is Phase.WAKING, "the replica stays"
            at.declare()
            at.manifests.write_text(yaml.safe_dump(manifest(metadata__name="other")))
            entry = yaml.safe_load(at.local.read_text())
            entry["services"]["default/other"] = entry["services"].pop(KEY)
            at.local.write_text(yaml.safe_dump(entry))
            at.signal(signal.SIGHUP)
            await daemon.until(lambda: True if daemon.records[-1] is None else None)
            await until(lambda: at.server_pids() == [])

    with home(tmp_path, netns) as at:
        at.start()
        asyncio.run(story(at))


def test_a_hangup_with_wrong_files_changes_nothing_and_says_so(netns: Path, tmp_path: Path) -> None:
    port = free_port(socket.SOCK_STREAM)

    async def story(at: Home) -> None:
        async with daemon_of(at) as daemon:
            await daemon.record(Phase.COLD)
            at.declare(manifest(spec__port=0, spec__targetPort="x"))
            at.signal(signal.SIGHUP)
            await until(lambda: at.logged("spec.targetPort: should be a valid integer"))
            assert at.logged("the files are not right, and change nothing:")
            assert at.logged("spec.port: should be greater than or equal to 1")
            assert at.metric(port, "wangell_reloads_failed_total") == 1
            assert len(daemon.records) == 1
            daemon.wake(0)
            await daemon.started(1)

    with home(tmp_path, netns) as at:
        at.start("--metrics-address", f"127.0.0.1:{port}")
        asyncio.run(story(at))


def test_many_hangups_at_once_end_with_the_newest_files(netns: Path, tmp_path: Path) -> None:
    async def story(at: Home) -> None:
        async with daemon_of(at) as daemon:
            await daemon.record(Phase.COLD)
            for port in range(1000, 1020):
                at.declare(manifest(spec__port=port))
                at.signal(signal.SIGHUP)
            await daemon.until(
                lambda: next((r for r in daemon.records if r and r.frontends[0].port == 1019), None)
            )

    with home(tmp_path, netns) as at:
        at.start()
        asyncio.run(story(at))


def test_the_deadline_ends_a_wake(netns: Path, tmp_path: Path) -> None:
    async def story(at: Home) -> None:
        async with daemon_of(at) as daemon:
            await daemon.record(Phase.COLD)
            daemon.wake(0)
            await daemon.record(Phase.WAKING)
            failed = await daemon.record(Phase.COLD)
            assert failed.activation == 1
            await until(lambda: at.server_pids() == [])

    with home(tmp_path, netns, command=SLEEPER) as at:
        at.start("--activation-timeout", "1")
        asyncio.run(story(at))
        assert at.logged("waking -> cold (nothing listens after 1 s)")


def test_a_server_that_crashes_at_once_fails_the_wake(netns: Path, tmp_path: Path) -> None:
    async def story(at: Home) -> None:
        async with daemon_of(at) as daemon:
            await daemon.record(Phase.COLD)
            daemon.wake(0)
            await daemon.until(
                lambda: next((r for r in daemon.records if r and r.activation == 1), None)
            )
            assert (await daemon.record(Phase.COLD)).activation == 1

    with home(tmp_path, netns, command=["sh", "-c", "exit 3"]) as at:
        at.start()
        asyncio.run(story(at))
        assert at.logged("waking -> cold (the server exited with 3)")


def test_a_wrong_key_is_refused_and_counted(netns: Path, tmp_path: Path) -> None:
    port = free_port(socket.SOCK_STREAM)
    refused = 'wangell_datagrams_dropped_total{reason="bad_mac"}'
    assert DropReason.BAD_MAC.name == "BAD_MAC"

    async def story(at: Home) -> None:
        async with daemon_of(at, psk=bytes(32)) as stranger:
            await until(lambda: (at.metric(port, refused) or 0) > 0)
            assert stranger.records == []
            assert at.metric(port, 'wangell_daemons{kind="linked"}') == 0

    with home(tmp_path, netns) as at:
        at.start("--metrics-address", f"127.0.0.1:{port}")
        assert at.metric(port, refused) == 0
        asyncio.run(story(at))


def test_what_an_authenticated_peer_says_wrong_is_counted(netns: Path, tmp_path: Path) -> None:
    port = free_port(socket.SOCK_STREAM)

    async def story(at: Home) -> None:
        async with daemon_of(at) as daemon:
            await daemon.record(Phase.COLD)
            for body in (b"", b"\xff", b"\x01\xc1", b"\x01\x80", bytes(800)):
                daemon._client.send(body, lane=Lane.WAKE)
            name = 'wangell_reports_refused_total{reason="malformed"}'
            await until(lambda: at.metric(port, name) == 5)
            daemon.wake(0)
            await daemon.started(1)

    with home(tmp_path, netns) as at:
        at.start("--metrics-address", f"127.0.0.1:{port}")
        asyncio.run(story(at))
        assert "Traceback" not in at.log.read_text()


def test_a_taken_address_says_so(netns: Path, tmp_path: Path) -> None:
    with home(tmp_path, netns) as at, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", at.port))
        said = _refused(at.command())
        assert f"127.0.0.1:{at.port}" in said
        assert "Address already in use" in said


def test_a_taken_metrics_address_says_so(netns: Path, tmp_path: Path) -> None:
    with home(tmp_path, netns) as at, socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = _refused(at.command("--metrics-address", f"127.0.0.1:{port}"))
        assert f"metrics cannot be served at 127.0.0.1:{port}: Address already in use" in said


def test_the_wake_path_costs_the_wake_less_than_its_budget(netns: Path, tmp_path: Path) -> None:
    """Wake read to process spawned; the best of many, for other tests share the CPUs."""

    async def story(at: Home) -> list[float]:
        spent_us = []
        async with daemon_of(at) as daemon:
            await daemon.record(Phase.COLD)
            for activation in range(30):
                daemon.wake(activation)
                started = await daemon.started(activation + 1)
                spent_us.append((started.spawned_ns - started.received_ns) / 1e3)
                pid = await at.server()
                daemon.listening(netns, activation + 1)
                await daemon.record(Phase.WARM)
                os.kill(pid, signal.SIGKILL)
                await daemon.record(Phase.COLD)
        return spent_us

    with home(tmp_path, netns, command=SLEEPER) as at:
        at.start()
        spent_us = asyncio.run(story(at))
        assert min(spent_us) < 400, sorted(spent_us)


def _second(daemon: Daemon) -> Started | None:
    found = [each for each in daemon.reports if isinstance(each, Started)]
    return found[1] if len(found) > 1 else None


def _refused(command: list[str]) -> str:
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""
    return ended.stderr
