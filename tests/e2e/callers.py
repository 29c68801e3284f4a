"""Callers inside the cluster: pods whose network a test enters, as it enters the client outside."""

import json

from tests.cluster.client import OutsideClient
from tests.cluster.cluster import Cluster
from tests.cluster.namespaces import Namespaces

__all__ = ["PodCaller", "manifest", "name_of"]

MANIFEST = """\
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  {place}
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


def name_of(node: str, *, is_on_host: bool = False) -> str:
    """What the caller's pod is called."""
    return f"caller-of-{node}" if is_on_host else f"caller-on-{node}"


def manifest(node: str, *, is_on_host: bool = False, is_scheduled: bool = False) -> str:
    """Its pod; without the scheduler it is on the node whatever taints that has."""
    there = f"nodeSelector: {{kubernetes.io/hostname: {node}}}"
    return MANIFEST.format(
        name=name_of(node, is_on_host=is_on_host),
        place=there if is_scheduled else f"nodeName: {node}",
        is_on_host=str(is_on_host).lower(),
    )


class PodCaller(OutsideClient):
    """A pod on a node, or in its very network: curl, connections and captures as from outside."""

    def __init__(
        self, cluster: Cluster, node: str, *, is_on_host: bool = False, is_scheduled: bool = False
    ) -> None:
        """`is_scheduled`: it waits until the scheduler lets it onto the node."""
        self._cluster = cluster
        self._pod = name_of(node, is_on_host=is_on_host)
        self._manifest = manifest(node, is_on_host=is_on_host, is_scheduled=is_scheduled)
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
