"""Frames as tests speak of them: `syn(client="10.0.0.1:4000", vip="10.0.0.2:80").frame`."""

import ipaddress
import struct
from dataclasses import dataclass

from wangell_daemon.held import HeldSyn
from wangell_daemon.packets import parse_syn, with_checksums

CLIENT_MAC, NODE_MAC = bytes.fromhex("02000000c0de"), bytes.fromhex("020000000a01")
FIN, SYN, RST, ACK = 1, 2, 4, 16
MSS = bytes.fromhex("020405b4")
SACK_PERMITTED, NOP, WINDOW_SCALE = b"\x04\x02", b"\x01", b"\x03\x03\x07"


def timestamps(value: int) -> bytes:
    """The option as Linux sends it in a SYN."""
    return struct.pack("!BBII", 8, 10, value, 0)


@dataclass(frozen=True, kw_only=True)
class Segment:
    """An Ethernet frame with an IPv4 TCP segment in it."""

    client: str = "10.0.0.1:40000"
    vip: str = "10.0.0.2:80"
    flags: int = SYN
    sequence: int = 0x01020304
    options: bytes = MSS + SACK_PERMITTED + timestamps(0x11223344) + NOP + WINDOW_SCALE
    payload: bytes = b""
    ip_options: bytes = b""
    ether_type: int = 0x0800
    protocol: int = 6
    fragment: int = 0
    padding: bytes = b""

    @property
    def raw(self) -> bytes:
        """The frame with its checksums left at zero, as a veth's sender may leave them."""
        client, sport = self.client.rsplit(":", 1)
        vip, dport = self.vip.rsplit(":", 1)
        tcp = struct.pack(
            "!HHIIBBHHH",
            *(int(sport), int(dport), self.sequence, 0, (20 + len(self.options)) // 4 << 4),
            *(self.flags, 64240, 0, 0),
        )
        tcp += self.options + self.payload
        ip = struct.pack(
            "!BBHHHBBH4s4s",
            *(0x40 | (20 + len(self.ip_options)) // 4, 0, 20 + len(self.ip_options) + len(tcp)),
            *(0, self.fragment, 64, self.protocol, 0),
            *(ipaddress.ip_address(client).packed, ipaddress.ip_address(vip).packed),
        )
        ethernet = NODE_MAC + CLIENT_MAC + struct.pack("!H", self.ether_type)
        return ethernet + ip + self.ip_options + tcp + self.padding

    @property
    def frame(self) -> bytes:
        """The frame, checksums whole."""
        return with_checksums(self.raw)


def held(segment: Segment | None = None, *, seen_ns: int = 0) -> HeldSyn:
    """A SYN as the agent hands it to the core."""
    return HeldSyn(
        syn=parse_syn((segment or Segment()).raw),
        first_seen_ns=seen_ns,
        seen_ns=seen_ns,
        ifindex=2,
        rx_queue=0,
    )


def ones_complement_sum(data: bytes) -> int:
    """0xffff over data that carries a right Internet checksum (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total >> 16) + (total & 0xFFFF)
    return total
