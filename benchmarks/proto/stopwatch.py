"""Where the time of a wake goes: when its datagrams left either side, and when they were read."""

import statistics
import time
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

__all__ = ["PARTS", "Stopwatch", "split"]

PARTS = ("client_sends", "way_there", "server", "way_back", "client_takes")


class Stopwatch:
    """A socket that notes when datagrams were read from it and given to it."""

    def __init__(self, watched: Any) -> None:
        self.watched = watched
        self.read_at: list[float] = []
        self.sent_at: list[float] = []

    def recvmsg(self, *arguments: int) -> Any:
        """Read, then note the time."""
        found = self.watched.recvmsg(*arguments)
        self.read_at.append(time.monotonic())
        return found

    def sendto(self, *arguments: Any) -> Any:
        """Note the time, then send."""
        self.sent_at.append(time.monotonic())
        return self.watched.sendto(*arguments)

    def __getattr__(self, name: str) -> Any:
        """Be the socket in everything else."""
        return getattr(self.watched, name)


def split(
    calls: Sequence[tuple[float, float]], client: dict[str, Any], server: dict[str, Any]
) -> dict[str, float]:
    """Return the median of each part in microseconds; they add up to about the whole.

    `calls` are when each began and how long it took; both sides read one clock.
    """
    rows = []
    for began_at, took in calls:
        at, marks = began_at, [began_at]
        for noted in (client["sent_at"], server["read_at"], server["sent_at"], client["read_at"]):
            index = bisect_right(noted, at)
            at = noted[index] if index < len(noted) else float("inf")
            marks.append(at)
        marks.append(began_at + took)
        # Where a heartbeat came between, some mark is not this call's.
        if marks == sorted(marks):
            rows.append([after - before for before, after in pairwise(marks)])
    medians = [statistics.median(part) * 1e6 for part in zip(*rows, strict=True)]
    return {name: round(median, 1) for name, median in zip(PARTS, medians, strict=True)}
