"""Nothing of a cluster is left on the machine: not after stop(), not after kill -9."""

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.images.build import build as build_image
from tests.cluster import runs
from tests.cluster.cgroups import Cgroup
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
    """What a cluster could leave outside its own directory, cgroups and tracing instances."""

    mounts: frozenset[str]
    links: frozenset[str]
    network_namespaces: frozenset[str]
    containerd: frozenset[str]
    sysctls: tuple[str, ...]


def look() -> Machine:
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return Machine(
        mounts=others(line.split(" ", 3)[3] for line in mounts),
        links=others(path.name for path in Path("/sys/class/net").iterdir()),
        network_namespaces=names(Path("/run/netns")),
        containerd=names(Path("/run/containerd")) | names(Path("/var/lib/containerd")),
        sysctls=tuple(
            Path("/proc/sys", name).read_text()
            for name in ("kernel/panic", "kernel/panic_on_oops", "vm/overcommit_memory")
        ),
    )


def places(run_id: str) -> list[Path]:
    """What is left of one run, by its name; other clusters of this machine may come and go."""
    run = runs.Run(id=run_id)
    every = [run.directory, *run.tracings, *run.cgroup.directories]
    return [place for place in every if place.exists()]


def our_runs() -> list[str]:
    """The runs that belong to this process."""
    owners = {run.id: (run.directory / "owner").read_text().split() for run in runs.found()}
    return [name for name, words in owners.items() if words[1:2] == [str(os.getpid())]]


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

        assert cluster.id in our_runs()
        assert len(places(cluster.id)) >= 2

    assert [pid for pid in pids if alive(pid)] == []
    assert places(cluster.id) == []
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

    assert runs.Run(id=left).abandoned

    with Cluster.start() as cluster:
        assert cluster.id != left
        assert [pid for pid in pids if alive(pid)] == []
        assert places(left) == []

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
    before, runs_before = look(), our_runs()
    monkeypatch.setattr(ControlPlane, "_api_server_flags", lambda _: ["--nonsense"])

    with pytest.raises(RuntimeError, match=r"(?s)kube-apiserver ended.*unknown flag: --nonsense"):
        Cluster.start()

    assert our_runs() == runs_before
    assert look() == before


def test_up_gives_a_cluster_that_outlives_it_and_down_ends_it() -> None:
    before = look()
    main = [sys.executable, "-m", "tests.cluster"]

    printed = subprocess.run([*main, "up"], capture_output=True, text=True, check=True).stdout
    left = re.findall(r"down (\w+)", printed)[0]
    directory = runs.RUNS / left
    try:
        nodes = subprocess.check_output([directory / "kubectl", "get", "nodes"], text=True)
        entered = subprocess.check_output([directory / "enter", "node2", "hostname"], text=True)
        refused = subprocess.run([directory / "enter", "node3"], capture_output=True, check=False)
        status = subprocess.check_output([*main, "status"], text=True)
    finally:
        subprocess.run([*main, "down", left], check=True)

    assert f"{directory}/kubectl get nodes" in printed
    assert nodes.count(" Ready ") == 2
    assert entered == "node2\n"
    assert refused.returncode == 2
    assert b"node1 | node2" in refused.stderr
    assert f"{left}  up:" in status
    assert places(left) == []
    assert look() == before
