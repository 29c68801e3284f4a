"""What the programs put into their ring buffers, as values. The shapes are ebpf/structs.h."""

import struct
from dataclasses import dataclass

from wangell_daemon.held import HeldSyn
from wangell_daemon.packets import FLOW_BYTES, V4_MAPPED, parse_syn

__all__ = ["Answered", "Listened", "own_syn", "parse_answered", "parse_held", "parse_listened"]

_HELD = struct.Struct("=QIII")  # struct held_syn, without its frame
_ANSWERED = struct.Struct(f"=Q{FLOW_BYTES}sI")  # struct answered
_LOOPBACK6 = bytes(15) + b"\x01"
_LISTENED = struct.Struct("=QIHH16s")  # struct listened


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The first packet of a replayed connection's client."""

    seen_ns: int
    flow: bytes
    is_reset: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Listened:
    """A process began to listen."""

    seen_ns: int
    pid: int
    port: int
    is_loopback: bool
    "Bound to loopback: no caller can reach it"


def parse_held(event: bytes) -> HeldSyn:
    """Read struct held_syn. Raises BadFrameError where its frame is not a whole SYN."""
    seen_ns, ifindex, rx_queue, length = _HELD.unpack_from(event)
    frame = event[_HELD.size : _HELD.size + length]
    return HeldSyn(
        syn=parse_syn(frame),
        first_seen_ns=seen_ns,
        seen_ns=seen_ns,
        ifindex=ifindex,
        rx_queue=rx_queue,
    )


def own_syn(frame: bytes, *, seen_ns: int) -> HeldSyn:
    """Read a SYN of this node's own. Raises BadFrameError."""
    return HeldSyn(
        syn=parse_syn(frame),
        first_seen_ns=seen_ns,
        seen_ns=seen_ns,
        ifindex=0,
        rx_queue=0,
        # No program sees its caller's packets; its socket is asked instead.
        is_watched=True,
    )


def parse_answered(event: bytes) -> Answered:
    """Read struct answered."""
    seen_ns, flow, is_reset = _ANSWERED.unpack_from(event)
    return Answered(seen_ns=seen_ns, flow=flow, is_reset=bool(is_reset))


def parse_listened(event: bytes) -> Listened:
    """Read struct listened."""
    seen_ns, pid, port, _family, address = _LISTENED.unpack_from(event)
    is_loopback = address[12] == 127 if address.startswith(V4_MAPPED) else address == _LOOPBACK6
    return Listened(seen_ns=seen_ns, pid=pid, port=port, is_loopback=is_loopback)
