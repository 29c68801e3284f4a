"""Ends processes without ever hitting a stranger.

What runs in a lab's namespaces is the lab's, however it came there, as a container's `exec` shells
are the container's: so nothing started can be forgotten, and no list of pids can be stale. Between
finding a process and ending it its pid may pass to another; a pidfd, checked once more, cannot.
"""

import os
import select
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wangell_lab.errors import LabError
from wangell_lab.namespaces import Namespace

__all__ = ["end_all", "is_server", "pids_in", "wait_for_end"]

# SIGKILL takes microseconds; a process in the kernel's D state may take for ever.
KILL_TIMEOUT_S = 10.0
# Each round ends what the last one's victims had started meanwhile. Nothing forks that fast.
ROUNDS_MAX = 50


def pids_in(namespaces: Iterable[Namespace]) -> list[int]:
    """Return the processes in these namespaces, this one excepted."""
    identities = {namespace.identity for namespace in namespaces} - {None}
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [pid for pid in pids if pid != os.getpid() and _network_of(pid) in identities]


def is_server(pid: int) -> bool:
    """Return whether a controller has started it: what waits for the next start is no server."""
    try:
        return b"WANGELL_ACTIVATION=" in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def end_all(
    namespaces: Iterable[Namespace], *, which: Callable[[int], bool] = lambda _: True
) -> int:
    """Kill every process in these namespaces and wait until they are gone; return how many.

    `which` chooses among their ids; all are by default. Raises LabError if one does not end.
    """
    namespaces, ended = tuple(namespaces), 0
    for _ in range(ROUNDS_MAX):
        pids = [pid for pid in pids_in(namespaces) if which(pid)]
        if not pids:
            return ended
        ended += sum(_end(pid, namespaces) for pid in pids)
    raise LabError(f"processes keep coming in {namespaces[0].name} and its like: {pids}")


def wait_for_end(pidfd: int, *, timeout_s: float) -> bool:
    """Wait until the process has ended; return whether it has."""
    return bool(select.select([pidfd], [], [], timeout_s)[0])


def _end(pid: int, namespaces: tuple[Namespace, ...]) -> bool:
    with _pidfd(pid) as descriptor:
        if descriptor is None or _network_of(pid) not in {each.identity for each in namespaces}:
            return False
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        if not wait_for_end(descriptor, timeout_s=KILL_TIMEOUT_S):
            raise LabError(f"process {pid} does not die; look at /proc/{pid}/stack")
        return True


@contextmanager
def _pidfd(pid: int) -> Iterator[int | None]:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _network_of(pid: int) -> tuple[int, int] | None:
    try:
        found = Path(f"/proc/{pid}/ns/net").stat()
    except OSError:  # It has ended, or is a zombie, which has no namespaces.
        return None
    return found.st_dev, found.st_ino
