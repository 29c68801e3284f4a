"""Waits for what other processes write to files, woken by inotify and not by a clock."""

import ctypes
import os
import select
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from wangell_lab.errors import LabError

__all__ = ["wait_for"]

T = TypeVar("T")

# linux/inotify.h
IN_MODIFY, IN_CLOSE_WRITE, IN_MOVED_TO, IN_CREATE = 0x2, 0x8, 0x80, 0x100
WRITTEN = IN_MODIFY | IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE
EVENTS_BYTES = 65536

_libc = ctypes.CDLL(None, use_errno=True)


def wait_for(path: Path, look: Callable[[], T | None], *, timeout_s: float, what: str) -> T:
    """Call `look` now and after each write in `path`'s directory; return what it finds.

    The directory is watched, not the file: it may not exist yet, or be replaced by a rename.
    Raises LabError, naming `what`, after `timeout_s`.
    """
    deadline_s = time.monotonic() + timeout_s
    watch = _watch(path.parent)
    try:
        # The watch is there before the first look, so nothing falls between them.
        while (found := look()) is None:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or not select.select([watch], [], [], left_s)[0]:
                raise LabError(f"{what}: not within {timeout_s:g} s, by {path.name}")
            os.read(watch, EVENTS_BYTES)
        return found
    finally:
        os.close(watch)


def _watch(directory: Path) -> int:
    descriptor = _checked(_libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK), directory)
    try:
        _checked(_libc.inotify_add_watch(descriptor, os.fsencode(directory), WRITTEN), directory)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _checked(returned: int, directory: Path) -> int:
    if returned < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), str(directory))
    return returned
