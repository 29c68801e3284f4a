"""A cluster with Wangell on it, installed by the commands that README gives to users."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from deploy.images.build import build as build_image
from tests.cluster.cluster import Cluster
from tests.cluster.fixtures import NOT_OURS
from tests.cluster.given import GivenCluster
from tests.e2e.evidence import evidence
from tests.e2e.footprint import Footprint, footprint
from tests.e2e.readme import INSTALL, UNINSTALL, run
from tests.e2e.wangell import NAME, AnyWangell, Wangell

ADDRESS = "10.200.1.105"
VERSION = "0.1.0"
HERE = Path(__file__).parent
# Its 5,000 Services go with the cluster: the API server would delete them for a minute.
LAST = "test_handover_crowd"


def import_images(cluster: Cluster) -> None:
    """The images of this tree, under the names that the default overlay has for them."""
    cluster.import_image(build_image("helloworld-go"))
    for name in ("controller", "daemon"):
        cluster.import_image(build_image(name))
        image = f"registry.loutres.me/wangell-{name}"
        for node in cluster.nodes.values():
            tag = ("ctr", "--namespace=k8s.io", "images", "tag", "--force")
            node.run(*tag, f"{image}:dev", f"{image}:{VERSION}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Most tests enter nodes: what is not marked any_cluster is skipped on a given cluster."""
    items.sort(key=lambda item: item.path.stem == LAST)
    if "KUBECONFIG" not in os.environ:
        return
    skip = pytest.mark.skip(reason=NOT_OURS)
    for item in items:
        if HERE in item.path.parents and item.get_closest_marker("any_cluster") is None:
            item.add_marker(skip)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure says what Wangell's pods said, before anything is taken away."""
    report = yield
    wangell = getattr(item, "funcargs", {}).get("installed")
    if report.failed and wangell is not None:
        report.sections.append(("Wangell", evidence(wangell)))
    return report


@pytest.fixture(scope="session")
def before(cluster: Cluster) -> Footprint:
    """What there was on the cluster and its nodes before Wangell came."""
    import_images(cluster)
    return footprint(cluster)


@pytest.fixture(scope="session")
def installed(
    kubernetes: Cluster | GivenCluster, request: pytest.FixtureRequest
) -> Iterator[AnyWangell]:
    """Wangell, ready: its controller leads, and a daemon of each node is linked."""
    if isinstance(kubernetes, Cluster):
        request.getfixturevalue("before")
    elif kubernetes.kubectl("get", "namespace/wangell-system", "--ignore-not-found"):
        pytest.fail("Wangell is on this cluster already, and these tests would remove it")
    run(kubernetes, INSTALL)
    wangell = Wangell(kubernetes) if isinstance(kubernetes, Cluster) else AnyWangell(kubernetes)
    wangell.wait_until_ready()
    yield wangell
    if not isinstance(kubernetes, Cluster):
        run(kubernetes, UNINSTALL)


@pytest.fixture
def declared(installed: AnyWangell) -> Iterator[AnyWangell]:
    """The published manifest, verbatim; each test leaves it deleted."""
    installed.declare(ADDRESS)
    yield installed
    installed.remove(ADDRESS, NAME)
