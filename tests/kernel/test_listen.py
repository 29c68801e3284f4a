"""The LISTEN watch in the real kernel: every TCP listen() of the machine, and nothing else."""

import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.kernel.namespaces import Namespace
from wangell_daemon.datapath.compiler import compile_program
from wangell_daemon.datapath.rings import Ring
from wangell_daemon.kernel_events import Listened, parse_listened

# Told of too early, one in some hundred is not found.
LISTENERS = 2000


class Watch:
    """listen.bpf.c, loaded. The whole machine is watched, so tests look for their own process."""

    def __init__(self) -> None:
        self.bpf = compile_program("listen.bpf.c")
        self._events: list[bytes] = []
        self._ring = Ring(self.bpf[b"listens"].map_fd, self._events.append)

    def heard(self) -> list[Listened]:
        """What this process has done since last asked."""
        self._ring.consume()
        events, self._events[:] = list(self._events), []
        return [each for each in map(parse_listened, events) if each.pid == os.getpid()]


@pytest.fixture(scope="module")
def loaded() -> Iterator[Watch]:
    watch = Watch()
    yield watch
    watch._ring.close()
    watch.bpf.cleanup()


@pytest.fixture
def watch(loaded: Watch) -> Watch:
    loaded.heard()
    return loaded


@pytest.fixture
def pod() -> Iterator[Namespace]:
    with Namespace() as namespace:
        yield namespace


def listener(
    address: str = "0.0.0.0", family: int = socket.AF_INET, port: int = 0
) -> socket.socket:
    server = socket.socket(family, socket.SOCK_STREAM)
    try:
        server.bind((address, port))
        server.listen()
    except OSError:
        server.close()
        raise
    return server


def test_listen_is_told_with_who_where_and_when(watch: Watch) -> None:
    before_ns = time.monotonic_ns()
    with listener() as server:
        (listened,) = watch.heard()
        assert listened.port == server.getsockname()[1]
    assert before_ns <= listened.seen_ns <= time.monotonic_ns()
    assert not listened.is_loopback


def test_whoever_is_told_of_a_listener_finds_it(watch: Watch) -> None:
    """In the kernel the state comes first, and only then is the socket where a SYN finds it."""
    outcomes: list[int] = []
    is_over, called = threading.Event(), threading.Semaphore(0)

    def call() -> None:
        while not is_over.is_set():
            for listened in watch.heard():
                with socket.socket() as caller:
                    outcomes.append(caller.connect_ex(("127.0.0.1", listened.port)))
                called.release()

    caller = threading.Thread(target=call)
    caller.start()
    for _ in range(LISTENERS):
        with listener():
            assert called.acquire(timeout=5)
    is_over.set()
    caller.join()
    assert outcomes == [0] * LISTENERS


def test_the_port_is_in_host_order(watch: Watch, pod: Namespace) -> None:
    with pod.run(lambda: listener(port=8080)):
        (listened,) = watch.heard()
    assert listened.port == 8080


@pytest.mark.parametrize(
    ("address", "family", "is_loopback"),
    [
        ("0.0.0.0", socket.AF_INET, False),
        ("::", socket.AF_INET6, False),
        ("127.0.0.1", socket.AF_INET, True),
        ("127.0.0.53", socket.AF_INET, True),
        ("::1", socket.AF_INET6, True),
        ("::ffff:127.0.0.1", socket.AF_INET6, True),
    ],
)
def test_loopback_listeners_are_told_apart(
    watch: Watch, pod: Namespace, address: str, family: int, is_loopback: bool
) -> None:
    with pod.run(lambda: listener(address, family)):
        (listened,) = watch.heard()
    assert listened.is_loopback is is_loopback


def test_a_listen_on_one_address_is_no_loopbacks(watch: Watch, pod: Namespace) -> None:
    pod.ip("address", "add", "10.9.0.7/32", "dev", "lo")
    with pod.run(lambda: listener("10.9.0.7")):
        (listened,) = watch.heard()
    assert not listened.is_loopback


def test_every_namespace_is_watched_and_the_process_is_named_not_its_thread(
    watch: Watch, pod: Namespace
) -> None:
    # `run` uses a thread: the event has the thread group, which /proc knows.
    with pod.run(listener):
        (listened,) = watch.heard()
    assert listened.pid == os.getpid()


def test_nothing_else_that_a_tcp_socket_does_is_told(watch: Watch) -> None:
    with listener("127.0.0.1") as server:
        watch.heard()
        with socket.create_connection(server.getsockname()) as client:
            server.accept()[0].close()
            client.recv(1)
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
    assert watch.heard() == []


def test_other_protocols_are_not_told(watch: Watch) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(("127.0.0.1", 0))
    with socket.socket(socket.AF_UNIX) as local:
        local.bind(f"\0wt{os.getpid()}")
        local.listen()
    assert watch.heard() == []


def test_a_larger_backlog_later_is_no_new_listen(watch: Watch) -> None:
    with listener("127.0.0.1") as server:
        server.listen(100)
        assert len(watch.heard()) == 1


def test_each_socket_that_shares_a_port_is_told(watch: Watch, pod: Namespace) -> None:
    def two() -> list[socket.socket]:
        servers = [socket.socket() for _ in range(2)]
        for server in servers:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            server.bind(("0.0.0.0", 8080))
            server.listen()
        return servers

    for server in pod.run(two):
        server.close()
    assert [each.port for each in watch.heard()] == [8080, 8080]


def test_what_could_not_listen_is_not_told(watch: Watch, pod: Namespace) -> None:
    with pod.run(lambda: listener(port=8080)):
        watch.heard()
        with pytest.raises(OSError, match="in use"):
            pod.run(lambda: listener(port=8080))
        assert watch.heard() == []
