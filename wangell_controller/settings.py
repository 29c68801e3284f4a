"""What a controller is told on its command line, checked."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from wangell_controller.keys import Keys

__all__ = ["Address", "KubeSettings", "Settings", "parse_address", "parse_seconds"]

Address = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """With the local backend."""

    manifests: tuple[Path, ...]
    local: Path
    listen: Address
    key_dir: Path
    run_dir: Path
    status_file: Path | None
    metrics_address: Address | None
    activation_timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeSettings:
    """On Kubernetes."""

    kubeconfig: Path | None
    "None: $KUBECONFIG, or the pod's own ServiceAccount"
    namespace: str
    "Our own: where Lease and keys are"
    identity: str
    "Our pod's name"
    daemon_account: str
    "The daemons' ServiceAccount, in the same namespace"
    keys: Keys | None
    "None: those in the cluster's Secrets"
    listen: Address
    health_address: Address | None
    metrics_address: Address | None
    keeps_announced: bool
    "A placeholder endpoint for each service of a load balancer"
    removes_taint: bool
    "The startup taint goes from a node whose daemon holds what sleeps"


def parse_address(text: str) -> Address:
    """Read `ADDRESS:PORT`, an IPv6 address in brackets; port 0 is any. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        address = str(ipaddress.ip_address(host))
    except ValueError as error:
        raise ValueError(
            f"{text!r} is not ADDRESS:PORT, such as 10.46.100.3:7946 or 0.0.0.0:7946"
        ) from error
    if not colon or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{text!r} has no port from 0 to 65535 behind its last colon")
    return address, int(port)


def parse_seconds(text: str) -> float:
    """Read a number of seconds, 1 to 3600. Raises ValueError."""
    try:
        seconds = float(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a number of seconds") from error
    # Below 1 s no container starts; nobody's client waits for an hour.
    if not 1 <= seconds <= 3600:
        raise ValueError(f"{text} s is not between 1 and 3600")
    return seconds
