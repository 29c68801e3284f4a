"""Delays that double with each failure in a row, with jitter, so that many do not come at once."""

import random

__all__ = ["Backoff"]


class Backoff:
    """Of one thing that is tried again and again."""

    def __init__(self, least_s: float, most_s: float) -> None:
        self._least_s = least_s
        self._most_s = most_s
        self._next_s = least_s

    def next_s(self) -> float:
        """Return how long to wait after one more failure: the doubled delay, less up to a half."""
        delay_s = self._next_s
        self._next_s = min(2 * delay_s, self._most_s)
        return delay_s * random.uniform(0.5, 1.0)  # noqa: S311 (jitter, no secret)

    def reset(self) -> None:
        """It has worked."""
        self._next_s = self._least_s
