"""After a crowd of callers was held, those who come next go in as the listener's queue has room."""

__all__ = ["METER_NS", "Meter"]

# A crowd that was held is followed by more of it, and SYNs that find the listener's queue full are
# dropped by Linux for a second: for so long they go in as the queue has room. A crowd's burst
# takes some milliseconds; after it, a new connection should not come by way of the daemon.
METER_NS = 100_000_000


class Meter:
    """Of one service."""

    def __init__(self) -> None:
        self.until_ns: int | None = None
        "None: it is off"

    def start(self, *, now_ns: int, callers: int) -> None:
        """So many are let in now; a single one is no crowd."""
        self.until_ns = now_ns + METER_NS if callers > 1 else None

    def stop(self) -> None:
        """Nobody is let in any more."""
        self.until_ns = None

    def is_on(self, now_ns: int) -> bool:
        """Whether SYNs still come by way of the daemon."""
        if self.until_ns is not None and now_ns >= self.until_ns:
            self.until_ns = None
        return self.until_ns is not None
