"""The handover beside 5,000 other Services: none of them makes it slower."""

import pytest

from tests.cluster.cluster import KUBE_PROXY_MODES
from tests.cluster.waiting import until
from tests.e2e.cold_starts import assert_one_syn_each, cold_start
from tests.e2e.crowd import crowd, wait_for_rules
from tests.e2e.figures import record_within, summary
from tests.e2e.handovers import Timings, timings
from tests.e2e.sleepers import named_alike, sleepers
from tests.e2e.wangell import Wangell

pytestmark = pytest.mark.timeout(600)
SERVICES = 5_000
RUNS = 5
HANDOVER_MS_MAX = 0.5


def test_beside_five_thousand_services_it_is_set_within_half_a_millisecond(
    installed: Wangell,
) -> None:
    cluster, beside = installed.cluster, []
    with crowd(cluster, SERVICES):
        # The usual one last: it need not be restored.
        for mode in reversed(KUBE_PROXY_MODES):
            cluster.use_kube_proxy(mode)
            wait_for_rules(cluster, mode, SERVICES)
            beside.append(measured(installed, f"{mode}, {SERVICES} Services"))
    assert [each for each in beside if each.quantile_ms(0.5) > HANDOVER_MS_MAX] == []


def measured(wangell: Wangell, name: str) -> Timings:
    """Some cold starts, one SYN each, and how long both nodes' daemons took to hand over."""
    with sleepers(wangell, named_alike("beside", RUNS)) as addresses:
        before = timings(wangell.cluster)
        starts = [cold_start(wangell, address, each) for each, address in addresses.items()]
        assert_one_syn_each(starts)
        # The node that has not the pod is told by a record, a moment after the client's answer.
        until(
            lambda: timings(wangell.cluster).since(before).total >= 2 * RUNS,
            "both nodes' handovers of each wake",
            timeout_s=10,
        )
    found = timings(wangell.cluster).since(before)
    record_within(
        "handover",
        name,
        set_ms={f"p{percent}": round(found.quantile_ms(percent / 100), 3) for percent in (50, 90)},
        count=found.total,
        cold_start_ms=summary([each.time_ms for each in starts]),
    )
    return found
