"""What the fixtures promise of any cluster: ours, or that of $KUBECONFIG."""

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.given import GivenCluster
from tests.cluster.kubectl import KubectlError

pytestmark = pytest.mark.timeout(900)

NOTE = """
apiVersion: v1
kind: ConfigMap
metadata: {name: wangell-note}
data: {word: wake}
"""


def test_applied_read_and_deleted(kubernetes: Cluster | GivenCluster) -> None:
    kubernetes.apply(NOTE)
    try:
        assert kubernetes.get("configmap/wangell-note")["data"] == {"word": "wake"}
        assert kubernetes.apply(NOTE).endswith("unchanged\n")
    finally:
        kubernetes.delete(NOTE)

    assert "wangell-note" not in kubernetes.kubectl("get", "configmaps", "--output=name")


def test_a_wait_ends_with_what_it_waits_for(kubernetes: Cluster | GivenCluster) -> None:
    kubernetes.wait_for("namespace/default", "jsonpath={.status.phase}=Active", timeout_s=10)


def test_a_manifest_that_is_refused_says_why_and_changes_nothing(
    kubernetes: Cluster | GivenCluster,
) -> None:
    with pytest.raises(KubectlError, match="must be no more than 253 characters"):
        kubernetes.apply(NOTE.replace("wangell-note", "x" * 300))


def test_the_client_sees_a_failure_as_one(kubernetes: Cluster | GivenCluster) -> None:
    with pytest.raises(Exception, match="curl"):
        kubernetes.client.curl("http://127.0.0.1:1/", timeout_s=2)
