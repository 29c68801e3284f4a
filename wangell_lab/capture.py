"""A packet capture on one interface: every SYN, SYN-ACK and RST that passes, in both directions.

The kernel stamps and keeps the frames; nothing has to run meanwhile, so watching does not disturb
what is watched. A filter in the kernel lets only those three kinds through, so that the socket's
buffer holds them all; should it not, `segments` says so instead of counting too few.
"""

import ctypes
import socket
import struct
import time
from collections.abc import Callable
from select import select
from types import TracebackType
from typing import Self

from wangell_lab.errors import LabError
from wangell_lab.frames import Segment, parse
from wangell_lab.namespaces import Namespace

__all__ = ["Capture", "stamping"]

ETH_P_ALL = 3  # Only this protocol shows outgoing frames too.
SO_RCVBUFFORCE, SO_ATTACH_FILTER, SO_TIMESTAMPNS = 33, 26, 35
SOL_PACKET, PACKET_STATISTICS = 263, 6
# A frame costs about 1 KiB of it: 16,000 frames, against 100 for the 50 clients of a test.
BUFFER_BYTES = 16 << 20
PRIVILEGED_PORTS = 1024
FRAME_BYTES_MAX = 128  # Ethernet, IPv4 and TCP headers with all options

# tcpdump -dd 'ip and tcp[tcpflags] & (tcp-syn|tcp-rst) != 0', but cut at FRAME_BYTES_MAX.
FILTER = (
    (0x28, 0, 0, 0x0000000C),  # EtherType
    (0x15, 0, 8, 0x00000800),  # IPv4, or refuse
    (0x30, 0, 0, 0x00000017),  # protocol
    (0x15, 0, 6, 0x00000006),  # TCP, or refuse
    (0x28, 0, 0, 0x00000014),  # fragment offset
    (0x45, 4, 0, 0x00001FFF),  # not the first: refuse
    (0xB1, 0, 0, 0x0000000E),  # X = length of the IP header
    (0x50, 0, 0, 0x0000001B),  # TCP flags
    (0x45, 0, 1, 0x00000006),  # SYN or RST, or refuse
    (0x06, 0, 0, FRAME_BYTES_MAX),
    (0x06, 0, 0, 0),
)


def stamping() -> socket.socket:
    """Return a socket that keeps the kernel stamping frames, on the whole machine, until closed.

    The kernel begins a moment after the first socket asked for stamps; a frame from before then
    would be stamped when it is read, 100 ms too late in a test. So a lab asks long before.
    """
    asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asking.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    return asking


class Capture:
    """Segments of an interface, from `with` on. Only for the thread that made it."""

    def __init__(self, namespace: Namespace, interface: str = "eth0") -> None:
        self._namespace = namespace
        self._interface = interface
        self._segments: list[Segment] = []
        self._lost = 0

    def __enter__(self) -> Self:
        with self._namespace.entered():
            # Protocol 0 receives nothing until the filter is there and bind() names it.
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            try:
                _prepare(self._socket)
                self._socket.bind((self._interface, ETH_P_ALL))
            except BaseException:
                self._socket.close()
                raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._drain()
        finally:
            self._socket.close()

    @property
    def segments(self) -> tuple[Segment, ...]:
        """All seen so far, in order. Raises LabError where the kernel had to drop some."""
        if self._socket.fileno() >= 0:
            self._drain()
        return tuple(self._segments)

    def syns(self, client_port: int | None = None) -> list[Segment]:
        """Return the SYNs seen so far, of one connection or of all."""
        return [
            segment
            for segment in self.segments
            if segment.is_syn and client_port in (None, segment.source_port)
        ]

    def syn_acks(self, client_port: int | None = None) -> list[Segment]:
        """Return the SYN-ACKs seen so far, of one connection or of all."""
        return [
            segment
            for segment in self.segments
            if segment.is_syn_ack and client_port in (None, segment.destination_port)
        ]

    def refusals(self) -> list[Segment]:
        """Return the RSTs seen so far that came from a service, from a port below 1024."""
        return [
            segment
            for segment in self.segments
            if segment.is_rst and segment.source_port < PRIVILEGED_PORTS
        ]

    def wait_for(
        self, wanted: Callable[[tuple[Segment, ...]], bool], *, timeout_s: float, what: str
    ) -> None:
        """Return as soon as `wanted(segments)`. Raises LabError after `timeout_s`."""
        deadline_s = time.monotonic() + timeout_s
        while not wanted(self.segments):
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or not select([self._socket], [], [], left_s)[0]:
                raise LabError(f"{what}: not captured within {timeout_s:g} s")

    def _drain(self) -> None:
        monotonic_minus_real_ns = time.monotonic_ns() - time.time_ns()
        while True:
            try:
                frame, ancillary, _, _ = self._socket.recvmsg(FRAME_BYTES_MAX, 64)
            except BlockingIOError:
                break
            captured_ns = _stamp_ns(ancillary) + monotonic_minus_real_ns
            segment = parse(frame, captured_ns=captured_ns)
            if segment is not None:
                self._segments.append(segment)
        statistics = self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
        self._lost += struct.unpack("=II", statistics)[1]
        if self._lost:
            raise LabError(f"the capture lost {self._lost} frames: look at it more often")


def _prepare(packet_socket: socket.socket) -> None:
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in FILTER))
    program = struct.pack("HL", len(FILTER), ctypes.addressof(code))
    packet_socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
    packet_socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
    packet_socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    packet_socket.setblocking(False)


def _stamp_ns(ancillary: list[tuple[int, int, bytes]]) -> int:
    """Return the kernel's stamp, CLOCK_REALTIME."""
    for level, kind, payload in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
            seconds, nanoseconds = struct.unpack("=qq", payload)
            return int(seconds * 1_000_000_000 + nanoseconds)
    raise LabError("the kernel stamps no frames on this socket (SO_TIMESTAMPNS)")
