"""Lets a watch's connection wait unread, on behalf of whoever reads it.

What comes meanwhile stays in the kernel. There it costs nothing, and there the API server feels it,
as it would not behind a buffer of ours.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Protocol

__all__ = ["Readable", "Valve"]


class Readable(Protocol):
    """What of an asyncio.ReadTransport is used. TLS's has no limits any more once it is closing."""

    def is_closing(self) -> bool:
        """Whether the connection was lost, or is being closed."""

    def pause_reading(self) -> None:
        """Read no more."""

    def resume_reading(self) -> None:
        """Read again."""


class Valve:
    """Open, unless it was shut for some time."""

    def __init__(self) -> None:
        self._transport: Readable | None = None
        self._opens: asyncio.TimerHandle | None = None

    @property
    def is_shut(self) -> bool:
        """Whether nothing is read."""
        return self._opens is not None

    @contextlib.contextmanager
    def on(self, transport: Readable | None) -> Iterator[None]:
        """Be this connection's while the block runs; None: one that has ended already."""
        self._transport = transport
        if self.is_shut:
            self._pause()
        try:
            yield
        finally:
            if self.is_shut:  # Its connection may be another request's next.
                self._resume()
            self._transport = None

    def shut(self, for_s: float) -> None:
        """Have nothing read for so long. One that is shut opens no later for it, perhaps sooner."""
        loop = asyncio.get_running_loop()
        due = loop.time() + for_s
        if self._opens is None:
            self._pause()
        elif self._opens.when() <= due:
            return
        else:
            self._opens.cancel()
        self._opens = loop.call_at(due, self.open)

    def open(self) -> None:
        """Have read what has come, and what comes."""
        if self._opens is None:
            return
        self._opens.cancel()
        self._opens = None
        self._resume()

    def _resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            _limit(self._transport)
            self._transport.resume_reading()

    def _pause(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()
            _limit(self._transport, high=0)


def _limit(transport: Readable, *, high: int | None = None) -> None:
    """TLS's transport alone has limits: paused, it goes on reading what it does not decrypt."""
    limit = getattr(transport, "set_read_buffer_limits", None)
    if limit is not None:
        limit(high=high)
