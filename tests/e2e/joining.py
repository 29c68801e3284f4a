"""A node that joins, as the API server tells of it: what came when, from its kubelet's start on."""

import contextlib
import time
from collections.abc import Mapping
from typing import Any

from tests.cluster.cluster import Cluster
from tests.cluster.waiting import until
from tests.e2e.callers import name_of
from wangell_controller.kube.resources import STARTUP_TAINT

__all__ = ["TAINT", "Joining"]

TAINT = f"{STARTUP_TAINT}=:NoSchedule"
JOINED_WITHIN_S = 90.0
DAEMONS = (
    "/api/v1/namespaces/wangell-system/pods?labelSelector=app.kubernetes.io/name%3Dwangell-daemon"
)


class Joining:
    """Starts a kubelet for a new Node, with our taint, and kube-proxy once there is that Node."""

    def __init__(self, cluster: Cluster, name: str, *, kube_proxy_mode: str = "iptables") -> None:
        self._cluster = cluster
        self._node = cluster.node(name)
        self._mode = kube_proxy_mode
        self.began_s = time.monotonic()
        self.after_s: dict[str, float] = {}
        "By event: registered, daemon running, daemon ready, untainted, scheduled, node ready"
        self._now_s = 0.0
        self._node.join(taint=TAINT)

    def until(self, *events: str) -> None:
        """Look until these have come."""
        with self._cluster.api() as api:

            def have_come() -> bool:
                self._look(api.call)
                return all(each in self.after_s for each in events)

            until(have_come, ", ".join(events), timeout_s=JOINED_WITHIN_S)

    def _look(self, call: Any) -> None:
        """Effects before their causes, of one moment: none of those is seen too late to be one."""
        self._now_s = round(time.monotonic() - self.began_s, 2)
        pod = found(call, f"/api/v1/namespaces/default/pods/{name_of(self._node.name)}")
        self._note("scheduled", "nodeName" in pod.get("spec", {}))
        daemons = [
            each
            for each in call("GET", DAEMONS)["items"]
            if each["spec"].get("nodeName") == self._node.name
        ]
        node = found(call, f"/api/v1/nodes/{self._node.name}")
        if not node:
            return
        if self._note("registered", True):
            self._node.start_kube_proxy(self._mode)
        taints = [each["key"] for each in node["spec"].get("taints", ())]
        self._note("untainted", STARTUP_TAINT not in taints)
        self._note("node ready", condition(node, "Ready"))
        for each in daemons:
            statuses = each.get("status", {}).get("containerStatuses", ())
            self._note("daemon running", any("running" in one["state"] for one in statuses))
            self._note("daemon ready", condition(each, "Ready"))

    def _note(self, event: str, has_come: bool) -> bool:
        is_news = has_come and event not in self.after_s
        if is_news:
            self.after_s[event] = self._now_s
        return is_news


def found(call: Any, path: str) -> Mapping[str, Any]:
    """The object there; empty where there is none."""
    with contextlib.suppress(RuntimeError):
        return dict(call("GET", path))
    return {}


def condition(each: Mapping[str, Any], kind: str) -> bool:
    conditions = each.get("status", {}).get("conditions", ())
    return any(one["type"] == kind and one["status"] == "True" for one in conditions)
