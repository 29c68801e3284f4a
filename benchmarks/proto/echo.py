"""The least that a round trip can cost in this language: a bare asyncio UDP echo."""

import asyncio
from typing import Any

from benchmarks.proto.closed_loop import ClosedLoop

__all__ = ["EchoClient", "EchoServer"]


class EchoServer(asyncio.DatagramProtocol):
    """Sends back what it gets."""

    async def start(self, host: str) -> int:
        """Open and return the port."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(host, 0))
        port: int = transport.get_extra_info("sockname")[1]
        return port

    def connection_made(self, transport: Any) -> None:
        """Keep the way to send."""
        self._send = transport.sendto

    def datagram_received(self, data: bytes, source: Any) -> None:
        """Send it back."""
        self._send(data, source)


class EchoClient(asyncio.DatagramProtocol):
    """Sends a datagram, waits for it, sends the next."""

    async def start(self, host: str, port: int, payload: str) -> None:
        """Open; `payload` in hex."""
        self._payload = bytes.fromhex(payload)
        self._calls = ClosedLoop(self._call)
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self, remote_addr=(host, port))

    async def burst(self, count: int, gap_s: float = 0.0) -> list[float]:
        """Return how long each of so many round trips took, in seconds."""
        return [took for _, took in await self._calls.run(count, gap_s)]

    def connection_made(self, transport: Any) -> None:
        """Keep the way to send."""
        self._sendto = transport.sendto

    def datagram_received(self, _data: bytes, _source: Any) -> None:
        """Take the echo."""
        self._calls.on_answer()

    def _call(self) -> None:
        self._sendto(self._payload)
