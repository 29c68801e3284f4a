"""The fixtures of every test that wants a Kubernetes: pytest -p tests.cluster.fixtures.

kubernetes       any cluster: ours, or that of $KUBECONFIG
cluster          ours, with nodes to enter; one for the whole session
kube_proxy_mode  puts `cluster` into each mode in turn
"""

import os
from collections.abc import Generator, Iterator

import pytest

from tests.cluster.cluster import KUBE_PROXY_MODES, Cluster, Progress
from tests.cluster.given import GivenCluster

NOT_OURS = "KUBECONFIG is set: its cluster has no nodes that a test may enter"


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A cluster of our own, started once; it is removed after the last test."""
    if "KUBECONFIG" in os.environ:
        pytest.skip(NOT_OURS)
    with Cluster.start(progress=_terminal(request)) as started:
        yield started


@pytest.fixture(scope="session")
def kubernetes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Cluster | GivenCluster:
    """The cluster of $KUBECONFIG if that is set, ours otherwise."""
    if "KUBECONFIG" in os.environ:
        return GivenCluster(tmp_path_factory.mktemp("given"))
    ours: Cluster = request.getfixturevalue("cluster")
    return ours


@pytest.fixture(scope="module", params=KUBE_PROXY_MODES)
def kube_proxy_mode(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[str]:
    """Each kube-proxy mode in turn; the first again afterwards, for tests that do not ask."""
    mode: str = request.param
    cluster.use_kube_proxy(mode)
    yield mode
    if mode != KUBE_PROXY_MODES[0]:
        cluster.use_kube_proxy(KUBE_PROXY_MODES[0])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the end of the components' logs to the report of a test that failed with a cluster."""
    report = yield
    cluster = getattr(item, "funcargs", {}).get("cluster")
    if report.failed and isinstance(cluster, Cluster):
        report.sections.append(("the cluster's logs", "\n".join(cluster.last_lines(5))))
    return report


def _terminal(request: pytest.FixtureRequest) -> Progress:
    """Progress past pytest's capture: the first build takes minutes; silence looks like a hang."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    terminal = request.config.pluginmanager.getplugin("terminalreporter")

    def write(line: str) -> None:
        with capture.global_and_fixture_disabled():
            terminal.write_line(line)

    return write
