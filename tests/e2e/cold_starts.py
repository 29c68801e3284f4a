"""Cold starts one by one, each from rest, with the client's own clock and its own capture."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.cluster.bare import SETTLE_S
from tests.cluster.client import REQUEST_TIMEOUT_S, SYN
from tests.cluster.cluster import Cluster
from tests.cluster.given import GivenCluster
from tests.cluster.listens import Listens
from tests.cluster.waiting import pause
from tests.e2e.calls import answered
from tests.e2e.wangell import NAME, SYSTEM, Wangell

PORT = 80
TARGET_PORT = 8080
# The replay follows the LISTEN by some milliseconds; on a machine at a load of 25 by 55 at most.
REPLAYED_WITHIN_S = 0.1
# Linux sends a SYN again after 1 s; one that waited for ARP before seemed to after 0.92.
RETRY_MS_MIN = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdStart:
    time_ms: float
    "From connect() to the response's last byte."
    connected_ms: float
    "From connect() to its return: the rest is the server's."
    listened_ms: float
    "From connect() to the server's listen()."
    syns: int
    "That the client sent, counted on its link."
    late_syns: int
    "Those that it sent although the server had been listening for REPLAYED_WITHIN_S."
    node: str
    "Where the pod was."
    story: str = field(repr=False)
    "What was on the link and what was said of it, where there was more than one SYN."

    @property
    def is_one_syn(self) -> bool:
        """Whether a replay answered: a server that takes a second is not to be blamed on it."""
        return not self.late_syns and (self.syns == 1 or self.listened_ms > RETRY_MS_MIN)


def assert_one_syn_each(starts: Sequence[ColdStart]) -> None:
    """No client sent a SYN again that a replay should have answered."""
    odd = [each for each in starts if not each.is_one_syn]
    assert not odd, "\n\n".join(f"{each}\n{each.story}" for each in odd)


def cold_start(wangell: Wangell, address: str, name: str = NAME) -> ColdStart:
    """Call a service once from outside while it is at zero."""
    wangell.wait_until_cold(name)
    cluster = wangell.cluster
    with (
        cluster.client.capture(f"host {address}") as capture,
        cluster.listens(port=TARGET_PORT) as listens,
    ):
        pause(SETTLE_S)
        began_s, wall_s = time.monotonic(), time.time()
        answer = answered(cluster.client, address, PORT)
        (pod,) = wangell.pods(name)
        listened_s = _listened_s(listens, pod["metadata"]["uid"]) - began_s
    syns = capture.lines(f"{SYN} and dst host {address}")
    times_s = [float(line.split()[0]) - wall_s for line in syns]
    link = [f"called at {wall_s:.6f}, listened after {listened_s:.6f} s", *capture.lines()]
    return ColdStart(
        time_ms=answer.took_ms,
        connected_ms=answer.connected_ms,
        listened_ms=listened_s * 1000,
        syns=len(syns),
        late_syns=sum(each > listened_s + REPLAYED_WITHIN_S for each in times_s),
        node=pod["spec"]["nodeName"],
        story="\n".join([*link, *_said(wangell, name)]) if len(syns) > 1 else "",
    )


def request(
    cluster: Cluster | GivenCluster, address: str, *, timeout_s: float = REQUEST_TIMEOUT_S
) -> float:
    """One HTTP request by a plain socket; how long it took, in ms."""
    return answered(cluster.client, address, PORT, timeout_s=timeout_s).took_ms


def _listened_s(listens: Listens, pod_uid: str) -> float:
    """When the pod's server listened, on time.monotonic()'s clock."""
    while (listen := listens.next(timeout_s=5)).pod_uid != pod_uid:
        pass
    return listen.time_s


def _said(wangell: Wangell, name: str) -> list[str]:
    """The last that controllers and daemons have said of a service."""
    pods = [each["metadata"]["name"] for each in wangell.cluster.get("pods", SYSTEM)["items"]]
    return [
        f"{pod}: {line}"
        for pod in pods
        for line in [each for each in wangell.log(pod).splitlines() if f"/{name}:" in each][-6:]
    ]
