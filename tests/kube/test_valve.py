"""A valve on a real connection, TLS as the API server's are, that may die at any moment."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster.pki import Authority
from wangell_controller.kube.valve import Valve

HOST = "127.0.0.1"
TIMEOUT_S = 10.0
LONG_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Both ends of one connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    server: asyncio.StreamWriter

    @property
    def transport(self) -> asyncio.ReadTransport:
        assert isinstance(self.writer.transport, asyncio.ReadTransport)
        return self.writer.transport

    async def lose(self) -> None:
        """It ends without a word, and this end has noticed."""
        self.server.transport.abort()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


@contextlib.asynccontextmanager
async def linked(certificates: Path) -> AsyncIterator[Link]:
    Authority(certificates).issue("server", "server", hosts=[HOST])
    there = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    there.load_cert_chain(certificates / "server.crt", certificates / "server.key")
    here = ssl.create_default_context(cafile=str(certificates / "ca.crt"))
    accepted: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
    server = await asyncio.start_server(
        lambda _, writer: accepted.put_nowait(writer), HOST, ssl=there
    )
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), ssl=here)
    link = Link(reader=reader, writer=writer, server=await accepted.get())
    try:
        yield link
    finally:
        writer.transport.abort()
        link.server.transport.abort()
        server.close()
        await server.wait_closed()


def story(tmp_path: Path, body: Callable[[Link], Awaitable[None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(TIMEOUT_S), linked(tmp_path / "certificates") as link:
            await body(link)

    asyncio.run(run())


def test_while_it_is_shut_nothing_is_read_and_then_all(tmp_path: Path) -> None:
    async def body(link: Link) -> None:
        valve = Valve()
        with valve.on(link.transport):
            valve.shut(LONG_S)
            link.server.write(b"later")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await link.reader.read(5)
            valve.open()
            assert await link.reader.read(5) == b"later"

    story(tmp_path, body)


def test_one_that_was_lost_before_it_is_shut(tmp_path: Path) -> None:
    async def body(link: Link) -> None:
        valve = Valve()
        with valve.on(link.transport):
            await link.lose()
            valve.shut(LONG_S)
        valve.open()

    story(tmp_path, body)


@pytest.mark.parametrize("is_left_first", [False, True])
def test_one_that_is_lost_while_it_is_shut(tmp_path: Path, is_left_first: bool) -> None:
    async def body(link: Link) -> None:
        valve = Valve()
        with valve.on(link.transport):
            valve.shut(LONG_S)
            link.writer.transport.abort()
            await asyncio.sleep(0.01)
            if not is_left_first:
                valve.open()
        valve.open()

    story(tmp_path, body)


def test_one_that_was_lost_before_a_valve_that_is_shut_is_its_own(tmp_path: Path) -> None:
    async def body(link: Link) -> None:
        valve = Valve()
        valve.shut(LONG_S)
        await link.lose()
        with valve.on(link.transport):
            pass
        valve.open()

    story(tmp_path, body)
