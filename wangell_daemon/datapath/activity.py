"""The kernel's activity array as memory of ours: read without a system call."""

import mmap
import struct

from wangell_daemon.slots import SLOTS_MAX

__all__ = ["ENTRY", "ActivityMemory"]

ENTRY = struct.Struct("=QQ")  # struct activity: last_packet_ns, syns


class ActivityMemory:
    """A mapping of the map `activity`, one entry a slot."""

    def __init__(self, map_fd: int) -> None:
        """Raises OSError."""
        self._memory = mmap.mmap(map_fd, SLOTS_MAX * ENTRY.size)

    def last_packet_ns(self, slot: int) -> int:
        """CLOCK_MONOTONIC of the last packet that passed to the slot's service; 0: none."""
        return int(ENTRY.unpack_from(self._memory, slot * ENTRY.size)[0])

    def write(self, slot: int, entry: bytes) -> None:
        """Put a predecessor's entry in."""
        self._memory[slot * ENTRY.size : (slot + 1) * ENTRY.size] = entry

    def close(self) -> None:
        """Unmap it."""
        self._memory.close()
