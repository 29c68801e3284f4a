"""One daemon an interface, by a lock that ends with its process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wangell_daemon import lock
from wangell_daemon.lock import AlreadyServedError, only_daemon_of, serves_another

# Takes the lock, says so, and waits to be killed.
HOLDER = """
import pathlib, signal, sys
from wangell_daemon import lock
lock.LOCK_DIR = pathlib.Path(sys.argv[1])
with lock.only_daemon_of(sys.argv[2]):
    print("held", flush=True)
    signal.pause()
"""


@pytest.fixture
def lock_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(lock, "LOCK_DIR", tmp_path / "locks")
    return tmp_path / "locks"


def test_a_second_daemon_is_told_who_the_first_is(lock_dir: Path) -> None:
    with (
        only_daemon_of("eth0"),
        pytest.raises(AlreadyServedError, match=rf"pid {os.getpid()}\) serves eth0; stop it first"),
        only_daemon_of("eth0"),
    ):
        raise AssertionError("two daemons of one interface")


def test_another_interface_is_free(lock_dir: Path) -> None:
    with only_daemon_of("eth0"), only_daemon_of("eth1"):
        pass


def test_the_lock_is_free_again_afterwards(lock_dir: Path) -> None:
    for _ in range(2):
        with only_daemon_of("eth0"):
            pass


def test_the_lock_of_a_killed_daemon_is_free(lock_dir: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(lock_dir), "eth0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(AlreadyServedError, match=f"pid {holder.pid}"),
            only_daemon_of("eth0"),
        ):
            raise AssertionError("it was held")
        assert serves_another("eth1")
        holder.kill()
    assert not serves_another("eth1")
    with only_daemon_of("eth0"):
        pass


def test_an_interface_that_is_served_counts_for_the_others_only(lock_dir: Path) -> None:
    assert not serves_another("eth0")
    with only_daemon_of("eth0"):
        assert not serves_another("eth0")
        assert serves_another("eth1")
    assert not serves_another("eth1")


def test_asking_takes_no_lock(lock_dir: Path) -> None:
    with only_daemon_of("eth0"):
        pass
    assert not serves_another("eth1")
    with only_daemon_of("eth0"):
        assert serves_another("eth1")
