"""A real listener's queue and connections, as the kernel tells them."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.namespaces import Namespace
from wangell_daemon.datapath import Listener

PORT, BACKLOG = 8080, 5


@pytest.fixture
def pod() -> Iterator[Namespace]:
    with Namespace() as namespace:
        yield namespace


def socket_in(pod: Namespace, family: int = socket.AF_INET) -> socket.socket:
    return pod.run(lambda: socket.socket(family, socket.SOCK_STREAM))


@contextlib.contextmanager
def serving(
    pod: Namespace, *, family: int = socket.AF_INET, port: int = PORT, backlog: int = BACKLOG
) -> Iterator[socket.socket]:
    """A server that listens and accepts only when the test does."""
    with socket_in(pod, family) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", port))
        server.listen(backlog)
        yield server


@contextlib.contextmanager
def asking(pod: Namespace, port: int = PORT) -> Iterator[Listener]:
    listener = Listener(str(pod.path), port)
    try:
        yield listener
    finally:
        listener.close()


class Callers:
    """Clients that have connected, and stay."""

    def __init__(self, pod: Namespace, stack: contextlib.ExitStack) -> None:
        self._pod, self._stack = pod, stack

    def call(self, count: int = 1, *, to: str = "127.0.0.1", port: int = PORT) -> socket.socket:
        """Connect that many; returns the last."""
        for _ in range(count):
            caller = self._stack.enter_context(socket_in(self._pod))
            caller.settimeout(5)
            caller.connect((to, port))
        return caller


@pytest.fixture
def callers(pod: Namespace) -> Iterator[Callers]:
    with contextlib.ExitStack() as stack:
        yield Callers(pod, stack)


def descriptors() -> int:
    """How many this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


# Room.


def test_an_idle_listener_has_all_its_backlog(pod: Namespace) -> None:
    with serving(pod), asking(pod) as listener:
        assert listener.room() == BACKLOG
        assert listener.connections() == 0


def test_who_has_not_been_accepted_takes_room_and_accepting_gives_it_back(
    pod: Namespace, callers: Callers
) -> None:
    with serving(pod) as server, asking(pod) as listener:
        callers.call(3)
        assert listener.room() == BACKLOG - 3
        with server.accept()[0]:
            assert listener.room() == BACKLOG - 2


def test_a_full_queue_has_no_room_and_never_less_than_none(
    pod: Namespace, callers: Callers
) -> None:
    with serving(pod), asking(pod) as listener:
        callers.call(BACKLOG + 1)  # Linux takes one more than it was asked for
        assert listener.room() == 0


def test_where_nothing_listens_one_may_try(pod: Namespace) -> None:
    with asking(pod) as listener:
        assert listener.room() == 1
        assert listener.connections() == 0


def test_another_ports_listener_is_another(pod: Namespace, callers: Callers) -> None:
    with serving(pod), serving(pod, port=PORT + 1, backlog=100), asking(pod) as listener:
        callers.call(2, port=PORT + 1)
        assert listener.room() == BACKLOG
        assert listener.connections() == 0


def test_a_listener_of_both_families_is_seen(pod: Namespace, callers: Callers) -> None:
    with serving(pod, family=socket.AF_INET6) as server, asking(pod) as listener:
        callers.call(2)
        assert listener.room() == BACKLOG - 2
        assert listener.connections() == 2
        server.close()


def test_a_listener_that_comes_later_is_seen_by_the_same_question(pod: Namespace) -> None:
    with asking(pod) as listener:
        assert listener.room() == 1
        with serving(pod):
            assert listener.room() == BACKLOG
        assert listener.room() == 1


# Connections.


def test_accepted_and_unaccepted_connections_are_counted_alike(
    pod: Namespace, callers: Callers
) -> None:
    with serving(pod) as server, asking(pod) as listener:
        callers.call(3)
        assert listener.connections() == 3
        with server.accept()[0]:
            assert listener.connections() == 3


def test_a_handshake_that_is_not_over_is_a_connection(pod: Namespace, callers: Callers) -> None:
    with serving(pod) as server, asking(pod) as listener:
        # The kernel keeps it in SYN_RECV until data comes: the accept queue never sees it.
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 10)
        callers.call()
        assert listener.room() == BACKLOG
        assert listener.connections() == 1


def test_a_client_that_has_closed_counts_until_the_server_has_too(
    pod: Namespace, callers: Callers
) -> None:
    with serving(pod) as server, asking(pod) as listener:
        caller = callers.call()
        accepted = server.accept()[0]
        caller.close()
        assert accepted.recv(1) == b""
        assert listener.connections() == 1  # CLOSE_WAIT: the server may still be writing
        accepted.close()
        assert listener.connections() == 0


def test_a_connection_in_time_wait_is_over(pod: Namespace, callers: Callers) -> None:
    with serving(pod) as server, asking(pod) as listener:
        caller = callers.call()
        accepted = server.accept()[0]
        accepted.close()
        assert caller.recv(1) == b""
        caller.close()
        assert listener.connections() == 0


def test_connections_outlive_their_listener(pod: Namespace, callers: Callers) -> None:
    with asking(pod) as listener:
        with serving(pod) as server:
            callers.call()
            accepted = server.accept()[0]
        with accepted:
            assert listener.room() == 1
            assert listener.connections() == 1


def test_what_the_pod_itself_has_called_elsewhere_is_not_a_callers(
    pod: Namespace, callers: Callers
) -> None:
    with serving(pod, port=9090), asking(pod) as listener:
        callers.call(3, port=9090)
        assert listener.connections() == 0


def test_a_socket_that_is_only_bound_is_no_connection(pod: Namespace) -> None:
    # Linux 6.8 tells of them too, as BOUND_INACTIVE.
    with socket_in(pod) as bound, socket_in(pod) as server, asking(pod) as listener:
        for each in (bound, server):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            each.bind(("0.0.0.0", PORT))
        server.listen(BACKLOG)
        assert listener.connections() == 0
        assert listener.room() == BACKLOG


def test_more_connections_than_one_reply_holds_are_all_counted(
    pod: Namespace, callers: Callers
) -> None:
    with serving(pod, backlog=500), asking(pod) as listener:
        callers.call(400)
        assert listener.connections() == 400
        assert listener.room() == 100
        assert listener.connections() == 400, "and nothing is left over of the first answer"


# Namespaces.


def test_another_namespaces_connections_are_not_seen(pod: Namespace, callers: Callers) -> None:
    with Namespace() as other, serving(pod), asking(other) as elsewhere:
        callers.call(2)
        assert elsewhere.room() == 1
        assert elsewhere.connections() == 0


def test_asking_leaves_the_thread_where_it_was(pod: Namespace) -> None:
    home = Path("/proc/thread-self/ns/net").readlink()
    with serving(pod), asking(pod) as listener:
        listener.room()
        assert Path("/proc/thread-self/ns/net").readlink() == home


def test_a_namespace_that_is_gone_is_said_so_and_costs_no_descriptor() -> None:
    before = descriptors()
    for path in ("/proc/4194305/ns/net", "/run/netns/wt-missing"):
        with pytest.raises(FileNotFoundError):
            Listener(path, PORT)
    assert descriptors() == before


def test_a_closed_listener_lets_its_descriptors_go(pod: Namespace) -> None:
    before = descriptors()
    for _ in range(20):
        with asking(pod) as listener:
            listener.room()
    assert descriptors() == before
