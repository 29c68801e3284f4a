"""The listening sockets of this node's replicas, opened once and kept."""

import contextlib
import logging
from collections.abc import Iterable, Iterator

from wangell_daemon.datapath import Listener
from wangell_daemon.readiness.workload import WorkloadRule, pids_of

__all__ = ["Listeners"]

log = logging.getLogger(__name__)

# Every listener of the node is heard of, replica or not; one forgotten is found again in /proc.
PIDS_MAX = 1024


class Listeners:
    """Queues and connections by workload and port. Opened when first asked, off the wake path."""

    def __init__(self, rule: WorkloadRule) -> None:
        self._rule = rule
        self._open: dict[tuple[str, int], Listener] = {}
        self._pids: dict[tuple[str, int], int] = {}

    def heard(self, workload: str, port: int, pid: int) -> None:
        """Process `pid` of the workload has begun to listen."""
        self.forget(workload, port)
        self._pids[workload, port] = pid
        if len(self._pids) > PIDS_MAX:
            self.forget(*next(iter(self._pids)))

    def room(self, workload: str, port: int) -> int:
        """How many connections its queue still takes; 1 where that cannot be read."""
        try:
            return self._listener(workload, port).room()
        except OSError as error:
            log.warning("reading the queue of %s failed: %s", workload, error)
            return 1

    def connections(self, workload: str, port: int) -> int | None:
        """How many live; None where that cannot be read: it is not zero.

        A workload of which no process is left has none.
        """
        try:
            return self._listener(workload, port).connections()
        except FileNotFoundError:
            return 0
        except OSError as error:
            log.warning("counting the connections of %s failed: %s", workload, error)
            return None

    def connections_of_all(self, workloads: Iterable[str], port: int) -> int | None:
        """How many live of all these; None where that of one cannot be read."""
        counts = [self.connections(each, port) for each in workloads]
        known = [each for each in counts if each is not None]
        return sum(known) if len(known) == len(counts) else None

    def forget(self, workload: str, port: int) -> None:
        """The replica is gone."""
        self._pids.pop((workload, port), None)
        listener = self._open.pop((workload, port), None)
        if listener is not None:
            listener.close()

    def _listener(self, workload: str, port: int) -> Listener:
        key = workload, port
        if key not in self._open:
            self._open[key] = self._find(workload, port)
        return self._open[key]

    def _find(self, workload: str, port: int) -> Listener:
        """Enter by any process: the one that was told of may have gone to the background."""
        for pid in self._candidates(workload, port):
            with contextlib.suppress(FileNotFoundError):  # ended, or a zombie
                return Listener(f"/proc/{pid}/ns/net", port)
        raise FileNotFoundError(f"no process is in {workload}")

    def _candidates(self, workload: str, port: int) -> Iterator[int]:
        pid = self._pids.get((workload, port))
        if pid is not None and self._rule.workload_of(pid) == workload:
            yield pid
        yield from pids_of(self._rule, workload)
