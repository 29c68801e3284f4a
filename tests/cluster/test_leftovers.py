"""After a cluster nothing of it is left on the machine: not after stop(), and not after kill -9 and
another start.
"""

import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.images.build import build as build_image
from tests.cluster import runs
from tests.cluster.cgroups import Cgroup, hierarchies
from tests.cluster.cluster import Cluster
from tests.cluster.control_plane import ControlPlane
from tests.cluster.test_cluster import HELLO

pytestmark = pytest.mark.timeout(300)
# A harness that never ends by itself: the test kills it.
STUCK = """
import signal
from tests.cluster.cluster import Cluster
cluster = Cluster.start()
cluster.client.namespaces.open_process("tcpdump", "-i", "eth0", "-w", "/dev/null")
with cluster.listens(port=8080):
    print(cluster.id, flush=True)
    signal.pause()
"""


@dataclass(frozen=True)
class Machine:
    """What a cluster could leave."""

    mounts: frozenset[str]
    links: frozenset[str]
    network_namespaces: frozenset[str]
    cgroups: frozenset[str]
    tracing: frozenset[str]
    runs: frozenset[str]
    containerd: frozenset[str]
    sysctls: tuple[str, ...]


def look() -> Machine:
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return Machine(
        mounts=others(line.split(" ", 3)[3] for line in mounts),
        links=others(path.name for path in Path("/sys/class/net").iterdir()),
        network_namespaces=names(Path("/run/netns")),
        cgroups=frozenset(
            str(path) for one in hierarchies() for path in one.mount_point.glob("wangell-cluster-*")
        ),
        tracing=names(runs.TRACING),
        runs=names(runs.RUNS),
        containerd=names(Path("/run/containerd")) | names(Path("/var/lib/containerd")),
        sysctls=tuple(
            Path("/proc/sys", name).read_text()
            for name in ("kernel/panic", "kernel/panic_on_oops", "vm/overcommit_memory")
        ),
    )


def names(directory: Path) -> frozenset[str]:
    return others(path.name for path in directory.iterdir()) if directory.exists() else frozenset()


def others(found: Iterable[str]) -> frozenset[str]:
    """Without what belongs to wangell_lab, whose tests may run at the same time: its names begin
    with wl.
    """
    return frozenset(one for one in found if not one.startswith("wl") and "/wl" not in one)


def alive(pid: int) -> bool:
    """Whether a process still runs; a zombie of another parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_after_stop_nothing_is_left() -> None:
    before = look()

    with Cluster.start() as cluster:
        cluster.import_image(build_image("helloworld-go"))
        cluster.apply(HELLO)
        cluster.kubectl("scale", "deployment/hello", "--replicas=2")
        cluster.wait_for("deployment/hello", "jsonpath={.status.availableReplicas}=2")
        pids = Cgroup(f"{runs.CGROUP_PREFIX}{cluster.id}").pids()
        # Components, shims, sandboxes, servers, and the holders of namespaces.
        assert len(pids) > 20

    assert [pid for pid in pids if alive(pid)] == []
    assert look() == before


def test_what_a_killed_harness_left_the_next_start_removes() -> None:
    before = look()
    with subprocess.Popen(
        [sys.executable, "-c", STUCK], stdout=subprocess.PIPE, text=True
    ) as harness:
        try:
            assert harness.stdout is not None
            left = next(line.strip() for line in harness.stdout if len(line) == len("4f2a\n"))
            pids = Cgroup(f"{runs.CGROUP_PREFIX}{left}").pids()
        finally:
            harness.kill()
    assert any(alive(pid) for pid in pids), "a harness that dies does not take its cluster along"

    with Cluster.start() as cluster:
        assert [pid for pid in pids if alive(pid)] == []
        assert {run.id for run in runs.found()} - before.runs == {cluster.id}

    assert look() == before


def test_a_start_leaves_the_clusters_of_the_living_alone() -> None:
    with Cluster.start() as first, Cluster.start(kube_proxy_mode="nftables") as second:
        assert first.id != second.id
        assert len(first.get("nodes")["items"]) == 2
        first.apply(HELLO)
        assert first.get("deployments")["items"] != []
        assert second.get("deployments")["items"] == []


def test_a_start_that_fails_leaves_nothing_and_shows_the_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = look()
    monkeypatch.setattr(ControlPlane, "_api_server_flags", lambda _: ["--nonsense"])

    with pytest.raises(RuntimeError, match=r"(?s)kube-apiserver ended.*unknown flag: --nonsense"):
        Cluster.start()

    assert look() == before
