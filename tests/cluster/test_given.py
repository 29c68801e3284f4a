"""With KUBECONFIG set the same fixtures run there: here on ours, as if it were another's."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.given import GivenCluster

pytestmark = pytest.mark.timeout(900)
HERE = Path(__file__).parent


def run_pytest(cluster: Cluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Another pytest, on the cluster's client, which reaches the kubeconfig's server."""
    enter = cluster.client.namespaces.enter
    plugins = ["-p", "tests.cluster.fixtures", "-p", "no:cacheprovider"]
    theirs = {
        "KUBECONFIG": str(cluster.directory / "pki/admin.kubeconfig"),
        "PATH": f"{cluster.binaries}:{os.environ['PATH']}",
    }
    return subprocess.run(
        [*enter, sys.executable, "-m", "pytest", *plugins, *arguments],
        env=os.environ | theirs,
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_tests_for_any_cluster_pass_on_a_given_one(cluster: Cluster) -> None:
    done = run_pytest(cluster, str(HERE / "test_any_cluster.py"))

    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout
    assert "skipped" not in done.stdout


def test_tests_that_enter_nodes_are_skipped_there_by_name(cluster: Cluster) -> None:
    done = run_pytest(cluster, f"{HERE}/test_cluster.py::test_what_a_component_logs_is_at_hand")

    assert "1 skipped" in done.stdout
    assert "KUBECONFIG is set" in done.stdout


def test_a_given_cluster_without_a_kubectl_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(RuntimeError, match="no kubectl in PATH"):
        GivenCluster(tmp_path)
