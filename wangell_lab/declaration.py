"""The files that declare the lab's services: manifests as users write them, and who runs what."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from wangell_lab.errors import LabError
from wangell_lab.namespaces import Namespace
from wangell_lab.topology import Topology

__all__ = ["SAMPLE", "local_services", "sample_manifest"]

SAMPLE = "serverless-example.yaml"
_HERE = Path(__file__).parent
# In a wheel, samples/ lies in this package; in a checkout, beside it.
_SAMPLES = (_HERE / "samples", _HERE.parent / "samples")


def sample_manifest(name: str = SAMPLE, *, idle_timeout_s: int | None = None) -> str:
    """Return a manifest of samples/, its idleTimeout replaced where one is given.

    Raises LabError where the file is missing.
    """
    for directory in _SAMPLES:
        if directory.joinpath(name).is_file():
            return _with_idle_timeout(directory.joinpath(name).read_text(), idle_timeout_s)
    raise LabError(f"no {name} in {' or '.join(map(str, _SAMPLES))}: install Wangell anew")


def local_services(
    topology: Topology,
    namespaces: Mapping[str, Namespace],
    commands: Mapping[str, Sequence[str]],
    *,
    log_directory: Path,
) -> str:
    """Return the file for the controller's local backend; `commands` are by service.

    Raises LabError for a service that this lab does not expose.
    """
    services = {}
    for service, command in commands.items():
        exposure = topology.exposure(service)
        services[service] = {
            "command": list(command),
            "netns": str(namespaces[exposure.pod].path),
            "address": topology.address(exposure.pod),
            "node": topology.node_of(exposure.pod),
            "frontend": exposure.address,
            "log": str(log_directory / f"{exposure.pod}.log"),
        }
    # A server of the lab keeps nothing: no reason to wait longer before SIGKILL.
    return json.dumps({"services": services, "stop_grace_s": 2.0}, indent=2)


def _with_idle_timeout(text: str, idle_timeout_s: int | None) -> str:
    if idle_timeout_s is None:
        return text
    manifest = yaml.safe_load(text)
    manifest["spec"]["idleTimeout"] = idle_timeout_s
    return yaml.safe_dump(manifest, sort_keys=False)
