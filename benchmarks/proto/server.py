"""A server of the protocol with a table, and what it costs."""

import gc
import os
import time
from pathlib import Path
from typing import Any, cast

from benchmarks.proto.samples import Keys, record
from benchmarks.proto.stopwatch import Stopwatch
from wangell_proto import Event, MessageReceived
from wangell_proto.aio import open_server

__all__ = ["TableServer"]

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class TableServer:
    """Takes wakes, holds records, changes one when told, takes the lead when told."""

    def __init__(self) -> None:
        self._received = 0
        self._activation = 1

    async def start(
        self, host: str, keys: dict[str, str], records: int, epoch: int, *, serves: bool
    ) -> int:
        """Open with so many records and return the port."""
        config = Keys(**keys).server_config(epoch=epoch, serves_table=serves)
        self._link = await open_server(config, (host, 0), self._on_event)
        for number in range(records):
            self._link.set_record(*record(number))
        # As wangell_controller does before it serves.
        gc.collect()
        gc.freeze()
        port: int = self._link.address[1]
        return port

    def _on_event(self, event: Event) -> None:
        if type(event) is MessageReceived:
            self._received += 1

    async def change(self) -> float:
        """Change one record; return the time before."""
        self._activation += 1
        key, value = record(0, activation=self._activation)
        changed_at = time.monotonic()
        self._link.set_record(key, value)
        return changed_at

    async def take_over(self, epoch: int) -> float:
        """Take the lead under a higher epoch, with the table as it is; return the time before."""
        took_over_at = time.monotonic()
        self._link.serve_table(is_complete=True)
        self._link.raise_epoch(epoch)
        return took_over_at

    async def watch(self) -> None:
        """Note from now on what the socket does."""
        self._watch = Stopwatch(self._link._socket)
        self._link._socket = cast("Any", self._watch)

    async def watched(self) -> dict[str, list[float]]:
        """Return what the socket did since."""
        self._link._socket = self._watch.watched
        return {"read_at": self._watch.read_at, "sent_at": self._watch.sent_at}

    async def usage(self) -> dict[str, Any]:
        """Return what it used up to now, and what it did."""
        at, cpu_s = time.monotonic(), time.process_time()
        gc.collect()
        return {
            "at": at,
            "cpu_s": cpu_s,
            "rss_bytes": _resident_bytes(),
            "peers": len(self._link.peers),
            "received": self._received,
            "drops": {reason.name: count for reason, count in self._link.drops.items() if count},
        }


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES
