"""Where a resource is: the paths that `kubectl get` asks for."""

import pytest

from tests.cluster.resources import path


@pytest.mark.parametrize(
    ("get", "expected"),
    [
        (["pods"], "/api/v1/namespaces/default/pods"),
        (["pod/web", "--namespace=blue"], "/api/v1/namespaces/blue/pods/web"),
        (["pods", "--all-namespaces"], "/api/v1/pods"),
        (["pods", "--selector=app=web"], "/api/v1/namespaces/default/pods?labelSelector=app%3Dweb"),
        (["nodes"], "/api/v1/nodes"),
        (["deployment/web"], "/apis/apps/v1/namespaces/default/deployments/web"),
        (["wsvc"], "/apis/wangell.loutres.me/v1alpha1/namespaces/default/wangellservices"),
    ],
)
def test_it_is_where_kubectl_finds_it(get: list[str], expected: str) -> None:
    assert path(*get) == expected


def test_what_it_does_not_know_it_says() -> None:
    with pytest.raises(ValueError, match="no option --watch here: use kubectl"):
        path("pods", "--watch")
    with pytest.raises(ValueError, match=r"add it to tests/cluster/resources\.py"):
        path("cronjobs")
