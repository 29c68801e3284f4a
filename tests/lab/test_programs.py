"""The command lines of Wangell's programs, and what is read of what they write."""

import sys
from pathlib import Path

import pytest
import yaml

from wangell_lab import LabError
from wangell_lab.declaration import sample_manifest
from wangell_lab.namespaces import Namespace
from wangell_lab.programs import (
    Controller,
    controller_command,
    daemon_command,
    program,
)

KEYS = Path("/run/keys")


def controller_of(directory: Path) -> Controller:
    return Controller(
        name="controller1",
        namespace=Namespace("wl-abc-controller1"),
        argv=["true"],
        directory=directory,
        status_path=directory / "status.yaml",
        metrics_address=("10.46.100.3", 9400),
    )


def test_a_controller_listens_where_daemons_look_for_it() -> None:
    command = controller_command(
        address="10.46.100.3",
        manifests=Path("/run/manifest.yaml"),
        local=Path("/run/local.json"),
        key_directory=KEYS,
        run_directory=Path("/run/controller"),
        status_path=Path("/run/status.yaml"),
    )
    assert command[1:] == [
        *("run", "--manifests", "/run/manifest.yaml", "--local", "/run/local.json"),
        *("--listen", "10.46.100.3:7946", "--key-dir", "/run/keys"),
        *("--run-dir", "/run/controller", "--metrics-address", "10.46.100.3:9400"),
        *("--status-file", "/run/status.yaml"),
    ]


def test_a_daemon_knows_every_controller() -> None:
    command = daemon_command(
        node="node1",
        address="10.46.100.2",
        interface="eth0",
        controllers=["10.46.100.3", "10.46.100.13"],
        key_directory=KEYS,
        readiness="both",
        probe_interval="5ms",
        cold_start_log=Path("/run/log"),
    )
    assert command[1:] == [
        *("run", "--interface", "eth0", "--node-name", "node1"),
        *("--controller", "10.46.100.3:7946", "--controller", "10.46.100.13:7946"),
        *("--key-dir", "/run/keys", "--readiness", "both", "--probe-interval", "5ms"),
        *("--metrics-address", "10.46.100.2:9401", "--cold-start-log", "/run/log"),
    ]


def test_the_programs_are_those_of_this_installation() -> None:
    for name in ("wangell-controller", "wangell-daemon"):
        assert Path(program(name)).parent == Path(sys.executable).parent


def test_a_program_that_is_not_installed_is_named_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabError, match=r"no wangell-daemon beside .*: run `make setup`"):
        program("wangell-daemon")


def test_replicas_are_read_from_the_status_of_the_service_asked_for(tmp_path: Path) -> None:
    controller = controller_of(tmp_path)
    documents = []
    for name, replicas in (("one", 0), ("two", 1)):
        document = yaml.safe_load(sample_manifest())
        document["metadata"]["name"] = name
        document["status"]["replicas"] = replicas
        documents.append(document)
    controller.status_path.write_text(yaml.safe_dump_all(documents))
    assert controller.replicas("default/one") == 0
    assert controller.replicas("default/two") == 1
    assert controller.replicas("default/three") is None
    assert controller.replicas("other/one") is None


def test_before_there_is_a_status_nothing_is_known(tmp_path: Path) -> None:
    assert controller_of(tmp_path).replicas("default/serverless-example") is None
