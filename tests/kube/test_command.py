"""`wangell-controller run --backend kube`: what it is told, and what it says."""

from pathlib import Path

import pytest

from wangell_controller import cli
from wangell_controller.keys import generate_keys
from wangell_controller.kube import life
from wangell_controller.settings import KubeSettings

RUN = ["run", "--backend", "kube", "--listen", "0.0.0.0:7946"]


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in a pod, and no KUBECONFIG."""
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "POD_NAME", "POD_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)


def told(monkeypatch: pytest.MonkeyPatch, *options: str) -> KubeSettings:
    """What the life on Kubernetes is told."""
    found: list[KubeSettings] = []

    async def run(settings: KubeSettings) -> None:
        found.append(settings)

    monkeypatch.setattr(life, "run", run)
    assert cli.main([*RUN, *options]) == 0
    (settings,) = found
    return settings


def test_in_a_pod_everything_goes_without_saying(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POD_NAME", "wangell-controller-x")
    monkeypatch.setenv("POD_NAMESPACE", "elsewhere")
    settings = told(monkeypatch)
    assert (settings.identity, settings.namespace) == ("wangell-controller-x", "elsewhere")
    assert settings.daemon_account == "wangell-daemon"
    assert settings.listen == ("0.0.0.0", 7946)
    assert (settings.kubeconfig, settings.keys, settings.metrics_address) == (None, None, None)
    assert not settings.keeps_announced
    assert not settings.removes_taint, "what a component is for is not done without it"


def test_what_components_are_for_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = told(monkeypatch, "--placeholder-endpoints", "--remove-startup-taint")
    assert settings.keeps_announced
    assert settings.removes_taint


def test_on_a_desk_it_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    generate_keys(tmp_path)
    settings = told(
        monkeypatch,
        *("--kubeconfig", "admin.kubeconfig", "--namespace", "x", "--identity", "me"),
        *("--health-address", "127.0.0.1:8081", "--key-dir", str(tmp_path)),
    )
    assert settings.kubeconfig == Path("admin.kubeconfig")
    assert (settings.namespace, settings.identity) == ("x", "me")
    assert settings.health_address == ("127.0.0.1", 8081)
    assert settings.keys is not None


def test_root_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 65532)
    assert told(monkeypatch).namespace == "wangell-system"


def test_without_a_cluster_the_remedy_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(RUN) == 1
    said = capsys.readouterr().err
    assert said.startswith("wangell-controller: no Kubernetes:")
    assert "--kubeconfig FILE" in said


def test_keys_that_are_not_there_are_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli.main([*RUN, "--key-dir", str(tmp_path)]) == 1
    assert "make keys with `wangell-controller keygen" in capsys.readouterr().err


def test_the_local_backend_still_asks_for_its_files(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["run", "--listen", "127.0.0.1:0", "--local", "local.yaml"])
    assert caught.value.code == 2
    assert "required: --manifests, --key-dir" in capsys.readouterr().err


def test_a_backend_that_there_is_not_is_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["run", "--backend", "docker", "--listen", "127.0.0.1:0"])
    assert "invalid choice: 'docker'" in capsys.readouterr().err


def test_help_says_what_belongs_to_which(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["run", "--help"])
    local, _, kube = capsys.readouterr().out.partition("with --backend kube")
    assert "--manifests" in local
    assert "--kubeconfig" in kube
    assert "--manifests" not in kube
