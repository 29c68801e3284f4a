"""The daemons as processes: one of each node, and what may happen to it."""

import contextlib
import os
import signal
from collections.abc import Iterator

from tests.e2e.wangell import SYSTEM, Wangell

__all__ = ["pid_of_daemon", "stopped_daemon"]


def pid_of_daemon(wangell: Wangell, node: str) -> int:
    """The machine's pid of a node's daemon."""
    selector = "--selector=app.kubernetes.io/name=wangell-daemon"
    pods = wangell.cluster.get("pods", SYSTEM, selector)["items"]
    (pod,) = [each for each in pods if each["spec"]["nodeName"] == node]
    (status,) = pod["status"]["containerStatuses"]
    container = status["containerID"].removeprefix("containerd://")
    tasks = wangell.cluster.node(node).run("ctr", "--namespace=k8s.io", "tasks", "list")
    (pid,) = (int(line.split()[1]) for line in tasks.splitlines() if container in line)
    return pid


@contextlib.contextmanager
def stopped_daemon(wangell: Wangell, node: str) -> Iterator[None]:
    """It sleeps while the block runs, whatever comes."""
    pid = pid_of_daemon(wangell, node)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
