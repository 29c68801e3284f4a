"""Its namespaces and processes: there while they are needed, gone afterwards. Needs root."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.proto.errors import BenchmarkError
from benchmarks.proto.network import SERVER_ADDRESS, Network
from benchmarks.proto.processes import Child
from wangell_lab.namespaces import NETNS_DIRECTORY, Namespace
from wangell_lab.reaper import wait_for_end

ROOT = Path(__file__).parents[2]


def namespaces_of(pid: int) -> set[str]:
    return {path.name for path in NETNS_DIRECTORY.iterdir() if path.name.startswith(f"wb{pid}")}


def children_of(pid: int) -> list[str]:
    """Return its processes that have a role by now."""
    pids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [each for each in pids if b"benchmarks.proto.child" in command_of(each)]


def command_of(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # It has ended.
        return b""


def test_a_round_trip_between_two_processes_in_two_namespaces():
    with (
        Network.made() as network,
        Child.started("echo-server", network) as server,
        Child.started("echo-client", network) as client,
    ):
        assert len(namespaces_of(os.getpid())) == 2
        port = server.ask("start", host=SERVER_ADDRESS)
        client.ask("start", host=SERVER_ADDRESS, port=port, payload="00ff")
        took = client.ask("burst", count=11)
        assert len(took) == 11
        assert all(0 < each < 1 for each in took)
        pids = [child._popen.pid for child in (server, client)]
    assert not any(Path("/proc", str(pid)).exists() for pid in pids)
    assert namespaces_of(os.getpid()) == set()


def test_loss_drops_its_share_and_ends_with_its_block():
    with (
        Network.made() as network,
        network.servers.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        network.clients.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind((SERVER_ADDRESS, 0))
        receiver.settimeout(5)
        with network.lossy(50):
            for _ in range(200):  # All of them fit the receive buffer.
                sender.sendto(b"sent", receiver.getsockname())
        sender.sendto(b"last", receiver.getsockname())
        arrived = list(iter(lambda: receiver.recv(100), b"last"))
        assert 50 < len(arrived) < 150


def test_an_error_leaves_nothing_behind():
    def fails() -> None:
        with Network.made() as network, Child.started("echo-server", network) as server:
            server.ask("start", host="192.0.2.1")  # No address of this namespace.

    with pytest.raises(BenchmarkError, match=r"(?s)echo-server ended.*could not bind|assign"):
        fails()
    assert namespaces_of(os.getpid()) == set()


def test_what_a_killed_run_left_is_removed_by_the_next():
    dead = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True, check=True)
    orphan = Namespace(f"wb{dead.stdout.strip()}s")
    orphan.create()
    with Network.made():
        assert orphan.identity is None


# A peer whose server never answers: `start` waits, and the end of stdin goes unread.
WAITS_FOR_EVER = """
import sys
from benchmarks.proto.network import SERVER_ADDRESS, Network
from benchmarks.proto.processes import Child
from benchmarks.proto.samples import Keys
with Network.made() as network, Child.started("crowd", network) as crowd:
    crowd.ask("reset")
    servers = [(SERVER_ADDRESS, 9)]
    crowd.tell("start", keys=Keys.drawn().as_json(), servers=servers, peers=1)
    print(crowd._popen.pid, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("is_stopped", [False, True])
def test_no_process_outlives_a_benchmark_that_was_killed(is_stopped):
    run = subprocess.Popen(
        [sys.executable, "-c", WAITS_FOR_EVER],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        child = int(run.stdout.readline())
        end = os.pidfd_open(child)
        if is_stopped:
            signal.pidfd_send_signal(end, signal.SIGSTOP)
    finally:
        run.kill()
        run.communicate()
    try:
        assert wait_for_end(end, timeout_s=10)
    finally:
        os.close(end)
        with Network.made():
            assert namespaces_of(run.pid) == set()


def test_one_whose_parent_has_ended_already_ends_too():
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.proto.child", "echo-server", "1"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert "its parent has ended" in ended.stderr


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 128 + signal.SIGTERM)]
)
def test_a_signal_ends_it_with_its_children_and_namespaces(number, status):
    run = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.proto", "--quick"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        pids: list[str] = []
        while not pids and run.poll() is None:
            pids = children_of(run.pid)
        ends = [os.pidfd_open(int(pid)) for pid in pids]
        run.send_signal(number)
        assert run.wait(20) == status
    finally:
        run.kill()
        run.wait()
    assert namespaces_of(run.pid) == set()
    assert ends
    # One that was being started at that moment ends by itself: its stdin has.
    assert all(wait_for_end(each, timeout_s=10) for each in ends)
    for each in ends:
        os.close(each)
