"""Cold starts one by one, each from rest, with the client's own clock and its own capture."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from tests.cluster.bare import SETTLE_S
from tests.cluster.client import SYN
from tests.cluster.cluster import Cluster
from tests.cluster.waiting import pause
from tests.e2e.wangell import NAME, Wangell

PORT = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdStart:
    time_ms: float
    "From connect() to the response's last byte."
    syns: int
    "That the client sent, counted on its link."
    node: str
    "Where the pod was."


def cold_start(wangell: Wangell, address: str, name: str = NAME) -> ColdStart:
    """Call a service once from outside while it is at zero."""
    wangell.wait_until_cold(name)
    client = wangell.cluster.client
    with client.capture(f"host {address}") as capture:
        pause(SETTLE_S)
        time_ms = request(wangell.cluster, address)
    (pod,) = wangell.pods(name)
    return ColdStart(
        time_ms=time_ms,
        syns=capture.count(f"{SYN} and dst host {address}"),
        node=pod["spec"]["nodeName"],
    )


def cold_starts(wangell: Wangell, address: str, runs: int, name: str = NAME) -> Sequence[ColdStart]:
    """Call it again and again, each time from zero."""
    return [cold_start(wangell, address, name) for _ in range(runs)]


def request(cluster: Cluster, address: str, *, timeout_s: float = 30) -> float:
    """One HTTP request by a plain socket; how long it took, in ms."""
    began = time.monotonic()
    with cluster.client.connect(address, PORT, timeout_s=timeout_s) as connection:
        connection.sendall(f"GET / HTTP/1.0\r\nHost: {address}\r\n\r\n".encode())
        answer = b""
        while chunk := connection.recv(4096):
            answer += chunk
    assert answer.endswith(b"Hello World!\n"), answer
    return (time.monotonic() - began) * 1000
