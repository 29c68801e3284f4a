"""The harness's cluster is a Kubernetes: nodes, Services, DNS, times, a client outside."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.images.build import build as build_image
from tests.cluster.bare import BareKubernetes, wait_until_gone
from tests.cluster.client import SYN
from tests.cluster.cluster import Cluster
from tests.cluster.kubectl import KubectlError
from tests.cluster.waiting import until

HELLO = Path(__file__).parent / "manifests/hello.yaml"
ADDRESS = "10.200.1.7"
# The first test pays for the cluster, and on a new machine for building Kubernetes.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def hello(cluster: Cluster) -> Iterator[None]:
    """The demo server at zero, behind a LoadBalancer Service whose address the client reaches by
    node1.
    """
    cluster.import_image(build_image("helloworld-go"))
    cluster.apply(HELLO)
    cluster.assign_address("hello", ADDRESS, node="node1")
    yield
    cluster.withdraw(ADDRESS)
    cluster.delete(HELLO)


@contextlib.contextmanager
def one_replica(cluster: Cluster) -> Iterator[None]:
    """The demo server scaled by hand, until the block ends."""
    cluster.kubectl("scale", "deployment/hello", "--replicas=1")
    cluster.wait_for("deployment/hello", "jsonpath={.status.availableReplicas}=1")
    try:
        # kube-proxy writes what it has seen at most once a second.
        until(lambda: answers(cluster), "hello through its Service", timeout_s=10)
        yield
    finally:
        cluster.kubectl("scale", "deployment/hello", "--replicas=0")
        wait_until_gone(cluster, "hello")


def answers(cluster: Cluster) -> bool:
    """Whether the Service lets the client in.

    One that came before kube-proxy's rules is not refused but lost: conntrack has it untranslated.
    """
    try:
        cluster.client.connect(ADDRESS, 80, timeout_s=1).close()
    except OSError:
        return False
    return True


def pin_to(cluster: Cluster, node: str) -> None:
    """Let the demo server's pods run on one node only."""
    spec = {"nodeSelector": {"kubernetes.io/hostname": node}}
    patch = json.dumps({"spec": {"template": {"spec": spec}}})
    cluster.kubectl("patch", "deployment", "hello", f"--patch={patch}")


def test_two_nodes_are_ready_and_run_the_kubernetes_that_was_built(cluster: Cluster) -> None:
    nodes = cluster.get("nodes")["items"]

    assert [node["metadata"]["name"] for node in nodes] == ["node1", "node2"]
    for node in nodes:
        conditions = {one["type"]: one["status"] for one in node["status"]["conditions"]}
        assert conditions["Ready"] == "True"
        assert node["status"]["nodeInfo"]["kubeletVersion"].startswith("v1.36.")


def test_a_node_sees_its_own_devices_and_cgroups_and_nothing_of_the_machines(
    cluster: Cluster,
) -> None:
    node = cluster.node("node1")

    devices = node.run("ls", "/sys/class/net").split()
    own_cgroup = node.run("cat", "/proc/self/cgroup")

    assert {"lo", "eth0"} <= set(devices)
    assert "switch" not in devices
    assert cluster.id not in own_cgroup
    assert node.run("hostname").strip() == "node1"


def test_what_one_node_pins_the_other_does_not_see(cluster: Cluster) -> None:
    """Two daemons on one kernel would otherwise take over each other's maps."""
    cluster.node("node1").run("mkdir", "/sys/fs/bpf/pinned")
    try:
        assert "pinned" not in cluster.node("node2").run("ls", "/sys/fs/bpf")
        assert not Path("/sys/fs/bpf/pinned").exists()
    finally:
        cluster.node("node1").run("rmdir", "/sys/fs/bpf/pinned")


@pytest.mark.parametrize("node", ["node1", "node2"])
def test_scaled_by_hand_it_answers_through_its_service_from_outside(
    cluster: Cluster, kube_proxy_mode: str, hello: None, node: str
) -> None:
    """The client's packets enter at node1, so with the pod on node2 they cross."""
    pin_to(cluster, node)

    with one_replica(cluster):
        assert cluster.client.curl(f"http://{ADDRESS}/") == "Hello World!\n"
        pod = cluster.get("pods", "--selector=app=hello")["items"][0]
        assert pod["spec"]["nodeName"] == node


def test_each_kube_proxy_mode_writes_its_own_rules_and_removes_the_others(
    cluster: Cluster, kube_proxy_mode: str, hello: None
) -> None:
    for node in cluster.nodes.values():
        legacy, native = node.run("iptables-save", "-t", "nat"), node.run("nft", "list", "tables")

        assert ("KUBE-SERVICES" in legacy) == (kube_proxy_mode == "iptables")
        assert ("table ip kube-proxy" in native) == (kube_proxy_mode == "nftables")


def test_without_endpoints_the_client_is_refused(cluster: Cluster, hello: None) -> None:
    def refused() -> bool:
        try:
            cluster.client.connect(ADDRESS, 80, timeout_s=5).close()
        except ConnectionRefusedError:
            return True
        except OSError:  # for a second more, kube-proxy sends to the pod that was
            return False
        return False

    until(refused, "kube-proxy's REJECT", timeout_s=10)


def test_a_capture_sees_the_client_s_packets_and_no_others(cluster: Cluster, hello: None) -> None:
    with one_replica(cluster):
        cluster.client.curl(f"http://{ADDRESS}/")
        with cluster.client.capture("tcp port 80") as capture:
            cluster.client.curl(f"http://{ADDRESS}/")

    assert capture.count(SYN) == 1
    assert capture.count("tcp[tcpflags] & (tcp-syn|tcp-ack) == (tcp-syn|tcp-ack)") == 1
    assert all(ADDRESS in line for line in capture.lines())


def test_an_address_that_is_withdrawn_is_not_reached(cluster: Cluster, hello: None) -> None:
    cluster.withdraw(ADDRESS)
    try:
        with pytest.raises(OSError, match="unreachable"):
            cluster.client.connect(ADDRESS, 80, timeout_s=5)
    finally:
        cluster.announce(ADDRESS, node="node1")


def test_pods_find_services_by_name(cluster: Cluster, hello: None) -> None:
    """By the DNS server that kubelet names in every pod's resolv.conf, asked from a node's
    namespace.
    """
    service = cluster.get("service/hello")

    with one_replica(cluster):
        pod = cluster.get("pods", "--selector=app=hello")["items"][0]
        # The image has no shell: the container's root is read from its node.
        answer = cluster.node("node1").run(*resolve("hello.default.svc.cluster.local"))
        assert answer.split() == [service["spec"]["clusterIP"]]
        assert pod["spec"]["dnsPolicy"] == "ClusterFirst"


def test_a_name_that_is_no_service_is_refused_and_not_invented(cluster: Cluster) -> None:
    with pytest.raises(RuntimeError, match="rcode 3"):
        cluster.node("node1").run(*resolve("nobody.default.svc.cluster.local"))


def test_bare_kubernetes_is_measured_from_the_call_to_the_listen(
    cluster: Cluster, hello: None
) -> None:
    """No bound on the figure itself, which is the machine's: only on what cannot be true of a
    start.
    """
    with BareKubernetes(cluster, "hello", port=8080) as bare:
        starts = [bare.start() for _ in range(3)]

    print(f"bare_kubernetes_ms: {[round(each.listened_ms) for each in starts]}")
    assert len(starts) == 3
    assert all(20 < each.listened_ms < each.answered_ms < 5000 for each in starts)


def test_no_listen_is_reported_where_nothing_listens(cluster: Cluster) -> None:
    with cluster.listens(port=8080) as listens, pytest.raises(TimeoutError, match="8080"):
        listens.next(timeout_s=0.2)


def test_a_listen_outside_the_cluster_s_pods_is_passed_over(cluster: Cluster) -> None:
    with cluster.listens(port=18080) as listens:
        with cluster.client.namespaces.open_socket() as server:
            server.bind(("10.200.0.50", 18080))
            server.listen()
        with pytest.raises(TimeoutError):
            listens.next(timeout_s=0.2)


def test_a_wait_that_cannot_end_says_what_it_waited_for(cluster: Cluster) -> None:
    started = time.monotonic()

    with pytest.raises(KubectlError, match="deployment/nobody"):
        cluster.wait_for("deployment/nobody", "create", timeout_s=1)

    assert time.monotonic() - started < 10


def test_the_api_server_comes_back_after_a_crash(cluster: Cluster) -> None:
    api_server = cluster.control_plane.processes["kube-apiserver"]

    api_server.kill()
    with pytest.raises(KubectlError):
        cluster.kubectl("get", "nodes", "--request-timeout=1s")
    api_server.start(ready_timeout_s=30)

    assert len(cluster.get("nodes")["items"]) == 2


def test_what_a_component_logs_is_at_hand(cluster: Cluster) -> None:
    lines = list(cluster.last_lines(3))

    assert any("node1-kubelet.log" in line for line in lines)
    assert len(lines) <= 4 * len(cluster.processes)


def resolve(name: str) -> tuple[str, str, str, str]:
    """A command that asks the cluster's DNS for an address and prints it: one question, one
    datagram.
    """
    program = """
import socket, struct, sys
name, = sys.argv[1:]
labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
question = struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + labels + b"\\0" + struct.pack("!2H", 1, 1)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as dns:
    dns.settimeout(5)
    dns.sendto(question, ("10.200.0.10", 53))
    answer = dns.recv(512)
rcode = answer[3] & 15
sys.exit(f"rcode {rcode}") if rcode else print(socket.inet_ntoa(answer[-4:]))
"""
    return ("python3", "-c", program, name)
