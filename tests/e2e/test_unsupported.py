"""The ConfigMap by which Cilium says that it replaces kube-proxy; there is no Cilium behind it."""

from collections.abc import Iterator

import pytest

from tests.cluster.waiting import until
from tests.e2e.controllers import Controllers
from tests.e2e.wangell import SYSTEM, Wangell, sample

pytestmark = pytest.mark.timeout(300)
NAME, MADE = "beside-cilium", "deployment/beside-cilium"
CONTROLLERS = "deployment/wangell-controller"
# It looks again each 10 s.
LOOKED_WITHIN_S = 30


def restart_controllers(wangell: Wangell) -> None:
    """Whoever leads looks around before it serves anybody."""
    wangell.cluster.kubectl("rollout", "restart", CONTROLLERS, SYSTEM)
    wangell.cluster.kubectl("rollout", "status", CONTROLLERS, SYSTEM, "--timeout=60s")
    wangell.wait_until_ready()


@pytest.fixture
def cilium(installed: Wangell) -> Iterator[None]:
    """As its Helm chart writes it with kubeProxyReplacement: true."""
    config = ("configmap", "cilium-config", "--namespace=kube-system")
    installed.cluster.kubectl("create", *config, "--from-literal=kube-proxy-replacement=true")
    restart_controllers(installed)
    yield
    installed.cluster.kubectl("delete", *config, "--ignore-not-found")
    installed.cluster.kubectl("delete", "wsvc", NAME, "--ignore-not-found")
    until(lambda: is_supported(installed), "support", timeout_s=LOOKED_WITHIN_S)


def test_a_service_is_unsupported_there_and_nothing_is_made(
    installed: Wangell, cilium: None
) -> None:
    installed.cluster.apply(sample(NAME))
    until(lambda: "Unsupported" in conditions(installed), "the condition", timeout_s=20)

    found = installed.conditions(NAME)
    assert found["Unsupported"]["status"] == "True"
    assert found["Ready"]["status"] == "False"
    assert found["Unsupported"]["reason"] == "CiliumReplacesKubeProxy"
    assert "kube-proxy-replacement: true" in found["Unsupported"]["message"]
    assert installed.cluster.kubectl("get", MADE, "--ignore-not-found") == ""

    installed.cluster.kubectl("delete", "configmap/cilium-config", "--namespace=kube-system")
    until(lambda: "Unsupported" not in conditions(installed), "support", timeout_s=LOOKED_WITHIN_S)
    installed.cluster.wait_for(MADE, "create")


def conditions(wangell: Wangell) -> set[str]:
    return {each["type"] for each in wangell.status(NAME).get("conditions", ())}


def is_supported(wangell: Wangell) -> bool:
    """Whether the leader says so: it found something, and later nothing any more."""
    log = wangell.log(Controllers(wangell).leader().pod)
    return log.rfind("supported again") > log.rfind("unsupported:")
