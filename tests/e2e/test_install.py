"""What is installed runs, explains itself, and refuses by name what it cannot be asked."""

import re

import pytest

from tests.cluster.kubectl import KubectlError
from tests.controller.helpers import PUBLISHED
from tests.e2e.wangell import SYSTEM, AnyWangell

pytestmark = [pytest.mark.timeout(900), pytest.mark.any_cluster]


def test_controller_and_daemons_run_without_a_restart(installed: AnyWangell) -> None:
    for pod in installed.cluster.get("pods", SYSTEM)["items"]:
        for status in pod["status"]["containerStatuses"]:
            assert (status["ready"], status["restartCount"]) == (True, 0), pod["metadata"]["name"]


def test_it_is_explained(installed: AnyWangell) -> None:
    # (It also has kubectl forget what it knew of this API server before the installation.)
    known = installed.cluster.kubectl("api-resources", "--api-group=wangell.loutres.me")
    assert "wsvc" in known

    said = installed.cluster.kubectl("explain", "wsvc.spec.idleTimeout")

    assert "Seconds without a packet after which the service goes to zero." in said


@pytest.mark.parametrize(
    ("field", "found", "message"),
    [
        ("port: 80}", "port: 0}", "spec.port: Invalid value: 0: .* greater than or equal to 1"),
        ("port: 80}", "port: 65536}", "spec.port: .* less than or equal to 65535"),
        ("port: 80}", 'port: "80"}', "spec.port: Invalid value: .string.: .* of type integer"),
        (", port: 80}", "}", "spec.port: Required value"),
        ("targetPort: 8080", "targetPort: 70000", "spec.targetPort: .* equal to 65535"),
        ("idleTimeout: 1800", "idleTimeout: 0", "spec.idleTimeout: .* greater than or equal to 1"),
        ("idleTimeout: 1800", "idleTimeout: 99999999999", "spec.idleTimeout: .* 31622400"),
        ("idleTimeout: 1800", "idleTimeout: 30m", "spec.idleTimeout: .* of type integer"),
        ("idleTimeout: 1800", "idleTimeot: 1800", 'unknown field "spec.idleTimeot"'),
        (":latest", ":a b", "spec.image: .* should be an image reference"),
        ("port: 80}", "port: 80, replicas: -1}", "spec.replicas: .* greater than or equal to 0"),
        ("port: 80}", "port: 80, replicas: 251}", "spec.replicas: .* less than or equal to 250"),
        ("port: 80}", "port: 80, activationTimeout: 0}", "spec.activationTimeout: .* equal to 1"),
        ("port: 80}", "port: 80, activationTimeout: 3601}", "spec.activationTimeout: .* 3600"),
        ("port: 80}", "port: 80, serviceType: Fast}", "spec.serviceType: Unsupported value"),
        ("port: 80}", "port: 80, serviceType: NodePort, loadBalancerClass: x}",
         "loadBalancerClass is for serviceType LoadBalancer"),
        ("port: 80}", "port: 80, loadBalancerSourceRanges: [10.0.0.300/8]}",
         "spec.loadBalancerSourceRanges.0.: .* should be an IPv4 network such as"),
        ("port: 80}", "port: 80, loadBalancerSourceRanges: []}",
         "spec.loadBalancerSourceRanges: .* should have at least 1 item"),
        ("port: 80}", f"port: 80, loadBalancerSourceRanges: [{', '.join(65 * ['10.0.0.0/8'])}]}}",
         "spec.loadBalancerSourceRanges: Too many: 65: must have at most 64 items"),
        ("port: 80}", "port: 80, serviceType: NodePort, loadBalancerSourceRanges: [10.0.0.0/8]}",
         "loadBalancerSourceRanges is for serviceType LoadBalancer"),
        ("port: 80}", "port: 80, env: [{name: A}, {name: A}]}", "spec.env.1.: Duplicate value"),
        ("port: 80}", "port: 80, env: [{name: 'A=B'}]}", "spec.env.0..name: .* name of a variable"),
        ("port: 80}", "port: 80, imagePullPolicy: Often}", "spec.imagePullPolicy: Unsupported"),
        ("port: 80}", "port: 80, resources: {limits: {cpu: much}}}", "spec.resources.limits.cpu"),
        ("port: 80}", "port: 80, template: {metadata: {labels: {wangell.loutres.me/service: x}}}}",
         "the label wangell.loutres.me/service is the controller's own"),
        ("name: serverless-example", "name: 1st", "metadata.name should be lower-case letters"),
    ],
)  # fmt: skip
def test_a_malformed_manifest_is_refused_with_field_and_bound(
    installed: AnyWangell, field: str, found: str, message: str
) -> None:
    assert field in PUBLISHED

    with pytest.raises(KubectlError) as refusal:
        installed.cluster.apply(PUBLISHED.replace(field, found), "--validate=strict")

    assert re.search(message, str(refusal.value)), refusal.value
