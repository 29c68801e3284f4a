"""A cluster with Wangell on it, installed by the command that users are given."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.images.build import build as build_image
from tests.cluster.cluster import Cluster
from tests.cluster.waiting import until
from tests.e2e.wangell import Wangell

OVERLAY = Path(__file__).parents[2] / "deploy/kustomize/overlays/default"
VERSION = "0.1.0"


def rendered(cluster: Cluster) -> str:
    """What `kustomize build` prints."""
    command = [f"{cluster.binaries}/kustomize", "build", str(OVERLAY)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def import_images(cluster: Cluster) -> None:
    """The images of this tree, under the names that the default overlay has for them."""
    cluster.import_image(build_image("helloworld-go"))
    for name in ("controller", "daemon"):
        cluster.import_image(build_image(name))
        image = f"registry.loutres.me/wangell-{name}"
        for node in cluster.nodes.values():
            tag = ("ctr", "--namespace=k8s.io", "images", "tag", "--force")
            node.run(*tag, f"{image}:dev", f"{image}:{VERSION}")


@pytest.fixture(scope="session")
def installed(cluster: Cluster) -> Iterator[Wangell]:
    """Wangell, ready: its controller leads, and a daemon of each node is linked."""
    import_images(cluster)
    manifest = rendered(cluster)
    cluster.apply(manifest)
    wangell = Wangell(cluster, manifest)
    until(wangell.is_ready, "controller and daemons", timeout_s=90)
    yield wangell
    cluster.delete(manifest)
