"""Which XDP program is attached to an interface, and attaching ours.

Netlink attachment on purpose: it outlives the process, so a daemon's restart leaves no gap.
"""

import enum
import socket
from dataclasses import dataclass
from typing import Any

from pyroute2 import IPRoute

from wangell_daemon.datapath.compiler import quietly
from wangell_daemon.datapath.errors import DatapathError, ForeignProgramError
from wangell_daemon.datapath.objects import program_name
from wangell_daemon.datapath.rtnetlink import Rtnetlink

__all__ = [
    "PROGRAM_NAME",
    "Attached",
    "XdpMode",
    "addresses_of",
    "attach",
    "attached_program",
    "default_interface",
    "detach",
    "interface_index",
]

PROGRAM_NAME = "wangell_wake"


class XdpMode(enum.Enum):
    """How the kernel runs the program. The value is the flag that asks for it (if_link.h)."""

    NATIVE = 1 << 2
    GENERIC = 1 << 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """A program found on an interface."""

    program_id: int
    mode: XdpMode


def interface_index(interface: str) -> int:
    """Return its ifindex. Raises DatapathError that lists those there are."""
    try:
        return socket.if_nametoindex(interface)
    except OSError as error:
        there = ", ".join(name for _index, name in socket.if_nameindex())
        raise DatapathError(f"no interface {interface!r} here; there are: {there}") from error


def addresses_of(interface: str) -> tuple[str, ...]:
    """Return its IPv4 addresses that others may call, as text.

    Raises DatapathError, OSError.
    """
    index = interface_index(interface)
    requests = Rtnetlink()
    try:
        return requests.addresses(index)
    finally:
        requests.close()


def default_interface() -> str:
    """Return the interface of the IPv4 default route. Raises DatapathError."""
    with IPRoute() as route:
        for default in route.get_default_routes(family=socket.AF_INET):
            index = default.get_attr("RTA_OIF")
            if index is not None:
                return socket.if_indextoname(index)
    raise DatapathError("no default route here: name the interface with --interface")


def attached_program(interface: str) -> Attached | None:
    """Return the program of ours that is attached. Raises ForeignProgramError for another's."""
    found = _attached(interface_index(interface))
    if found is None:
        return None
    name = program_name(found.program_id)
    if name != PROGRAM_NAME:
        raise ForeignProgramError(
            f"{interface} has another XDP program ({name or 'unnamed'}, id {found.program_id}). "
            f"If it may go: ip link set dev {interface} xdp off"
        )
    return found


def attach(interface: str, program: Any, *, replacing: Attached | None) -> XdpMode:
    """Attach, in one step in place of `replacing`; native where the driver can.

    Returns the mode. Raises DatapathError. A replaced program keeps its own: the kernel does not
    mix them.
    """
    if replacing is not None:
        _attach(interface, program, replacing.mode)
        return replacing.mode
    try:
        _attach(interface, program, XdpMode.NATIVE)
    except DatapathError:
        _attach(interface, program, XdpMode.GENERIC)
        return XdpMode.GENERIC
    return XdpMode.NATIVE


def detach(interface: str) -> bool:
    """Detach our program. Returns whether there was one; another's is left alone (raises)."""
    found = attached_program(interface)
    if found is None:
        return False
    quietly(
        f"detaching from {interface}",
        lambda bpf: bpf.remove_xdp(interface.encode(), found.mode.value),
    )
    return True


def _attach(interface: str, program: Any, mode: XdpMode) -> None:
    quietly(
        f"attaching to {interface} ({mode.name.lower()} mode)",
        lambda bpf: bpf.attach_xdp(interface.encode(), program, mode.value),
    )


def _attached(ifindex: int) -> Attached | None:
    with IPRoute() as route:
        (link,) = route.link("get", index=ifindex)
    xdp = link.get_attr("IFLA_XDP")
    program_id = xdp.get_attr("IFLA_XDP_PROG_ID") if xdp is not None else None
    if not program_id:
        return None
    is_generic = xdp.get_attr("IFLA_XDP_ATTACHED") == "xdp" + "generic"
    return Attached(program_id=program_id, mode=XdpMode.GENERIC if is_generic else XdpMode.NATIVE)
