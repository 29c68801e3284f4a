"""A cluster that somebody else runs, given by $KUBECONFIG."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.cluster.client import Client
from tests.cluster.kubectl import Kubernetes
from tests.cluster.waiting import until

__all__ = ["GivenCluster"]

ADDRESS_TIMEOUT_S = 60.0


class GivenCluster(Kubernetes):
    """kubectl, and a client on this machine. Its nodes and images belong to its owner."""

    def __init__(self, directory: Path) -> None:
        """`directory` is for what tests write."""
        kubectl = _tool("kubectl")
        super().__init__([kubectl, f"--kubeconfig={os.environ['KUBECONFIG']}"])
        self.client = Client()
        self.directory = directory

    @property
    def commands(self) -> Mapping[str, Sequence[str]]:
        """What README's commands are here."""
        return {
            "kubectl": self.kubectl_command,
            "kustomize": [_tool("kustomize")],
            "curl": [_tool("curl"), "--noproxy", "*"],
        }

    def assign_address(
        self, service: str, _address: str, *, node: str, namespace: str = "default"
    ) -> None:
        """Its own load balancer has to: wait until it has. `node` is ours to choose nowhere."""
        del node
        until(
            lambda: bool(self._ingress(service, namespace)),
            f"an address of service/{service}: has the cluster a load balancer?",
            timeout_s=ADDRESS_TIMEOUT_S,
        )

    def withdraw(self, address: str) -> None:
        """Nothing: its load balancer takes an address back with its Service."""

    def _ingress(self, service: str, namespace: str) -> Any:
        status = self.get(f"service/{service}", f"--namespace={namespace}")["status"]
        return status.get("loadBalancer", {}).get("ingress")


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise RuntimeError(f"KUBECONFIG is set, but there is no {name} in PATH to use it with")
    return found
