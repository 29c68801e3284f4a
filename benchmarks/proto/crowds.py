"""A server of many peers: what it takes, and how soon all of them know what it knows."""

import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any

from benchmarks.proto.network import SERVER_ADDRESS, Network
from benchmarks.proto.plan import Plan
from benchmarks.proto.processes import Child
from benchmarks.proto.samples import Keys
from wangell_lab.figures import summarize

__all__ = ["crowd", "snapshots"]

SNAPSHOT_RECORDS = 10_000
# A peer's replica lies in the crowd's process a thousand times.
CROWD_RECORDS = 256
# Beside a storm of subscriptions, wakes that do not wait for each other.
WAKE_EVERY_S = 0.002
STREAM_S = 3.0
Tick = Callable[[], None]


def snapshots(network: Network, plan: Plan, tick: Tick) -> dict[str, Any]:
    """Return `snapshot_10k_ms`: from the first datagram of a new peer until it has the table."""
    keys, took_ms = Keys.drawn().as_json(), []
    table = {"keys": keys, "records": SNAPSHOT_RECORDS, "epoch": 1, "serves": True}
    with (
        Child.started("table-server", network) as server,
        Child.started("wake-client", network) as client,
    ):
        servers = [(SERVER_ADDRESS, server.ask("start", host=SERVER_ADDRESS, **table))]
        for _ in range(plan.snapshots):
            fresh = client.ask("fresh", keys=keys, servers=servers)
            assert fresh["records"] == SNAPSHOT_RECORDS
            took_ms.append(fresh["took_s"] * 1e3)
            tick()
    return {
        "snapshot_10k_ms": round(statistics.median(took_ms), 1),
        "details": {"snapshot_10k_ms": _spread(took_ms)},
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cluster:
    """Two servers, the first of which leads; all peers are linked to both. A waker for each."""

    servers: tuple[Child, Child]
    wakers: tuple[Child, Child]
    peers: Child
    bytes_per_peer: float


@contextmanager
def _cluster(network: Network, plan: Plan) -> Iterator[_Cluster]:
    with ExitStack() as stack:

        def pair(role: str) -> tuple[Child, Child]:
            first, second = (stack.enter_context(Child.started(role, network)) for _ in range(2))
            return first, second

        servers = pair("table-server")
        wakers = pair("wake-client")
        peers = stack.enter_context(Child.started("crowd", network))
        keys = Keys.drawn().as_json()
        table = {"keys": keys, "records": CROWD_RECORDS, "epoch": 1}
        addresses = []
        for serves, server, waker in zip((True, False), servers, wakers, strict=True):
            port = server.ask("start", host=SERVER_ADDRESS, serves=serves, **table)
            addresses.append((SERVER_ADDRESS, port))
            waker.ask("start", keys=keys, servers=[(SERVER_ADDRESS, port)], links=1)
            waker.hurry()  # In a cluster 1,000 peers are not on its machine.
        # With one peer there already: what the first one makes the process load is not its cost.
        before = servers[0].ask("usage")
        peers.ask("start", keys=keys, servers=addresses, peers=plan.peers)
        after = servers[0].ask("usage")
        yield _Cluster(
            servers=servers,
            wakers=wakers,
            peers=peers,
            bytes_per_peer=(after["rss_bytes"] - before["rss_bytes"]) / plan.peers,
        )


def crowd(network: Network, plan: Plan, tick: Tick) -> dict[str, Any]:
    """Return `server`, `fanout_1000_ms` and `resync_unchanged_1000_s`."""
    started_at = monotonic()
    with _cluster(network, plan) as cluster:
        linked_s = monotonic() - started_at
        tick()
        core_share = _core_share(cluster, plan)
        tick()
        fanout_ms = _fanout(cluster, plan, tick)
        resync_s, wakes_ms, resent = _take_overs(cluster, plan, tick)
        usage = cluster.servers[plan.take_overs % 2].ask("usage")
    wakes = [summarize(each) for each in wakes_ms if each]
    assert resent == 0, f"{resent} records were sent again though nothing had changed"
    return {
        "server": {
            "peers": usage["peers"] - 1,
            "core_share": round(core_share, 4),
            "bytes_per_peer": round(cluster.bytes_per_peer),
        },
        "fanout_1000_ms": round(statistics.median(fanout_ms), 1),
        "resync_unchanged_1000_s": round(statistics.median(resync_s), 3),
        "details": {
            "linked_s": round(linked_s, 2),
            "fanout_1000_ms": _spread(fanout_ms),
            "resync_unchanged_1000_s": _spread(resync_s),
            "resync_wake_ms": {
                "p50": round(statistics.median(each.p50 for each in wakes), 3),
                "p99": round(statistics.median(each.p99 for each in wakes), 3),
                "p99s": [round(each.p99, 3) for each in wakes],
                "wakes": [each.count for each in wakes],
            },
            "server_drops": usage["drops"],
        },
    }


def _core_share(cluster: _Cluster, plan: Plan) -> float:
    """Return the leader's CPU time by the clock's, while nothing but heartbeats goes on."""
    server, waker = cluster.servers[0], cluster.wakers[1]
    before = server.ask("usage")
    # The other server's waker does the waiting: it costs the leader nothing.
    waker.ask("stream", seconds=plan.steady_s, every_s=plan.steady_s)
    after = server.ask("usage")
    return float((after["cpu_s"] - before["cpu_s"]) / (after["at"] - before["at"]))


def _fanout(cluster: _Cluster, plan: Plan, tick: Tick) -> list[float]:
    """Return how long after each change the last peer had it, in ms."""
    took_ms = []
    for _ in range(plan.changes):
        cluster.peers.ask("reset")
        changed_at = cluster.servers[0].ask("change")
        took_ms.append((cluster.peers.ask("changed") - changed_at) * 1e3)
        tick()
    return took_ms


def _take_overs(
    cluster: _Cluster, plan: Plan, tick: Tick
) -> tuple[list[float], list[list[float]], int]:
    """Let the servers take the lead from each other; the old leader is stopped, at last killed.

    Return how long each took until the last peer had synced, the wakes at the new leader
    meanwhile (ms), and how many records were sent again.
    """
    took_s: list[float] = []
    wakes_ms: list[list[float]] = []
    resent = 0
    # Both tables are equal, changes included; their versions and histories are not.
    for _ in range(plan.changes):
        cluster.servers[1].ask("change")
    for turn in range(plan.take_overs):
        leader, follower = cluster.servers[turn % 2], cluster.servers[(turn + 1) % 2]
        waker = cluster.wakers[(turn + 1) % 2]
        cluster.peers.ask("reset")
        waker.tell("stream", seconds=STREAM_S, every_s=WAKE_EVERY_S)
        # Stopped for less than the 3 s after which its links would end.
        with leader.stopped():
            if turn == plan.take_overs - 1:
                leader.kill()
            took_over_at = follower.ask("take_over", epoch=turn + 2)
            synced = cluster.peers.ask("synced")
        took_s.append(synced["last_at"] - took_over_at)
        resent += synced["records"]
        wakes_ms.append(
            [
                took * 1e3
                for sent_at, took in waker.answer()
                if took_over_at <= sent_at <= synced["last_at"]
            ]
        )
        tick()
    return took_s, wakes_ms, resent


def _spread(values: list[float]) -> dict[str, float]:
    return summarize(values).rounded("p50", "min", "max")
