"""The cluster as tests use it: start, kubectl, the client outside, the nodes, stop."""

import concurrent.futures
import contextlib
import http.client
import itertools
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from deploy.images.build import build as build_image
from deploy.images.tools import find, require
from tests.cluster import binaries, network, pki, runs, scripts
from tests.cluster.api import ApiConnection
from tests.cluster.cgroups import Cgroup
from tests.cluster.client import OutsideClient
from tests.cluster.control_plane import DNS_RIGHTS, ControlPlane
from tests.cluster.kubectl import Kubernetes
from tests.cluster.listens import Listens
from tests.cluster.namespaces import Namespaces
from tests.cluster.node import READY_TIMEOUT_S, Node
from tests.cluster.process import Process
from wangell_lab.preflight import mount_tracefs

KUBE_PROXY_MODES = ("iptables", "nftables")
TOOLS = (
    *("conntrack", "containerd", "crun", "ctr", "curl", "gcc", "ip", "iptables", "mount", "nft"),
    *("nsenter", "ps", "sysctl", "tc", "tcpdump", "unshare"),
)

Progress = Callable[[str], None]


class Cluster(Kubernetes):
    """Two nodes, a control plane, a client. A context manager: leaving it removes everything."""

    def __init__(self, run: runs.Run, binaries_directory: Path) -> None:
        """Make the namespaces; nothing runs in them yet. Use Cluster.start()."""
        self._run = run
        self._cgroup = run.cgroup
        self._outside = _create_cgroups(self._cgroup)
        self.directory = run.directory
        self.binaries = binaries_directory
        self._tracings = itertools.count(1)
        self._switch = self._namespaces("switch")
        network.create_switch(self._switch)
        self.client = OutsideClient(self._namespaces("client", network.CLIENT), run.directory)
        kubeconfig = f"--kubeconfig={self.directory}/pki/admin.kubeconfig"
        super().__init__([*self.client.namespaces.enter, f"{self.binaries}/kubectl", kubeconfig])
        pki.create(
            self.directory / "pki",
            server=network.CONTROL_PLANE,
            service=network.API_SERVICE,
            nodes=network.NODES,
        )
        self._api = ApiConnection(self.client.namespaces, self.directory / "pki")
        # Tests may ask from several threads, and a connection has one answer under way.
        self._asking = threading.Lock()
        control_plane = self._namespaces("control-plane", network.CONTROL_PLANE)
        network.configure_control_plane(control_plane)
        self.control_plane = ControlPlane(
            control_plane, directory=self.directory, binaries=self.binaries
        )
        self.nodes = {name: self._create_node(name) for name in network.NODES}

    @classmethod
    def start(
        cls, *, kube_proxy_mode: str = KUBE_PROXY_MODES[0], progress: Progress = print
    ) -> Self:
        """A cluster whose nodes are Ready: 7 s, and 7 minutes more the first time on a machine.

        Raises MissingToolError for a program that is not there, and RuntimeError with the end of
        its log for a component that does not come up. Both leave nothing behind.
        """
        _check_machine()
        binaries_directory = binaries.build(progress)
        pause = build_image("pause", progress=_say_nothing)
        run = runs.create()
        try:
            cluster = cls(run, binaries_directory)
        except BaseException:
            run.remove()
            raise
        try:
            cluster._start(kube_proxy_mode, pause)
        except BaseException as error:
            error.add_note("\n".join(cluster.last_lines()))
            cluster.stop()
            raise
        return cluster

    def stop(self) -> None:
        """Remove it. Everything at once and by SIGKILL: nothing of it is to be kept."""
        self._api.close()
        self._run.remove()
        for process in self.processes:
            process.reap()
        for namespaces in self._members():
            namespaces.reap()

    def detach(self) -> None:
        """Let it outlive this process, until `python -m tests.cluster down`."""
        scripts.write(self.directory, kubectl=self.kubectl_command, members=self._members())
        self._run.detach()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def commands(self) -> Mapping[str, Sequence[str | Path]]:
        """What README's commands are here: `curl` is the client's, outside of the cluster."""
        # By its path: a command of this name that calls it by name would find itself.
        curl: list[str | Path] = [*self.client.namespaces.enter, find("curl"), "--noproxy", "*"]
        kustomize = [self.binaries / "kustomize"]
        return {"kubectl": self.kubectl_command, "kustomize": kustomize, "curl": curl}

    @property
    def id(self) -> str:
        """Its name on this machine."""
        return self._run.id

    @property
    def processes(self) -> list[Process]:
        """Its components: control plane first, then node by node."""
        of_nodes = [process for node in self.nodes.values() for process in node.processes]
        return [*self.control_plane.processes.values(), *of_nodes]

    def node(self, name: str) -> Node:
        """A node by its name, node1 or node2."""
        return self.nodes[name]

    def announce(self, address: str, *, node: str) -> None:
        """Let the client send to `address` by way of `node`: what MetalLB does by ARP or BGP."""
        self.client.run("ip", "route", "replace", f"{address}/32", "via", self.nodes[node].address)

    def withdraw(self, address: str) -> None:
        """End an announcement."""
        self.client.run("ip", "route", "delete", f"{address}/32")

    def assign_address(
        self, service: str, address: str, *, node: str, namespace: str = "default"
    ) -> None:
        """Give a LoadBalancer Service its address, and announce it: where no MetalLB does."""
        ingress = {"status": {"loadBalancer": {"ingress": [{"ip": address}]}}}
        path = f"/api/v1/namespaces/{namespace}/services/{service}/status"
        self._exchange("PATCH", path, ingress)
        self.announce(address, node=node)

    def import_image(self, archive: Path) -> None:
        """Give every node an image: `imagePullPolicy` must not be Always."""
        with concurrent.futures.ThreadPoolExecutor() as pool:
            list(pool.map(lambda node: node.import_image(archive), self.nodes.values()))

    def remove_node(self, name: str) -> None:
        """Let a node leave for good, as a machine that is switched off and deleted does."""
        self.kubectl("delete", f"node/{name}")
        there = f"--field-selector=spec.nodeName={name}"
        self.kubectl("delete", "pods", "--all-namespaces", there, "--force", "--grace-period=0")
        self.nodes[name].leave()

    def use_kube_proxy(self, mode: str) -> None:
        """Replace every kube-proxy in another mode; return once each has written its rules."""
        others = [node for node in self.nodes.values() if node.kube_proxy_mode != mode]
        for node in others:
            node.start_kube_proxy(mode)
        for node in others:
            node.wait_for_kube_proxy()

    def read(self, path: str) -> str:
        """GET, over a kept connection."""
        return self._exchange("GET", path)

    def api(self) -> contextlib.closing[ApiConnection]:
        """A kept-alive connection to the API server, for calls whose time matters."""
        return contextlib.closing(ApiConnection(self.client.namespaces, self.directory / "pki"))

    def listens(self, *, port: int) -> Listens:
        """The moments at which containers of this cluster begin to listen on `port`."""
        tracing = self._run.tracing(next(self._tracings))
        return Listens(tracing, cgroup_path=self._cgroup.path, port=port)

    def last_lines(self, count: int = 10) -> Iterator[str]:
        """The end of each component's log, for whoever looks into a failure."""
        for process in self.processes:
            yield f"--- {process.log}"
            yield from process.last_lines(count)

    def _exchange(self, method: str, path: str, body: Any = None) -> str:
        """Over a kept connection, which a restart of the API server may have closed."""
        with self._asking:
            with contextlib.suppress(OSError, http.client.HTTPException):
                return self._api.exchange(method, path, body)
            self._api.close()
            return self._api.exchange(method, path, body)

    def _start(self, kube_proxy_mode: str, pause: Path) -> None:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            runtimes = [pool.submit(_start_runtime, node, pause) for node in self.nodes.values()]
            self.control_plane.start_api_server()
            for runtime in runtimes:
                runtime.result()
        for node in self.nodes.values():
            node.kubelet.start()
        self.control_plane.start_controllers()
        self.apply(DNS_RIGHTS)
        self.control_plane.processes["coredns"].start()
        for node in self.nodes.values():
            self.wait_for(f"node/{node.name}", "create")
            # Not before: it looks for its Node with a growing delay.
            node.start_kube_proxy(kube_proxy_mode)
        for node in self.nodes.values():
            self.wait_for(f"node/{node.name}", "condition=Ready")
            node.wait_for_kube_proxy()
        # Without it the API server refuses pods.
        self.wait_for("serviceaccount/default", "create")

    def _namespaces(self, name: str, address: str | None = None) -> Namespaces:
        """Namespaces of a member of the segment that is no node."""
        namespaces = Namespaces(
            name, ["net"], cgroup=self._outside, log_directory=self.directory / "log"
        )
        if address is not None:
            network.connect(namespaces, self._switch, address=address)
        return namespaces

    def _create_node(self, name: str) -> Node:
        node = Node(
            name,
            cgroup=self._cgroup / name,
            directory=self.directory / name,
            binaries=self.binaries,
            pki=self.directory / "pki",
        )
        network.connect(node.namespaces, self._switch, address=node.address)
        network.configure_node(node.namespaces)
        return node

    def _members(self) -> list[Namespaces]:
        of_nodes = [node.namespaces for node in self.nodes.values()]
        return [self._switch, self.client.namespaces, self.control_plane.namespaces, *of_nodes]


def _check_machine() -> None:
    if os.geteuid() != 0:
        raise PermissionError("not root: namespaces, mounts and cgroups need it; run with sudo -E")
    require(*TOOLS)
    mount_tracefs()


def _create_cgroups(top: Cgroup) -> Cgroup:
    """The cluster's top cgroup, and one below for what is on no node."""
    Cgroup("").delegate()
    top.create()
    top.delegate()
    outside = top / "outside"
    outside.create()
    return outside


def _start_runtime(node: Node, pause: Path) -> None:
    node.containerd.start(ready_timeout_s=READY_TIMEOUT_S)
    node.import_image(pause)


def _say_nothing(line: str) -> None:
    """The pause image takes 0.3 s: nobody waits for it."""
