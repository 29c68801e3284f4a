"""Living and dead labs: what a killed one left goes, and a living one is never touched."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab.helpers import ended
from wangell_lab import Lab, LabError
from wangell_lab.namespaces import NETNS_DIRECTORY
from wangell_lab.registry import RUN_DIRECTORY, Registry

# Makes a lab and a process in it, says both, and waits to be killed.
MAKER = """
import sys
from pathlib import Path
from wangell_lab import Lab
from wangell_lab.registry import Registry

with Lab(registry=Registry(Path(sys.argv[1]))) as lab:
    inside = lab.namespace("node1-pod1").popen(["sleep", "infinity"])
    print(lab.lab_id, inside.pid, flush=True)
    sys.stdin.read()
"""


@dataclass
class Made:
    """A lab that another process made."""

    maker: "subprocess.Popen[str]"
    lab_id: str
    inside: int
    "A process in its pod"


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """A registry of this test alone."""
    return Registry(tmp_path / "labs")


@contextmanager
def lab_of_another_process(directory: Path) -> Iterator[Made]:
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", MAKER, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as maker:
        assert maker.stdout is not None
        try:
            lab_id, inside = maker.stdout.readline().split()
            yield Made(maker=maker, lab_id=lab_id, inside=int(inside))
        finally:
            maker.kill()
            maker.wait()
            Registry(directory).sweep()


def namespaces_of(lab_id: str) -> list[Path]:
    return list(NETNS_DIRECTORY.glob(f"wl-{lab_id}-*"))


def abandoned_namespaces() -> set[Path]:
    """Those that no lab of this machine has: others' labs may come and go meanwhile."""
    every = NETNS_DIRECTORY.glob("wl-*")
    return {path for path in every if not (RUN_DIRECTORY / path.name.split("-")[1]).exists()}


def test_a_killed_labs_leavings_go_and_a_living_lab_stays(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    with lab_of_another_process(tmp_path) as living, lab_of_another_process(tmp_path) as killed:
        killed.maker.kill()
        killed.maker.wait()
        assert len(namespaces_of(killed.lab_id)) == 5
        assert registry.living() == [living.lab_id]

        assert registry.sweep() == [killed.lab_id]

        assert namespaces_of(killed.lab_id) == []
        assert ended(killed.inside)
        assert not tmp_path.joinpath(killed.lab_id).exists()
        assert len(namespaces_of(living.lab_id)) == 5
        assert not ended(living.inside, timeout_s=0)
        assert registry.living() == [living.lab_id]
        assert registry.sweep() == []


def test_the_next_start_sweeps(tmp_path: Path) -> None:
    with lab_of_another_process(tmp_path) as killed:
        killed.maker.kill()
        killed.maker.wait()
        with Lab(registry=Registry(tmp_path)) as lab:
            assert namespaces_of(killed.lab_id) == []
            assert ended(killed.inside)
            assert len(namespaces_of(lab.lab_id)) == 5
    assert namespaces_of(lab.lab_id) == []


@pytest.mark.parametrize(
    ("sent", "status"), [(signal.SIGINT, 1), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_a_lab_in_order(tmp_path: Path, sent: signal.Signals, status: int) -> None:
    """Python ends with status 1 (or by the signal) after an uncaught KeyboardInterrupt."""
    with lab_of_another_process(tmp_path) as made:
        made.maker.send_signal(sent)
        _, errors = made.maker.communicate(timeout=20)
        expected = {status, -sent} if sent is signal.SIGINT else {status}
        assert made.maker.returncode in expected, errors
        assert namespaces_of(made.lab_id) == []
        assert ended(made.inside)
        assert not tmp_path.joinpath(made.lab_id).exists()


def test_down_ends_the_lab_it_names_and_no_other(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    with lab_of_another_process(tmp_path) as one, lab_of_another_process(tmp_path) as other:
        registry.bring_down(one.lab_id)
        assert one.maker.wait(5) == 143
        assert namespaces_of(one.lab_id) == []
        assert registry.living() == [other.lab_id]


@pytest.mark.parametrize("lab_id", ["000000", "../..", "", ".guard"])
def test_down_of_a_lab_that_does_not_live_says_which_do(tmp_path: Path, lab_id: str) -> None:
    with Lab(registry=Registry(tmp_path)) as lab:
        with pytest.raises(LabError, match=f"no living lab .*; living labs: {lab.lab_id}"):
            Registry(tmp_path).bring_down(lab_id)
        assert len(namespaces_of(lab.lab_id)) == 5


def test_a_failing_block_leaves_nothing_behind(registry: Registry) -> None:
    with pytest.raises(RuntimeError, match="inside"), Lab(registry=registry) as lab:
        lab_id, directory = lab.lab_id, lab.directory
        raise RuntimeError("inside")
    assert namespaces_of(lab_id) == []
    assert not directory.exists()
    assert registry.living() == []


def test_a_failing_start_leaves_nothing_behind(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the last step fails: nft refuses the node's rules."""
    monkeypatch.setattr("wangell_lab.kube_proxy.ruleset", lambda *_: "nonsense")
    before = abandoned_namespaces()
    with pytest.raises(LabError, match="nft refused"), Lab(registry=registry):
        pytest.fail("a lab without its rules")
    assert abandoned_namespaces() <= before
    assert [entry.name for entry in tmp_path.joinpath("labs").iterdir()] == [".guard"]


def test_a_lab_killed_before_it_had_a_lock_is_swept(tmp_path: Path) -> None:
    tmp_path.joinpath("abc123").mkdir()
    assert Registry(tmp_path).sweep() == ["abc123"]
    assert not tmp_path.joinpath("abc123").exists()


def test_a_namespace_killed_before_it_was_bound_is_swept(tmp_path: Path) -> None:
    """Between `open` and `mount` it is an empty file."""
    half_made = NETNS_DIRECTORY / "wl-abc124-client"
    NETNS_DIRECTORY.mkdir(exist_ok=True)
    half_made.touch()
    tmp_path.joinpath("abc124").mkdir()
    try:
        assert Registry(tmp_path).sweep() == ["abc124"]
        assert not half_made.exists()
    finally:
        half_made.unlink(missing_ok=True)


def test_the_keys_of_a_lab_are_for_root_alone(lab: Lab) -> None:
    assert lab.directory.stat().st_mode & 0o077 == 0
