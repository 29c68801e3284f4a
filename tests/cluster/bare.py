"""What Kubernetes takes by itself, from the call that scales a Deployment 0 -> 1 to listen().

Nothing of Wangell takes part. The call is one PATCH of /scale on a connection that is open already;
the end is the kernel's LISTEN event of the container, on the same clock (tests/cluster/listens.py).
The first answer of a server takes it some milliseconds more, whoever asks: here a caller within the
pod does, as soon as it listens.
"""

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.cluster import resources
from tests.cluster.client import http_get
from tests.cluster.cluster import Cluster
from tests.cluster.namespaces import open_socket_in
from tests.cluster.waiting import pause, until

WAKE_TIMEOUT_S = 30.0
# What a pod leaves to do when it has gone (its sandbox, statuses) is not the next one's time:
# started at once, every fourth run took 70 ms more.
SETTLE_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class BareStart:
    listened_ms: float
    "From the call to the server's listen()."
    answered_ms: float
    "From the call to the last byte of its first answer."


class BareKubernetes:
    """A Deployment at zero that is scaled by hand. A context manager."""

    def __init__(self, cluster: Cluster, deployment: str, *, port: int) -> None:
        """Of the namespace default, with the label `app` of its own name."""
        self._deployment, self._port = deployment, port
        self._stack = contextlib.ExitStack()
        self._api = self._stack.enter_context(cluster.api())
        self._listens = self._stack.enter_context(cluster.listens(port=port))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self) -> BareStart:
        """One start. It is at zero before and after."""
        pause(SETTLE_S)
        self._listens.forget()
        called_s = self._api.scale(self._deployment, 1)
        listen = self._listens.next(timeout_s=WAKE_TIMEOUT_S)
        answered_s = _answered_s(listen.pid, self._port)
        self._api.scale(self._deployment, 0)
        until(self._is_gone, f"{self._deployment} at zero", timeout_s=60)
        return BareStart(
            listened_ms=(listen.time_s - called_s) * 1000,
            answered_ms=(answered_s - called_s) * 1000,
        )

    def _is_gone(self) -> bool:
        """Whether it has no pod, not even one that is ending."""
        path = resources.path("pods", f"--selector=app={self._deployment}")
        return not self._api.call("GET", path)["items"]


def _answered_s(pid: int, port: int) -> float:
    """Ask an HTTP server within its network namespace; time.monotonic() of the last byte."""
    with open_socket_in(Path(f"/proc/{pid}/ns/net")) as connection:
        connection.settimeout(WAKE_TIMEOUT_S)
        connection.connect(("127.0.0.1", port))
        http_get(connection)
    return time.monotonic()


def wait_until_gone(cluster: Cluster, deployment: str, *, namespace: str = "default") -> None:
    """Return once the Deployment has no pod, not even one that is ending."""
    selector = f"--selector=app={deployment}"
    pods = ("pods", selector, f"--namespace={namespace}")
    cluster.kubectl("wait", "--for=delete", "--timeout=60s", *pods)
    until(lambda: not cluster.get(*pods)["items"], f"{deployment} at zero", timeout_s=60)
