"""Finds the servers that other controllers started, by the marks in their environment."""

import os
import select
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from wangell_controller.backends.local.prepared import PREPARED_MARK
from wangell_controller.backends.local.replica import Replica

__all__ = ["Found", "await_birth", "find_replica", "find_replicas", "is_listening"]

_PROC = Path("/proc")
BIRTH_S_MAX = 0.1
BIRTH_LOOK_S = 0.0002
_TCP_LISTEN = "0A"  # enum of include/net/tcp_states.h, as /proc/net/tcp prints it


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A server of an earlier controller, or of one that stands by."""

    service: str
    replica: Replica
    namespace_inode: int


def find_replicas(run_dir: Path) -> Iterator[Found]:
    """Yield the running servers that controllers with this run directory started."""
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            found = find_replica(int(entry.name), run_dir)
            if found is not None:
                yield found


def find_replica(pid: int, run_dir: Path) -> Found | None:
    """Return the process if it is a running server of controllers with this run directory."""
    if _marks(pid, run_dir) is None:
        return None
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return None
    # Read again: the first reading may have been of another process, which has ended since.
    with suppress(OSError, ValueError, KeyError):
        marks = _marks(pid, run_dir)
        if marks is not None and os.getsid(pid) == pid:
            found = Found(
                service=marks["WANGELL_SERVICE"],
                replica=Replica(
                    pid=pid,
                    pidfd=pidfd,
                    activation=int(marks["WANGELL_ACTIVATION"]),
                    spawned_ns=int(marks["WANGELL_SPAWNED_NS"]),
                    is_child=_parent(pid) == os.getpid(),
                ),
                namespace_inode=(_PROC / str(pid) / "ns/net").stat().st_ino,
            )
            if not select.select([pidfd], [], [], 0)[0]:
                return found
    os.close(pidfd)
    return None


def await_birth(pid: int) -> None:
    """Wait until the process, spawned or released a moment ago, has its marks, or has ended.

    posix_spawn() returns when the exec has let go of its parent's memory, and the environment is
    set up after that (seen: two controllers woken at once, and the second saw nobody). One that was
    released still has to exec; one whose controller was killed just before that ends. An exec reads
    its program from the disk at the worst, so the wait is bounded by that.
    """
    deadline_s = time.monotonic() + BIRTH_S_MAX
    with suppress(OSError):
        pidfd = os.pidfd_open(pid)
        try:
            while _is_unborn(pid) and time.monotonic() < deadline_s:
                if select.select([pidfd], [], [], BIRTH_LOOK_S)[0]:
                    return
        finally:
            os.close(pidfd)


def _is_unborn(pid: int) -> bool:
    environ = (_PROC / str(pid) / "environ").read_bytes()
    return not environ or f"{PREPARED_MARK}=".encode() in environ


def _marks(pid: int, run_dir: Path) -> dict[str, str] | None:
    """Return the process's environment if it is a server of ours, and the user's own."""
    try:
        with (_PROC / str(pid) / "environ").open("rb") as file:
            if os.fstat(file.fileno()).st_uid != os.geteuid():
                return None
            raw = file.read()
    except OSError:
        return None
    variables = dict(
        entry.partition("=")[::2] for entry in raw.decode("utf-8", "replace").split("\0")
    )
    return variables if variables.get("WANGELL_RUN_DIR") == str(run_dir) else None


def _parent(pid: int) -> int:
    # The second field is the command's name in brackets, which may hold anything.
    return int((_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])


def is_listening(pid: int, port: int) -> bool:
    """Return whether something in the process's namespace listens on the port, loopback apart."""
    with suppress(OSError):
        for table in ("tcp", "tcp6"):
            lines = (_PROC / str(pid) / "net" / table).read_text().splitlines()[1:]
            if any(_listens(line.split(), port) for line in lines):
                return True
    return False


def _listens(fields: list[str], port: int) -> bool:
    address, _, local_port = fields[1].partition(":")
    # 127.0.0.0/8 as a little-endian machine prints it, and ::1.
    is_loopback = (len(address) == 8 and address.endswith("7F")) or (
        address == "00000000000000000000000001000000"
    )
    return fields[3] == _TCP_LISTEN and int(local_port, 16) == port and not is_loopback
