"""A real Prometheus finds our pods by their annotations, and tells what clients saw."""

import bisect
import statistics
import subprocess

import pytest

from deploy.images.tools import find
from tests.cluster.waiting import until
from tests.e2e.cold_starts import cold_start
from tests.e2e.figures import record
from tests.e2e.prometheus import Prometheus
from tests.e2e.sleepers import named_alike, sleepers
from tests.e2e.wangell import CONTROLLERS, SYSTEM, Wangell

pytestmark = pytest.mark.timeout(300)
MEASURED = "measured"
RUNS = 7


def test_its_quantile_is_the_clients_own_within_a_bucket(installed: Wangell) -> None:
    """Services of its own: histograms count from when their daemon began."""
    with sleepers(installed, named_alike(MEASURED, RUNS)) as addresses:
        starts = [cold_start(installed, address, name) for name, address in addresses.items()]
        # The services' own pods, which are up just now, have no annotation: they are not scraped.
        with Prometheus(installed.cluster) as prometheus:
            counted, said_s, bounds = ask(prometheus, installed)

    seen_s = statistics.median(each.time_ms / 1000 for each in starts)
    record(prometheus_p50_ms=round(said_s * 1000, 1), client_p50_ms=round(seen_s * 1000, 1))
    assert counted == RUNS
    assert abs(bisect.bisect_left(bounds, said_s) - bisect.bisect_left(bounds, seen_s)) <= 1


def ask(prometheus: Prometheus, wangell: Wangell) -> tuple[float, float, list[float]]:
    """The starts that it counts, their median in seconds, and the bounds of the buckets."""
    pods = [each["metadata"]["name"] for each in wangell.cluster.get("pods", SYSTEM)["items"]]
    prometheus.wait_for_targets(len(pods))
    assert set(prometheus.targets()) == set(pods)
    series = f'wangell_cold_start_seconds_bucket{{service=~"{MEASURED}-.*",outcome="answered"}}'
    until(lambda: bool(prometheus.query(series)), "the histogram", timeout_s=20)
    return (
        prometheus.value(f"sum({series.replace('_bucket', '_count')})"),
        prometheus.value(f"histogram_quantile(0.5, sum by (le) ({series}))"),
        sorted({float(labels["le"]) for labels, _ in prometheus.query(series)}),
    )


def test_promtool_has_nothing_to_say(installed: Wangell) -> None:
    pods = installed.cluster.get("pods", SYSTEM)["items"]
    for pod in pods:
        annotations = pod["metadata"]["annotations"]
        assert annotations["prometheus.io/scrape"] == "true"
        where = f"{pod['status']['podIP']}:{annotations['prometheus.io/port']}"
        url = f"http://{where}{annotations['prometheus.io/path']}"
        network = installed.cluster.control_plane.namespaces
        metrics = network.run("curl", "--noproxy", "*", "-sSf", url)
        assert "wangell_" in metrics

        checked = subprocess.run(
            [find("promtool"), "check", "metrics"],
            input=metrics,
            capture_output=True,
            text=True,
            check=False,
        )

        assert (checked.returncode, checked.stdout + checked.stderr) == (0, ""), where
    assert len(pods) == CONTROLLERS + len(installed.cluster.nodes)
