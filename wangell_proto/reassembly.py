"""Puts fragments together, within bounds.

A fragment that is taken is acknowledged and will not come again, so a reassembly is never thrown
away to make room: one too many is refused before it is acknowledged, and its sender tries later.
"""

from collections.abc import Mapping

from wangell_proto.constants import (
    FRAGMENT_BYTES,
    REASSEMBLIES_PER_PEER_MAX,
    REASSEMBLY_BYTES_MAX,
)
from wangell_proto.errors import DropReason

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

    def refusal(self, counts: Mapping[int, int]) -> DropReason | None:
        """Return why fragments of these messages, by sequence and count, cannot be taken."""
        fresh = bytes_needed = 0
        for sequence, count in counts.items():
            known = self._partial.get(sequence)
            if known is None:
                fresh += 1
                bytes_needed += count * FRAGMENT_BYTES
            elif known[0] != count:
                return DropReason.MALFORMED
        if fresh and (
            len(self._partial) + fresh > REASSEMBLIES_PER_PEER_MAX
            or bytes_needed > self._budget.bytes_left
        ):
            return DropReason.REASSEMBLY_FULL
        return None

    def add(self, sequence: int, index: int, count: int, part: bytes) -> bytes | None:
        """Take a fragment that is not refused; return the message if it is whole now."""
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
