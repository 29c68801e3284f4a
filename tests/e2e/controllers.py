"""The two controllers as processes: which one leads, and what may happen to it."""

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.cluster.cluster import Cluster
from tests.cluster.waiting import until
from tests.e2e.wangell import SYSTEM, Wangell

LEASE = "lease/wangell-controller"
# Packets of its own namespace alone: the daemons' way to it is another port, and stays.
CUT = (
    "table inet cut { chain output {"
    " type filter hook output priority 0; tcp dport { 443, 6443 } drop; }; }"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Controller:
    """One controller's process, as this machine has it."""

    pod: str
    node: str
    pid: int

    def kill(self) -> None:
        """It ends without a word."""
        os.kill(self.pid, signal.SIGKILL)

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """It sleeps while the block runs, whatever comes."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)


class Controllers:
    """Of an installed Wangell."""

    def __init__(self, wangell: Wangell) -> None:
        self._wangell = wangell
        self._cluster: Cluster = wangell.cluster

    def leader(self) -> Controller:
        """Who holds the Lease."""
        return self._of(str(self._lease()["holderIdentity"]))

    def transitions(self) -> int:
        """How often the Lease was taken."""
        return int(self._lease()["leaseTransitions"])

    def others(self) -> list[str]:
        """The pods that stand by."""
        leader = self._lease().get("holderIdentity")
        selector = "--selector=app.kubernetes.io/name=wangell-controller"
        pods = self._cluster.get("pods", SYSTEM, selector)["items"]
        return [name for each in pods if (name := each["metadata"]["name"]) != leader]

    def wait_until_another_leads(self, than: int, *, timeout_s: float = 40) -> None:
        """Return once the Lease was taken more often than that."""
        until(lambda: self.transitions() > than, "another leader", timeout_s=timeout_s)

    @contextlib.contextmanager
    def cut_off(self, controller: Controller) -> Iterator[None]:
        """From the API server while the block runs; what it sent is then sent by its kernel."""
        self._in_its_network(controller, f"echo '{CUT}' | nft -f -")
        try:
            yield
        finally:
            self._in_its_network(controller, "nft delete table inet cut")

    def _in_its_network(self, controller: Controller, command: str) -> None:
        network = f"--net=/proc/{controller.pid}/ns/net"
        self._cluster.nodes[controller.node].run("nsenter", network, "sh", "-c", command)

    def _lease(self) -> dict[str, Any]:
        return dict(self._cluster.get(LEASE, SYSTEM)["spec"])

    def _of(self, pod: str) -> Controller:
        found = self._cluster.get(f"pod/{pod}", SYSTEM)
        node = found["spec"]["nodeName"]
        (status,) = found["status"]["containerStatuses"]
        container = status["containerID"].removeprefix("containerd://")
        tasks = self._cluster.nodes[node].run("ctr", "--namespace=k8s.io", "tasks", "list")
        (pid,) = (int(line.split()[1]) for line in tasks.splitlines() if container in line)
        return Controller(pod=pod, node=node, pid=pid)
