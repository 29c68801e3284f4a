"""The demo's result as JSON: figures of many wakes, and what they were measured on."""

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wangell_lab.cold_starts import PHASES, ColdStart
from wangell_lab.figures import summarize
from wangell_lab.wakes import Wake

__all__ = ["Series", "machine", "report"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Wakes under the same conditions, and a warm request after each."""

    readiness: str
    "How the daemon learned that the server accepts connections: listen or probe"
    wakes: Sequence[Wake]
    warm_ms: Sequence[float]
    "connect() to first byte of requests that found the server running"

    @property
    def first_byte_ms(self) -> list[float]:
        """What the callers of the service at zero waited for their first byte."""
        return [wake.caller.first_byte_ms for wake in self.wakes]

    @property
    def cold_starts(self) -> list[ColdStart]:
        """The daemon's accounts that are whole: who was not answered has no time to speak of."""
        accounts = [wake.cold_start for wake in self.wakes]
        return [each for each in accounts if each.answered and set(PHASES) <= set(each.phases_ms)]

    def figures(self) -> dict[str, Any]:
        """Return all of it in figures. Raises ValueError where nothing was measured."""
        cold_starts = self.cold_starts
        totals = [each.total_ms or 0.0 for each in cold_starts]
        return {
            "runs": len(self.wakes),
            "client_syns_per_wake": {"max": max(wake.client_syns for wake in self.wakes)},
            # From the first SYN in XDP to the client's ACK in XDP.
            "cold_start_ms": summarize(totals).rounded("p50", "p99", "min", "max", "stdev"),
            # The same without `listen`, the server's own start.
            "platform_ms": summarize([each.platform_ms for each in cold_starts]).rounded(
                "p50", "p99"
            ),
            "phases_ms": {
                name: summarize([each.phases_ms[name] for each in cold_starts]).rounded(
                    "p50", "p99"
                )
                for name in PHASES
            },
            # As the caller sees it: from connect() to the first byte of the response.
            "first_byte_ms": summarize(self.first_byte_ms).rounded(
                "p50", "p99", "min", "max", "stdev"
            ),
            "warm_ms": summarize(self.warm_ms).rounded("p50", "p99"),
        }


def report(
    series: Sequence[Series], *, scale_down: Mapping[str, float], server: Sequence[str]
) -> dict[str, Any]:
    """Return the whole result; the first series' figures stand at the top."""
    return {
        **series[0].figures(),
        "readiness": {each.readiness: each.figures() for each in series},
        "scale_down": dict(scale_down),
        "server": list(server),
        "machine": machine(),
    }


def machine() -> dict[str, Any]:
    """Say what the figures were measured on."""
    return {
        "kernel": platform.release(),
        "cpu": _cpu_model(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "commit": _commit(),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model", "CPU part"):
            return value.strip()
    return platform.machine()


def _commit() -> str | None:
    """Return the checkout's commit, with `-dirty` if it was changed since; None outside of one."""
    described = subprocess.run(
        # Under sudo the checkout is another user's, which git refuses without safe.directory.
        [*("git", "-c", "safe.directory=*"), "describe", "--always", "--dirty", "--exclude=*"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or None
