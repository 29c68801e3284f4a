"""What the lab's tests say in one word each."""

import os
import socket
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address

from wangell_lab.client import Client, Exchange
from wangell_lab.cold_starts import ColdStart
from wangell_lab.namespaces import Namespace
from wangell_lab.reaper import wait_for_end
from wangell_lab.wakes import Wake

SYN, SYN_ACK, RST, ACK = 0x02, 0x12, 0x04, 0x10
MSS = bytes([2, 4, 0x05, 0xB4])
NOP = b"\x01"


def timestamps(tsval: int, tsecr: int) -> bytes:
    return struct.pack("!BBII", 8, 10, tsval, tsecr)


def tcp_frame(
    *,
    source: str = "10.46.100.1",
    source_port: int = 40000,
    destination: str = "10.46.100.105",
    destination_port: int = 80,
    flags: int = SYN,
    sequence: int = 1000,
    acknowledgment: int = 0,
    options: bytes = b"",
    ip_options: bytes = b"",
) -> bytes:
    """Return an Ethernet frame; its checksums are zero, which a reader of headers does not mind."""
    options += NOP * (-len(options) % 4)
    tcp = struct.pack(
        "!HHIIBBHHH",
        *(source_port, destination_port, sequence, acknowledgment),
        *((5 + len(options) // 4) << 4, flags, 65535, 0, 0),
    )
    length = 20 + len(ip_options) + len(tcp) + len(options)
    ip = struct.pack(
        "!BBHHHBBH4s4s",
        *(0x45 + len(ip_options) // 4, 0, length, 0, 0, 64, 6, 0),
        *(IPv4Address(source).packed, IPv4Address(destination).packed),
    )
    return bytes(12) + b"\x08\x00" + ip + ip_options + tcp + options


@contextmanager
def serving(namespace: Namespace, argv: Sequence[str], port: int = 8080) -> Iterator[int]:
    """Run a server in `namespace`, from when it listens on; yield its pid."""
    server = namespace.popen(argv)
    try:
        wait_until_listening(namespace, port)
        yield server.pid
    finally:
        server.kill()
        server.wait()


def wait_until_listening(namespace: Namespace, port: int, *, timeout_s: float = 10.0) -> None:
    """Knock, without a pause, until somebody opens: it takes a server some milliseconds."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        with namespace.socket(socket.AF_INET, socket.SOCK_STREAM) as knock:
            if knock.connect_ex(("127.0.0.1", port)) == 0:
                return
    raise AssertionError(f"nobody listens on port {port} of {namespace.name}")


def ended(pid: int, *, timeout_s: float = 5.0) -> bool:
    """Wait for a process to end; return whether it has."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return wait_for_end(pidfd, timeout_s=timeout_s)
    finally:
        os.close(pidfd)


def has_refused(client: Client, address: str, port: int) -> bool:
    """Whether a connection there is refused at once, rather than granted or left unanswered."""
    try:
        client.connect(address, port, timeout_s=1.0).__exit__(None, None, None)
    except ConnectionRefusedError:
        return True
    except TimeoutError:
        pass
    return False


def an_exchange(*, first_byte_ms: float, client_port: int = 40000, status: int = 200) -> Exchange:
    """Return what a caller saw, invented, for what computes with it."""
    return Exchange(
        client_port=client_port,
        started_ns=0,
        connected_ns=int(first_byte_ms * 500_000),
        first_byte_ns=int(first_byte_ms * 1_000_000),
        status=status,
        body=b"hello\n",
    )


def a_cold_start(
    *,
    listen_ms: float = 20.0,
    outcome: str = "answered",
    phases_ms: Mapping[str, float] | None = None,
) -> ColdStart:
    """Return a daemon's account, invented: 1 ms of platform around the server's own start."""
    told = phases_ms or {
        "detect": 0.1,
        "notify": 0.2,
        "start": 0.3,
        "listen": listen_ms,
        "replay": 0.25,
        "handshake": 0.15,
    }
    return ColdStart(
        service="default/serverless-example",
        activation=1,
        outcome=outcome,
        clients=1,
        total_ms=sum(told.values()) if outcome == "answered" else None,
        phases_ms=told,
        first_syn_ns=1,
        replayed_ns=2,
        acked_ns=3,
    )


def a_wake(*, listen_ms: float = 20.0, syns: int = 1, status: int = 200) -> Wake:
    """Return a wake, invented."""
    return Wake(
        caller=an_exchange(first_byte_ms=listen_ms + 1.5, status=status),
        cold_start=a_cold_start(listen_ms=listen_ms),
        client_syns=syns,
    )
