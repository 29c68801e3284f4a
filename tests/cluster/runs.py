"""Which clusters there are on this machine, whose they are, and how those of the dead go."""

import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from deploy.images.tools import locked
from tests.cluster.cgroups import Cgroup

# On disk: a node's images take hundreds of MB, and overlayfs wants more than some tmpfs can do.
RUNS = Path("/var/tmp/wangell-cluster")
CGROUP_PREFIX = "wangell-cluster-"
TRACING = Path("/sys/kernel/tracing/instances")
DETACHED = "detached"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One cluster's name, and from it the places of all it has on the machine."""

    id: str
    "Four hexadecimal digits."

    @property
    def directory(self) -> Path:
        """Configuration, keys, logs, etcd's and the nodes' disks."""
        return RUNS / self.id

    @property
    def cgroup(self) -> Cgroup:
        """The top of its cgroups: every process of the cluster is below."""
        return Cgroup(f"{CGROUP_PREFIX}{self.id}")

    def tracing(self, number: int) -> Path:
        """One of its instances of the kernel's tracing, which would outlive everybody."""
        return TRACING / f"{CGROUP_PREFIX}{self.id}-{number}"

    @property
    def tracings(self) -> list[Path]:
        """Those that there are."""
        return list(TRACING.glob(f"{CGROUP_PREFIX}{self.id}-*"))

    @property
    def abandoned(self) -> bool:
        """Whether nobody will end it: its owner died, or the machine has been started anew."""
        boot, _, owner = self._owner.partition(" ")
        if boot != _boot_id():
            return True
        return owner != DETACHED and owner != _identity(int(owner.split()[0]))

    @property
    def detached(self) -> bool:
        """Whether it outlives who started it."""
        return self._owner.endswith(DETACHED)

    @property
    def _owner(self) -> str:
        """Boot id, pid and start time, or nothing for one that is half removed."""
        try:
            return (self.directory / "owner").read_text()
        except FileNotFoundError:
            return ""

    def own(self, who: str) -> None:
        """Write down whose it is in this boot."""
        (self.directory / "owner").write_text(f"{_boot_id()} {who}")

    def detach(self) -> None:
        """Let it outlive this process: from now on only `down` ends it."""
        self.own(DETACHED)

    def remove(self) -> None:
        """End its processes, and with them mounts, links and namespaces; then cgroups and files."""
        # The lock: two of us never remove, or half make, the same one.
        with locked(RUNS / "lock"):
            self._remove()

    def _remove(self) -> None:
        if not self.directory.exists():
            return  # another was faster: everything of a run goes before its directory
        self.cgroup.kill()
        self.cgroup.remove()
        for tracing in self.tracings:
            tracing.rmdir()
        shutil.rmtree(self.directory)


def create() -> Run:
    """A new run that ends with this process at the latest; what dead ones left is removed first."""
    with locked(RUNS / "lock"):
        for run in found():
            if run.abandoned:
                run._remove()
        run = Run(id=secrets.token_hex(2))
        run.directory.mkdir(mode=0o711)
        run.own(f"{_identity(os.getpid())}")
        (run.directory / "log").mkdir()
        return run


def found() -> list[Run]:
    """Every run of this machine, by its directory, which is made first and removed last.

    A cgroup that has none is not touched: it may belong to someone who keeps directories elsewhere.
    """
    names = (path.name for path in RUNS.iterdir() if path.is_dir()) if RUNS.exists() else ()
    return [Run(id=name) for name in sorted(names)]


def _identity(pid: int) -> str | None:
    """A process as its pid and its start time: the pid alone comes to mean another."""
    try:
        after_command = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return None
    # A zombie has ended, though its parent has not looked yet.
    return None if after_command[0] == "Z" else f"{pid} {after_command[19]}"


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
