"""What a controller would otherwise be called by: grpcio's asyncio, unary, without TLS.

Bytes as they are on both sides: not even protobuf is on gRPC's account.
"""

import asyncio
import time

import grpc
import grpc.aio

__all__ = ["GrpcClient", "GrpcServer"]

METHOD = "/wangell.Bench/Wake"


class GrpcServer:
    """Answers every call with nothing."""

    async def start(self, host: str) -> int:
        """Serve and return the port."""
        self._server = grpc.aio.server()
        handler = grpc.unary_unary_rpc_method_handler(self._on_wake)
        generic = grpc.method_handlers_generic_handler("wangell.Bench", {"Wake": handler})
        self._server.add_generic_rpc_handlers((generic,))
        port: int = self._server.add_insecure_port(f"{host}:0")
        await self._server.start()
        return port

    async def _on_wake(self, _body: bytes, _context: object) -> bytes:
        return b""


class GrpcClient:
    """Several channels, each with a connection of its own, each one call at a time."""

    async def start(self, host: str, port: int, payload: str, links: int) -> None:
        """Connect; `payload` in hex."""
        self._payload = bytes.fromhex(payload)
        # Without its own pool every channel of a process shares one connection.
        options = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))
        self._channels = [
            grpc.aio.insecure_channel(f"{host}:{port}", options=options) for _ in range(links)
        ]
        self._calls = [channel.unary_unary(METHOD) for channel in self._channels]
        await asyncio.gather(*(channel.channel_ready() for channel in self._channels))

    async def burst(self, count: int, links: int = 1, gap_s: float = 0.0) -> list[float]:
        """Return how long each of so many calls took, in seconds, spread over so many links."""
        runs = [self._run(index, count // links, gap_s) for index in range(links)]
        return [took for run in await asyncio.gather(*runs) for took in run]

    async def _run(self, index: int, count: int, gap_s: float) -> list[float]:
        call, took = self._calls[index], []
        for _ in range(count):
            if gap_s:
                await asyncio.sleep(gap_s)
            started_at = time.monotonic()
            await call(self._payload)
            took.append(time.monotonic() - started_at)
        return took
