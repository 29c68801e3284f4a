"""What a test says to an installed Wangell: its services, what is told of them, what is left."""

import json
import re
from pathlib import Path
from typing import Any

from tests.cluster.cluster import Cluster
from tests.cluster.given import GivenCluster
from tests.cluster.waiting import until

SYSTEM_NAMESPACE = "wangell-system"
SYSTEM = f"--namespace={SYSTEM_NAMESPACE}"
SAMPLE = Path(__file__).parents[2] / "samples/serverless-example.yaml"
NAME = "serverless-example"
CONTROLLER = "wangell-controller-"
CONTROLLERS = 2


def sample(name: str) -> str:
    """The published manifest under another name."""
    return SAMPLE.read_text().replace(NAME, name)


def pinned(node: str) -> dict[str, Any]:
    """The template overlay of a service whose replicas are on one node."""
    return {"spec": {"nodeSelector": {"kubernetes.io/hostname": node}}}


class AnyWangell:
    """On our own cluster, or on a given one."""

    def __init__(self, cluster: Cluster | GivenCluster) -> None:
        self.cluster = cluster

    def wait_until_ready(self, *, timeout_s: float = 90) -> None:
        """Return once every daemon is linked to the controller that leads."""
        until(self._is_ready, "controller and daemons", timeout_s=timeout_s)

    def _is_ready(self) -> bool:
        pods = self.cluster.get("pods", SYSTEM)["items"]
        nodes = [each["metadata"]["name"] for each in self.cluster.get("nodes")["items"]]
        if len(pods) != CONTROLLERS + len(nodes):
            return False
        controllers = [each for each in pods if each["metadata"]["name"].startswith(CONTROLLER)]
        logs = [self.log(each["metadata"]["name"]) for each in controllers]
        leads = [log for log in logs if "leading with epoch" in log]
        return len(leads) == 1 and all(f"{node}: linked" in log for log in logs for node in nodes)

    def log(self, pod: str) -> str:
        """What a pod of ours has written; nothing where it has not begun to."""
        try:
            return self.cluster.read(f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/pods/{pod}/log")
        except RuntimeError:
            return ""

    def restarts(self) -> int:
        """How often containers of ours have ended."""
        pods = self.cluster.get("pods", SYSTEM)["items"]
        statuses = [each for pod in pods for each in pod["status"]["containerStatuses"]]
        return sum(each["restartCount"] for each in statuses)

    def status(self, name: str = NAME) -> dict[str, Any]:
        """A service's status, as the API has it."""
        return dict(self.cluster.get(f"wsvc/{name}").get("status", {}))

    def address(self, name: str = NAME) -> str:
        """Where it is called: the one that it was declared with, or a given cluster's own."""
        return str(self.status(name)["loadBalancerIP"])

    def conditions(self, name: str = NAME) -> dict[str, dict[str, Any]]:
        """Its conditions by type."""
        return {each["type"]: each for each in self.status(name)["conditions"]}

    def pods(self, name: str = NAME) -> list[Any]:
        """Its pods, those that are ending too."""
        selector = f"--selector=wangell.loutres.me/service={name}"
        return list(self.cluster.get("pods", selector)["items"])

    def declare(
        self, address: str, *, node: str = "node1", manifest: str | Path = SAMPLE, name: str = NAME
    ) -> None:
        """Apply a manifest, and give its Service an address, which the client reaches by a node."""
        self.cluster.apply(manifest)
        self.expose(address, node=node, name=name)

    def expose(self, address: str, *, node: str = "node1", name: str = NAME) -> None:
        """Give a service its address: where no MetalLB does."""
        until(lambda: self._has_service(name), f"service/{name}", timeout_s=30)
        self.cluster.assign_address(name, address, node=node)
        until(lambda: "loadBalancerIP" in self.status(name), "address", timeout_s=30)

    def remove(self, address: str, name: str = NAME) -> None:
        """Delete a service, if it is there, and its address."""
        self.cluster.kubectl("delete", "wsvc", name, "--ignore-not-found")
        self.cluster.withdraw(address)

    def change(self, spec: dict[str, Any], name: str = NAME) -> None:
        """Merge fields into its spec."""
        patch = json.dumps({"spec": spec})
        self.cluster.kubectl("patch", "wsvc", name, "--type=merge", f"--patch={patch}")

    def pin(self, node: str, name: str = NAME) -> None:
        """Have its replicas on one node. A call before its Deployment says so would start two."""
        self.change({"template": pinned(node)}, name)
        until(lambda: self._template(name) == pinned(node), f"{name} on {node}", timeout_s=20)

    def wait_until_phase(self, phase: str, name: str = NAME, *, timeout_s: float = 30) -> None:
        """Return once its status says so."""
        until(lambda: self.status(name).get("phase") == phase, phase, timeout_s=timeout_s)

    def wait_until_cold(self, name: str = NAME, *, timeout_s: float = 60) -> None:
        """Return once it is at zero and not even an ending pod is left: it would slow the next."""
        self.wait_until_phase("Cold", name, timeout_s=timeout_s)
        until(lambda: not self.pods(name), f"{name} at zero", timeout_s=timeout_s)

    def events(self, name: str = NAME) -> list[str]:
        """What is told of it, oldest first."""
        found = self.cluster.get("events")["items"]
        of_it = [each for each in found if each["regarding"].get("name") == name]
        of_it = [each for each in of_it if each["regarding"]["kind"] == "WangellService"]
        return [each["note"] for each in sorted(of_it, key=lambda each: str(each["eventTime"]))]

    def wait_for_event(self, pattern: str, name: str = NAME) -> None:
        """Return once something is told of it that begins so."""
        told = re.compile(pattern)
        until(
            lambda: any(told.match(note) for note in self.events(name)),
            f"an Event {pattern!r}",
            timeout_s=20,
        )

    def _template(self, name: str) -> dict[str, Any]:
        spec = self.cluster.get(f"deployment/{name}")["spec"]["template"]["spec"]
        return {"spec": {"nodeSelector": spec.get("nodeSelector")}}

    def _has_service(self, name: str) -> bool:
        return bool(self.cluster.get("services", f"--field-selector=metadata.name={name}")["items"])


class Wangell(AnyWangell):
    """On our own cluster, whose client and nodes a test may enter."""

    cluster: Cluster
