"""A service's life on Kubernetes: woken, idle, scaled, updated, broken, one of many, deleted."""

from collections.abc import Iterator

import pytest

from tests.cluster.client import SYN
from tests.cluster.waiting import pause, until
from tests.e2e.cold_starts import request
from tests.e2e.conftest import ADDRESS
from tests.e2e.wangell import NAME, AnyWangell, Wangell, sample

pytestmark = pytest.mark.timeout(300)
IMAGE = "registry.loutres.me/helloworld-go"
# Refused at once on every machine, where a name would be looked for, perhaps for 10 s.
NO_REGISTRY = "127.0.0.1:9/nobody:has-it"
OTHER, OTHER_ADDRESS = "other", "10.200.1.106"
MANY = 50


@pytest.mark.any_cluster
def test_the_published_manifest_is_woken_from_outside(declared: AnyWangell) -> None:
    shown, address = declared.cluster.kubectl("get", "wsvc", NAME), declared.address()
    assert address in shown
    assert "Cold" in shown
    status = declared.status()
    assert status["replicas"] == 0
    # What the manifest says of its status is the example's, and not what is so.
    assert "latestRequest" not in status

    assert declared.cluster.client.curl(f"http://{address}/") == "Hello World!\n"

    declared.wait_until_phase("Warm")
    status = declared.status()
    assert (status["loadBalancerIP"], status["replicas"]) == (address, 1)
    assert status["latestRequest"].endswith("Z")
    declared.wait_for_event(r"woke in \d+ ms$")
    assert declared.conditions()["ActivationFailed"]["status"] == "False"


@pytest.mark.any_cluster
def test_idle_it_goes_back_to_zero(declared: AnyWangell) -> None:
    declared.change({"idleTimeout": 2})
    request(declared.cluster, declared.address())

    declared.wait_until_cold(timeout_s=30)

    assert declared.cluster.get(f"deployment/{NAME}")["spec"]["replicas"] == 0
    declared.wait_for_event("scaled to zero: ")


@pytest.mark.any_cluster
def test_with_a_connection_open_it_stays(declared: AnyWangell) -> None:
    declared.change({"idleTimeout": 1})
    with declared.cluster.client.connect(declared.address(), 80) as connection:
        declared.wait_until_phase("Warm")
        pause(4)  # Four times the timeout, without a packet.

        assert declared.cluster.get(f"deployment/{NAME}")["spec"]["replicas"] == 1
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.0 200 OK")


@pytest.mark.any_cluster
def test_scale_is_the_replicas_that_stay_up(declared: AnyWangell) -> None:
    cluster = declared.cluster
    cluster.kubectl("scale", f"wsvc/{NAME}", "--replicas=1")
    declared.wait_until_phase("Warm")

    cluster.kubectl("scale", f"wsvc/{NAME}", "--replicas=0")

    declared.wait_until_cold(timeout_s=30)


def test_an_update_of_the_image_keeps_it_up(declared: Wangell) -> None:
    cluster = declared.cluster
    for node in cluster.nodes.values():
        tag = ("ctr", "--namespace=k8s.io", "images", "tag", "--force")
        node.run(*tag, f"{IMAGE}:latest", f"{IMAGE}:2")
    request(cluster, declared.address())

    declared.change({"image": f"{IMAGE}:2"})
    until(lambda: _images(declared) == {f"{IMAGE}:2"}, "the new image's pod alone", timeout_s=60)

    with cluster.client.capture(f"host {ADDRESS}") as capture:
        assert request(cluster, declared.address()) < 1000
    assert capture.count(SYN) == 1
    assert declared.status()["activations"] == 1


def _images(wangell: AnyWangell) -> set[str]:
    return {pod["spec"]["containers"][0]["image"] for pod in wangell.pods()}


@pytest.mark.any_cluster
def test_drift_is_repaired(declared: AnyWangell) -> None:
    cluster = declared.cluster
    cluster.kubectl("set", "image", f"deployment/{NAME}", f"server={IMAGE}:wrong")
    cluster.kubectl("delete", f"service/{NAME}", "--wait=false")

    until(lambda: _template_image(declared) == f"{IMAGE}:latest", "its image", timeout_s=20)
    declared.expose(ADDRESS)
    request(cluster, declared.address())


def _template_image(wangell: AnyWangell) -> str:
    deployment = wangell.cluster.get(f"deployment/{NAME}")
    return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])


@pytest.fixture
def other(installed: AnyWangell) -> Iterator[str]:
    """Another service, awake."""
    installed.declare(OTHER_ADDRESS, manifest=sample(OTHER), name=OTHER)
    request(installed.cluster, installed.address(OTHER))
    installed.wait_until_phase("Warm", OTHER)
    yield installed.address(OTHER)
    installed.remove(OTHER_ADDRESS, OTHER)


@pytest.mark.any_cluster
def test_an_image_that_does_not_exist_fails_in_kubernetes_words(
    declared: AnyWangell, other: str
) -> None:
    declared.change({"image": NO_REGISTRY, "activationTimeout": 8})
    # A call that comes before would wake the image of before.
    until(lambda: _template_image(declared) == NO_REGISTRY, "its image", timeout_s=20)

    with pytest.raises(ConnectionRefusedError):
        request(declared.cluster, declared.address())

    declared.wait_for_event("activation failed: (ErrImagePull|ImagePullBackOff): ")
    until(
        lambda: declared.conditions()["ActivationFailed"]["status"] == "True",
        "the condition",
        timeout_s=10,
    )
    conditions = declared.conditions()
    assert conditions["ActivationFailed"]["reason"] in ("ImagePullBackOff", "ErrImagePull")
    assert NO_REGISTRY in conditions["ActivationFailed"]["message"]
    assert conditions["Ready"]["status"] == "False"
    # Nothing of it is felt elsewhere, and nothing of it stays.
    assert request(declared.cluster, other) < 1000
    assert declared.conditions(OTHER)["ActivationFailed"]["status"] == "False"
    assert declared.status(OTHER)["activations"] == 1
    declared.wait_until_cold()
    declared.change({"image": f"{IMAGE}:latest"})
    until(lambda: _template_image(declared) == f"{IMAGE}:latest", "its image", timeout_s=20)
    assert request(declared.cluster, declared.address()) < 1000


def test_deleted_it_leaves_nothing(declared: Wangell) -> None:
    cluster = declared.cluster
    request(cluster, declared.address())

    cluster.kubectl("delete", "wsvc", NAME, "--timeout=30s")

    label = f"--selector=wangell.loutres.me/service={NAME}"
    until(
        lambda: not cluster.get_all("deployments,services,pods,endpointslices", label),
        "nothing left of it",
        timeout_s=60,
    )
    for node in cluster.nodes.values():
        until(
            lambda node=node: ADDRESS not in node.run("nft", "list", "ruleset"),  # type: ignore[misc]
            f"no rule of {node.name} for it",
            timeout_s=10,
        )


def test_fifty_services_at_once_reconcile(installed: Wangell) -> None:
    cluster = installed.cluster
    names = [f"many-{number}" for number in range(MANY)]
    many = "\n---\n".join(sample(name) for name in names)
    cluster.apply(many)
    try:
        until(lambda: _reconciled(installed) == MANY, "fifty statuses", timeout_s=60)
        ours = ("deployments,services", "--selector=app.kubernetes.io/managed-by=wangell")
        # A status is there before the objects that it tells of.
        made = 2 * MANY
        until(lambda: len(cluster.get_all(*ours)) == made, "their objects", timeout_s=60)
        assert installed.restarts() == 0
    finally:
        cluster.delete(many)
    assert cluster.get("wsvc")["items"] == []


def _reconciled(wangell: AnyWangell) -> int:
    items = wangell.cluster.get("wsvc")["items"]
    return sum("conditions" in each.get("status", {}) for each in items)
