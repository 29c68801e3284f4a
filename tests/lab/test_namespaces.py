"""Entering namespaces and leaving them again, and ending what runs in them."""

import os
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from tests.lab.helpers import ended
from wangell_lab import Lab
from wangell_lab.namespaces import Namespace
from wangell_lab.reaper import end_all, pids_in

UNTIL_KILLED = ["sleep", "infinity"]


def here() -> tuple[int, int]:
    found = Path("/proc/thread-self/ns/net").stat()
    return found.st_dev, found.st_ino


def test_the_thread_is_inside_meanwhile_and_back_afterwards(lab: Lab) -> None:
    outside = here()
    with lab.namespace("client").entered():
        assert here() == lab.namespace("client").identity != outside
    assert here() == outside


def test_the_thread_comes_back_when_the_block_fails(lab: Lab) -> None:
    outside = here()
    with pytest.raises(RuntimeError), lab.namespace("client").entered():
        raise RuntimeError
    assert here() == outside


def test_other_threads_stay_where_they_are(lab: Lab) -> None:
    outside, seen = here(), []
    with lab.namespace("client").entered():
        other = threading.Thread(target=lambda: seen.append(here()))
        inside = here()
        # A thread inherits its maker's namespace; one made before does not follow it.
        other.start()
        other.join()
    assert seen == [inside]
    assert here() == outside


def test_a_socket_made_inside_stays_inside(lab: Lab) -> None:
    with lab.namespace("client").socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.connect(("10.46.100.105", 80))
        assert made.getsockname()[0] == "10.46.100.1"


def test_no_descriptor_is_left_open(lab: Lab) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(10):
        with lab.namespace("client").entered():
            pass
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_entering_what_does_not_exist_is_an_error_and_changes_nothing() -> None:
    outside, absent = here(), Namespace("wl-absent")
    assert absent.identity is None
    with pytest.raises(FileNotFoundError), absent.entered():
        pytest.fail("entered a namespace that does not exist")
    assert here() == outside
    absent.remove()  # Absent is what was asked for.


def test_all_that_runs_inside_is_ended_and_nothing_else(lab: Lab) -> None:
    pod, client = lab.namespace("node1-pod1"), lab.namespace("client")
    doomed = [pod.popen(UNTIL_KILLED) for _ in range(3)]
    spared = [client.popen(UNTIL_KILLED), subprocess.Popen(UNTIL_KILLED)]
    try:
        assert end_all([pod]) == 3
        assert [each.wait(5) for each in doomed] == [-9, -9, -9]
        assert [each.poll() for each in spared] == [None, None]
        assert pids_in([pod]) == []
    finally:
        for each in doomed + spared:
            each.kill()
            each.wait()


def test_a_child_that_its_parent_forgot_is_ended_too(lab: Lab) -> None:
    pod = lab.namespace("node1-pod1")
    output = pod.run(["sh", "-c", "setsid sleep infinity >/dev/null 2>&1 & echo $!"]).stdout
    assert end_all([pod]) == 1
    assert ended(int(output))


def test_this_process_is_never_ended(lab: Lab) -> None:
    with lab.namespace("client").entered():
        assert os.getpid() not in pids_in([lab.namespace("client")])
        assert end_all([lab.namespace("client")]) == 0
