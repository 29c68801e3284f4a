"""Deadlines of many links: the earliest at once, a later one at the price of a look.

A deadline that moves back, as most do with every datagram, is left where it is; when it comes the
link is asked again. Only one that moves forward is pushed.
"""

from heapq import heappop, heappush

__all__ = ["Schedule"]


class Schedule:
    """When to look at which link, by session."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []
        self._at: dict[int, float] = {}

    def next_at(self) -> float | None:
        """Return when `due` may return something."""
        return self._heap[0][0] if self._heap else None

    def set(self, session: int, deadline: float) -> None:
        """See to it that this session is due at `deadline` at the latest."""
        present = self._at.get(session)
        if present is None or deadline < present:
            self._at[session] = deadline
            heappush(self._heap, (deadline, session))

    def remove(self, session: int) -> None:
        """Forget a session. Its heap entry is skipped when it comes up."""
        self._at.pop(session, None)

    def due(self, now: float, most: int) -> list[int]:
        """Take out so many of the sessions whose deadlines have come; the rest stays due."""
        sessions: list[int] = []
        while self._heap and self._heap[0][0] <= now and len(sessions) < most:
            deadline, session = heappop(self._heap)
            if self._at.get(session) == deadline:
                del self._at[session]
                sessions.append(session)
        return sessions
