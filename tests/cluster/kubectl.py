"""What a test says to any Kubernetes, ours or a given one: kubectl, apply, wait."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.cluster import resources

# kubectl's own commands; one that waits has its own, shorter, and gets to say what it waited for.
COMMAND_TIMEOUT_S = 120.0


class KubectlError(RuntimeError):
    """kubectl refused; the message is what it said."""


class Kubernetes:
    """A cluster, seen through kubectl."""

    def __init__(self, command: Sequence[str]) -> None:
        self.kubectl_command = list(command)

    def kubectl(
        self, *arguments: str | Path, text: str | None = None, timeout_s: float = COMMAND_TIMEOUT_S
    ) -> str:
        """Run kubectl, with `text` as its input, and return what it prints. Raises KubectlError."""
        done = subprocess.run(
            [*self.kubectl_command, *(str(argument) for argument in arguments)],
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if done.returncode:
            raise KubectlError(f"kubectl {' '.join(map(str, arguments))}: {done.stderr.strip()}")
        return done.stdout

    def apply(self, manifest: str | Path, *options: str) -> str:
        """Apply a manifest: a file, a directory or YAML text."""
        if isinstance(manifest, Path):
            return self.kubectl("apply", "--filename", manifest, *options)
        return self.kubectl("apply", "--filename=-", *options, text=manifest)

    def delete(self, manifest: str | Path) -> str:
        """Delete what a manifest names, and wait until it is gone."""
        if isinstance(manifest, Path):
            return self.kubectl("delete", "--ignore-not-found", "--filename", manifest)
        return self.kubectl("delete", "--ignore-not-found", "--filename=-", text=manifest)

    def get(self, resource: str, *options: str) -> Any:
        """An object, such as deployment/hello, or a list of them, as the API's JSON.

        Options as kubectl's own (tests/cluster/resources.py).
        """
        return self.ask(resources.path(resource, *options))

    def get_all(self, kinds: str, *options: str) -> list[Any]:
        """Objects of several kinds, separated by commas."""
        return list(json.loads(self.kubectl("get", kinds, "--output=json", *options))["items"])

    def ask(self, path: str) -> Any:
        """GET a path of the API server, as JSON."""
        return json.loads(self.read(path))

    def read(self, path: str) -> str:
        """GET a path of the API server, as it is: a pod's log, say."""
        return self.kubectl("get", "--raw", path)

    def wait_for(
        self,
        resource: str,
        what: str,
        *options: str,
        namespace: str = "default",
        timeout_s: int = 60,
    ) -> None:
        """Wait for `what`: create, delete, condition=Ready, jsonpath={.status.phase}=Running."""
        self.kubectl(
            "wait",
            resource,
            f"--for={what}",
            f"--namespace={namespace}",
            f"--timeout={timeout_s}s",
            *options,
            timeout_s=timeout_s + 10,
        )
