"""A real MetalLB in layer 2 mode: its controller beside the control plane, a speaker on each node.

They run as processes, and not as the pods of its manifests: there is no image of them here. What
they are told is what those manifests tell them.
"""

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from tests.cluster import binaries
from tests.cluster.cluster import Cluster
from tests.cluster.process import Process
from tests.cluster.waiting import until

__all__ = ["MetalLB"]

NAMESPACE = "metallb-system"
POOL = Path(__file__).with_suffix(".yaml")
NODE_HEARD_OF = re.compile(r'"NodeReconciler","end reconcile":"/([^"]+)"')
# A speaker's statuses belong to its pod, so there has to be one.
SPEAKER = """\
apiVersion: v1
kind: Pod
metadata: {{name: speaker-{node}, namespace: metallb-system}}
spec:
  nodeName: {node}
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 0
  containers:
    - name: speaker
      image: registry.loutres.me/helloworld-go:latest
      imagePullPolicy: IfNotPresent
"""


class MetalLB:
    """A context manager: leaving it removes all of it, its CRDs too."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._binaries = binaries.build_metallb(print)
        variables = {"KUBECONFIG": str(cluster.directory / "pki/admin.kubeconfig")}
        variables["METALLB_NAMESPACE"] = NAMESPACE
        controller: list[str | Path] = [self._binaries / "controller", "--webhook-mode=disabled"]
        self._controller = cluster.control_plane.namespaces.process(
            "metallb-controller", controller, variables=variables
        )
        self._speakers = {
            node.name: node.process(
                "metallb-speaker",
                self._binaries / "speaker",
                variables={
                    **variables,
                    "METALLB_NODE_NAME": node.name,
                    "METALLB_HOST": node.address,
                    "METALLB_POD_NAME": f"speaker-{node.name}",
                },
            )
            for node in cluster.nodes.values()
        }

    def __enter__(self) -> Self:
        cluster = self._cluster
        with contextlib.ExitStack() as undoing:
            undoing.callback(self._remove)
            cluster.apply(self._binaries / "crd")
            cluster.kubectl(
                "wait", f"--filename={self._binaries}/crd", "--for=condition=Established"
            )
            cluster.kubectl("create", "namespace", NAMESPACE)
            cluster.wait_for("serviceaccount/default", "create", namespace=NAMESPACE)
            for node in cluster.nodes:
                cluster.apply(SPEAKER.format(node=node))
                cluster.wait_for(f"pod/speaker-{node}", "condition=Ready", namespace=NAMESPACE)
            cluster.apply(POOL)
            for process in self._processes():
                process.start()
            until(self._knows_nodes, "MetalLB's speakers", timeout_s=30)
            undoing.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def withdrawals(self, address: str) -> list[str]:
        """Why speakers have ever taken an address back, as they say themselves."""
        said = [line for each in self._speakers.values() for line in _lines(each.log)]
        events = [json.loads(line) for line in said if '"serviceWithdrawn"' in line]
        return [each["reason"] for each in events if address in json.dumps(each["ip"])]

    def announcers(self, service: str) -> list[str]:
        """The nodes whose speakers announce a service now."""
        statuses = self._cluster.get("servicel2statuses", f"--namespace={NAMESPACE}")["items"]
        found = [each.get("status", {}) for each in statuses]
        return [each["node"] for each in found if each.get("serviceName") == service]

    def _processes(self) -> Iterator[Process]:
        yield self._controller
        yield from self._speakers.values()

    def _knows_nodes(self) -> bool:
        """Whether each speaker has heard of every node.

        Without memberlist it elects among those alone, and looks at no service again when another
        comes: one that was there before stayed without an announcement for good.
        """
        heard = [
            set(NODE_HEARD_OF.findall(each.log.read_text())) for each in self._speakers.values()
        ]
        return all(each >= self._cluster.nodes.keys() for each in heard)

    def _remove(self) -> None:
        for process in self._processes():
            process.stop()
        self._cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")
        self._cluster.delete(self._binaries / "crd")


def _lines(log: Path) -> list[str]:
    return log.read_text().splitlines()
