"""Listeners of replicas found by their processes: forked, gone to the background, or dead."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.namespaces import Namespace
from wangell_daemon.listeners import PIDS_MAX, Listeners
from wangell_daemon.readiness.workload import ByNamespace

PORT = 8080
# Listens; then either stays, or leaves a child behind as servers that go to the background do.
SERVER = """
import os, signal, socket, sys
server = socket.socket()
server.bind(("0.0.0.0", 8080))
server.listen(5)
if sys.argv[1] == "background" and (child := os.fork()):
    print(os.getpid(), child, flush=True)
    os._exit(0)
if sys.argv[1] == "stay":
    print(os.getpid(), os.getpid(), flush=True)
signal.pause()
"""


@pytest.fixture
def pod() -> Iterator[Namespace]:
    with Namespace() as namespace:
        yield namespace


def workload_of(pod: Namespace) -> str:
    return f"net:[{pod.path.stat().st_ino}]"


@contextlib.contextmanager
def server(pod: Namespace, how: str) -> Iterator[tuple[int, int]]:
    """A server process: who listened, and who serves."""
    command = ["nsenter", f"--net={pod.path}", sys.executable, "-c", SERVER, how]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        listened, serves = map(int, process.stdout.readline().split())
        if how == "background":
            process.wait(5)
        try:
            yield listened, serves
        finally:
            os.kill(serves, signal.SIGKILL)


@contextlib.contextmanager
def caller(pod: Namespace) -> Iterator[socket.socket]:
    with pod.run(socket.socket) as connected:
        connected.settimeout(5)
        connected.connect(("127.0.0.1", PORT))
        yield connected


class Named:
    """A rule that says which processes are of the workload `pod`, as a cgroup would."""

    def __init__(self, *pids: int) -> None:
        self._pids = pids

    def workload_of(self, pid: int) -> str | None:
        return "pod" if pid in self._pids else None

    def address_of(self, pid: int) -> str:  # noqa: ARG002 (as on one host: the record has it)
        return ""


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_server_that_was_heard_is_asked(pod: Namespace) -> None:
    listeners, workload = Listeners(ByNamespace()), workload_of(pod)
    with server(pod, "stay") as (pid, _), caller(pod):
        listeners.heard(workload, PORT, pid)
        assert listeners.room(workload, PORT) == 4
        assert listeners.connections(workload, PORT) == 1
    listeners.forget(workload, PORT)


def test_a_server_that_was_not_heard_is_found(pod: Namespace) -> None:
    # The daemon was restarted: nobody told it of the LISTEN.
    listeners, workload = Listeners(ByNamespace()), workload_of(pod)
    with server(pod, "stay"), caller(pod):
        assert listeners.connections(workload, PORT) == 1
    listeners.forget(workload, PORT)


def test_a_server_that_went_to_the_background_still_has_its_connections(pod: Namespace) -> None:
    # Who listened is dead. Zero connections would mean: stop it, and cut its callers.
    listeners, workload = Listeners(ByNamespace()), workload_of(pod)
    with server(pod, "background") as (pid, _), caller(pod):
        assert not Path(f"/proc/{pid}/ns").exists()
        listeners.heard(workload, PORT, pid)
        assert listeners.connections(workload, PORT) == 1
        assert listeners.room(workload, PORT) == 4
    listeners.forget(workload, PORT)


def test_a_workload_of_which_no_process_is_left_has_no_connections(pod: Namespace) -> None:
    listeners, workload = Listeners(ByNamespace()), workload_of(pod)
    with server(pod, "stay") as (pid, _):
        listeners.heard(workload, PORT, pid)
    assert listeners.connections(workload, PORT) == 0
    assert listeners.room(workload, PORT) == 1


def test_a_zombie_does_not_speak_for_the_living(pod: Namespace) -> None:
    dead = subprocess.Popen(["true"])
    os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)  # ended, and not yet reaped
    with server(pod, "stay") as (pid, _), caller(pod):
        listeners = Listeners(Named(dead.pid, pid))
        listeners.heard("pod", PORT, dead.pid)
        assert listeners.connections("pod", PORT) == 1
        listeners.forget("pod", PORT)
    dead.wait()


def test_a_pid_that_was_used_again_by_a_stranger_is_not_asked(pod: Namespace) -> None:
    with server(pod, "stay") as (pid, _), caller(pod):
        listeners = Listeners(Named(pid))
        listeners.heard("pod", PORT, os.getpid())  # we are in another namespace
        assert listeners.connections("pod", PORT) == 1
        listeners.forget("pod", PORT)


def test_a_replica_that_is_forgotten_costs_no_descriptor(pod: Namespace) -> None:
    listeners, workload = Listeners(ByNamespace()), workload_of(pod)
    with server(pod, "stay") as (pid, _):
        before = descriptors()
        for _ in range(5):
            listeners.heard(workload, PORT, pid)
            listeners.connections(workload, PORT)
            listeners.forget(workload, PORT)
            listeners.forget(workload, PORT)
        assert descriptors() == before


def test_a_listen_heard_again_opens_anew(pod: Namespace) -> None:
    listeners, workload = Listeners(ByNamespace()), workload_of(pod)
    with server(pod, "stay") as (pid, _):
        before = descriptors()
        for _ in range(5):
            listeners.heard(workload, PORT, pid)
            listeners.connections(workload, PORT)
        assert descriptors() == before + 1
        listeners.forget(workload, PORT)


def test_every_listener_of_the_node_is_heard_of_within_bounds() -> None:
    listeners = Listeners(Named())
    for number in range(PIDS_MAX * 2):
        listeners.heard(f"net:[{number}]", PORT, 1)
    assert len(listeners._pids) == PIDS_MAX
