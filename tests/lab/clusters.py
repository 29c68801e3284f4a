"""A lab with the real controller and the real daemon, its service at zero: where stories begin."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from wangell_lab import Lab
from wangell_lab.client import Exchange

# A loaded machine needs this to start a controller and a daemon; an idle one needs 1 s.
START_TIMEOUT_S = 10.0
# The product's first promise: no SYN of a client later than this after the first replay.
REPLAY_MARGIN_NS = 5_000_000


@contextmanager
def at_zero(
    server: Sequence[str],
    *,
    readiness: str = "listen",
    idle_timeout_s: int | None = None,
    pods_per_node: int = 1,
) -> Iterator[Lab]:
    """Yield a lab whose service runs `server` once it is woken."""
    with Lab(pods_per_node=pods_per_node) as lab:
        lab.start_controller(server=server, idle_timeout_s=idle_timeout_s)
        lab.start_daemon(readiness=readiness)
        lab.wait_until_at_zero(timeout_s=START_TIMEOUT_S)
        yield lab


@contextmanager
def callers(lab: Lab, count: int, **options: Any) -> Iterator["Future[list[Exchange]]"]:
    """`count` clients call at the same time, while the block goes on with its own business."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        yield pool.submit(lab.client.get_at_once, count, **options)


def metric(text: str, name: str) -> float:
    """Return the sum of a metric's samples, over all its labels."""
    values = [
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith((f"{name} ", f"{name}{{"))
    ]
    return sum(values)


def losing_syn_acks(count: int) -> str:
    """Return nft rules for a caller that loses the first `count` SYN-ACKs sent to it."""
    is_syn_ack = "tcp flags & (syn | ack) == (syn | ack)"
    lost = f"{is_syn_ack} limit rate 1/hour burst {count} packets drop;"
    chain = f"chain prerouting {{ type filter hook prerouting priority raw; {lost} }};"
    return f"table ip lossy {{ {chain} }}"
