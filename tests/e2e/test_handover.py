"""The handover while it matters and no longer: to the right pod, or to none."""

import concurrent.futures
import ipaddress
import itertools
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.cluster.client import SYN
from tests.cluster.cluster import Cluster
from tests.cluster.node import Node
from tests.cluster.waiting import pause, until
from tests.e2e.conftest import ADDRESS
from tests.e2e.figures import record
from tests.e2e.handovers import handed_to, named, replicas_handed_to, ways, who_answers
from tests.e2e.sleepers import sleepers
from tests.e2e.wangell import NAME, Wangell

pytestmark = pytest.mark.timeout(300)
LATE = "late"
LINGERS_S = 15
READY_AFTER_S = 45
# When it is scaled to zero by hand, each time that long after the wake before.
SCALED_AFTER_S, APART_S = (1.0, 1.3, 1.5, 1.6, 1.7, 1.8), 2.0
# By the client's kernel, where a machine that is busy with others takes so long to start a pod.
RETRANSMITTED_AFTER_S = 1.0
# What the EndpointSlice has to show on end, and what kubelet, its controller and ours may need.
ROUTED_AFTER_S, TOLD_WITHIN_S = 5, 10
CNI_ADDRESSES = "/var/lib/cni/networks/wangell"
STRANGER = """\
apiVersion: v1
kind: Pod
metadata: {{name: stranger}}
spec:
  nodeName: {node}
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 0
  containers:
    - name: server
      image: registry.loutres.me/helloworld-go:latest
      imagePullPolicy: IfNotPresent
      env: [{{name: TARGET, value: stranger}}]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Late:
    """What was seen of a service whose pod is late to be ready. Every call was its pod's answer."""

    calls: int
    calls_before: int
    "it was ready, but for the first one"
    syns: int
    "of all calls"
    ready_s: float
    "after the first answer"
    ended_s: float
    "after it was ready: its handover"


@pytest.fixture(scope="module", autouse=True)
def late(installed: Wangell) -> Iterator["concurrent.futures.Future[Late]"]:
    """It takes a minute: it begins with this module, and the other tests do not wait for it."""
    probe = {"tcpSocket": {"port": 8080}, "initialDelaySeconds": READY_AFTER_S, "periodSeconds": 1}
    template = {"spec": named(readinessProbe=probe)}
    with (
        sleepers(installed, {LATE: {"template": template}}) as addresses,
        concurrent.futures.ThreadPoolExecutor() as pool,
    ):
        yield pool.submit(call_until_routed, installed, addresses[LATE])


def call_until_routed(wangell: Wangell, address: str) -> Late:
    """Call by way of each node until nothing hands over any more, and once again."""
    cluster, callers, calls = wangell.cluster, ways(wangell, address, LATE), 0
    with cluster.client.capture() as capture:
        pod = who_answers(cluster, address)
        began = time.monotonic()
        while not is_ready(wangell):
            assert time.monotonic() - began < 2 * READY_AFTER_S
            for way in callers:
                assert who_answers(cluster, *way) == pod
                calls += 1
            pause(0.3)
        ready_s = time.monotonic() - began
        assert len(handed_to(cluster, address)) == 2, "its slice has not shown it for 5 s yet"
        gone = ROUTED_AFTER_S + TOLD_WITHIN_S
        until(lambda: not handed_to(cluster, address), "its end", timeout_s=gone)
        ended_s = time.monotonic() - began - ready_s
        for way in callers:
            assert who_answers(cluster, *way) == pod
    syns = sum(
        capture.count(f"{SYN} and dst host {host} and port {port}") for host, port in callers
    )
    made = 1 + calls + len(callers)
    return Late(calls=made, calls_before=calls, syns=syns, ready_s=ready_s, ended_s=ended_s)


def is_ready(wangell: Wangell) -> bool:
    """Whether Kubernetes calls its pod ready."""
    (pod,) = wangell.pods(LATE)
    conditions = {each["type"]: each["status"] for each in pod["status"]["conditions"]}
    return bool(conditions["Ready"] == "True")


@pytest.fixture
def at_rest(declared: Wangell) -> Wangell:
    """The published manifest, and no pod of an earlier test's."""
    declared.wait_until_cold()
    return declared


def use_template(wangell: Wangell, spec: dict[str, Any], **changes: Any) -> None:
    """Change the service; return once the next wake's pod will be of it."""
    wangell.change({"template": {"spec": spec}, **changes})
    deployment = f"deployment/{NAME}"
    until(
        lambda: "TARGET" in str(wangell.cluster.get(deployment)["spec"]["template"]),
        "its template",
        timeout_s=20,
    )


def address_of(wangell: Wangell, pod: str) -> str:
    """A pod's address, which its kubelet may tell after it has answered."""
    cluster = wangell.cluster
    until(lambda: "podIP" in cluster.get(f"pod/{pod}")["status"], "its address", timeout_s=10)
    return str(cluster.get(f"pod/{pod}")["status"]["podIP"])


def wait_until_handed_over(cluster: Cluster, address: str) -> None:
    """Return once every node hands callers over to this pod, and to no other."""
    wanted = dict.fromkeys(cluster.nodes, address)
    until(lambda: handed_to(cluster, ADDRESS) == wanted, "both nodes' handovers", timeout_s=5)


@pytest.fixture
def cordoned(cluster: Cluster) -> Iterator[list[str]]:
    """Nodes that take no pod of the scheduler's; whoever asks adds to them."""
    nodes: list[str] = []
    yield nodes
    for node in nodes:
        cluster.kubectl("uncordon", node)


def test_a_pods_address_that_is_anothers_by_now_gets_none_of_its_callers(
    at_rest: Wangell, cordoned: list[str]
) -> None:
    """Its handover would last: its pod is never ready. Then it is gone, and no other may start."""
    declared, cluster = at_rest, at_rest.cluster
    late = {"tcpSocket": {"port": 8080}, "initialDelaySeconds": 600}
    spec = {**named(readinessProbe=late), "terminationGracePeriodSeconds": 0}
    use_template(declared, spec)
    first = who_answers(cluster, ADDRESS)
    address, callers = address_of(declared, first), ways(declared, ADDRESS)
    wait_until_handed_over(cluster, address)

    for name in cluster.nodes:
        cordoned.append(name)
        cluster.kubectl("cordon", name)
    node = cluster.node(declared.pods()[0]["spec"]["nodeName"])
    cluster.kubectl("delete", f"pod/{first}", "--grace-period=0", "--force")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        declared.wait_until_phase("Waking")
        calls = [pool.submit(who_answers, cluster, *way) for way in callers]
        try:
            give_away(cluster, node, address)
            assert address not in replicas_handed_to(cluster)
            assert not any(call.done() for call in calls), "held: there is nobody to answer"
            while cordoned:
                cluster.kubectl("uncordon", cordoned.pop())
            answers = {call.result() for call in calls}
        finally:
            cluster.kubectl("delete", "pod/stranger", "--ignore-not-found")

    (second,) = answers
    assert second in {pod["metadata"]["name"] for pod in declared.pods()} - {first}
    wait_until_handed_over(cluster, address_of(declared, second))


def give_away(cluster: Cluster, node: Node, address: str) -> None:
    """Start another pod, on no Service's behalf, that has the address and answers at its port."""
    until(lambda: _is_free(node, address), f"{address} free", timeout_s=30)
    # It would hide the new pod behind the old one's link for half a minute.
    node.run("ip", "neighbor", "flush", "to", address)
    # host-local gives the next one to the last it gave.
    before = ipaddress.ip_address(address) - 1
    node.run("sh", "-c", f"echo -n {before} > {CNI_ADDRESSES}/last_reserved_ip.0")
    cluster.apply(STRANGER.format(node=node.name))
    cluster.wait_for("pod/stranger", "condition=Ready")
    assert cluster.get("pod/stranger")["status"]["podIP"] == address
    url = f"http://{address}:8080/"
    assert "Hello stranger!" in node.run("curl", "--noproxy", "*", "-sSf", url)


def _is_free(node: Node, address: str) -> bool:
    return address not in node.run("ls", CNI_ADDRESSES).split()


def pods_handed_over_to(wangell: Wangell) -> set[str]:
    """The addresses of all, once both nodes hand the service's callers over: soon after an answer.

    Some seconds later its slice is ready, and it is over. The late one, which is handed over beside
    every test here, is left out.
    """
    cluster = wangell.cluster
    until(lambda: len(handed_to(cluster, ADDRESS)) == 2, "both handovers", timeout_s=5)
    late = set(handed_to(cluster, wangell.address(LATE)).values())
    return replicas_handed_to(cluster) - late


def test_two_wakes_in_a_row_each_reach_their_own_pod(at_rest: Wangell) -> None:
    """The first wake's pod takes its time to go, listens all the while, and is never called."""
    declared, cluster = at_rest, at_rest.cluster
    lingers = {"preStop": {"sleep": {"seconds": LINGERS_S}}}
    use_template(declared, named(lifecycle=lingers), idleTimeout=1)

    first_at = time.monotonic()
    first = who_answers(cluster, ADDRESS)
    # Its status may still be that of before the wake.
    declared.wait_until_phase("Warm")
    declared.wait_until_phase("Cold")
    assert handed_to(cluster, ADDRESS) == {}, "deleted on arming"
    with cluster.client.capture(f"host {ADDRESS}") as capture:
        apart_s = time.monotonic() - first_at
        second = who_answers(cluster, ADDRESS)
    handovers = pods_handed_over_to(declared)
    declared.change({"idleTimeout": 600})
    answers = {who_answers(cluster, *way) for _ in range(10) for way in ways(declared, ADDRESS)}

    pods = {pod["metadata"]["name"] for pod in declared.pods()}
    assert pods == {first, second}, "the first one is there still"
    assert answers == {second}
    assert capture.count(f"{SYN} and dst host {ADDRESS}") == 1
    assert handovers == {address_of(declared, second)}
    record(two_wakes_apart_s=round(apart_s, 1))


def test_wakes_2_s_apart_each_have_a_pod_of_their_own(at_rest: Wangell) -> None:
    """Scaled to zero by hand in between, the last time 0.2 s before; all their pods end slowly."""
    declared, cluster = at_rest, at_rest.cluster
    lingers = {"preStop": {"sleep": {"seconds": LINGERS_S}}}
    use_template(declared, named(lifecycle=lingers), idleTimeout=600)

    answers: list[str] = []
    handovers: list[set[str]] = []
    slow, due_s = 0, time.monotonic()
    with cluster.api() as api, cluster.client.capture(f"host {ADDRESS}") as capture:
        for scaled_after_s in (*SCALED_AFTER_S, None):
            pause(due_s - time.monotonic())
            began_s = time.monotonic()
            answers.append(who_answers(cluster, ADDRESS))
            slow += time.monotonic() - began_s > RETRANSMITTED_AFTER_S
            handovers.append(pods_handed_over_to(declared))
            if scaled_after_s is not None:
                pause(began_s + scaled_after_s - time.monotonic())
                api.scale(NAME, 0)
                # Some milliseconds: who calls in these reaches the pod of before, and is answered.
                until(lambda: not handed_to(cluster, ADDRESS), "Cold on both nodes", timeout_s=5)
            due_s = began_s + APART_S

    addresses = {each["metadata"]["name"]: each["status"]["podIP"] for each in declared.pods()}
    assert set(answers) == set(addresses), "all are there still"
    assert len(addresses) == len(answers), "nobody was answered by a pod of before"
    assert handovers == [{addresses[answer]} for answer in answers]
    syns = [float(line.split()[0]) for line in capture.lines(f"{SYN} and dst host {ADDRESS}")]
    assert len(syns) == len(answers) + slow, "one each, but for a pod that took a second to start"
    apart_s = statistics.median(after - before for before, after in itertools.pairwise(syns))
    if not slow:
        assert APART_S <= apart_s < APART_S + 0.2
        record(two_wakes_apart_by_hand_s={"pairs": len(SCALED_AFTER_S), "p50": round(apart_s, 2)})


def test_until_a_pod_is_ready_and_for_5_s_more_callers_are_handed_over(
    late: "concurrent.futures.Future[Late]",
) -> None:
    """Its server listens at once, and Kubernetes calls it ready after 45 s."""
    seen = late.result(timeout=2 * READY_AFTER_S)
    assert seen.ready_s >= READY_AFTER_S - 1
    assert seen.ended_s >= ROUTED_AFTER_S - 1
    assert seen.syns == seen.calls, "one each, from the first to the last"
    record(
        late_readiness={
            "ready_s": round(seen.ready_s, 1),
            "calls_before": seen.calls_before,
            "failed": 0,
            "syns_per_call": 1,
            "handover_ended_after_ready_s": round(seen.ended_s, 1),
        }
    )
