"""Half-open SYN probes, for servers whose LISTEN cannot be seen (gVisor, Kata, virtual machines).

A SYN goes to the endpoint; if a SYN-ACK comes back it listens, and the kernel, which knows of no
such connection, answers with RST: the application's accept() never sees it.
"""

import asyncio
import contextlib
import ctypes
import functools
import os
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

from wangell_daemon.packets import ACK, SYN, syn_segment

__all__ = ["Prober"]

_SO_ATTACH_FILTER = 26
_ANSWER_BYTES_MAX = 128
OnAnswer = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    service: str
    workload: str
    address: str
    port: int


class _Filter(ctypes.Structure):  # struct sock_fprog
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


class Prober:
    """Sends probes from one reserved port; `on_answer(workload, port, seen_ns)`, once for each."""

    def __init__(self, *, interval_s: float, on_answer: OnAnswer) -> None:
        self._interval_s = interval_s
        self._on_answer = on_answer
        self._timers: dict[_Target, asyncio.TimerHandle | None] = {}
        self._loop = asyncio.get_running_loop()
        # Bound and never listening: the port is ours, and a SYN-ACK to it gets a RST.
        self._reserved = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._reserved.bind(("", 0))
        self._port: int = self._reserved.getsockname()[1]
        self._raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
        self._raw.setblocking(False)
        _filter_by_port(self._raw, self._port)
        self._loop.add_reader(self._raw, self._read)

    def start(self, service: str, *, workload: str, address: str, port: int, is_once: bool) -> None:
        """Probe a replica until it answers or is stopped; once where `is_once`."""
        target = _Target(service=service, workload=workload, address=address, port=port)
        self._stop(target)
        self._send(target, is_once=is_once)

    def stop(self, service: str) -> None:
        """Send no more for this service; a late answer is ignored."""
        for target in [each for each in self._timers if each.service == service]:
            self._stop(target)

    def forget(self, workload: str, port: int) -> None:
        """Send no more to a replica that is leaving: its address may be another's soon."""
        for target in list(self._timers):
            if (target.workload, target.port) == (workload, port):
                self._stop(target)

    def close(self) -> None:
        """Stop all."""
        for target in list(self._timers):
            self._stop(target)
        self._loop.remove_reader(self._raw)
        self._raw.close()
        self._reserved.close()

    def _stop(self, target: _Target) -> None:
        timer = self._timers.pop(target, None)
        if timer is not None:
            timer.cancel()

    def _send(self, target: _Target, *, is_once: bool) -> None:
        with contextlib.suppress(OSError):  # no route yet, say: the next one may find it
            segment = syn_segment(
                source=_source_address(target.address),
                sport=self._port,
                destination=target.address,
                dport=target.port,
                sequence=int.from_bytes(os.urandom(4), "big"),
            )
            self._raw.sendto(segment, (target.address, 0))
        again = functools.partial(self._send, target, is_once=False)
        self._timers[target] = None if is_once else self._loop.call_later(self._interval_s, again)

    def _read(self) -> None:
        while True:
            try:
                packet = self._raw.recv(_ANSWER_BYTES_MAX)
            except BlockingIOError:
                return
            self._take(packet, seen_ns=time.monotonic_ns())

    def _take(self, packet: bytes, *, seen_ns: int) -> None:
        tcp_at = (packet[0] & 0x0F) * 4
        if len(packet) < tcp_at + 20 or packet[tcp_at + 13] & (SYN | ACK) != SYN | ACK:
            return
        address = socket.inet_ntoa(packet[12:16])
        (port,) = struct.unpack_from("!H", packet, tcp_at)
        for target in [
            each for each in self._timers if (each.address, each.port) == (address, port)
        ]:
            self._stop(target)
            self._on_answer(target.workload, target.port, seen_ns)


def _source_address(destination: str) -> str:
    """The address that the kernel would send from."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route:
        route.connect((destination, 9))
        return str(route.getsockname()[0])


def _filter_by_port(raw: socket.socket, port: int) -> None:
    """Let only segments to `port` through: a raw socket sees the whole node's traffic otherwise."""
    program = b"".join(
        struct.pack("=HBBI", *instruction)
        for instruction in (
            (0xB1, 0, 0, 0),  # ldxb 4*([0]&0xf): the IP header's length
            (0x48, 0, 0, 2),  # ldh [x+2]: the destination port
            (0x15, 0, 1, port),  # jeq
            (0x06, 0, 0, _ANSWER_BYTES_MAX),  # ret
            (0x06, 0, 0, 0),
        )
    )
    buffer = ctypes.create_string_buffer(program, len(program))
    filter_program = _Filter(length=len(program) // 8, instructions=ctypes.addressof(buffer))
    raw.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, bytes(filter_program))
