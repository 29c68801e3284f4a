"""What a test says to an installed Wangell: services, cold starts one by one, what is left."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.client import SYN
from tests.cluster.cluster import Cluster
from tests.cluster.kubectl import KubectlError
from tests.cluster.waiting import until

SYSTEM = "--namespace=wangell-system"
SAMPLE = Path(__file__).parents[2] / "samples/serverless-example.yaml"
NAME = "serverless-example"
PORT = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdStart:
    time_ms: float
    "From connect() to the response's last byte."
    syns: int
    "That the client sent, counted on its link."


class Wangell:
    """On our own cluster, whose client and nodes a test may enter."""

    def __init__(self, cluster: Cluster, manifest: str) -> None:
        self.cluster = cluster
        self.manifest = manifest

    def is_ready(self) -> bool:
        """Whether every daemon is linked to the controller that leads."""
        pods = self.cluster.get("pods", SYSTEM)["items"]
        if len(pods) != 1 + len(self.cluster.nodes):
            return False
        try:
            logs = self.cluster.kubectl("logs", SYSTEM, "deployment/wangell-controller")
        except KubectlError:  # It has not begun to write one.
            return False
        return all(f"{node}: linked" in logs for node in self.cluster.nodes)

    def service(self, name: str = NAME) -> Any:
        """The WangellService as the API has it."""
        return self.cluster.get(f"wsvc/{name}")

    def status(self, name: str = NAME) -> dict[str, Any]:
        """Its status."""
        return dict(self.service(name).get("status", {}))

    def declare(
        self, address: str, *, node: str = "node1", manifest: str | Path = SAMPLE, name: str = NAME
    ) -> None:
        """Apply a manifest, and give its Service an address, which the client reaches by a node."""
        self.cluster.apply(manifest)
        until(lambda: self._exists(f"service/{name}"), f"service/{name}", timeout_s=30)
        self.cluster.assign_address(name, address, node=node)
        until(lambda: self.status(name).get("loadBalancerIP") == address, "address", timeout_s=30)

    def change(self, spec: dict[str, Any], name: str = NAME) -> None:
        """Merge fields into its spec."""
        patch = json.dumps({"spec": spec})
        self.cluster.kubectl("patch", "wsvc", name, "--type=merge", f"--patch={patch}")

    def wait_until_cold(self, name: str = NAME, *, timeout_s: float = 60) -> None:
        """Return once it is at zero and not even an ending pod is left: it would slow the next."""
        pods = ("pods", f"--selector=wangell.loutres.me/service={name}")
        until(
            lambda: (
                self.status(name).get("phase") == "Cold" and not self.cluster.get(*pods)["items"]
            ),
            f"{name} at zero",
            timeout_s=timeout_s,
        )

    def cold_start(self, address: str, name: str = NAME) -> ColdStart:
        """Call it once from outside while it is at zero."""
        self.wait_until_cold(name)
        with self.cluster.client.capture(f"host {address}") as capture:
            time_ms = request(self.cluster, address)
        return ColdStart(time_ms=time_ms, syns=capture.count(f"{SYN} and dst host {address}"))

    def cold_starts(self, address: str, runs: int) -> Sequence[ColdStart]:
        """Call it again and again, each time from zero."""
        return [self.cold_start(address) for _ in range(runs)]

    def events(self, name: str = NAME) -> list[str]:
        """What is told of it, oldest first."""
        found = self.cluster.get("events.events.k8s.io")["items"]
        of_it = [each for each in found if each["regarding"].get("name") == name]
        of_it = [each for each in of_it if each["regarding"]["kind"] == "WangellService"]
        return [each["note"] for each in sorted(of_it, key=lambda each: str(each["eventTime"]))]

    def _exists(self, resource: str) -> bool:
        return bool(self.cluster.kubectl("get", resource, "--ignore-not-found", "--output=name"))


def request(cluster: Cluster, address: str, *, timeout_s: float = 30) -> float:
    """One HTTP request by a plain socket; how long it took, in ms."""
    began = time.monotonic()
    with cluster.client.connect(address, PORT, timeout_s=timeout_s) as connection:
        connection.sendall(f"GET / HTTP/1.0\r\nHost: {address}\r\n\r\n".encode())
        answer = b""
        while chunk := connection.recv(4096):
            answer += chunk
    assert answer.endswith(b"Hello World!\n"), answer
    return (time.monotonic() - began) * 1000
