"""With KUBECONFIG set, what needs no node of ours runs there: here on ours, as if another's."""

import contextlib
import threading
from collections.abc import Iterator

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.kubectl import KubectlError
from tests.cluster.test_given import run_pytest
from tests.e2e.readme import INSTALL, TREE, UNINSTALL, run
from tests.e2e.wangell import Wangell

pytestmark = pytest.mark.timeout(300)
HERE = "tests/e2e"
EVERY_S = 0.2


@pytest.fixture
def bare(installed: Wangell) -> Iterator[Cluster]:
    """The cluster without Wangell, which has a load balancer, as others have."""
    cluster = installed.cluster
    run(cluster, UNINSTALL)
    try:
        with load_balancer(cluster):
            yield cluster
    finally:
        run(cluster, INSTALL)  # For the tests that follow.
        installed.wait_until_ready()


@contextlib.contextmanager
def load_balancer(cluster: Cluster) -> Iterator[None]:
    """Gives each Service of type LoadBalancer an address of its own, while the block runs."""
    ended, addresses = threading.Event(), iter(range(120, 250))

    def serve() -> None:
        while not ended.wait(EVERY_S):
            for each in cluster.get("services")["items"]:
                if each["spec"]["type"] == "LoadBalancer" and not each["status"]["loadBalancer"]:
                    name, address = each["metadata"]["name"], f"10.200.1.{next(addresses)}"
                    with contextlib.suppress(KubectlError):  # Deleted meanwhile.
                        cluster.assign_address(name, address, node="node1")

    balancer = threading.Thread(target=serve)
    balancer.start()
    yield
    ended.set()
    balancer.join()


def test_what_needs_no_node_passes_on_a_given_cluster(bare: Cluster) -> None:
    tests = "published or idle or connection_open or explained or second_apply or commands"

    done = run_pytest(bare, str(TREE / HERE), "-m", "any_cluster", "-k", tests)

    assert done.returncode == 0, done.stdout
    assert "10 passed" in done.stdout
    assert "skipped" not in done.stdout
    # It was installed there, and is gone.
    assert "wangell" not in bare.kubectl("get", "namespaces,crds", "--output=name")


def test_what_enters_nodes_is_skipped_there_by_name(installed: Wangell) -> None:
    done = run_pytest(installed.cluster, str(TREE / HERE / "test_cold_start.py"))

    assert "passed" not in done.stdout
    assert "KUBECONFIG is set" in done.stdout


def test_wangell_that_is_there_already_is_left_alone(installed: Wangell) -> None:
    done = run_pytest(installed.cluster, str(TREE / HERE / "test_install.py"), "-k", "explained")

    assert done.returncode == 1
    assert "Wangell is on this cluster already" in done.stdout
    assert installed.cluster.get("wsvc")["items"] == []
