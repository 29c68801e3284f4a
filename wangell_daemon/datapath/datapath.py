"""The programs and maps of one interface, as the agent uses them."""

import contextlib
import ctypes
import re
import struct
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from wangell_daemon.datapath import interface as attachment
from wangell_daemon.datapath.activity import ActivityMemory
from wangell_daemon.datapath.compiler import compile_program, load_tc, load_xdp
from wangell_daemon.datapath.headers import EBPF
from wangell_daemon.datapath.injection import Injector
from wangell_daemon.datapath.interface import XdpMode
from wangell_daemon.datapath.objects import MapWriter
from wangell_daemon.datapath.predecessor import Predecessor
from wangell_daemon.datapath.rings import Ring
from wangell_daemon.datapath.sources import Sources

__all__ = ["Datapath", "names_of"]

OnEvent = Callable[[bytes], None]

_SERVICE = struct.Struct("=IHH")  # struct service: slot, mode, is_restricted
_ONE = struct.pack("=I", 1)


class Datapath:
    """The hold program on one interface, and the LISTEN watch of the whole machine.

    `call_program_fd` is the same program for tc, with the same maps: for `PodInterfaces`.
    `addresses` are the interface's, where callers find node ports.

    Open it, fill the maps, then `attach`. Closing unloads what is not attached: an attached program
    stays, with its maps, for a successor to take over.
    """

    def __init__(self, interface: str) -> None:
        self.interface = interface
        self.ifindex = attachment.interface_index(interface)
        self.addresses = attachment.addresses_of(interface)
        self._attached = attachment.attached_program(interface)
        self._predecessor = Predecessor.open(self._attached.program_id) if self._attached else None
        self._listen = compile_program("listen.bpf.c")
        self._wake = compile_program("wake.bpf.c")
        self._hold_program = load_xdp(self._wake, "wangell_wake")
        self.call_program_fd: int = load_tc(self._wake, "wangell_call").fd
        self._injector = Injector(load_xdp(self._wake, "wangell_replay").fd)
        self._services: Any = self._wake[b"services"]
        self._sources = Sources(self._wake[b"sources"])
        self._activity = ActivityMemory(self._wake[b"activity"].map_fd)
        self._unanswered: Any = self._wake[b"unanswered"]
        self._heartbeat: Any = self._wake[b"heartbeat"]
        self._reasons: Any = self._wake[b"reasons"]
        self._reason_names = names_of("reason")
        self._write_service = _writer(self._services)
        self._write_unanswered = _writer(self._unanswered)

    # Taking over.

    @property
    def is_taking_over(self) -> bool:
        """Whether a program of ours is attached already."""
        return self._attached is not None

    def adopt(self) -> dict[bytes, int]:
        """Copy what a predecessor's maps say. Returns its frontends with their slots."""
        if self._predecessor is None:
            return {}
        for slot, seen in self._predecessor.activity():
            self._activity.write(slot, seen)
        for source in self._predecessor.sources():
            self._sources.adopt(source)
        adopted = {}
        for key, slot, mode, is_restricted in self._predecessor.services():
            if is_restricted:
                self._sources.restrict(key)
            self.set_service([key], slot=slot, mode=mode)
            adopted[key] = slot
        return adopted

    def attach(self) -> XdpMode:
        """Attach, in one step in place of a predecessor's program."""
        self.beat()
        return attachment.attach(self.interface, self._hold_program, replacing=self._attached)

    def drain_predecessor(self, on_held: OnEvent) -> None:
        """Hand over the SYNs that the predecessor's program held and nobody read; let it go."""
        if self._predecessor is not None:
            self._predecessor.drain(on_held)
            self._predecessor.close()
            self._predecessor = None

    # Verdicts.

    def set_service(self, frontends: Iterable[bytes], *, slot: int, mode: int) -> None:
        """Write each frontend (a struct frontend)."""
        for key in frontends:
            self._write_service.put(key, _SERVICE.pack(slot, mode, key in self._sources))

    def restrict(self, frontend: bytes, sources: Iterable[str]) -> None:
        """Let only these networks call a frontend; none: whoever will. Raises OSError.

        Comes before `set_service`, or after it: where the kernel has no room, fewer may call.
        """
        wanted = frozenset(sources)
        if wanted:
            self._sources.restrict(frontend)
        try:
            self._sources.replace(frontend, wanted)
        finally:
            self._mark(frontend, is_restricted=bool(wanted))
        if not wanted:
            self._sources.forget(frontend)

    def _mark(self, frontend: bytes, *, is_restricted: bool) -> None:
        key = self._services.Key.from_buffer_copy(frontend)
        with contextlib.suppress(KeyError):  # set_service is still to come
            leaf = self._services[key]
            leaf.is_restricted = is_restricted
            self._services[key] = leaf

    def forget(self, frontends: Iterable[bytes]) -> None:
        """Delete each frontend; one that is not there is no error."""
        for key in frontends:
            _discard(self._services, key)
            self._sources.forget(key)

    def watch(self, flow: bytes) -> None:
        """Tell of the first packet of this flow (a struct flow)."""
        self._write_unanswered.put(flow, _ONE)

    def unwatch(self, flow: bytes) -> None:
        """Do not wait for it any more."""
        _discard(self._unanswered, flow)

    def inject(self, frame: bytes, *, ifindex: int, rx_queue: int) -> None:
        """Let a watched flow's frame, its checksums whole, enter the stack. Raises OSError.

        Once the flow has answered, and was not watched again, nothing enters.
        """
        self._injector.inject(frame, ifindex=ifindex, rx_queue=rx_queue)

    def beat(self) -> None:
        """The daemon lives: XDP holds for the next 30 s."""
        self._heartbeat[self._heartbeat.Key(0)] = self._heartbeat.Leaf(time.monotonic_ns())

    # Readings.

    def last_packet_ns(self, slot: int) -> int:
        """CLOCK_MONOTONIC of the last packet that passed to the slot's service; 0: none."""
        return self._activity.last_packet_ns(slot)

    def reasons(self) -> dict[str, int]:
        """How many packets have left the program for each reason."""
        return {
            name: int(self._reasons.sum(index).value)
            for index, name in enumerate(self._reason_names)
        }

    def rings(self, *, on_held: OnEvent, on_answered: OnEvent, on_listen: OnEvent) -> list[Ring]:
        """Open the three ring buffers. Each one's `map_fd` is readable when there is something."""
        return [
            Ring(self._wake[b"held"].map_fd, on_held),
            Ring(self._wake[b"answers"].map_fd, on_answered),
            Ring(self._listen[b"listens"].map_fd, on_listen),
        ]

    def close(self) -> None:
        """Unload the LISTEN watch and what is not attached."""
        self._activity.close()
        self._listen.cleanup()
        self._wake.cleanup()


def names_of(enum: str, header: Path = EBPF / "consts.h") -> list[str]:
    """Return the members of a C enum in lower case, without its prefix and its count.

    Read off the header, so that nothing is written twice.
    """
    body = re.search(rf"enum {enum} {{(.*?)}};", header.read_text(), re.DOTALL)
    assert body is not None, enum
    names = re.findall(rf"{enum.upper()}_(\w+),", body[1])
    return [name.lower() for name in names if name != "COUNT"]


def _writer(table: Any) -> MapWriter:
    key_bytes, value_bytes = ctypes.sizeof(table.Key), ctypes.sizeof(table.Leaf)
    return MapWriter(table.map_fd, key_bytes=key_bytes, value_bytes=value_bytes)


def _discard(table: Any, key: bytes) -> None:
    with contextlib.suppress(KeyError):
        del table[table.Key.from_buffer_copy(key)]
