"""What a leader writes, it writes while it leads."""

import asyncio
from typing import Any

import pytest

from tests.kube import virtual_time
from tests.kube.fake_cluster import FakeCluster
from wangell_controller.kube.leading import OnlyLeading
from wangell_controller.kube.lease import LeaseLostError
from wangell_controller.kube.resources import DEPLOYMENTS
from wangell_controller.metrics import Metrics

PATH = DEPLOYMENTS.path("default", "x")


class Fenced:
    """A cluster with one Deployment, and whoever leads or not."""

    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.cluster.put(DEPLOYMENTS, "x", spec={"replicas": 1})
        self.leads = True
        self.api = OnlyLeading(self.cluster, lambda: self.leads)  # type: ignore[arg-type]

    def asks(self) -> dict[str, Any]:
        uid = self.cluster.deployment("x")["metadata"]["uid"]
        return {
            "merge": lambda: self.api.merge(PATH, {"spec": {"replicas": 2}}),
            "apply": lambda: self.api.apply(PATH, {"spec": {"replicas": 3}}),
            "create": lambda: self.api.create(
                DEPLOYMENTS.path("default"), {"metadata": {"name": "y", "namespace": "default"}}
            ),
            "delete": lambda: self.api.delete(PATH, uid=uid),
        }


@pytest.mark.parametrize("verb", ["merge", "apply", "create", "delete"])
def test_who_leads_no_more_writes_nothing(verb: str) -> None:
    async def story() -> None:
        fenced = Fenced()
        fenced.leads = False
        with pytest.raises(LeaseLostError):
            await fenced.asks()[verb]()
        assert fenced.cluster.did() == []
        fenced.leads = True
        await fenced.asks()[verb]()
        assert len(fenced.cluster.did()) == 1

    virtual_time.run(story())


def test_anybody_may_look() -> None:
    async def story() -> None:
        fenced = Fenced()
        fenced.leads = False
        assert (await fenced.api.get(PATH))["spec"] == {"replicas": 1}

    asyncio.run(story())


def test_whether_it_leads_is_a_metric() -> None:
    metrics = Metrics()

    def shown() -> float | None:
        return metrics.registry.get_sample_value("wangell_controller_leader")

    assert shown() == 0.0, "there is a series while it stands by, too"
    metrics.leads(True)
    assert shown() == 1.0
    metrics.leads(False)
    assert shown() == 0.0
