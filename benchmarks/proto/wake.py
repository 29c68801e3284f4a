"""A peer's wakes: sent, delivered at the server, acknowledged."""

import asyncio
import time
from typing import Any

from benchmarks.proto.closed_loop import ClosedLoop
from benchmarks.proto.samples import WAKE, Keys
from benchmarks.proto.tally import Tally
from wangell_proto import Event, Lane, LinkUp, MessageAcknowledged, TableSynced
from wangell_proto.aio import ClientLink, open_client

__all__ = ["WakeClient"]


class _Waker:
    """One peer, one wake at a time."""

    async def start(self, keys: Keys, name: str, servers: list[tuple[str, int]]) -> None:
        """Link and follow the table."""
        self._linked = Tally()
        self.calls = ClosedLoop(self._send)
        self._link: ClientLink = await open_client(
            keys.client_config(name, servers), self._on_event
        )
        await self._linked.until(LinkUp, len(servers))

    def _send(self) -> None:
        self._link.send(WAKE, lane=Lane.WAKE)

    def _on_event(self, event: Event) -> None:
        if type(event) is MessageAcknowledged:
            self.calls.on_answer()
        elif type(event) is LinkUp:
            self._linked(event)


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

    async def burst(self, count: int, links: int = 1) -> list[float]:
        """Return how long each of so many wakes took, in seconds, spread over so many links."""
        runs = [waker.calls.run(count // links) for waker in self._wakers[:links]]
        return [took for run in await asyncio.gather(*runs) for _, took in run]

    async def stream(self, seconds: float, pause_s: float) -> list[tuple[float, float]]:
        """Wake for so long with pauses; return of each when it was sent and how long it took."""
        until, calls = time.monotonic() + seconds, self._wakers[0].calls
        sent: list[tuple[float, float]] = []
        while time.monotonic() < until:
            sent += await calls.run(1)
            await asyncio.sleep(pause_s)
        return sent

    async def fresh(self, keys: dict[str, str], servers: list[tuple[str, int]]) -> dict[str, Any]:
        """Let a peer come that knows nothing; return how long until it has the whole table."""
        tally = Tally()
        started_at = time.monotonic()
        link = await open_client(Keys(**keys).client_config("fresh", servers), tally)
        synced_at = await tally.until(TableSynced, 1)
        answer = {"took_s": synced_at - started_at, "records": len(link.records)}
        link.close()
        return answer
