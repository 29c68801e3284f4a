"""The status file: the published manifest, whole at every moment."""

from pathlib import Path

import pytest
import yaml

from tests.controller.helpers import PLACE, PUBLISHED, service
from wangell_controller.manifests import read_manifests
from wangell_controller.model import WangellService
from wangell_controller.services import Service
from wangell_controller.status import StatusFile
from wangell_proto.vocabulary import Phase


def kept(manifest: WangellService | None = None, phase: Phase = Phase.COLD) -> Service:
    """A service as the controller keeps it, last called at the published moment."""
    return Service(
        manifest=manifest or service(),
        phase_since=0.0,
        phase=phase,
        frontends=PLACE.frontends,
        endpoints=PLACE.endpoints,
        latest_request=1731774554.9,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "status.yaml"


def test_it_reads_as_the_published_manifest(path: Path) -> None:
    StatusFile(path).write([kept()])
    assert yaml.safe_load(path.read_text()) == yaml.safe_load(PUBLISHED)
    assert list(read_manifests([path])) == ["default/serverless-example"]


@pytest.mark.parametrize(
    ("phase", "replicas"),
    [(Phase.COLD, 0), (Phase.WAKING, 1), (Phase.WARM, 1), (Phase.DRAINING, 1)],
)
def test_replicas_are_those_asked_for(path: Path, phase: Phase, replicas: int) -> None:
    StatusFile(path).write([kept(phase=phase)])
    assert yaml.safe_load(path.read_text())["status"]["replicas"] == replicas


def test_what_is_not_known_is_left_out(path: Path) -> None:
    StatusFile(path).write([Service(manifest=service(), phase_since=0.0)])
    assert yaml.safe_load(path.read_text())["status"] == {"replicas": 0}


def test_the_users_own_status_is_not_repeated(path: Path) -> None:
    declared = service(status__replicas=7, status__loadBalancerIP="10.9.9.9")
    StatusFile(path).write([kept(declared)])
    status = yaml.safe_load(path.read_text())["status"]
    assert (status["replicas"], status["loadBalancerIP"]) == (0, "10.46.100.105")


def test_every_service_is_a_document_and_a_deleted_one_is_gone(path: Path) -> None:
    file = StatusFile(path)
    a, b = kept(service("a")), kept(service("b"))
    file.write([a, b])
    assert list(read_manifests([path])) == ["default/a", "default/b"]
    file.write([b])
    assert list(read_manifests([path])) == ["default/b"]
    file.write([])
    assert path.read_text() == ""


def test_it_is_written_only_when_something_changed(path: Path) -> None:
    file, one = StatusFile(path), kept()
    file.write([one])
    first = path.stat().st_ino
    file.write([one])
    assert path.stat().st_ino == first, "a new file would have another number"
    one.phase = Phase.WARM
    file.write([one])
    assert path.stat().st_ino != first


def test_a_later_controller_recalls_the_latest_requests(path: Path) -> None:
    never = Service(manifest=service("never"), phase_since=0.0)
    StatusFile(path).write([kept(), never])
    assert StatusFile(path).latest_requests() == {"default/serverless-example": 1731774554.0}


@pytest.mark.parametrize("text", ["", "not a manifest", "a: [", "kind: Pod"])
def test_recalling_from_anything_else_recalls_nothing(path: Path, text: str) -> None:
    assert StatusFile(path).latest_requests() == {}, "no file at all"
    path.write_text(text)
    assert StatusFile(path).latest_requests() == {}


def test_what_cannot_be_written_is_said_once_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, one = StatusFile(tmp_path / "missing" / "status.yaml"), kept()
    file.write([one])
    file.write([one])
    assert [each.message.partition(": status")[2] for each in caplog.records] == [
        " cannot be written: No such file or directory"
    ]
    (tmp_path / "missing").mkdir()
    file.write([one])
    assert (tmp_path / "missing" / "status.yaml").exists()
