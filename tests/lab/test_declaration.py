"""The files that the controller reads: the sample as it is, and who runs what."""

import json
from pathlib import Path

import pytest
import yaml

from wangell_controller.backends.local.settings import LocalSettings
from wangell_lab import LabError
from wangell_lab.declaration import local_services, sample_manifest
from wangell_lab.namespaces import Namespace
from wangell_lab.topology import EXAMPLE, plan

ROOT = Path(__file__).parents[2]


def test_the_sample_is_taken_as_users_read_it() -> None:
    assert sample_manifest() == ROOT.joinpath("samples/serverless-example.yaml").read_text()


def test_only_the_idle_timeout_is_replaced_where_one_is_given() -> None:
    sample, lowered = (
        yaml.safe_load(sample_manifest()),
        yaml.safe_load(sample_manifest(idle_timeout_s=3)),
    )
    assert sample["spec"]["idleTimeout"] == 1800
    assert lowered["spec"].pop("idleTimeout") == 3
    sample["spec"].pop("idleTimeout")
    assert lowered == sample


def test_the_lab_exposes_what_the_sample_declares() -> None:
    sample = yaml.safe_load(sample_manifest())
    assert EXAMPLE.service == f"{sample['metadata']['namespace']}/{sample['metadata']['name']}"
    assert EXAMPLE.port == sample["spec"]["port"]
    assert EXAMPLE.target_port == sample["spec"]["targetPort"]
    assert EXAMPLE.address == sample["status"]["loadBalancerIP"]


def test_a_sample_that_is_missing_is_named() -> None:
    with pytest.raises(LabError, match=r"no absent\.yaml in .*samples"):
        sample_manifest("absent.yaml")


def test_the_local_backend_is_told_command_place_and_addresses(tmp_path: Path) -> None:
    namespaces = {"node1-pod1": Namespace("wl-abc-node1-pod1")}
    text = local_services(
        plan(), namespaces, {EXAMPLE.service: ["./server", "-d", "5"]}, log_directory=tmp_path
    )
    assert json.loads(text)["services"] == {
        "default/serverless-example": {
            "command": ["./server", "-d", "5"],
            "netns": "/run/netns/wl-abc-node1-pod1",
            "address": "10.244.1.5",
            "node": "node1",
            "frontend": "10.46.100.105",
            "log": str(tmp_path / "node1-pod1.log"),
        }
    }


def test_the_controller_takes_that_file(tmp_path: Path) -> None:
    namespaces = {"node1-pod1": Namespace("wl-abc-node1-pod1")}
    text = local_services(plan(), namespaces, {EXAMPLE.service: ["x"]}, log_directory=tmp_path)
    settings = LocalSettings.model_validate_json(text)
    assert settings.services[EXAMPLE.service].command == ["x"]


def test_a_service_that_nobody_can_reach_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="no service default/other in this lab"):
        local_services(plan(), {}, {"default/other": ["x"]}, log_directory=tmp_path)
