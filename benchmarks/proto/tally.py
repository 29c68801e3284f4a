"""Counts events by their kind, and waits for the last of many."""

import asyncio
import time
from collections import Counter

from wangell_proto import Event

__all__ = ["Tally"]


class Tally:
    """A callback for events of one or many links."""

    def __init__(self) -> None:
        self.counts: Counter[type] = Counter()
        self.last_at: dict[type, float] = {}
        self._wanted: type | None = None
        self._goal = 0
        self._reached = asyncio.Event()

    def __call__(self, event: Event) -> None:
        """Count an event."""
        kind = type(event)
        self.counts[kind] += 1
        self.last_at[kind] = time.monotonic()
        if kind is self._wanted and self.counts[kind] >= self._goal:
            self._reached.set()

    def reset(self) -> None:
        """Start from zero."""
        self.counts.clear()
        self.last_at.clear()

    async def until(self, kind: type, count: int) -> float:
        """Wait until so many of a kind have been counted; return when the last one came."""
        self._reached.clear()
        self._wanted, self._goal = kind, count
        if self.counts[kind] < count:
            await self._reached.wait()
        return self.last_at[kind]
