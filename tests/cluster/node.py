"""A node: namespaces that look like a machine from inside, with containerd, kubelet, kube-proxy."""

from pathlib import Path

from deploy.images.build import PAUSE
from deploy.images.tools import MissingToolError
from tests.cluster import network
from tests.cluster.cgroups import Cgroup, hierarchies
from tests.cluster.configuration import fill
from tests.cluster.namespaces import Namespaces
from tests.cluster.process import Process
from tests.cluster.waiting import until

NAMESPACE_KINDS = ("net", "mount", "uts", "cgroup")
# Debian and Ubuntu have the first, the project's own releases the second.
CNI_DIRECTORIES = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
# kubelet sets these, and they are the whole machine's: a node gets files of its own in their place.
KUBELET_SYSCTLS = (
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
)
# Of /var/lib/containerd: an image of ours is 400 MB.
ON_DISK = ("io.containerd.content.v1.content", "io.containerd.snapshotter.v1.overlayfs/snapshots")
READY_TIMEOUT_S = 30.0


class Node:
    """One node, whose mounts nobody else sees and whose cgroups begin at /."""

    def __init__(
        self, name: str, *, cgroup: Cgroup, directory: Path, binaries: Path, pki: Path
    ) -> None:
        self.name = name
        self.address = network.NODES[name]
        self.directory = directory
        self._binaries = binaries
        self._pki = pki
        for below in ("cni", "log", "sysctl"):
            (directory / below).mkdir(parents=True)
        self.namespaces = self._create_namespaces(cgroup)
        self._mount()
        self.namespaces.run("hostname", name)
        self.containerd = self._containerd()
        self.kubelet = self._kubelet()
        self.kube_proxy: Process | None = None
        self.kube_proxy_mode: str | None = None

    @property
    def netns(self) -> Path:
        """The node's network namespace as a file."""
        return self.namespaces.netns

    @property
    def processes(self) -> list[Process]:
        """What runs on it, pods aside."""
        return [self.containerd, self.kubelet, *([self.kube_proxy] if self.kube_proxy else [])]

    def run(self, *command: str | Path) -> str:
        """Run a command on the node and return what it prints."""
        return self.namespaces.run(*command)

    def process(
        self, name: str, *command: str | Path, variables: dict[str, str] | None = None
    ) -> Process:
        """A process to start on the node beside kubelet: MetalLB's speaker, for one."""
        return self.namespaces.process(f"{self.name}-{name}", command, variables=variables)

    def import_image(self, archive: Path) -> None:
        """Give the node an image, as if it had pulled it."""
        self.run("ctr", "--namespace=k8s.io", "images", "import", archive)

    def join(self, *, taint: str) -> None:
        """Start a kubelet that registers a new Node with this taint, such as key=:NoSchedule."""
        self.kubelet = self._kubelet(f"--register-with-taints={taint}")
        self.kubelet.start()

    def leave(self) -> None:
        """Stop what runs beside pods, once those have ended, and forget what a reboot forgets.

        Its Node and its pods must have been deleted at the API server.
        """
        until(self._has_no_pod, f"the end of {self.name}'s pods", timeout_s=READY_TIMEOUT_S)
        self.kubelet.stop()
        if self.kube_proxy is not None:
            self.kube_proxy.stop()
        self.run("nft", "flush", "ruleset")
        self.run("ip", "link", "set", "dev", network.INTERFACE, "xdp", "off")

    def _has_no_pod(self) -> bool:
        return not self.run("ctr", "--namespace=k8s.io", "tasks", "list", "--quiet").strip()

    def start_kube_proxy(self, mode: str) -> None:
        """Start kube-proxy, or replace it by one in another mode, which removes its rules."""
        self.stop_kube_proxy()
        config = self._fill("kube-proxy.yaml", pod_network=network.POD_NETWORK, mode=mode)
        self.kube_proxy = self.process(
            "kube-proxy", self._binaries / "kube-proxy", f"--config={config}"
        )
        self.kube_proxy.start()
        self.kube_proxy_mode = mode

    def stop_kube_proxy(self) -> None:
        """Leave the node with the rules that it has, until one is started again."""
        if self.kube_proxy is not None:
            self.kube_proxy.stop()
        self.kube_proxy_mode = None

    def wait_for_kube_proxy(self) -> None:
        """Return once kube-proxy has written its rules: only then does its health check say 200."""
        try:
            until(
                self._kube_proxy_is_healthy, f"{self.name}'s kube-proxy", timeout_s=READY_TIMEOUT_S
            )
        except TimeoutError as error:
            assert self.kube_proxy is not None, "it was waited for"
            error.add_note("\n".join(self.kube_proxy.last_lines(40)))
            raise

    def _kube_proxy_is_healthy(self) -> bool:
        try:
            self.run("curl", "--noproxy", "*", "-sf", "http://127.0.0.1:10256/healthz")
        except RuntimeError:
            return False
        return True

    def _create_namespaces(self, cgroup: Cgroup) -> Namespaces:
        """The cgroup namespace begins where the holder unshares it; then the holder moves down.

        kubelet hands the controllers on to /kubepods, and cgroup v2 allows that only to a cgroup
        without processes.
        """
        cgroup.create()
        system = cgroup / "system"
        system.create()
        namespaces = Namespaces(
            self.name,
            NAMESPACE_KINDS,
            cgroup=cgroup,
            log_directory=self.directory.parent / "log",
        )
        for file in system.procs_files:
            file.write_text(str(namespaces.pid))
        namespaces.cgroup = system
        return namespaces

    def _mount(self) -> None:
        mount = ("mount", "--no-mtab")
        run = self.namespaces.run
        # A fresh sysfs has this network namespace's devices, and room for this one's cgroups.
        run("umount", "--recursive", "--lazy", "/sys")
        run(*mount, "-t", "sysfs", "sysfs", "/sys")
        for kind, where in (("bpf", "/sys/fs/bpf"), ("tracefs", "/sys/kernel/tracing")):
            run(*mount, "-t", kind, kind, where)
        self._mount_cgroups()
        # containerd, CNI and kubelet write below these, some at paths that cannot be set.
        run(*mount, "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
        self._mount_lib()
        run(*mount, "--bind", self.directory / "log", "/var/log")
        for name in KUBELET_SYSCTLS:
            copy = self.directory / "sysctl" / name.replace("/", ".")
            copy.write_text(Path("/proc/sys", name).read_text())
            run(*mount, "--bind", copy, Path("/proc/sys", name))
        # Volumes may ask for their mounts to be passed on, and containerd wants them shared for it.
        run("mount", "--make-rshared", "/")

    def _mount_lib(self) -> None:
        """What containerd and kubelet know is in memory, what images unpack to is on the disk.

        A start and its end wait some forty times for what they write, and it ends with the cluster.
        """
        mount = ("mount", "--no-mtab")
        self.namespaces.run(*mount, "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/var/lib")
        for name in ON_DISK:
            on_disk, seen_at = self.directory / "lib" / name, Path("/var/lib/containerd", name)
            on_disk.mkdir(parents=True)
            self.namespaces.run("mkdir", "-p", seen_at)
            self.namespaces.run(*mount, "--bind", on_disk, seen_at)

    def _mount_cgroups(self) -> None:
        found = hierarchies()
        if not any(hierarchy.mount_point == Path("/sys/fs/cgroup") for hierarchy in found):
            self.namespaces.run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/sys/fs/cgroup")
        # crun refuses a hybrid; there the v2 hierarchy has no controller, and nobody misses it.
        is_hybrid = {each.kind for each in found} == {"cgroup", "cgroup2"}
        for hierarchy in found:
            if is_hybrid and hierarchy.kind == "cgroup2":
                continue
            options = ("-o", hierarchy.options) if hierarchy.options else ()
            self.namespaces.run("mkdir", "-p", hierarchy.mount_point)
            self.namespaces.run(
                "mount", "-t", hierarchy.kind, *options, "cgroup", hierarchy.mount_point
            )

    def _containerd(self) -> Process:
        self._fill(
            "cni.conflist", out="cni/10-wangell.conflist", pod_range=network.POD_RANGES[self.name]
        )
        config = self._fill("containerd.toml", pause_image=PAUSE, cni_bin=_cni_directory())
        return self.process("containerd", "containerd", f"--config={config}")

    def _kubelet(self, *more: str) -> Process:
        (self.directory / "resolv.conf").write_text(f"nameserver {network.CONTROL_PLANE}\n")
        config = self._fill("kubelet.yaml", dns=network.CONTROL_PLANE)
        return self.process(
            "kubelet",
            self._binaries / "kubelet",
            f"--config={config}",
            f"--kubeconfig={self._pki}/{self.name}.kubeconfig",
            f"--hostname-override={self.name}",
            f"--node-ip={self.address}",
            *more,
        )

    def _fill(self, template: str, *, out: str | None = None, **values: str | Path) -> Path:
        return fill(
            template,
            self.directory / (out or template),
            name=self.name,
            address=self.address,
            directory=self.directory,
            pki=self._pki,
            **values,
        )


def _cni_directory() -> Path:
    for directory in CNI_DIRECTORIES:
        if (directory / "bridge").exists():
            return directory
    raise MissingToolError(
        f"the CNI plugins are not in {' or '.join(map(str, CNI_DIRECTORIES))}: "
        "apt-get install containernetworking-plugins"
    )
