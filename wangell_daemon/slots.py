"""Places in the kernel's activity array, one for each service."""

from collections.abc import Iterable

__all__ = ["SLOTS_MAX", "Slots"]

SLOTS_MAX = 16384  # ebpf/consts.h; a test holds them equal


class Slots:
    """Hands out slots. Those that a predecessor's services have are kept for them."""

    def __init__(self, reserved: Iterable[int] = ()) -> None:
        taken = frozenset(reserved)
        self._reserved = set(taken)
        self._returned: list[int] = []
        self._fresh = (slot for slot in range(SLOTS_MAX) if slot not in taken)

    def claim(self, wanted: Iterable[int]) -> int | None:
        """Return a reserved slot among `wanted` if one is free yet, else any; None: all in use."""
        for slot in wanted:
            if slot in self._reserved:
                self._reserved.discard(slot)
                return slot
        return self._returned.pop() if self._returned else next(self._fresh, None)

    def give_back(self, slot: int) -> None:
        """Its service is no more."""
        self._returned.append(slot)

    def end_reservations(self) -> None:
        """The table is whole: what nobody has claimed is free."""
        self._returned += self._reserved
        self._reserved = set()
