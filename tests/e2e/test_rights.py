"""Each right that Wangell has, with its reason; and no other."""

import pytest

from tests.cluster.network import CONTROL_PLANE
from tests.e2e.rights import rights_of
from tests.e2e.wangell import SYSTEM, Wangell

pytestmark = pytest.mark.timeout(300)

CONTROLLER = {
    # What is declared; patched to put our finalizer on it and to take it off.
    ("wangellservices.wangell.loutres.me", "", "list patch watch"),
    ("wangellservices.wangell.loutres.me/status", "", "patch"),
    # Owner references that block deletion, where the cluster has it checked who may set them.
    ("wangellservices.wangell.loutres.me/finalizers", "", "update"),
    # A service's Deployment and Service: applied, deleted with it, read where no watch shows them.
    ("deployments.apps", "", "create delete get list patch watch"),
    ("services", "", "create delete get list patch watch"),
    # Raised and lowered.
    ("deployments.apps/scale", "", "patch"),
    # Which pods a service has, and whether node proxies know them.
    ("pods", "", "list watch"),
    ("endpointslices.discovery.k8s.io", "", "list watch"),
    # Which daemons must have answered before a service may go to zero.
    ("nodes", "", "list watch"),
    # Whose token a daemon shows.
    ("tokenreviews.authentication.k8s.io", "", "create"),
    # The story of a service.
    ("events.events.k8s.io", "", "create"),
    # Whether Wangell is being uninstalled.
    ("namespaces", "wangell-system", "list watch"),
    # Whether Cilium replaces kube-proxy.
    ("configmaps", "cilium-config", "get"),
    # The link's keys, made by the first controller; `create` cannot name what it creates.
    ("secrets", "", "create"),
    ("secrets", "wangell-controller-keys", "get"),
    ("secrets", "wangell-daemon-keys", "get"),
    # Who leads.
    ("leases.coordination.k8s.io", "", "create"),
    ("leases.coordination.k8s.io", "wangell-controller", "get patch"),
}


def test_the_controller_has_these_rights_and_no_other(installed: Wangell) -> None:
    assert rights_of(installed.cluster, "wangell-controller") == CONTROLLER


def test_the_daemon_has_none(installed: Wangell) -> None:
    assert rights_of(installed.cluster, "wangell-daemon") == set()


def test_the_daemons_token_opens_nothing_at_the_api_server(installed: Wangell) -> None:
    """It is for another audience: not even who everybody is, is said to it."""
    pods = installed.cluster.get("pods", SYSTEM)["items"]
    daemon = next(
        each["metadata"]["name"]
        for each in pods
        if each["metadata"]["name"].startswith("wangell-daemon-")
    )
    token = installed.cluster.kubectl(
        "exec", SYSTEM, daemon, "--", "cat", "/var/run/secrets/wangell/token"
    )
    url = f"https://{CONTROL_PLANE}:6443/api/v1/namespaces/wangell-system/pods"
    said = installed.cluster.client.run(
        *("curl", "--noproxy", "*", "-sk", "--output", "/dev/null", "--write-out", "%{http_code}"),
        *("--header", f"Authorization: Bearer {token}", url),
    )
    assert said == "401"
