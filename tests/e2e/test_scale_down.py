"""Scale-down in order: nobody's request fails, however it falls beside the moment of sleep."""

import concurrent.futures
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from tests.cluster.client import SYN, Capture, OutsideClient
from tests.cluster.process import Process
from tests.cluster.waiting import pause, until
from tests.e2e import restless
from tests.e2e.callers import PodCaller
from tests.e2e.figures import record, record_within, summary
from tests.e2e.sleepers import named_alike, sleepers
from tests.e2e.wangell import SYSTEM, Wangell, pinned

pytestmark = pytest.mark.timeout(400)
IDLE_S = 1
SERVICES, SCALE_DOWNS = 14, 200
# As many services side by side, each so often.
AT_ONCE, MOMENTS = 2, 4
# Some calls come before the service is idle, some as it drains, some as its pod ends.
PAUSE_S = (1.0, 7.0)
TAKES_S_MAX = 300
HANDSHAKES = "tcp[tcpflags] & tcp-syn != 0 and port 80"


@pytest.fixture
def sleepy(installed: Wangell) -> Iterator[Mapping[str, str]]:
    """Services that go to sleep at once: their addresses by name."""
    with sleepers(installed, named_alike("restless", SERVICES, idleTimeout=IDLE_S)) as addresses:
        yield addresses


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """What clients did, as they and their links tell."""

    calls: Sequence[Mapping[str, Any]]
    handshakes: Sequence[str]
    "SYNs and SYN-ACKs, as tcpdump writes them"

    @property
    def failed(self) -> list[Mapping[str, Any]]:
        """Those that did not get their answer."""
        return [call for call in self.calls if call["failure"]]

    def syns(self, call: Mapping[str, Any]) -> int:
        """How many it took."""
        return len(self._sent(call))

    def is_repeated(self, call: Mapping[str, Any]) -> bool:
        """Whether the client sent another SYN when its first had gone in and been answered."""
        answers = self._times(call, f".80 > {self._client(call)}: Flags [S.]")
        sent = self._sent(call)
        return bool(answers and sent) and max(sent) > min(answers)

    def _sent(self, call: Mapping[str, Any]) -> list[float]:
        return self._times(call, f"{self._client(call)} > {call['address']}.80: Flags [S]")

    def _client(self, call: Mapping[str, Any]) -> str:
        return f"{call['source']}.{call['local_port']}"

    def _times(self, call: Mapping[str, Any], pattern: str) -> list[float]:
        """When such a packet was seen during the call: later, its port is another call's."""
        seen = (float(line.split()[0]) for line in self.handshakes if pattern in line)
        ended_s = call["began_s"] + call["connected_ms"] / 1000 + 0.5
        return [at for at in seen if call["began_s"] - 0.01 <= at <= ended_s]


@contextlib.contextmanager
def calling(client: OutsideClient, addresses: Sequence[str]) -> Iterator[tuple[Process, Capture]]:
    """A client process that calls these as long as the block runs, and until it has its answers."""
    targets = [f"{address}:80" for address in addresses]
    command = [sys.executable, restless.__file__, *map(str, PAUSE_S), *targets]
    process = client.namespaces.process(f"restless-{client.namespaces.name}", command)
    process.log.unlink(missing_ok=True)
    with client.capture(HANDSHAKES) as capture:
        process.start()
        try:
            yield process, capture
            os.kill(process.pid, signal.SIGTERM)
            until(
                lambda: process.last_lines(1) == ["over"],
                "the last calls",
                timeout_s=restless.TIMEOUT_S + 5,
            )
        finally:
            process.stop()


def calls_of(process: Process) -> list[Any]:
    lines = process.log.read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def scale_downs(wangell: Wangell) -> int:
    names = [each["metadata"]["name"] for each in wangell.cluster.get("pods", SYSTEM)["items"]]
    logs = [wangell.log(name) for name in names if name.startswith("wangell-controller")]
    ended = [line for log in logs for line in log.splitlines() if "draining -> cold" in line]
    return sum("default/restless-" in line for line in ended)


def wait_for_scale_downs(wangell: Wangell) -> None:
    deadline = time.monotonic() + TAKES_S_MAX
    while scale_downs(wangell) < SCALE_DOWNS:
        assert time.monotonic() < deadline, f"{scale_downs(wangell)} scale-downs"
        pause(2)  # To look takes the machine's time away from what is looked at.


@pytest.fixture
def pod(installed: Wangell) -> Iterator[PodCaller]:
    """A caller on the node of half the replicas."""
    caller = PodCaller(installed.cluster, "node1")
    yield caller
    caller.remove()


def test_two_hundred_scale_downs_fail_no_request(
    installed: Wangell, sleepy: Mapping[str, str], pod: PodCaller
) -> None:
    half = SERVICES // 2
    cluster_ips = [cluster_ip(installed, name) for name in sleepy]
    began = time.monotonic()
    with (
        calling(installed.cluster.client, list(sleepy.values())[:half]) as (outside, from_outside),
        calling(pod, cluster_ips[half:]) as (inside, from_inside),
    ):
        wait_for_scale_downs(installed)
    took_s = time.monotonic() - began

    seen = Calls(
        calls=calls_of(outside) + calls_of(inside),
        handshakes=from_outside.lines() + from_inside.lines(),
    )
    quick = [call for call in seen.calls if call["connected_ms"] < 1000]
    repeated = [call for call in seen.calls if seen.is_repeated(call)]
    record(
        scale_downs={
            "scale_downs": scale_downs(installed),
            "took_s": round(took_s, 1),
            "requests": len(seen.calls),
            "failed": len(seen.failed),
            "connected_ms": summary([call["connected_ms"] for call in seen.calls]),
            "calls_within_a_second": len(quick),
            "syns_per_call_within_a_second": {"max": max(map(seen.syns, quick))},
            "syns_after_the_answer": len(repeated),
        }
    )
    assert not seen.failed
    assert not repeated, "a SYN is sent again that was replayed"
    assert {seen.syns(call) for call in quick} == {1}


@pytest.mark.parametrize("moment", ["Draining", "Cold"])
def test_a_call_in_the_moment_of_going_to_sleep_is_one_syn(
    installed: Wangell, pod: PodCaller, moment: str
) -> None:
    """From the replica's own node by the ClusterIP, which its proxy still sends to that replica.

    It drains, and other daemons may not hold yet; or its pod is ending, and answers for a while.
    """
    services = named_alike("dozing", AT_ONCE, idleTimeout=IDLE_S, template=pinned("node1"))
    with (
        sleepers(installed, services) as addresses,
        concurrent.futures.ThreadPoolExecutor() as pool,
    ):
        dozing = [pool.submit(call_at, installed, pod, moment, name) for name in addresses]
        calls = [call for each in dozing for call in each.result()]

    times_ms, syns = [took_ms for took_ms, _ in calls], [sent for _, sent in calls]
    record_within(
        "callers",
        f"pod on node1, ClusterIP, replica on node1 that is {moment.lower()}",
        cold_start_ms=summary(times_ms),
        client_syns_per_wake={"max": max(syns)},
    )
    assert syns == [1] * AT_ONCE * MOMENTS
    assert max(times_ms) < 1000


def call_at(wangell: Wangell, pod: PodCaller, moment: str, name: str) -> list[tuple[float, int]]:
    """Call a service whenever it is so: the time that it took, in ms, and the SYNs."""
    address, calls = cluster_ip(wangell, name), []
    request(pod, address)
    for _ in range(MOMENTS):
        wangell.wait_until_phase("Warm", name)
        wangell.wait_until_phase(moment, name)
        with pod.capture(f"host {address}") as capture:
            took_ms = request(pod, address)
        calls.append((took_ms, capture.count(f"{SYN} and dst host {address}")))
    return calls


def cluster_ip(wangell: Wangell, name: str) -> str:
    return str(wangell.cluster.get(f"service/{name}")["spec"]["clusterIP"])


def request(client: OutsideClient, address: str) -> float:
    """How long it took, in ms."""
    began = time.monotonic()
    with client.connect(address, 80) as connection:
        connection.sendall(restless.REQUEST)
        answer = b""
        while chunk := connection.recv(4096):
            answer += chunk
    assert answer.endswith(restless.ANSWER), answer
    return (time.monotonic() - began) * 1000
