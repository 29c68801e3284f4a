"""The API server goes and comes back; who wakes and who watches carries on."""

import concurrent.futures

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.kubectl import KubectlError
from tests.cluster.waiting import pause, until
from tests.e2e.cold_starts import request
from tests.e2e.conftest import ADDRESS
from tests.e2e.wangell import Wangell, sample

pytestmark = pytest.mark.timeout(300)
LATER, LATER_ADDRESS = "later", "10.200.1.108"
AWAY_S = 3.0


def start_api_server(cluster: Cluster) -> None:
    cluster.control_plane.processes["kube-apiserver"].start(ready_timeout_s=60)
    until(lambda: _answers(cluster), "the API server's answer", timeout_s=60)


def _answers(cluster: Cluster) -> bool:
    try:
        return cluster.kubectl("get", "--raw", "/readyz") == "ok"
    except KubectlError:
        return False


def test_a_call_while_the_api_server_is_away_is_answered_when_it_is_back(
    declared: Wangell,
) -> None:
    cluster, before = declared.cluster, declared.restarts()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        cluster.control_plane.processes["kube-apiserver"].kill()
        try:
            call = pool.submit(request, cluster, ADDRESS, timeout_s=50)
            pause(AWAY_S)
            assert not call.done(), "held: neither refused nor answered"
        finally:
            start_api_server(cluster)
        assert call.result() > AWAY_S * 1000

    # Its watches live: what is declared only now is made, woken, and told of.
    declared.declare(LATER_ADDRESS, manifest=sample(LATER), name=LATER)
    try:
        assert request(cluster, LATER_ADDRESS) < 1000
        declared.wait_until_phase("Warm", LATER)
        declared.wait_for_event(r"woke in \d+ ms$", LATER)
    finally:
        declared.remove(LATER_ADDRESS, LATER)
    assert declared.restarts() == before
