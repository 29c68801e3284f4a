"""Ring buffers of the programs, as callbacks: the map's own descriptor goes into the event loop.

libbpf's ring_buffer__new is used through libbcc with a raw callback, so that one works for maps
that BCC made and for those of a predecessor alike.
"""

import ctypes
from collections.abc import Callable
from typing import Any

from wangell_daemon.datapath.errors import DatapathError

__all__ = ["Ring"]


class Ring:
    """One ring buffer. `on_event` gets each event's bytes, in order."""

    def __init__(self, map_fd: int, on_event: Callable[[bytes], None]) -> None:
        from bcc.libbcc import _RINGBUF_CB_TYPE, lib  # noqa: PLC0415

        self.map_fd = map_fd
        self._lib: Any = lib
        self._failure: BaseException | None = None

        def relay(_context: Any, data: int, size: int) -> int:
            # An exception would be lost in C: keep it for consume().
            try:
                on_event(ctypes.string_at(data, size))
            except Exception as error:
                self._failure = error
            return 0

        self._relay = _RINGBUF_CB_TYPE(relay)  # kept: C holds only its address
        self._ring = lib.bpf_new_ringbuf(map_fd, self._relay, None)
        if not self._ring:
            raise DatapathError("a ring buffer could not be mapped: is locked memory limited?")

    def consume(self) -> None:
        """Hand over all that is there, without waiting. Raises what a callback raised."""
        self._lib.bpf_consume_ringbuf(self._ring)
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def close(self) -> None:
        """Unmap it."""
        self._lib.bpf_free_ringbuf(self._ring)
