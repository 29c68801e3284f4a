"""Wangell's two programs as the lab runs them: their command lines, and the files they write."""

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from wangell_lab.cold_starts import ColdStartLog
from wangell_lab.errors import LabError
from wangell_lab.process import Process
from wangell_lab.watch import wait_for

__all__ = [
    "CONTROLLER_METRICS_PORT",
    "DAEMON_METRICS_PORT",
    "Controller",
    "Daemon",
    "controller_command",
    "daemon_command",
    "program",
]

PROTOCOL_PORT = 7946
CONTROLLER_METRICS_PORT = 9400
DAEMON_METRICS_PORT = 9401


def program(name: str) -> str:
    """Return the path of one of our programs, of this Python's installation if it has it.

    Raises LabError.
    """
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        raise LabError(f"no {name} beside {sys.executable}: run `make setup`")
    return found


def controller_command(
    *,
    address: str,
    manifests: Path,
    local: Path,
    key_directory: Path,
    run_directory: Path,
    status_path: Path,
) -> list[str]:
    """Return the command line of a controller that listens on `address`. Raises LabError."""
    return [
        *(program("wangell-controller"), "run"),
        *("--manifests", str(manifests)),
        *("--local", str(local)),
        *("--listen", f"{address}:{PROTOCOL_PORT}"),
        *("--key-dir", str(key_directory)),
        *("--run-dir", str(run_directory)),
        *("--metrics-address", f"{address}:{CONTROLLER_METRICS_PORT}"),
        *("--status-file", str(status_path)),
    ]


def daemon_command(
    *,
    node: str,
    address: str,
    interface: str,
    controllers: Sequence[str],
    key_directory: Path,
    readiness: str,
    probe_interval: str,
    cold_start_log: Path,
) -> list[str]:
    """Return the command line of a node's daemon; `controllers` are addresses. Raises LabError."""
    return [
        *(program("wangell-daemon"), "run"),
        *("--interface", interface),
        *("--node-name", node),
        *(part for each in controllers for part in ("--controller", f"{each}:{PROTOCOL_PORT}")),
        *("--key-dir", str(key_directory)),
        *("--readiness", readiness),
        *("--probe-interval", probe_interval),
        *("--metrics-address", f"{address}:{DAEMON_METRICS_PORT}"),
        *("--cold-start-log", str(cold_start_log)),
    ]


@dataclass(slots=True, kw_only=True)
class Controller(Process):
    """A running wangell-controller."""

    status_path: Path
    "Where it writes, at each change, the manifests with their status"
    metrics_address: tuple[str, int]

    def replicas(self, service: str) -> int | None:
        """Return how many it asked for; None where it has not told of the service yet."""
        try:
            documents = list(yaml.safe_load_all(self.status_path.read_text()))
        except FileNotFoundError:
            return None
        for document in documents:
            metadata = document["metadata"]
            if f"{metadata['namespace']}/{metadata['name']}" == service:
                replicas: int = document["status"]["replicas"]
                return replicas
        return None

    def wait_for_replicas(self, service: str, replicas: int, *, timeout_s: float) -> None:
        """Return as soon as it asks for so many. Raises LabError with the end of its log."""

        def look() -> bool | None:
            return True if self.replicas(service) == replicas else None

        what = f"{replicas} replicas of {service}"
        try:
            wait_for(self.status_path, look, timeout_s=timeout_s, what=what)
        except LabError as error:
            raise LabError(f"{error}, but {self.replicas(service)}:\n{self.log_tail()}") from None


@dataclass(slots=True, kw_only=True)
class Daemon(Process):
    """A running wangell-daemon."""

    cold_starts: ColdStartLog
    metrics_address: tuple[str, int]
