"""Which numbers of a growing sequence have been seen, exactly, over the newest `size` of them.

One bitmap in one integer, bit 0 the highest number seen. It marks what is *missing*: while all
comes in order it is 0, and costs next to nothing. It serves packet numbers (replay) and message
sequences (delivery). RFC 6479's ring of words is faster in C and slower in Python.
"""

from functools import cache

__all__ = ["SlidingWindow"]


@cache
def _mask(size: int) -> int:
    """Return so many ones: a kilobyte for a replay window, and shared by all of them."""
    return (1 << size) - 1


class SlidingWindow:
    """Numbers from 0 up. Below the window everything counts as seen."""

    __slots__ = ("_missing", "highest", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.highest = -1
        self._missing = 0

    def seen(self, number: int) -> bool:
        """Say whether `number` was marked, or is too old to tell."""
        behind = self.highest - number
        return behind >= 0 and (behind >= self.size or not self._missing >> behind & 1)

    def too_old(self, number: int) -> bool:
        """Say whether `number` lies below the window."""
        return self.highest - number >= self.size

    def take(self, number: int) -> bool:
        """Mark `number` unless it was seen; say whether it is new."""
        if self.seen(number):
            return False
        self.mark(number)
        return True

    def mark(self, number: int) -> None:
        """Remember `number`, which must not be too old."""
        ahead = number - self.highest
        if ahead == 1 and not self._missing:
            self.highest = number  # As nearly all of them.
            return
        if ahead <= 0:
            self._missing &= ~(1 << -ahead)
            return
        self.highest = number
        if ahead >= self.size:
            self._missing = _mask(self.size) - 1
        else:
            self._missing = (self._missing << ahead | (1 << ahead) - 2) & _mask(self.size)
