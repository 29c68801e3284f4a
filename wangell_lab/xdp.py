"""Looks into the kernel: what the XDP program on a node does with a service's SYNs now."""

import os
import time

from wangell_daemon.datapath.interface import attached_program
from wangell_daemon.datapath.predecessor import Predecessor
from wangell_daemon.effects import Mode
from wangell_daemon.packets import frontend_key
from wangell_lab.errors import LabError
from wangell_lab.namespaces import Namespace
from wangell_lab.topology import Exposure

__all__ = ["mode", "wait_until_held"]


def mode(node: Namespace, exposure: Exposure, interface: str = "eth0") -> Mode | None:
    """Return what a SYN meets there. None: no program of ours, or it does not know the service."""
    with node.entered():
        attached = attached_program(interface)
    maps = Predecessor.open(attached.program_id) if attached is not None else None
    if maps is None:
        return None
    try:
        key = frontend_key(exposure.address, exposure.port)
        return next((Mode(found) for each, _, found, _ in maps.services() if each == key), None)
    finally:
        maps.close()


def wait_until_held(node: Namespace, exposure: Exposure, *, timeout_s: float) -> None:
    """Return once SYNs are held there. Raises LabError.

    Nobody tells when a map is written, so this looks again and again, for the millisecond it takes.
    """
    deadline_s = time.monotonic() + timeout_s
    while (found := mode(node, exposure)) is not Mode.HOLD:
        if time.monotonic() > deadline_s:
            said = found.name.lower() if found else "let pass: they are not known there"
            raise LabError(f"{exposure.service}: not held on {node.name}; its SYNs are {said}")
        os.sched_yield()
