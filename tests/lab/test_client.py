"""The callers: what they measure, and how they fail."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.helpers import serving
from wangell_lab import Lab, LabError
from wangell_lab.servers import PYTHON_SERVER


@contextmanager
def answering_once(lab: Lab, response: bytes) -> Iterator[None]:
    """One connection to the pod gets these bytes, whatever it asks."""
    with lab.namespace("node1-pod1").socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("", 8080))
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(response)

        answering = threading.Thread(target=answer)
        answering.start()
        yield
        answering.join(5)


def test_the_steps_of_an_exchange_are_in_order(lab: Lab, c_server: Path) -> None:
    with serving(lab.namespace("node1-pod1"), [str(c_server)]):
        exchange = lab.client.get()
    assert exchange.started_ns < exchange.connected_ns < exchange.first_byte_ns
    assert 0 < exchange.connect_ms < exchange.first_byte_ms < 1000


def test_a_response_is_read_whole_though_it_comes_in_pieces(lab: Lab) -> None:
    body = b"x" * 300_000
    head = b"HTTP/1.1 503 Busy\r\nContent-Length: %d\r\n\r\n" % len(body)
    with answering_once(lab, head + body):
        exchange = lab.client.get()
    assert (exchange.status, exchange.body) == (503, body)


def test_what_is_not_http_is_an_error_that_says_so(lab: Lab) -> None:
    with (
        answering_once(lab, b"SSH-2.0-OpenSSH_9.2\r\n"),
        pytest.raises(LabError, match="not speak HTTP"),
    ):
        lab.client.get()


def test_a_server_that_says_nothing_is_an_error_that_says_so(lab: Lab) -> None:
    with answering_once(lab, b""), pytest.raises(LabError, match="without a response"):
        lab.client.get()


def test_nobody_there_is_refused(lab: Lab) -> None:
    with pytest.raises(ConnectionRefusedError):
        lab.client.get()
    with pytest.raises(LabError, match=r"curl http://10\.46\.100\.105:80/.*[Cc]onnect"):
        lab.client.curl()
    with pytest.raises(ConnectionRefusedError):
        lab.client.get_at_once(3)


def test_an_open_connection_may_be_used_later(lab: Lab, c_server: Path) -> None:
    with serving(lab.namespace("node1-pod1"), [str(c_server)]), lab.client.connect() as waiting:
        assert lab.client.get().status == 200  # The server is not held up by it.
        assert waiting.request().status == 200


def test_the_rto_is_that_of_the_kernel(lab: Lab, c_server: Path) -> None:
    """At a round trip of microseconds it is Linux's floor, 200 ms and a little."""
    with serving(lab.namespace("node1-pod1"), [str(c_server)]), lab.client.connect() as connection:
        assert 200 <= connection.rto_ms() < 300


def test_the_rto_of_a_connection_that_is_gone_is_an_error(lab: Lab, c_server: Path) -> None:
    with serving(lab.namespace("node1-pod1"), [str(c_server)]):
        with lab.client.connect() as connection:
            pass
        # Closed by the client, it lives on in FIN_WAIT at most, which ss does not list.
        with pytest.raises(LabError, match="ss shows no connection"):
            connection.rto_ms()


def test_fifty_at_once_are_all_answered(lab: Lab) -> None:
    with serving(lab.namespace("node1-pod1"), PYTHON_SERVER):
        exchanges = lab.client.get_at_once(50)
    assert [each.status for each in exchanges] == [200] * 50
    starts = [each.started_ns for each in exchanges]
    # At once: the last has begun before the first would have had a second SYN.
    assert (max(starts) - min(starts)) / 1e9 < 1
