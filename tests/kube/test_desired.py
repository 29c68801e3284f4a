"""What a WangellService becomes."""

from typing import Any

import pytest

from tests.controller.helpers import service
from wangell_controller.kube.desired import OWNED, deployment, kube_service, selector_of


def made(replicas: int = 0, version: str | None = "7", **changes: Any) -> Any:
    return deployment(service(**changes), "uid-1", replicas=replicas, version=version)


def pod_spec(**changes: Any) -> Any:
    return made(**changes)["spec"]["template"]["spec"]


def container(**changes: Any) -> Any:
    return pod_spec(**changes)["containers"][0]


def test_the_published_manifest_becomes_a_deployment_and_a_service() -> None:
    assert made() == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "serverless-example",
            "namespace": "default",
            "labels": LABELS,
            "ownerReferences": [OWNER],
            "resourceVersion": "7",
        },
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"wangell.loutres.me/service": "serverless-example"}},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
            },
            "revisionHistoryLimit": 1,
            "template": {
                "metadata": {"labels": LABELS},
                "spec": {
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "containers": [
                        {
                            "name": "server",
                            "image": "registry.loutres.me/helloworld-go:latest",
                            "imagePullPolicy": "IfNotPresent",
                            "ports": [{"containerPort": 8080, "protocol": "TCP"}],
                        }
                    ],
                },
            },
        },
    }
    assert kube_service(service(), "uid-1") == {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "serverless-example",
            "namespace": "default",
            "labels": LABELS,
            "ownerReferences": [OWNER],
        },
        "spec": {
            "type": "LoadBalancer",
            "selector": {"wangell.loutres.me/service": "serverless-example"},
            "ports": [{"name": "tcp", "port": 80, "targetPort": 8080, "protocol": "TCP"}],
        },
    }


LABELS = {
    "app.kubernetes.io/managed-by": "wangell",
    "app.kubernetes.io/name": "serverless-example",
    "wangell.loutres.me/service": "serverless-example",
}
OWNER = {
    "apiVersion": "wangell.loutres.me/v1alpha1",
    "kind": "WangellService",
    "name": "serverless-example",
    "uid": "uid-1",
    "controller": True,
    "blockOwnerDeletion": True,
}


def test_a_new_one_names_no_version() -> None:
    assert "resourceVersion" not in made(version=None)["metadata"]


def test_it_asks_for_as_many_replicas_as_it_is_told() -> None:
    assert made(replicas=3)["spec"]["replicas"] == 3


def test_the_container_has_what_was_declared() -> None:
    declared = {
        "command": ["/server"],
        "args": ["--port", "8080"],
        "env": [
            {"name": "A", "value": "1"},
            {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        ],
        "envFrom": [{"configMapRef": {"name": "settings"}}],
        "resources": {"limits": {"memory": "64Mi"}, "requests": {"cpu": 1}},
        "imagePullPolicy": "Always",
    }
    found = container(**{f"spec__{name}": value for name, value in declared.items()})
    declared["resources"] = {"limits": {"memory": "64Mi"}, "requests": {"cpu": "1"}}
    assert {name: found[name] for name in declared} == declared


def test_the_pod_has_what_was_declared() -> None:
    found = pod_spec(spec__serviceAccountName="teller", spec__imagePullSecrets=[{"name": "key"}])
    assert found["serviceAccountName"] == "teller"
    assert found["imagePullSecrets"] == [{"name": "key"}]
    assert found["automountServiceAccountToken"] is False, "until the template asks for it"


def test_the_template_is_laid_over_the_pod() -> None:
    template = {
        "metadata": {"annotations": {"a": "b"}, "labels": {"team": "x"}},
        "spec": {
            "automountServiceAccountToken": True,
            "nodeSelector": {"disk": "fast"},
            "containers": [
                {"name": "server", "readinessProbe": {"tcpSocket": {"port": 8080}}},
                {"name": "helper", "image": "helper:1"},
            ],
        },
    }
    found = made(spec__template=template)["spec"]["template"]
    assert found["metadata"] == {"annotations": {"a": "b"}, "labels": {**LABELS, "team": "x"}}
    assert found["spec"]["automountServiceAccountToken"] is True
    assert found["spec"]["enableServiceLinks"] is False
    assert found["spec"]["nodeSelector"] == {"disk": "fast"}
    server, helper = found["spec"]["containers"]
    assert server["image"] == "registry.loutres.me/helloworld-go:latest"
    assert server["readinessProbe"] == {"tcpSocket": {"port": 8080}}
    assert helper == {"name": "helper", "image": "helper:1"}


@pytest.mark.parametrize("name", ["app.kubernetes.io/managed-by", "app.kubernetes.io/name"])
def test_no_template_takes_the_labels_by_which_pods_are_found(name: str) -> None:
    template = {"metadata": {"labels": {name: "another"}}}
    found = made(spec__template=template)["spec"]["template"]["metadata"]["labels"]
    assert found[name] == LABELS[name]


def test_the_service_is_of_the_type_that_was_declared() -> None:
    found = kube_service(service(spec__serviceType="NodePort"), "uid-1")["spec"]
    assert found["type"] == "NodePort"
    assert "loadBalancerClass" not in found
    found = kube_service(service(spec__loadBalancerClass="x.example/y"), "uid-1")["spec"]
    assert found["loadBalancerClass"] == "x.example/y"
    assert "loadBalancerSourceRanges" not in found
    ranges = ["10.46.0.0/16", "203.0.113.7/32"]
    found = kube_service(service(spec__loadBalancerSourceRanges=ranges), "uid-1")["spec"]
    assert found["loadBalancerSourceRanges"] == ranges


def test_nothing_that_was_left_out_is_set_to_null() -> None:
    def nulls(value: Any) -> bool:
        if isinstance(value, dict):
            return any(each is None or nulls(each) for each in value.values())
        return isinstance(value, list) and any(nulls(each) for each in value)

    assert not nulls(made(version=None))
    assert not nulls(kube_service(service(), "uid-1"))


def test_whatever_is_made_is_selected_as_ours() -> None:
    name, _, value = OWNED.partition("=")
    assert made()["metadata"]["labels"][name] == value
    name, _, value = selector_of("serverless-example").partition("=")
    assert made()["spec"]["template"]["metadata"]["labels"][name] == value
