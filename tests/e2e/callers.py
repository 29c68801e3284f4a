"""Callers inside the cluster: pods whose network a test enters, as it enters the client outside."""

import json

from tests.cluster.client import OutsideClient
from tests.cluster.cluster import Cluster
from tests.cluster.namespaces import Namespaces

__all__ = ["PodCaller"]

MANIFEST = """\
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  nodeName: {node}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: 0
  hostNetwork: {is_on_host}
  containers:
    - name: caller
      image: registry.loutres.me/helloworld-go:latest
      imagePullPolicy: IfNotPresent
"""


class PodNetwork(Namespaces):
    """The network namespace of a process that is there already, and is not ours to end."""

    def __init__(self, pid: int, *, like: Namespaces) -> None:
        self._pid = pid
        self.name = f"pid-{pid}"
        self.cgroup = like.cgroup
        self._kinds = ["net"]
        self._log_directory = like._log_directory

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._pid


class PodCaller(OutsideClient):
    """A pod on a node, or in its very network: curl, connections and captures as from outside."""

    def __init__(self, cluster: Cluster, node: str, *, is_on_host: bool = False) -> None:
        self._cluster = cluster
        self._pod = f"caller-of-{node}" if is_on_host else f"caller-on-{node}"
        host = str(is_on_host).lower()
        self._manifest = MANIFEST.format(name=self._pod, node=node, is_on_host=host)
        cluster.apply(self._manifest)
        cluster.wait_for(f"pod/{self._pod}", "condition=Ready")
        network = PodNetwork(self._find_pid(node), like=cluster.client.namespaces)
        directory = cluster.directory / self._pod
        directory.mkdir(exist_ok=True)
        super().__init__(network, directory)

    def remove(self) -> None:
        """Delete the pod."""
        self._cluster.delete(self._manifest)

    def _find_pid(self, node: str) -> int:
        """The machine's pid of its server: containerd knows it, and has no pids of its own."""
        ctr = ("ctr", "--namespace=k8s.io")
        pod = self._cluster.get(f"pod/{self._pod}")
        found = pod["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")
        for line in self._cluster.node(node).run(*ctr, "tasks", "list").splitlines():
            container, pid, *_ = line.split()
            if container == found:
                return int(pid)
        raise RuntimeError(f"no task of {self._pod} on {node}: {json.dumps(pod['status'])}")
