"""A real Prometheus in the control plane's network, from where every pod can be reached.

Debian builds it without its discovery for Kubernetes. So the pods, all that there are, are listed
in a file as that discovery would tell them; which of them are scraped, and where, is for the
annotations and Prometheus's own relabelling to say.
"""

import json
import re
import string
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

from deploy.images.tools import find
from tests.cluster.cluster import Cluster
from tests.cluster.waiting import until

CONFIGURATION = Path(__file__).with_suffix(".yaml")
URL = "http://127.0.0.1:9090"


def discovered(cluster: Cluster) -> list[dict[str, Any]]:
    """Every pod's ports with the labels of `kubernetes_sd_configs: [{role: pod}]`."""
    groups = []
    for pod in cluster.get("pods", "--all-namespaces")["items"]:
        metadata, address = pod["metadata"], pod["status"]["podIP"]
        ports = [port for each in pod["spec"]["containers"] for port in each.get("ports", [])]
        annotations = {
            f"__meta_kubernetes_pod_annotation_{re.sub('[^a-zA-Z0-9_]', '_', name)}": value
            for name, value in metadata.get("annotations", {}).items()
        }
        groups.append(
            {
                "targets": [f"{address}:{port['containerPort']}" for port in ports] or [address],
                "labels": {**annotations, "__meta_kubernetes_pod_name": metadata["name"]},
            }
        )
    return groups


class Prometheus:
    """Scrapes each second what the pods' annotations name. A context manager."""

    def __init__(self, cluster: Cluster) -> None:
        self._network = cluster.control_plane.namespaces
        directory = cluster.directory / "prometheus"
        directory.mkdir(exist_ok=True)
        pods = directory / "pods.json"
        pods.write_text(json.dumps(discovered(cluster)))
        text = string.Template(CONFIGURATION.read_text()).substitute(pods=pods)
        (directory / "prometheus.yaml").write_text(text)
        command: list[str | Path] = [
            find("prometheus"),
            f"--config.file={directory}/prometheus.yaml",
            f"--storage.tsdb.path={directory}/tsdb",
            "--web.listen-address=127.0.0.1:9090",
        ]
        self._process = self._network.process("prometheus", command)

    def __enter__(self) -> Self:
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stop()

    def targets(self) -> dict[str, str]:
        """What it scrapes: each pod, and whether that goes well (up)."""
        active = self._ask("/api/v1/targets")["activeTargets"]
        return {each["labels"]["pod"]: each["health"] for each in active}

    def wait_for_targets(self, count: int) -> None:
        """Return once so many are scraped, and no other is known."""
        until(lambda: self._is_up(count), f"{count} pods scraped", timeout_s=30)

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Each series that an expression gives: its labels, its value now."""
        result = self._ask("/api/v1/query", query=expression)["result"]
        return [(each["metric"], float(each["value"][1])) for each in result]

    def value(self, expression: str) -> float:
        """The value of an expression that gives one series."""
        ((_, value),) = self.query(expression)
        return value

    def _is_up(self, count: int) -> bool:
        try:
            health = list(self.targets().values())
        except RuntimeError:  # It does not listen yet.
            return False
        return health == ["up"] * count

    def _ask(self, path: str, **parameters: str) -> Any:
        url = f"{URL}{path}?{urlencode(parameters)}"
        answer = json.loads(self._network.run("curl", "--noproxy", "*", "-sS", url))
        assert answer["status"] == "success", answer
        return answer["data"]
