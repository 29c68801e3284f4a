"""Reads the TCP segments of captured Ethernet frames: what the lab has to know, no more."""

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

__all__ = ["Segment", "parse"]

ETHERTYPE_IPV4 = b"\x08\x00"
ETHERNET_BYTES = 14
IPV4_BYTES_MIN = 20
TCP_BYTES_MIN = 20
PROTOCOL_TCP = 6
FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
OPTION_END, OPTION_NOP, OPTION_TIMESTAMPS = 0, 1, 8
TIMESTAMPS_BYTES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A TCP segment as it passed an interface."""

    captured_ns: int
    "CLOCK_MONOTONIC"
    source: str
    source_port: int
    destination: str
    destination_port: int
    flags: int
    sequence: int
    acknowledgment: int
    tsval: int | None
    "None: it carries no timestamps option"
    tsecr: int | None

    @property
    def is_syn(self) -> bool:
        """Whether it asks for a connection."""
        return self.flags & (SYN | ACK) == SYN

    @property
    def is_syn_ack(self) -> bool:
        """Whether it grants one."""
        return self.flags & (SYN | ACK) == SYN | ACK

    @property
    def is_rst(self) -> bool:
        """Whether it refuses or ends one."""
        return bool(self.flags & RST)


def parse(frame: bytes, *, captured_ns: int) -> Segment | None:
    """Return the frame's segment; None where it is not whole TCP over IPv4 with its headers."""
    if frame[12:14] != ETHERTYPE_IPV4 or len(frame) < ETHERNET_BYTES + IPV4_BYTES_MIN:
        return None
    packet = frame[ETHERNET_BYTES:]
    tcp = packet[4 * (packet[0] & 0x0F) :]
    if packet[9] != PROTOCOL_TCP or len(tcp) < TCP_BYTES_MIN:
        return None
    source_port, destination_port, sequence, acknowledgment = struct.unpack_from("!HHII", tcp)
    tsval, tsecr = _timestamps(tcp[TCP_BYTES_MIN : 4 * (tcp[12] >> 4)])
    return Segment(
        captured_ns=captured_ns,
        source=str(IPv4Address(packet[12:16])),
        source_port=source_port,
        destination=str(IPv4Address(packet[16:20])),
        destination_port=destination_port,
        flags=tcp[13],
        sequence=sequence,
        acknowledgment=acknowledgment,
        tsval=tsval,
        tsecr=tsecr,
    )


def _timestamps(options: bytes) -> tuple[int, int] | tuple[None, None]:
    while options and options[0] != OPTION_END:
        if options[0] == OPTION_NOP:
            options = options[1:]
            continue
        if len(options) < 2 or options[1] < 2:
            break  # A length below 2 would never end.
        if options[0] == OPTION_TIMESTAMPS and len(options) >= TIMESTAMPS_BYTES:
            tsval, tsecr = struct.unpack_from("!II", options, 2)
            return tsval, tsecr
        options = options[options[1] :]
    return None, None
