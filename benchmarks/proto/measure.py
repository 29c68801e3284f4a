"""Every measurement in its order, with the load of the machine beside each."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from benchmarks.proto import crowds, latency, sealing
from benchmarks.proto.network import Network
from benchmarks.proto.plan import Plan

__all__ = ["Measurement", "measurements", "merge"]

Tick = Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Some figures that are taken together."""

    name: str
    title: str
    ticks: int
    "How often it reports progress"
    take: Callable[[Network, Plan, Tick], dict[str, Any]] = field(repr=False)


def _seal(_network: Network, plan: Plan, tick: Tick) -> dict[str, Any]:
    return dict(sealing.measure(plan, tick))


def measurements(plan: Plan) -> list[Measurement]:
    """Return what there is to measure."""
    in_turns = "a wake, an echo and a gRPC call in turns"
    return [
        Measurement(name="seal", title="seal and open", ticks=plan.seal_batches, take=_seal),
        Measurement(name="latency", title=in_turns, ticks=plan.blocks, take=latency.lossless),
        Measurement(
            name="loss", title="the same at 10 % loss", ticks=plan.lossy_blocks, take=latency.lossy
        ),
        Measurement(
            name="snapshot", title="10,000 records", ticks=plan.snapshots, take=crowds.snapshots
        ),
        Measurement(
            name="crowd",
            title=f"{plan.peers:,} peers",
            ticks=2 + plan.changes + plan.take_overs,
            take=crowds.crowd,
        ),
    ]


def merge(figures: dict[str, Any], more: dict[str, Any]) -> None:
    """Add figures; what both have as `details` is added up."""
    details = {**figures.get("details", {}), **more.get("details", {})}
    figures.update(more)
    figures["details"] = details


def load_average() -> float:
    """Return how many processes wanted a CPU over the last minute."""
    return round(os.getloadavg()[0], 2)
