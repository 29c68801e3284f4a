"""Where objects are at the API server."""

import pytest

from wangell_controller.kube.resources import (
    DEPLOYMENTS,
    EVENTS,
    NODES,
    PODS,
    TOKEN_REVIEWS,
    WANGELL_SERVICES,
    key_of,
    split_key,
)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (PODS.path(), "/api/v1/pods"),
        (PODS.path("default"), "/api/v1/namespaces/default/pods"),
        (PODS.path("default", "a"), "/api/v1/namespaces/default/pods/a"),
        (NODES.path(), "/api/v1/nodes"),
        (NODES.path(None, "node1"), "/api/v1/nodes/node1"),
        (NODES.path("default", "node1"), "/api/v1/nodes/node1"),
        (DEPLOYMENTS.path("d", "a", sub="scale"),
         "/apis/apps/v1/namespaces/d/deployments/a/scale"),
        (WANGELL_SERVICES.path("d", "a", sub="status"),
         "/apis/wangell.loutres.me/v1alpha1/namespaces/d/wangellservices/a/status"),
        (EVENTS.path("d"), "/apis/events.k8s.io/v1/namespaces/d/events"),
        (TOKEN_REVIEWS.path(), "/apis/authentication.k8s.io/v1/tokenreviews"),
    ],
)  # fmt: skip
def test_paths(path: str, expected: str) -> None:
    assert path == expected


def test_a_name_cannot_lead_elsewhere() -> None:
    assert PODS.path("default", "a/../b?x") == "/api/v1/namespaces/default/pods/a%2F..%2Fb%3Fx"


def test_keys() -> None:
    assert key_of("default", "a") == "default/a"
    assert split_key("default/a") == ("default", "a")


def test_every_object_begins_alike() -> None:
    assert DEPLOYMENTS.type_meta == {"apiVersion": "apps/v1", "kind": "Deployment"}
