"""What a daemon is told on its command line, checked."""

import enum
import re
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "Address",
    "Readiness",
    "Settings",
    "Workload",
    "parse_address",
    "parse_duration_s",
    "parse_patterns",
]

Address = tuple[str, int]
# A shorter one would do nothing but send probes; a longer one is a mistake.
DURATION_MIN_S, DURATION_MAX_S = 0.0001, 3600.0
# Names of interfaces have 15 bytes (IFNAMSIZ); the rest are fnmatch's wildcards.
_PATTERN = re.compile(r"[^\s,/:]{1,32}")
NO_PATTERNS = "none"
_UNITS_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


class Readiness(enum.Enum):
    """How the daemon learns that a replica accepts connections."""

    LISTEN = "listen"  # The tracepoint: sees every server that uses this kernel.
    PROBE = "probe"  # Half-open SYNs: for servers behind another kernel.
    BOTH = "both"  # Whichever comes first.


class Workload(enum.Enum):
    """How a process is known to be a replica's."""

    NETNS = "netns"  # One host: its network namespace.
    CGROUP = "cgroup"  # A Kubernetes node: the pod's UID in its cgroup path.


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All of it."""

    interface: str
    pod_interfaces: tuple[str, ...]
    "`auto` or patterns of names; empty: calls of this node's pods are not seen"
    node_name: str
    controllers: tuple[Address, ...]
    "Host names are looked up, and looked up again"
    key_dir: Path
    credential_file: Path | None
    "Shown to the controllers; read again when it changes"
    workload: Workload
    cgroup_root: str
    readiness: Readiness
    probe_interval_s: float
    metrics_address: Address | None
    health_address: Address | None
    cold_start_log: Path | None


def parse_address(text: str) -> Address:
    """Read `HOST:PORT`. Raises ValueError."""
    match = re.fullmatch(r"(.+):([0-9]{1,5})", text)
    if match is None or not 0 < int(match[2]) < 65536:
        raise ValueError(f"{text[:80]!r} is not HOST:PORT, such as 10.46.100.3:7946")
    return match[1].strip("[]"), int(match[2])


def parse_duration_s(text: str) -> float:
    """Read a duration such as 5ms or 1.5s, in seconds. Raises ValueError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(us|ms|s|m)", text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration, such as 500us, 5ms or 1s")
    duration_s = float(match[1]) * _UNITS_S[match[2]]
    if not DURATION_MIN_S <= duration_s <= DURATION_MAX_S:
        raise ValueError(f"{text!r}: a duration lies between 100us and 60m")
    return duration_s


def parse_patterns(text: str) -> tuple[str, ...]:
    """Read `auto`, `none` or patterns such as `cali*,tap*`. Raises ValueError."""
    if text == NO_PATTERNS:
        return ()
    patterns = tuple(text.split(","))
    if not all(_PATTERN.fullmatch(each) for each in patterns):
        raise ValueError(
            f"{text[:80]!r} is not auto, none or names of interfaces, such as cali*,tap*"
        )
    return patterns
