"""What Kubernetes takes by itself, from the call that scales a Deployment 0 -> 1 to listen().

Nothing of Wangell takes part. The call is one PATCH of /scale on a connection that is open already;
the end is the kernel's LISTEN event of the container, on the same clock (tests/cluster/listens.py).
"""

import contextlib
from typing import Self

from tests.cluster.cluster import Cluster
from tests.cluster.waiting import pause, until

WAKE_TIMEOUT_S = 30.0
# What a pod leaves to do when it has gone (its sandbox, statuses) is not the next one's time:
# started at once, every fourth run took 70 ms more.
SETTLE_S = 0.5


class BareKubernetes:
    """A Deployment at zero that is scaled by hand. A context manager."""

    def __init__(self, cluster: Cluster, deployment: str, *, port: int) -> None:
        """Of the namespace default, with the label `app` of its own name."""
        self._deployment = deployment
        self._stack = contextlib.ExitStack()
        self._api = self._stack.enter_context(cluster.api())
        self._listens = self._stack.enter_context(cluster.listens(port=port))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start_ms(self) -> float:
        """One start: milliseconds from the call to the LISTEN. It is at zero before and after."""
        pause(SETTLE_S)
        self._listens.forget()
        called_s = self._api.scale(self._deployment, 1)
        listen = self._listens.next(timeout_s=WAKE_TIMEOUT_S)
        self._api.scale(self._deployment, 0)
        until(self._is_gone, f"{self._deployment} at zero", timeout_s=60)
        return (listen.time_s - called_s) * 1000

    def _is_gone(self) -> bool:
        """Whether it has no pod, not even one that is ending."""
        path = f"/api/v1/namespaces/default/pods?labelSelector=app%3D{self._deployment}"
        return not self._api.call("GET", path)["items"]


def wait_until_gone(cluster: Cluster, deployment: str, *, namespace: str = "default") -> None:
    """Return once the Deployment has no pod, not even one that is ending."""
    selector = f"--selector=app={deployment}"
    pods = ("pods", selector, f"--namespace={namespace}")
    cluster.kubectl("wait", "--for=delete", "--timeout=60s", *pods)
    until(lambda: not cluster.get(*pods)["items"], f"{deployment} at zero", timeout_s=60)
