"""Why a service is awake: connections, however silent, and daemons that are; and who says so."""

import contextlib
import re
import time
from collections.abc import Iterator

import pytest

from tests.cluster.waiting import pause, until
from tests.e2e.cold_starts import request
from tests.e2e.conftest import ADDRESS
from tests.e2e.controllers import Controllers
from tests.e2e.daemons import stopped_daemon
from tests.e2e.figures import record
from tests.e2e.sleepers import sleepers
from tests.e2e.wangell import NAME, SYSTEM, Wangell

pytestmark = pytest.mark.timeout(300)
IDLE_S = 2
GHOST = "ghost"
NODE = f"""\
apiVersion: v1
kind: Node
metadata: {{name: {GHOST}, labels: {{kubernetes.io/os: linux}}}}
spec: {{unschedulable: true}}
"""


@pytest.fixture
def sleepy(declared: Wangell) -> Wangell:
    """It would go to sleep at once; its replica is on node1."""
    declared.change({"idleTimeout": IDLE_S})
    declared.pin("node1")
    return declared


def replicas(wangell: Wangell) -> int:
    return int(wangell.cluster.get(f"deployment/{NAME}")["spec"]["replicas"])


def awake(wangell: Wangell, name: str = NAME) -> str:
    return str(wangell.status(name).get("awake", ""))


def blocked(wangell: Wangell) -> tuple[str, str]:
    condition = wangell.conditions()["ScaleDownBlocked"]
    return condition["status"], condition["message"]


def blocked_services(wangell: Wangell, node: str) -> float:
    """As the leader's metrics have it."""
    pod = wangell.cluster.get(f"pod/{Controllers(wangell).leader().pod}", SYSTEM)
    metrics = wangell.cluster.control_plane.namespaces.run(
        "curl", "--noproxy", "*", "-sS", f"http://{pod['status']['podIP']}:9464/metrics"
    )
    name = f'wangell_scale_down_blocked_services{{node="{node}"}} '
    lines = [line for line in metrics.splitlines() if line.startswith(name)]
    return float(lines[0].removeprefix(name)) if lines else 0.0


def wait_until_awake_for(wangell: Wangell, words: str, name: str = NAME) -> None:
    """By a pattern. What may wait in a status waits for 10 s."""
    said = re.compile(words)
    try:
        until(lambda: bool(said.fullmatch(awake(wangell, name))), words, timeout_s=30)
    except TimeoutError as error:
        error.add_note(f"{name}'s status: {wangell.status(name)}")
        raise


@pytest.fixture(scope="module")
def called_before(installed: Wangell) -> Iterator[str]:
    """A service that was called as this module began, and is not called again."""
    with sleepers(installed, {"called-before": {}}) as addresses:
        ((name, address),) = addresses.items()
        request(installed.cluster, address)
        yield name


def test_a_connection_silent_for_longer_than_the_timeout_keeps_it(
    called_before: str, sleepy: Wangell
) -> None:
    with sleepy.cluster.client.connect(ADDRESS, 80) as connection:
        silent_since = time.monotonic()
        sleepy.wait_until_phase("Warm")
        wait_until_awake_for(sleepy, "1 connection on node1")
        pause(max(0.0, silent_since + 4 * IDLE_S - time.monotonic()))

        status = sleepy.status()
        assert (status["phase"], status["activations"], replicas(sleepy)) == ("Warm", 1, 1)
        shown = sleepy.cluster.kubectl("get", "wsvc", NAME, "--output=wide")
        assert "1 connection on node1" in shown
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.0 200 OK")
    sleepy.wait_until_cold()
    assert "awake" not in sleepy.status()
    record(silent_connection={"idle_timeout_s": IDLE_S, "kept_for_s_at_least": 4 * IDLE_S})


def test_while_it_is_called_the_last_packet_is_why(installed: Wangell, called_before: str) -> None:
    wait_until_awake_for(installed, r"packet over \d+ (s|min) ago", called_before)


def test_a_silent_daemon_blocks_scale_down_until_it_answers(sleepy: Wangell) -> None:
    request(sleepy.cluster, ADDRESS)
    sleepy.wait_until_phase("Warm")
    with stopped_daemon(sleepy, "node2"):
        until(lambda: blocked(sleepy)[0] == "True", "the condition", timeout_s=30)
        pause(2 * IDLE_S)
        assert replicas(sleepy) == 1
        assert blocked(sleepy)[1].startswith("node2's daemon is silent: ")
        wait_until_awake_for(sleepy, "node2's daemon is silent")
        assert blocked_services(sleepy, "node2") == 1
        assert request(sleepy.cluster, ADDRESS) < 1000, "callers elsewhere feel nothing of it"

    sleepy.wait_until_cold()
    assert blocked(sleepy)[0] == "False"
    until(lambda: blocked_services(sleepy, "node2") == 0, "the metric", timeout_s=10)


def test_a_missing_daemon_blocks_scale_down_until_its_node_is_deleted(sleepy: Wangell) -> None:
    with node_without_a_machine(sleepy):
        request(sleepy.cluster, ADDRESS)
        until(lambda: blocked(sleepy)[0] == "True", "the condition", timeout_s=30)
        assert blocked(sleepy)[1].startswith(f"{GHOST}'s daemon is silent: ")
        pause(2 * IDLE_S)
        assert replicas(sleepy) == 1

        sleepy.cluster.kubectl("delete", f"node/{GHOST}")
        sleepy.wait_until_cold()


@contextlib.contextmanager
def node_without_a_machine(wangell: Wangell) -> Iterator[None]:
    """A Node that is in the cluster's books; Kubernetes has a daemon for it wait for ever."""
    wangell.cluster.apply(NODE)
    try:
        yield
    finally:
        wangell.cluster.kubectl("delete", f"node/{GHOST}", "--ignore-not-found")
        there = f"--field-selector=spec.nodeName={GHOST}"
        gone = ("--force", "--grace-period=0", "--ignore-not-found")
        wangell.cluster.kubectl("delete", "pods", SYSTEM, there, *gone)
        wangell.wait_until_ready()
