"""Two controllers: whichever is killed or sleeps, callers are answered and nothing is lowered."""

import concurrent.futures
import contextlib
from collections.abc import Iterator

import pytest

from tests.cluster.client import SYN, Capture
from tests.cluster.waiting import pause, until
from tests.e2e.cold_starts import request
from tests.e2e.conftest import ADDRESS
from tests.e2e.controllers import Controller, Controllers
from tests.e2e.figures import record, record_within
from tests.e2e.wangell import NAME, SYSTEM, Wangell

pytestmark = pytest.mark.timeout(300)
SLEEP_S = 30.0
# The wake is said again after 400 ms; the rest is Kubernetes's, on a machine that is busy.
WITHOUT_LEADER_MS = 1500.0
SYN_ACK = "tcp[tcpflags] & (tcp-syn|tcp-ack) == (tcp-syn|tcp-ack)"


@pytest.fixture
def controllers(declared: Wangell) -> Iterator[Controllers]:
    """Each test finds two, and leaves two."""
    yield Controllers(declared)
    declared.wait_until_ready()


def replicas(wangell: Wangell) -> int:
    return int(wangell.cluster.get(f"deployment/{NAME}")["spec"]["replicas"])


def test_they_are_on_two_nodes_and_one_may_be_disrupted(installed: Wangell) -> None:
    pods = installed.cluster.get("pods", SYSTEM)["items"]
    nodes = {
        each["spec"]["nodeName"]
        for each in pods
        if each["metadata"]["name"].startswith("wangell-controller-")
    }
    budget = installed.cluster.get("poddisruptionbudget/wangell-controller", SYSTEM)
    assert nodes == set(installed.cluster.nodes)
    assert budget["status"]["disruptionsAllowed"] == 1


@pytest.mark.parametrize(
    ("when", "killed_ms_after_syn"), [("before", -1), ("on", 2), ("during", 30), ("late in", 120)]
)
def test_the_leader_killed_in_a_wake_is_one_syn_all_the_same(
    declared: Wangell, controllers: Controllers, when: str, killed_ms_after_syn: int
) -> None:
    """Before it could hear of it; as it acknowledges it; and once it has asked for the replica.

    The other raises it, and tells the daemons whose LISTEN it is, and that it has come.
    """
    cluster = declared.cluster
    declared.wait_until_cold()
    leader, told = controllers.leader(), len(wakes_told(declared))
    with (
        concurrent.futures.ThreadPoolExecutor() as pool,
        cluster.client.capture(f"host {ADDRESS}") as capture,
    ):
        if killed_ms_after_syn < 0:
            leader.kill()
        call = pool.submit(request, cluster, ADDRESS)
        if killed_ms_after_syn >= 0:
            pause(killed_ms_after_syn / 1000)
            leader.kill()
        took_ms = call.result()

    record_within("leader_killed", f"{when} a wake", took_ms=round(took_ms, 1))
    sent = times(capture, f"{SYN} and dst host {ADDRESS}")
    answered = times(capture, f"{SYN_ACK} and src host {ADDRESS}")
    assert len(answered) == 1
    assert max(sent) < answered[0], "a SYN is sent again that was replayed"
    # Most take less than a second; the caller's own SYN after it has been held, and not answered.
    assert len(sent) == 1 + (took_ms > 1000)
    assert took_ms < WITHOUT_LEADER_MS
    declared.wait_until_phase("Warm", timeout_s=40)
    until(lambda: len(wakes_told(declared)) > told, "the Event of the wake", timeout_s=20)
    # Another pod in its place: a container that ends again and again is started ever later.
    cluster.kubectl("delete", "pod", SYSTEM, leader.pod)


def wakes_told(wangell: Wangell) -> list[str]:
    return [note for note in wangell.events() if note.startswith("woke in")]


def times(capture: Capture, expression: str) -> list[float]:
    return [float(line.split()[0]) for line in capture.lines(expression)]


def test_a_leader_that_slept_before_its_patch_lowers_nothing(
    declared: Wangell, controllers: Controllers
) -> None:
    """Every daemon has armed, its PATCH to zero is on its way, and it is stopped for 30 s."""
    cluster = declared.cluster
    declared.change({"idleTimeout": 5})
    request(cluster, ADDRESS)
    declared.wait_until_phase("Warm")
    leader, taken = controllers.leader(), controllers.transitions()
    before = drains(declared, leader)
    pause(2)
    with contextlib.ExitStack() as sleeping:
        with controllers.cut_off(leader):
            until(lambda: drains(declared, leader) > before, "the drain's end", timeout_s=10)
            sleeping.enter_context(leader.stopped())
            assert replicas(declared) == 1
            pool = sleeping.enter_context(concurrent.futures.ThreadPoolExecutor())
            call = pool.submit(request, cluster, ADDRESS, timeout_s=SLEEP_S)
            until(lambda: raised(declared), "the other's raising", timeout_s=5)
        # What the sleeper had sent arrives now, after another was woken.
        took_ms = call.result()
        assert replicas(declared) == 1
        declared.change({"idleTimeout": 600})  # Whoever leads now has no reason of its own.
        pause(max(0.0, SLEEP_S - took_ms / 1000))
    controllers.wait_until_another_leads(taken)

    for _ in range(4):
        assert replicas(declared) == 1
        assert request(cluster, ADDRESS) < 1000
        pause(1)
    record(leader_slept_in_a_drain_ms=round(took_ms, 1))
    assert declared.status()["phase"] == "Warm"


def drains(wangell: Wangell, leader: Controller) -> int:
    """How many have come to their end, other tests' among them."""
    return wangell.log(leader.pod).count(f"{NAME}: draining -> cold")


def raised(wangell: Wangell) -> bool:
    annotations = wangell.cluster.get(f"deployment/{NAME}")["metadata"].get("annotations", {})
    return "wangell.loutres.me/raised" in annotations


def test_one_that_leaves_in_order_is_followed_at_once(
    declared: Wangell, controllers: Controllers
) -> None:
    cluster, taken = declared.cluster, controllers.transitions()
    request(cluster, ADDRESS)
    declared.wait_until_phase("Warm")
    cluster.kubectl("delete", "pod", SYSTEM, controllers.leader().pod, "--wait=false")

    controllers.wait_until_another_leads(taken, timeout_s=8)

    assert replicas(declared) == 1
    assert request(cluster, ADDRESS) < 1000
