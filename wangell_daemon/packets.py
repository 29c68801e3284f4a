"""Reading held frames, and writing the ones that go back in. Bytes in, bytes out.

This is the one module that converts addresses: everywhere else a flow or a frontend is the bytes
of `struct flow` and `struct frontend` in ebpf/structs.h, and an address is text.
"""

import ipaddress
import socket
import struct
from dataclasses import dataclass

__all__ = [
    "ACK",
    "SYN",
    "V4_MAPPED",
    "BadFrameError",
    "Syn",
    "client_of",
    "destination_of",
    "frontend_key",
    "frontend_of",
    "frontend_text",
    "parse_syn",
    "reset_for",
    "source_key",
    "syn_segment",
    "with_checksums",
]

ETH_BYTES = 14
ETH_P_IP = 0x0800
IPPROTO_TCP = 6
FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
OPTION_END, OPTION_NOP, OPTION_TIMESTAMPS = 0, 1, 8

V4_MAPPED = bytes(10) + b"\xff\xff"
FLOW_BYTES = 36

_ETH = struct.Struct("!6s6sH")
_IP4 = struct.Struct("!BBHHHBBH4s4s")
_TCP = struct.Struct("!HHIIBBHHH")


class BadFrameError(ValueError):
    """A frame that is not a whole IPv4 TCP segment. The kernel program lets none through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Syn:
    """A held SYN."""

    flow: bytes
    "struct flow: client, VIP, client port, VIP port, in network order"
    sequence: int
    frame: bytes
    "The whole Ethernet frame, without padding"

    @property
    def timestamp(self) -> int | None:
        """TSval of its timestamps option, None without; read when asked for, and no wake asks."""
        tcp_at, _ = _tcp_bounds(self.frame)
        options_end = tcp_at + (self.frame[tcp_at + 12] >> 4) * 4
        return _timestamp(self.frame[tcp_at + _TCP.size : options_end])


def parse_syn(frame: bytes) -> Syn:
    """Read a held frame. Raises BadFrameError."""
    tcp_at, end = _tcp_bounds(frame)
    sport, dport, sequence, _ack, offset, flags, _window, _sum, _urgent = _TCP.unpack_from(
        frame, tcp_at
    )
    options_end = tcp_at + (offset >> 4) * 4
    if not flags & SYN or flags & ACK or not tcp_at + _TCP.size <= options_end <= end:
        raise BadFrameError("not a SYN, or a TCP header that is longer than the segment")
    client, vip = frame[26:30], frame[30:34]
    return Syn(
        flow=b"".join((V4_MAPPED, client, V4_MAPPED, vip, struct.pack("!HH", sport, dport))),
        sequence=sequence,
        frame=frame[:end],
    )


def with_checksums(frame: bytes) -> bytes:
    """Return the frame with its IP and TCP checksums whole.

    A veth's sender leaves the TCP one partial (CHECKSUM_PARTIAL); conntrack drops such a frame when
    it is injected, and all one sees is the client's own retry 1 s later.
    """
    tcp_at, end = _tcp_bounds(frame)
    packet = bytearray(frame[:end])
    packet[24:26] = b"\0\0"
    packet[24:26] = _checksum(packet[ETH_BYTES:tcp_at])
    packet[tcp_at + 16 : tcp_at + 18] = b"\0\0"
    pseudo = packet[26:34] + struct.pack("!BBH", 0, IPPROTO_TCP, end - tcp_at)
    packet[tcp_at + 16 : tcp_at + 18] = _checksum(pseudo + packet[tcp_at:])
    return bytes(packet)


def reset_for(frame: bytes) -> bytes:
    """Return the frame that answers a held SYN with RST, as a closed port does (RFC 9293)."""
    tcp_at, end = _tcp_bounds(frame)
    to_mac, from_mac, kind = _ETH.unpack_from(frame)
    source, destination = frame[26:30], frame[30:34]
    sport, dport, sequence = struct.unpack_from("!HHI", frame, tcp_at)
    payload_bytes = max(0, end - tcp_at - (frame[tcp_at + 12] >> 4) * 4)  # Fast Open's
    acknowledged = (sequence + 1 + payload_bytes) & 0xFFFFFFFF
    return with_checksums(
        _ETH.pack(from_mac, to_mac, kind)
        + _IP4.pack(0x45, 0, _IP4.size + _TCP.size, 0, 0, 64, IPPROTO_TCP, 0, destination, source)
        + _TCP.pack(dport, sport, 0, acknowledged, 5 << 4, RST | ACK, 0, 0, 0)
    )


def syn_segment(*, source: str, sport: int, destination: str, dport: int, sequence: int) -> bytes:
    """Return a bare SYN, checksum whole, for a raw IPv4 socket, which adds the IP header."""
    window = 1024
    header = _TCP.pack(sport, dport, sequence, 0, 5 << 4, SYN, window, 0, 0)
    ends = _packed(source)[12:] + _packed(destination)[12:]
    pseudo = ends + struct.pack("!BBH", 0, IPPROTO_TCP, len(header))
    return header[:16] + _checksum(pseudo + header) + header[18:]


def frontend_key(address: str, port: int) -> bytes:
    """Return struct frontend. Raises ValueError for what is not an address."""
    return _packed(address) + struct.pack("!HH", port, 0)


def source_key(frontend: bytes, source: str) -> bytes:
    """Return the struct source of a range that may call a frontend. Raises ValueError."""
    network = ipaddress.ip_network(source)
    spare_bits = network.max_prefixlen - network.prefixlen
    bits = 8 * (len(frontend) + 16) - spare_bits
    return struct.pack("=I", bits) + frontend + _packed(str(network.network_address))


def frontend_of(flow: bytes) -> bytes:
    """Return the struct frontend that a struct flow goes to."""
    return flow[16:32] + flow[34:36] + b"\0\0"


def frontend_text(frontend: bytes) -> str:
    """Return `address:port` of a struct frontend, for people."""
    return f"{_text(frontend[:16])}:{int.from_bytes(frontend[16:18], 'big')}"


def destination_of(flow: bytes) -> tuple[str, int]:
    """Return the address, as text, and the port that a struct flow goes to."""
    return _text(flow[16:32]).strip("[]"), int.from_bytes(flow[34:36], "big")


def client_of(flow: bytes) -> str:
    """Return `address:port` of a flow's client, for people."""
    return f"{_text(flow[:16])}:{int.from_bytes(flow[32:34], 'big')}"


def _packed(address: str) -> bytes:
    packed = ipaddress.ip_address(address).packed
    return packed if len(packed) == 16 else V4_MAPPED + packed


def _text(packed: bytes) -> str:
    # Not by ipaddress, which takes 20 us for it in a wake, when caches are cold.
    if packed.startswith(V4_MAPPED):
        return socket.inet_ntop(socket.AF_INET, packed[12:])
    return f"[{socket.inet_ntop(socket.AF_INET6, packed)}]"


def _tcp_bounds(frame: bytes) -> tuple[int, int]:
    """Where the TCP header begins, and where the segment ends (Ethernet pads short frames)."""
    if len(frame) < ETH_BYTES + _IP4.size or frame[12:14] != b"\x08\x00":
        raise BadFrameError("not an IPv4 frame")
    tcp_at = ETH_BYTES + (frame[14] & 0x0F) * 4
    end = ETH_BYTES + int.from_bytes(frame[16:18], "big")
    if frame[23] != IPPROTO_TCP or not ETH_BYTES + _IP4.size <= tcp_at <= end - _TCP.size:
        raise BadFrameError("not a TCP segment")
    if end > len(frame):
        raise BadFrameError("shorter than its IP header says")
    return tcp_at, end


def _timestamp(options: bytes) -> int | None:
    at = 0
    while at < len(options):
        kind = options[at]
        if kind == OPTION_END:
            return None
        if kind == OPTION_NOP:
            at += 1
            continue
        length = options[at + 1] if at + 1 < len(options) else 0
        if length < 2:
            return None
        if kind == OPTION_TIMESTAMPS and length == 10 and at + 10 <= len(options):
            return int.from_bytes(options[at + 2 : at + 6], "big")
        at += length
    return None


def _checksum(data: bytes | bytearray) -> bytes:
    """The Internet checksum (RFC 1071)."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data[: len(data) & ~1]))
    if len(data) % 2:
        total += data[-1] << 8
    while total >> 16:
        total = (total >> 16) + (total & 0xFFFF)
    return struct.pack("!H", ~total & 0xFFFF)
