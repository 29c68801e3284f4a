"""One request to a service that was at zero: how long it took, and how many SYNs it took."""

import socket
import struct
import time
from dataclasses import dataclass

from tests.cluster.client import SYN, OutsideClient

__all__ = ["Call", "captured_call", "counted_call", "counted_request"]

# struct tcp_info of linux/tcp.h
RETRANSMISSIONS = struct.Struct("=100xI")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    took_ms: float
    "From connect() to the response's last byte."
    syns: int


def captured_call(client: OutsideClient, address: str, port: int) -> Call:
    """The SYNs are those on the client's link."""
    with client.capture(f"host {address} and port {port}") as capture:
        took_ms, _ = counted_request(client, address, port)
    return Call(took_ms=took_ms, syns=capture.count(f"{SYN} and dst host {address}"))


def counted_call(client: OutsideClient, address: str, port: int) -> Call:
    """The SYNs are those that its own kernel says it sent."""
    took_ms, syns = counted_request(client, address, port)
    return Call(took_ms=took_ms, syns=syns)


def counted_request(client: OutsideClient, address: str, port: int) -> tuple[float, int]:
    """How long it took, in ms, and how many SYNs its own kernel sent."""
    began = time.monotonic()
    with client.connect(address, port) as connection:
        about = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, RETRANSMISSIONS.size)
        (sent_again,) = RETRANSMISSIONS.unpack(about)
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b""
        while chunk := connection.recv(4096):
            answer += chunk
    assert answer.endswith(b"Hello World!\n"), answer
    return (time.monotonic() - began) * 1000, 1 + sent_again
