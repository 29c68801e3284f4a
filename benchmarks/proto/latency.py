"""A wake beside an echo and a gRPC call: in turns, with and without loss."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.proto.network import SERVER_ADDRESS, Network
from benchmarks.proto.plan import Plan
from benchmarks.proto.processes import Child
from benchmarks.proto.samples import WAKE, Keys
from benchmarks.proto.stopwatch import split
from wangell_lab.figures import summarize

__all__ = ["lossless", "lossy"]

LOSS_PERCENT = 10
IDLE_GAP_S = 0.1
# Under loss nearly all the time is spent waiting, so several links at once make many figures soon.
LOSSY_LINKS = 8
Tick = Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sides:
    """The clients of each side; their servers are up."""

    wake: Child
    wake_server: Child
    echo: Child
    grpc: Child


@contextmanager
def _sides(network: Network) -> Iterator[_Sides]:
    with ExitStack() as stack:

        def started(role: str) -> Child:
            return stack.enter_context(Child.started(role, network))

        sides = _Sides(
            wake=started("wake-client"),
            wake_server=started("table-server"),
            echo=started("echo-client"),
            grpc=started("grpc-client"),
        )
        keys = Keys.drawn().as_json()
        table = {"keys": keys, "records": 0, "epoch": 1, "serves": True}
        port = sides.wake_server.ask("start", host=SERVER_ADDRESS, **table)
        servers = [(SERVER_ADDRESS, port)]
        sides.wake.ask("start", keys=keys, servers=servers, links=LOSSY_LINKS)
        peer: dict[str, Any] = {"host": SERVER_ADDRESS, "payload": WAKE.hex()}
        port = started("echo-server").ask("start", host=SERVER_ADDRESS)
        sides.echo.ask("start", port=port, **peer)
        port = started("grpc-server").ask("start", host=SERVER_ADDRESS)
        sides.grpc.ask("start", port=port, links=LOSSY_LINKS, **peer)
        yield sides


def lossless(network: Network, plan: Plan, tick: Tick) -> dict[str, Any]:
    """Return `wake_us`, `echo_us` and `grpc_us`: in a row, and in details with pauses between."""
    with _sides(network) as sides:
        clients = {"echo": sides.echo, "wake": sides.wake, "grpc": sides.grpc}
        took: dict[str, list[float]] = {name: [] for name in clients}
        for client in clients.values():
            client.ask("burst", count=plan.block_calls)  # Warm caches, and the RTT's estimate.
        for _ in range(plan.blocks):
            for name, client in clients.items():
                took[name] += client.ask("burst", count=plan.block_calls)
            tick()
        # A cluster's wakes come one by one: caches are cold by then, and CPUs asleep.
        idle = {
            f"{name}_idle_us": _p50_p99(
                client.ask("burst", count=plan.idle_calls, gap_s=IDLE_GAP_S), 1e6
            )
            for name, client in clients.items()
        }
        parts = _parts(sides, plan)
    figures: dict[str, Any] = {f"{name}_us": _p50_p99(times, 1e6) for name, times in took.items()}
    return {**figures, "details": {**idle, "wake_parts_us": parts}}


def _parts(sides: _Sides, plan: Plan) -> dict[str, float]:
    sides.wake_server.ask("watch")
    client = sides.wake.ask("watched_burst", count=plan.watched_wakes)
    return split(client["calls"], client, sides.wake_server.ask("watched"))


def lossy(network: Network, plan: Plan, tick: Tick) -> dict[str, Any]:
    """Return `wake_loss10_ms` and `grpc_loss10_ms`; the links are up before the loss begins."""
    wakes: list[float] = []
    calls: list[float] = []
    with _sides(network) as sides, network.lossy(LOSS_PERCENT):
        for _ in range(plan.lossy_blocks):
            wakes += sides.wake.ask("burst", count=plan.lossy_wakes, links=LOSSY_LINKS)
            calls += sides.grpc.ask("burst", count=plan.lossy_grpc, links=LOSSY_LINKS)
            tick()
        delivered = sides.wake_server.ask("usage")["received"]
    return {
        "wake_loss10_ms": _p50_p99(wakes, 1e3),
        "grpc_loss10_ms": _p50_p99(calls, 1e3),
        "details": {
            "loss10": {"wakes": len(wakes), "delivered": delivered, "grpc_calls": len(calls)}
        },
    }


def _p50_p99(times_s: list[float], scale: float) -> dict[str, float]:
    return summarize([time_s * scale for time_s in times_s]).rounded("p50", "p99")
