"""Which numbers of a growing sequence have been seen, exactly, over the newest `size` of them.

One bitmap in one integer, bit 0 the highest number seen. It serves packet numbers (replay) and
message sequences (delivery). RFC 6479's ring of words is faster in C and slower in Python.
"""

__all__ = ["SlidingWindow"]


class SlidingWindow:
    """Numbers from 0 up. Below the window everything counts as seen."""

    __slots__ = ("_bits", "_mask", "highest", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.highest = -1
        self._bits = 0
        self._mask = (1 << size) - 1

    def seen(self, number: int) -> bool:
        """Say whether `number` was marked, or is too old to tell."""
        behind = self.highest - number
        return behind >= 0 and (behind >= self.size or bool(self._bits >> behind & 1))

    def too_old(self, number: int) -> bool:
        """Say whether `number` lies below the window."""
        return self.highest - number >= self.size

    def mark(self, number: int) -> None:
        """Remember `number`, which must not be too old."""
        ahead = number - self.highest
        if ahead <= 0:
            self._bits |= 1 << -ahead
        else:
            self._bits = (self._bits << ahead | 1) & self._mask if ahead < self.size else 1
            self.highest = number
