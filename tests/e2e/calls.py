"""One request to a service that was at zero: how long it took, and how many SYNs it took."""

import socket
import struct
import time
from dataclasses import dataclass

from tests.cluster.client import REQUEST_TIMEOUT_S, SYN, Client, OutsideClient, http_get

__all__ = ["Answer", "Call", "answered", "captured_call", "counted_call"]

# struct tcp_info of linux/tcp.h
RETRANSMISSIONS = struct.Struct("=100xI")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    took_ms: float
    "From connect() to the response's last byte."
    syns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    connected_ms: float
    "From connect() to its return."
    took_ms: float
    "From connect() to the response's last byte."
    syns: int
    "That the client's own kernel sent."


def captured_call(client: OutsideClient, address: str, port: int) -> Call:
    """The SYNs are those on the client's link."""
    with client.capture(f"host {address} and port {port}") as capture:
        answer = answered(client, address, port)
    return Call(took_ms=answer.took_ms, syns=capture.count(f"{SYN} and dst host {address}"))


def counted_call(client: OutsideClient, address: str, port: int) -> Call:
    """The SYNs are those that its own kernel says it sent."""
    answer = answered(client, address, port)
    return Call(took_ms=answer.took_ms, syns=answer.syns)


def answered(
    client: Client, address: str, port: int, *, timeout_s: float = REQUEST_TIMEOUT_S
) -> Answer:
    """One HTTP request by a plain socket."""
    began_s = time.monotonic()
    with client.connect(address, port, timeout_s=timeout_s) as connection:
        connected_s = time.monotonic()
        about = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, RETRANSMISSIONS.size)
        (sent_again,) = RETRANSMISSIONS.unpack(about)
        answer = http_get(connection)
    assert answer.endswith(b"Hello World!\n"), answer
    return Answer(
        connected_ms=(connected_s - began_s) * 1000,
        took_ms=(time.monotonic() - began_s) * 1000,
        syns=1 + sent_again,
    )
