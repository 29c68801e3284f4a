"""A cluster with Wangell on it, installed by the commands that README gives to users."""

from collections.abc import Iterator

import pytest

from deploy.images.build import build as build_image
from tests.cluster.cluster import Cluster
from tests.e2e.footprint import Footprint, footprint
from tests.e2e.readme import INSTALL, run
from tests.e2e.wangell import NAME, Wangell

ADDRESS = "10.200.1.105"
VERSION = "0.1.0"


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
def before(cluster: Cluster) -> Footprint:
    """What there was on the cluster and its nodes before Wangell came."""
    import_images(cluster)
    return footprint(cluster)


@pytest.fixture(scope="session")
def installed(cluster: Cluster, before: Footprint) -> Iterator[Wangell]:
    """Wangell, ready: its controller leads, and a daemon of each node is linked."""
    run(cluster, INSTALL)
    wangell = Wangell(cluster)
    wangell.wait_until_ready()
    yield wangell
    wangell.close()


@pytest.fixture
def declared(installed: Wangell) -> Iterator[Wangell]:
    """The published manifest, verbatim; each test leaves it deleted."""
    installed.declare(ADDRESS)
    yield installed
    installed.remove(ADDRESS, NAME)
