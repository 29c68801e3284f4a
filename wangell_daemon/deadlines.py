"""Which service has something to do next, without walking them all after each event."""

import heapq

__all__ = ["Deadlines"]


class Deadlines:
    """One deadline a name, CLOCK_MONOTONIC nanoseconds. A heap whose stale entries are skipped."""

    def __init__(self) -> None:
        self._due: dict[str, int] = {}
        self._heap: list[tuple[int, str]] = []

    def set(self, name: str, due_ns: int | None) -> None:
        """Put the name's deadline in place of its older one; None: it has none."""
        if due_ns is None:
            self._due.pop(name, None)
        elif self._due.get(name) != due_ns:
            self._due[name] = due_ns
            heapq.heappush(self._heap, (due_ns, name))
            self._compact()

    def next_ns(self) -> int | None:
        """The earliest; None: there is none."""
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def take_due(self, now_ns: int) -> list[str]:
        """Remove and return the names whose deadline has come."""
        names: list[str] = []
        while (due_ns := self.next_ns()) is not None and due_ns <= now_ns:
            names.append(heapq.heappop(self._heap)[1])
            del self._due[names[-1]]
        return names

    def _compact(self) -> None:
        """Stale entries far in the future would pile up: never more than one a live entry."""
        if len(self._heap) > 64 + 2 * len(self._due):
            self._heap = [(due_ns, name) for name, due_ns in self._due.items()]
            heapq.heapify(self._heap)
