"""Whose LISTEN it is: a process can only answer for the workload it is in."""

import os
from pathlib import Path

import pytest

from wangell_daemon.readiness import workload
from wangell_daemon.readiness.workload import ByCgroup, ByNamespace, pids_of

POD = "1f0a4c1e-7d4e-4b0e-9a55-0123456789ab"
OTHER_POD = "2f0a4c1e-7d4e-4b0e-9a55-0123456789ab"
SLICE = POD.replace("-", "_")
CONTAINER = "cri-containerd-" + "f" * 64


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty /proc, to be filled."""
    monkeypatch.setattr(workload, "PROC", tmp_path)
    (tmp_path / "sys").mkdir()
    (tmp_path / "uptime").write_text("1.0 1.0\n")
    return tmp_path


def process(proc: Path, pid: int, *cgroups: str) -> None:
    """A process whose /proc/PID/cgroup has these lines."""
    (proc / str(pid)).mkdir()
    (proc / str(pid) / "cgroup").write_text("".join(f"{line}\n" for line in cgroups))


def in_namespace(proc: Path, pid: int, inode: int) -> None:
    """A process in this network namespace."""
    (proc / str(pid) / "ns").mkdir(parents=True)
    (proc / str(pid) / "ns" / "net").symlink_to(f"net:[{inode}]")


# By cgroup.


@pytest.mark.parametrize(
    ("what", "path"),
    [
        ("guaranteed, cgroupfs", f"/kubepods/pod{POD}/{CONTAINER}"),
        ("burstable, cgroupfs", f"/kubepods/burstable/pod{POD}/{CONTAINER}"),
        ("best effort, cgroupfs", f"/kubepods/besteffort/pod{POD}/{CONTAINER}"),
        ("the pod itself", f"/kubepods/burstable/pod{POD}"),
        ("guaranteed, systemd", f"/kubepods.slice/kubepods-pod{SLICE}.slice/{CONTAINER}.scope"),
        (
            "burstable, systemd",
            "/kubepods.slice/kubepods-burstable.slice/"
            f"kubepods-burstable-pod{SLICE}.slice/{CONTAINER}.scope",
        ),
        (
            "best effort, systemd",
            "/kubepods.slice/kubepods-besteffort.slice/"
            f"kubepods-besteffort-pod{SLICE}.slice/{CONTAINER}.scope",
        ),
        ("deeper within its container", f"/kubepods/pod{POD}/{CONTAINER}/app.slice/worker"),
    ],
)
def test_a_pods_uid_is_read_from_where_the_kubelet_writes_it(
    proc: Path, what: str, path: str
) -> None:
    process(proc, 42, f"0::{path}")
    assert ByCgroup().workload_of(42) == POD


@pytest.mark.parametrize(
    ("what", "path"),
    [
        ("a process of the host", "/system.slice/sshd.service"),
        ("the root", "/"),
        ("the kubelet's root itself", "/kubepods/burstable"),
        ("no UID", "/kubepods/podnginx"),
        ("a UID cut short", f"/kubepods/pod{POD[:-1]}/c"),
        ("a UID with more behind it", f"/kubepods/pod{POD}0/c"),
        ("letters of another alphabet", f"/kubepods/pod{POD.upper()}/c"),
        ("kubepods, but not at the root", f"/system.slice/x.service/kubepods/pod{POD}"),
        ("a name that only begins so", f"/kubepodsx/pod{POD}"),
    ],
)
def test_what_the_kubelet_did_not_write_is_no_pod(proc: Path, what: str, path: str) -> None:
    process(proc, 42, f"0::{path}")
    assert ByCgroup().workload_of(42) is None


def test_a_container_cannot_pass_for_another_pod_by_a_cgroup_of_its_own() -> None:
    rule = ByCgroup()
    assert rule._pod_of(f"/kubepods/pod{POD}/{CONTAINER}/kubepods/pod{OTHER_POD}") == POD
    assert rule._pod_of(f"/kubepods/pod{POD}/{CONTAINER}/kubepods.slice") == POD


def test_all_hierarchies_of_cgroup_v1_agree(proc: Path) -> None:
    lines = (f"{n}:{name}:/kubepods/pod{POD}/c" for n, name in ((3, "memory"), (2, "cpu,cpuacct")))
    process(proc, 42, *lines, "1:name=systemd:/kubepods/pod" + POD, "0::/system.slice/x.service")
    assert ByCgroup().workload_of(42) == POD


def test_hierarchies_that_disagree_are_nobodys(proc: Path) -> None:
    process(proc, 42, f"2:cpu:/kubepods/pod{POD}/c", f"1:memory:/kubepods/pod{OTHER_POD}/c")
    assert ByCgroup().workload_of(42) is None


def test_another_cgroup_root_is_where_the_search_begins(proc: Path) -> None:
    process(proc, 42, f"0::/node/kubepods/pod{POD}/c")
    assert ByCgroup().workload_of(42) is None
    assert ByCgroup("/node").workload_of(42) == POD
    assert ByCgroup("/node/").workload_of(42) == POD
    assert ByCgroup("/nod").workload_of(42) is None
    assert ByCgroup("/other").workload_of(42) is None


def test_a_process_that_has_ended_is_in_no_workload(proc: Path) -> None:
    assert ByCgroup().workload_of(42) is None
    assert ByNamespace().workload_of(42) is None
    beyond_pid_max = 2**22 + 1
    assert ByCgroup().address_of(beyond_pid_max) == ""


@pytest.mark.parametrize("content", ["", "\n", "garbage\n", "0::\n", "::::\n"])
def test_a_cgroup_file_of_any_content_is_no_error(proc: Path, content: str) -> None:
    (proc / "42").mkdir()
    (proc / "42" / "cgroup").write_text(content)
    assert ByCgroup().workload_of(42) is None


# By namespace.


def test_on_one_host_the_network_namespace_is_the_workload(proc: Path) -> None:
    in_namespace(proc, 42, 4026532000)
    assert ByNamespace().workload_of(42) == "net:[4026532000]"
    assert ByNamespace().address_of(42) == "", "the record has it"


def test_our_own_process_is_in_our_own_namespace() -> None:
    own = str(Path("/proc/self/ns/net").readlink())
    assert ByNamespace().workload_of(os.getpid()) == own


# All processes of one.


def test_a_workloads_processes_are_found(proc: Path) -> None:
    for pid, inode in ((1, 1), (42, 7), (43, 7), (44, 8)):
        in_namespace(proc, pid, inode)
    assert sorted(pids_of(ByNamespace(), "net:[7]")) == [42, 43]
    assert list(pids_of(ByNamespace(), "net:[9]")) == []
