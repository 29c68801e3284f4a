"""Puts fragments together, within bounds.

A fragment that is taken is acknowledged and will not come again, so a reassembly is never thrown
away to make room: one too many is refused before it is acknowledged, and its sender tries later.
"""

from wangell_proto.constants import (
    FRAGMENT_BYTES,
    REASSEMBLIES_PER_PEER_MAX,
    REASSEMBLY_BYTES_MAX,
)

__all__ = ["Reassembler", "ReassemblyBudget"]


class ReassemblyBudget:
    """Memory that the reassemblies of all peers share."""

    def __init__(self, bytes_max: int = REASSEMBLY_BYTES_MAX) -> None:
        self.bytes_left = bytes_max


class Reassembler:
    """The messages of one link that have come in part, by sequence."""

    __slots__ = ("_budget", "_partial")

    def __init__(self, budget: ReassemblyBudget) -> None:
        self._budget = budget
        self._partial: dict[int, tuple[int, dict[int, bytes]]] = {}

    def has_room(self, sequence: int, count: int) -> bool:
        """Say whether a fragment can be taken: its message has begun, or may begin."""
        known = self._partial.get(sequence)
        if known is not None:
            return known[0] == count
        return (
            len(self._partial) < REASSEMBLIES_PER_PEER_MAX
            and self._budget.bytes_left >= count * FRAGMENT_BYTES
        )

    def add(self, sequence: int, index: int, count: int, part: bytes) -> bytes | None:
        """Take a fragment for which there is room; return the message if it is whole now."""
        known = self._partial.get(sequence)
        if known is None:
            self._budget.bytes_left -= count * FRAGMENT_BYTES
            known = self._partial[sequence] = (count, {})
        parts = known[1]
        parts[index] = part
        if len(parts) < count:
            return None
        self._release(sequence)
        return b"".join(parts[position] for position in range(count))

    def _release(self, sequence: int) -> None:
        count, _ = self._partial.pop(sequence)
        self._budget.bytes_left += count * FRAGMENT_BYTES

    def clear(self) -> None:
        """Give everything back: the link is over, and its sender starts these messages anew."""
        for sequence in list(self._partial):
            self._release(sequence)
