"""A peer's wakes: sent, delivered at the server, acknowledged."""

import asyncio
import time
from typing import Any, cast

from benchmarks.proto.closed_loop import ClosedLoop
from benchmarks.proto.samples import WAKE, Keys
from benchmarks.proto.stopwatch import Stopwatch
from benchmarks.proto.tally import Tally
from wangell_proto import Event, Lane, LinkUp, MessageAcknowledged, TableSynced
from wangell_proto.aio import ClientLink, open_client

__all__ = ["WakeClient"]


class _Waker:
    """One peer, one wake at a time."""

    async def start(self, keys: Keys, name: str, servers: list[tuple[str, int]]) -> None:
        """Link and follow the table."""
        self._linked = Tally()
        self._streamed: dict[int, float] = {}
        self.took: list[tuple[float, float]] = []
        self.calls = ClosedLoop(self._send)
        self._link: ClientLink = await open_client(
            keys.client_config(name, servers), self._on_event
        )
        await self._linked.until(LinkUp, len(servers))

    async def watched(self, count: int) -> dict[str, Any]:
        """Wake so often with a stopwatch in the socket's place."""
        watch = Stopwatch(self._link._socket)
        self._link._socket = cast("Any", watch)
        calls = await self.calls.run(count)
        self._link._socket = watch.watched
        return {"calls": calls, "read_at": watch.read_at, "sent_at": watch.sent_at}

    def launch(self) -> None:
        """Send one wake of a stream, whatever became of those before."""
        sent_at = time.monotonic()
        self._streamed[self._link.send(WAKE, lane=Lane.WAKE)] = sent_at

    def _send(self) -> None:
        self._link.send(WAKE, lane=Lane.WAKE)

    def _on_event(self, event: Event) -> None:
        if type(event) is MessageAcknowledged:
            sent_at = self._streamed.pop(event.message_id, None)
            if sent_at is None:
                self.calls.on_answer()
            else:
                self.took.append((sent_at, time.monotonic() - sent_at))
        elif type(event) is LinkUp:
            self._linked(event)

    def results(self) -> list[tuple[float, float]]:
        """Return what became of a stream's wakes, and forget them."""
        now = time.monotonic()
        took = self.took + [(sent_at, now - sent_at) for sent_at in self._streamed.values()]
        self.took = []
        self._streamed.clear()
        return took


class WakeClient:
    """Several peers in one process."""

    def __init__(self) -> None:
        self._wakers: list[_Waker] = []

    async def start(
        self, keys: dict[str, str], servers: list[tuple[str, int]], links: int, name: str = "waker"
    ) -> None:
        """Link so many peers."""
        for number in range(links):
            waker = _Waker()
            await waker.start(Keys(**keys), f"{name}-{number}", servers)
            self._wakers.append(waker)

    async def burst(self, count: int, links: int = 1, gap_s: float = 0.0) -> list[float]:
        """Return how long each of so many wakes took, in seconds, spread over so many links."""
        runs = [waker.calls.run(count // links, gap_s) for waker in self._wakers[:links]]
        return [took for run in await asyncio.gather(*runs) for _, took in run]

    async def watched_burst(self, count: int) -> dict[str, Any]:
        """Return of so many wakes when each began, how long it took, and what the socket did."""
        return await self._wakers[0].watched(count)

    async def stream(self, seconds: float, every_s: float) -> list[tuple[float, float]]:
        """Wake for so long; return of each when it was sent and how long it took.

        The next one leaves though the last is not acknowledged: a pause of the server must count
        for all whom it keeps waiting. What is not acknowledged a second later counts as a second.
        """
        waker, until = self._wakers[0], time.monotonic() + seconds
        while time.monotonic() < until:
            waker.launch()
            await asyncio.sleep(every_s)
        await asyncio.sleep(1.0)
        return waker.results()

    async def fresh(self, keys: dict[str, str], servers: list[tuple[str, int]]) -> dict[str, Any]:
        """Let a peer come that knows nothing; return how long until it has the whole table."""
        tally = Tally()
        started_at = time.monotonic()
        link = await open_client(Keys(**keys).client_config("fresh", servers), tally)
        synced_at = await tally.until(TableSynced, 1)
        answer = {"took_s": synced_at - started_at, "records": len(link.records)}
        link.close()
        return answer
