"""From controllers that stand by to the one that leads: what daemons told the wrong one of them.

A peer's message is delivered to one server, and a wake that was not acknowledged in time goes to a
second one: whichever acknowledges it first is the only one that surely has it. So whoever stands by
passes on all that it hears. Over a socket in the run directory, which no network can lose; if
nobody leads at the moment the message is dropped, for daemons say everything again to whoever
serves them the table next.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgpack

from wangell_proto.vocabulary import Report, VocabularyError, decode_report, encode_report

__all__ = ["RelayInlet", "RelayOutlet"]

log = logging.getLogger(__name__)

_NAME = "leader.sock"
# A report of a full node has 35 KiB; the kernel holds some of these for a leader that is busy.
MESSAGE_BYTES_MAX = 1 << 16

Hear = Callable[[str, Report, int], None]
"Peer, what it reports, and when that was read (CLOCK_MONOTONIC)"


class RelayOutlet:
    """Where a controller that stands by passes on. Close it."""

    def __init__(self, run_dir: Path) -> None:
        """Raises OSError."""
        self._place = _Place(run_dir)
        self._socket = _datagram_socket()

    def pass_on(self, peer: str, report: Report, received_ns: int) -> bool:
        """Return whether a leader will read it."""
        message = msgpack.packb([peer, received_ns, encode_report(report)])
        try:
            self._socket.sendto(message, self._place.path)
        except OSError as error:  # Nobody leads, or who leads has not read for a long time.
            log.debug("%s: not passed on: %s", peer, error.strerror)
            return False
        return True

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        self._place.close()


class RelayInlet:
    """Where the leader hears them. Close it."""

    def __init__(self, run_dir: Path, hear: Hear) -> None:
        """Take the predecessor's place. Raises OSError."""
        self._place = _Place(run_dir)
        (run_dir / _NAME).unlink(missing_ok=True)
        self._socket = _datagram_socket()
        self._socket.bind(self._place.path)
        self._hear = hear
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._read)

    def close(self) -> None:
        """Close the socket; the successor clears its name away."""
        self._loop.remove_reader(self._socket)
        self._socket.close()
        self._place.close()

    def _read(self) -> None:
        with suppress(BlockingIOError):
            message = self._socket.recv(MESSAGE_BYTES_MAX)
            try:
                peer, received_ns, body = msgpack.unpackb(message)
                report = decode_report(body)
            except (ValueError, TypeError, VocabularyError) as error:
                # The directory is root's alone: a controller of another version.
                log.warning("a controller that stands by said what is not understood: %s", error)
                return
            self._hear(peer, report, received_ns)


class _Place:
    """The socket's address: through a descriptor, for a path there has 107 characters at most."""

    def __init__(self, run_dir: Path) -> None:
        self._fd = os.open(run_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.path = f"/proc/self/fd/{self._fd}/{_NAME}"

    def close(self) -> None:
        os.close(self._fd)


def _datagram_socket() -> socket.socket:
    return socket.socket(
        socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    )
