"""The lab: a cluster on this host, from its first namespace to its last process."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self, TypeVar

from wangell_controller.keys import generate_keys
from wangell_lab import kube_proxy, preflight, wiring, xdp
from wangell_lab.capture import Capture, stamping
from wangell_lab.client import Client
from wangell_lab.cold_starts import ColdStartLog
from wangell_lab.declaration import local_services, sample_manifest
from wangell_lab.errors import LabError
from wangell_lab.namespaces import Namespace
from wangell_lab.process import READY_TIMEOUT_S, Process
from wangell_lab.programs import (
    CONTROLLER_METRICS_PORT,
    DAEMON_METRICS_PORT,
    Controller,
    Daemon,
    controller_command,
    daemon_command,
)
from wangell_lab.reaper import end_all, is_server, pids_in
from wangell_lab.registry import Claim, Registry
from wangell_lab.servers import PYTHON_SERVER
from wangell_lab.signals import undisturbed, unwinding
from wangell_lab.topology import EXAMPLE, Exposure, plan

__all__ = ["Lab"]

T = TypeVar("T")

# A record takes some 1 ms to a daemon; on a machine busy with other labs, 100 ms.
HOLD_TIMEOUT_S = 5.0


class Lab:
    """Namespaces, cables and rules from `with` on; controllers and daemons when you start them.

    Whatever way the block is left, everything is removed. What a killed lab left behind is
    removed when the next one starts.
    """

    def __init__(
        self,
        *,
        nodes: int = 1,
        controllers: int = 1,
        pods_per_node: int = 1,
        exposures: tuple[Exposure, ...] = (EXAMPLE,),
        registry: Registry | None = None,
    ) -> None:
        self.topology = plan(
            nodes=nodes, controllers=controllers, pods_per_node=pods_per_node, exposures=exposures
        )
        self.controllers: dict[str, Controller] = {}
        "By host name, once started"
        self.daemons: dict[str, Daemon] = {}
        "By node name, once started"
        self._registry = registry or Registry()
        self._undo = ExitStack()
        self._signals = ExitStack()

    def __enter__(self) -> Self:
        """Raises LabError where this machine cannot hold a lab."""
        preflight.check()
        try:
            self._signals.enter_context(unwinding())
            self._registry.sweep()
            self._claim: Claim = self._registry.claim()
            self._undo.callback(self._claim.release)
            self._build()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    @property
    def lab_id(self) -> str:
        """What tells it from other labs on this machine."""
        return self._claim.lab_id

    @property
    def directory(self) -> Path:
        """Its files: keys, manifests, logs. It goes when the lab goes."""
        return self._claim.directory

    def namespace(self, host: str) -> Namespace:
        """Return the namespace of that host. Raises LabError."""
        if host not in self._namespaces:
            raise LabError(f"no {host} in this lab; it has {', '.join(self._namespaces)}")
        return self._namespaces[host]

    @property
    def client(self) -> Client:
        """A caller; by default it calls the first service."""
        first = self.topology.exposures[0]
        return Client(self.namespace("client"), address=first.address, port=first.port)

    @property
    def controller(self) -> Controller:
        """The only controller that was started. Raises LabError."""
        return _only(self.controllers, "controller")

    @property
    def callers_daemon(self) -> Daemon:
        """The daemon of the node that callers come to, which tells of cold starts."""
        return self.daemons[self.topology.exposures[0].announced_by]

    @property
    def daemon(self) -> Daemon:
        """The only daemon that was started. Raises LabError."""
        return _only(self.daemons, "daemon")

    def capture(self, host: str = "client") -> Capture:
        """Return a capture of the host's eth0, to be used with `with`."""
        return Capture(self.namespace(host))

    def start_controller(
        self,
        host: str = "controller1",
        *,
        server: Sequence[str] = PYTHON_SERVER,
        idle_timeout_s: int | None = None,
        extra_arguments: Sequence[str] = (),
    ) -> Controller:
        """Start wangell-controller with the sample's service; return it when it is ready.

        `server` is what the service runs; without `idle_timeout_s` the sample's own stays. A
        controller that is started beside another stands by.
        """
        manifest, local = self.directory / "manifest.yaml", self.directory / "local.json"
        manifest.write_text(sample_manifest(idle_timeout_s=idle_timeout_s))
        local.write_text(
            local_services(
                self.topology,
                self._namespaces,
                {EXAMPLE.service: server},
                log_directory=self.directory,
            )
        )
        address, status_path = self.topology.address(host), self.directory / "status.yaml"
        command = controller_command(
            address=address,
            manifests=manifest,
            local=local,
            key_directory=self.keys(),
            run_directory=self._subdirectory("controllers.run"),
            status_path=status_path,
        )
        controller = Controller(
            name=host,
            namespace=self.namespace(host),
            argv=[*command, *extra_arguments],
            directory=self.directory,
            status_path=status_path,
            metrics_address=(address, CONTROLLER_METRICS_PORT),
        )
        self._start(controller, timeout_s=READY_TIMEOUT_S)
        self.controllers[host] = controller
        return controller

    def start_controllers(
        self, *, server: Sequence[str] = PYTHON_SERVER, idle_timeout_s: int | None = None
    ) -> None:
        """Start all that the lab has room for: the first one leads, the others stand by."""
        for host in self.topology.names("controller"):
            self.start_controller(host, server=server, idle_timeout_s=idle_timeout_s)

    def start_daemon(
        self,
        node: str = "node1",
        *,
        readiness: str = "listen",
        probe_interval: str = "5ms",
        interface: str = "eth0",
        key_directory: Path | None = None,
        extra_arguments: Sequence[str] = (),
        timeout_s: float = READY_TIMEOUT_S,
    ) -> Daemon:
        """Start wangell-daemon on that node; return it when it is ready. Raises LabError.

        It knows every controller of the lab. `key_directory` gives it other keys than theirs.
        """
        address, log_path = self.topology.address(node), self.directory / f"{node}.cold-starts"
        command = daemon_command(
            node=node,
            address=address,
            interface=interface,
            controllers=[self.topology.address(each) for each in self.topology.names("controller")],
            key_directory=key_directory or self.keys(),
            readiness=readiness,
            probe_interval=probe_interval,
            cold_start_log=log_path,
        )
        before = self.daemons.get(node)
        daemon = Daemon(
            name=f"daemon-{node}",
            namespace=self.namespace(node),
            argv=[*command, *extra_arguments],
            directory=self.directory,
            # A successor goes on with its predecessor's log, and so does who reads it.
            cold_starts=before.cold_starts if before else ColdStartLog(log_path),
            metrics_address=(address, DAEMON_METRICS_PORT),
        )
        self._start(daemon, timeout_s=timeout_s)
        self.daemons[node] = daemon
        return daemon

    def start_daemons(self, *, readiness: str = "listen") -> None:
        """Start one on every node."""
        for node in self.topology.names("node"):
            self.start_daemon(node, readiness=readiness)

    def keys(self) -> Path:
        """Return the directory with the lab's keys, made when first asked for."""
        directory = self.directory / "keys"
        if not directory.exists():
            generate_keys(directory)
        return directory

    def server_pids(self) -> list[int]:
        """Return the servers that run in pods."""
        return [pid for pid in pids_in(self._pods()) if is_server(pid)]

    def end_servers(self) -> int:
        """Kill the servers in pods and wait until they are gone; return how many they were."""
        return end_all(self._pods(), which=is_server)

    def wait_until_at_zero(self, service: str = EXAMPLE.service, *, timeout_s: float) -> None:
        """Return once the service has no replica and its SYNs are held. Raises LabError."""
        if not self.controllers:
            raise LabError("0 controllers were started: there is nobody who would tell")
        # They share the file that tells, and whoever leads writes it.
        any_controller = next(iter(self.controllers.values()))
        any_controller.wait_for_replicas(service, 0, timeout_s=timeout_s)
        exposure = self.topology.exposure(service)
        node = self.namespace(exposure.announced_by)
        xdp.wait_until_held(node, exposure, timeout_s=HOLD_TIMEOUT_S)

    def metrics(self, of: Controller | Daemon) -> str:
        """Return what Prometheus would scrape there. Raises OSError."""
        return self.client.get(*of.metrics_address, path="/metrics").body.decode()

    def _build(self) -> None:
        self._undo.enter_context(stamping())
        self._namespaces = {
            host.name: self._claim.namespace(host.name) for host in self.topology.hosts
        }
        for namespace in self._namespaces.values():
            namespace.create()
        wiring.build(self.topology, self._namespaces)
        for node in self.topology.names("node"):
            kube_proxy.load(kube_proxy.ruleset(self.topology, node), self.namespace(node))
        preflight.mount_tracefs()

    def _close(self) -> None:
        with self._signals, undisturbed():
            self._undo.close()

    def _start(self, process: Process, *, timeout_s: float) -> None:
        # Stopped in reverse order: daemons first, while there is still a controller to tell.
        self._undo.callback(process.stop)
        process.start(timeout_s=timeout_s)

    def _subdirectory(self, name: str) -> Path:
        directory = self.directory / name
        directory.mkdir(exist_ok=True)
        return directory

    def _pods(self) -> list[Namespace]:
        return [self.namespace(pod) for pod in self.topology.names("pod")]


def _only(started: Mapping[str, T], what: str) -> T:
    if len(started) != 1:
        raise LabError(f"{len(started)} {what}s were started: say which, lab.{what}s[...]")
    return next(iter(started.values()))
