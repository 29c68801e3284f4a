"""Which clusters there are on this machine, whose they are, and how what a dead harness left is
removed.
"""

import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from deploy.images.tools import locked
from tests.cluster.cgroups import Cgroup

# On disk: overlayfs wants a file system below it that tmpfs may not be, and images take hundreds of
# MB.
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

    @property
    def tracing(self) -> Path:
        """Its instance of the kernel's tracing, which would outlive everybody."""
        return TRACING / f"{CGROUP_PREFIX}{self.id}"

    @property
    def abandoned(self) -> bool:
        """Whether nobody will end it: its owner died, or the machine has been started anew."""
        if not self._owner.exists():
            return True
        boot, _, owner = self._owner.read_text().partition(" ")
        return boot != _boot_id() or (
            owner != DETACHED and owner != _identity(int(owner.split()[0]))
        )

    @property
    def detached(self) -> bool:
        """Whether it outlives who started it."""
        return self._owner.exists() and self._owner.read_text().endswith(DETACHED)

    @property
    def _owner(self) -> Path:
        return self.directory / "owner"

    def detach(self) -> None:
        """Let it outlive this process: from now on only `down` ends it."""
        self._owner.write_text(f"{_boot_id()} {DETACHED}")

    def remove(self) -> None:
        """End its processes, and with them mounts, links and namespaces; then cgroups and files."""
        self.cgroup.kill()
        self.cgroup.remove()
        if self.tracing.exists():
            self.tracing.rmdir()
        # Last: while the directory is there, whoever comes next tries again.
        if self.directory.exists():
            shutil.rmtree(self.directory)


def create() -> Run:
    """A new run that ends with this process at the latest; what dead ones left is removed first."""
    with locked(RUNS / "lock"):
        for run in found():
            if run.abandoned:
                run.remove()
        run = Run(id=secrets.token_hex(2))
        run.directory.mkdir(mode=0o711)
        run._owner.write_text(f"{_boot_id()} {_identity(os.getpid())}")
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
