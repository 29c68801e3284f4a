"""What Kubernetes takes by itself, from the call that scales a Deployment 0 -> 1 to listen().

Nothing of Wangell takes part. The call is one PATCH of /scale on a connection that is open already;
the end is
the kernel's LISTEN event of the container, on the same clock (tests/cluster/listens.py).
"""

from tests.cluster.cluster import Cluster
from tests.cluster.waiting import until

WAKE_TIMEOUT_S = 30.0


def measure_bare_kubernetes(
    cluster: Cluster, deployment: str, *, port: int, runs: int, namespace: str = "default"
) -> list[float]:
    """Milliseconds of each run, one by one. The Deployment is at 0 before, between and after."""
    with cluster.api() as api, cluster.listens(port=port) as listens:
        times_ms = []
        for _ in range(runs):
            called_s = api.scale(deployment, 1, namespace=namespace)
            times_ms.append((listens.next(timeout_s=WAKE_TIMEOUT_S).time_s - called_s) * 1000)
            api.scale(deployment, 0, namespace=namespace)
            wait_until_gone(cluster, deployment, namespace=namespace)
    return times_ms


def wait_until_gone(cluster: Cluster, deployment: str, *, namespace: str = "default") -> None:
    """Return once the Deployment has no pod, not even one that is ending."""
    selector = f"--selector=app={deployment}"
    pods = ("pods", selector, f"--namespace={namespace}")
    cluster.kubectl("wait", "--for=delete", "--timeout=60s", *pods)
    until(lambda: not cluster.get(*pods)["items"], f"{deployment} at zero", timeout_s=60)
