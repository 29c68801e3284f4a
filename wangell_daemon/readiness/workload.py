"""Whose LISTEN it is: the workload that a process belongs to.

On one host that is its network namespace, `net:[inode]`. A process can only answer for the
namespace it is in, and entering another's takes CAP_SYS_ADMIN.
"""

from pathlib import Path

__all__ = ["namespace_of", "workload_of"]

PROC = Path("/proc")


def workload_of(pid: int) -> str | None:
    """Return the process's workload; None if it has ended."""
    try:
        return str((PROC / str(pid) / "ns" / "net").readlink())
    except OSError:
        return None


def namespace_of(workload: str) -> str | None:
    """Return a path to the workload's network namespace; None if no process is in it.

    Walks /proc: milliseconds on a full node, so not for the wake path.
    """
    for process in PROC.iterdir():
        if process.name.isdigit() and workload_of(int(process.name)) == workload:
            return str(process / "ns" / "net")
    return None
