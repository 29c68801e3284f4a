"""Cgroups as the memory of what was started: a process can leave its parent, not its cgroup.

A pid in a file may be another process by the time it is read; a member of our cgroup is ours.
"""

import contextlib
import os
import select
import signal
import time
from dataclasses import dataclass
from pathlib import Path

# Options of a cgroup v1 mount that say how, not which, it is.
CONTROLLERS = frozenset(
    (
        *("blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "hugetlb", "memory", "misc"),
        *("net_cls", "net_prio", "perf_event", "pids", "rdma"),
    )
)
# SIGKILL ends anything within milliseconds; what is still there after this hangs in the kernel.
KILL_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hierarchy:
    mount_point: Path
    "Where this machine has it, such as /sys/fs/cgroup/memory."
    kind: str
    "cgroup (v1) or cgroup2."
    options: str
    "What to mount it by again: cpu,cpuacct or name=systemd; empty for v2."


def hierarchies() -> list[Hierarchy]:
    """Every hierarchy: one on v2, one for each controller on v1, all of them on a hybrid."""
    found = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        mount, _, source = line.partition(" - ")
        kind, _, super_options = source.split(" ", 2)
        if kind in {"cgroup", "cgroup2"}:
            options = [word for word in super_options.split(",") if _identifies(word)]
            mount_point = Path(mount.split()[4])
            # A machine in a container may have one mounted over another: the last is what is seen.
            found[mount_point] = Hierarchy(
                mount_point=mount_point, kind=kind, options=",".join(options)
            )
    return list(found.values())


def _identifies(option: str) -> bool:
    return option in CONTROLLERS or option.startswith("name=")


class Cgroup:
    """One path, such as wangell-4f2a/node1, in every hierarchy of the machine."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.directories = [hierarchy.mount_point / path for hierarchy in hierarchies()]

    def __truediv__(self, name: str) -> "Cgroup":
        return Cgroup(f"{self.path}/{name}")

    @property
    def procs_files(self) -> list[Path]:
        """Where a process writes itself to join."""
        return [directory / "cgroup.procs" for directory in self.directories]

    def create(self) -> None:
        """Make it, under a parent that exists, ready to take processes."""
        for directory in self.directories:
            directory.mkdir()
            _fill_cpuset(directory)

    def delegate(self) -> None:
        """Let cgroups below use the controllers, as v2 asks; there it must have no process."""
        for directory in self.directories:
            # A v2 hierarchy beside v1 ones has no controllers left to pass on.
            controllers = directory / "cgroup.controllers"
            names = controllers.read_text().split() if controllers.exists() else []
            if names:
                words = " ".join(f"+{name}" for name in names)
                (directory / "cgroup.subtree_control").write_text(words)

    def pids(self) -> set[int]:
        """The processes in it and below."""
        return {
            pid
            for top in self.directories
            for directory, _, _ in os.walk(top)
            for pid in _pids(Path(directory) / "cgroup.procs")
        }

    def kill(self) -> None:
        """SIGKILL to all of them, and to what they start meanwhile, until none is left."""
        deadline = time.monotonic() + KILL_TIMEOUT_S
        while pids := self.pids():
            if time.monotonic() > deadline:
                raise RuntimeError(f"cgroup {self.path}: SIGKILL does not end {sorted(pids)}")
            _kill(pids)

    def remove(self) -> None:
        """Remove it and what is below, empty of processes as it must be."""
        for top in self.directories:
            for directory, _, _ in os.walk(top, topdown=False):
                Path(directory).rmdir()


def _fill_cpuset(directory: Path) -> None:
    """A new v1 cpuset is empty, and takes no process until it has processors and memory."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        file = directory / name
        # Hierarchies that join cpuset to others have the files too; v2 has them and needs nothing.
        if file.exists() and not (directory / "cgroup.controllers").exists():
            file.write_text((directory.parent / name).read_text())


def _pids(file: Path) -> list[int]:
    try:
        return [int(word) for word in file.read_text().split()]
    except OSError:  # removed while we looked: ENOENT, or ENODEV once it is open
        return []


def _kill(pids: set[int]) -> None:
    """End processes and wait for each by its pidfd, which cannot come to mean another."""
    with contextlib.ExitStack() as stack:
        pidfds = []
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                pidfds.append(os.pidfd_open(pid))
                stack.callback(os.close, pidfds[-1])
                signal.pidfd_send_signal(pidfds[-1], signal.SIGKILL)
        for pidfd in pidfds:
            select.select([pidfd], [], [], 1.0)
