"""Whose LISTEN it is: the workload that a process belongs to.

On one host that is its network namespace, on a Kubernetes node its pod. A process can only answer
for the one it is in: entering another's namespace or cgroup takes CAP_SYS_ADMIN.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from wangell_daemon.datapath import source_address_in

__all__ = ["ByCgroup", "ByNamespace", "WorkloadRule", "pids_of"]

PROC = Path("/proc")
CGROUP_BYTES_MAX = 65536

_UID = r"(?P<uid>[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12})"
# What follows the kubelet's root, by cgroupfs and by systemd. Matched from there and no deeper: a
# container can make cgroups of any name below its own.
_POD_PATH = re.compile(
    r"/kubepods(?:/(?:burstable|besteffort))?/pod" + _UID + r"(?:/|$)"
    r"|/kubepods\.slice(?:/kubepods-(?:burstable|besteffort)\.slice)?"
    r"/kubepods(?:-burstable|-besteffort)?-pod"
    + _UID.replace("uid", "slice_uid")
    + r"\.slice(?:/|$)"
)


class WorkloadRule(Protocol):
    """How a node names the workload of a process."""

    def workload_of(self, pid: int) -> str | None:
        """Return the process's workload; None if it has none, or has ended."""

    def address_of(self, pid: int) -> str:
        """Return the workload's own address; empty where the controller knows it."""


class ByNamespace:
    """One host: the network namespace, `net:[inode]`."""

    def workload_of(self, pid: int) -> str | None:
        """Return the process's workload; None if it has ended."""
        try:
            return os.readlink(f"{PROC}/{pid}/ns/net")  # noqa: PTH115 (on the wake path)
        except OSError:
            return None

    def address_of(self, pid: int) -> str:  # noqa: ARG002 (the record has it)
        """Return nothing: who laid the namespace out gave it its address, too."""
        return ""


class ByCgroup:
    """A Kubernetes node: the pod's UID, from the cgroup path.

    `root` is the kubelet's --cgroup-root, `/` unless it was set.
    """

    def __init__(self, root: str = "/") -> None:
        self._root = root.rstrip("/")

    def workload_of(self, pid: int) -> str | None:
        """Return the process's pod UID; None if it is in no pod, or has ended."""
        try:
            lines = _read(f"{PROC}/{pid}/cgroup").splitlines()
        except OSError:
            return None
        pods = {self._pod_of(line.split(":", 2)[2]) for line in lines if line.count(":") >= 2}
        pods.discard(None)
        # Hierarchies that disagree are not the kubelet's doing.
        return pods.pop() if len(pods) == 1 else None

    def address_of(self, pid: int) -> str:
        """Return the pod's address, read in its network namespace; empty if it has ended.

        A pod has one address of each family on its node, before the API knows of it.
        """
        try:
            return source_address_in(f"/proc/{pid}/ns/net")
        except OSError:
            return ""

    def _pod_of(self, path: str) -> str | None:
        if not path.startswith(self._root):
            return None
        match = _POD_PATH.match(path[len(self._root) :])
        if match is None:
            return None
        return (match["uid"] or match["slice_uid"]).replace("_", "-")


def _read(path: str) -> str:
    """Three system calls, for Python's files take nine: a caller waits, and so does its server."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # A line for each of at most 13 hierarchies, each path a file name's 4 KiB at most.
        return os.read(fd, CGROUP_BYTES_MAX).decode(errors="replace")
    finally:
        os.close(fd)


def pids_of(rule: WorkloadRule, workload: str) -> Iterator[int]:
    """Walk the workload's processes.

    Reads all of /proc: milliseconds on a full node, so not for the wake path.
    """
    for process in PROC.iterdir():
        if process.name.isdigit() and rule.workload_of(int(process.name)) == workload:
            yield int(process.name)
