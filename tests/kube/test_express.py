"""The express connection, at sockets on loopback that answer as API servers do, or do not."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Awaitable, Callable, Iterator

import pytest

from wangell_controller.kube import express as under_test
from wangell_controller.kube.errors import ConflictError, UnavailableError
from wangell_controller.kube.express import Express

SCALE = "/apis/apps/v1/namespaces/default/deployments/a/scale"
ONE = {"spec": {"replicas": 1}}
VERSION = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Door:
    """What Express needs of the library, for a server on loopback."""

    ssl_context = None

    def __init__(self, port: int) -> None:
        self.host = f"http://127.0.0.1:{port}/clusters/c1"
        self.tokens = iter(f"t{number}" for number in range(100))

    async def authorization(self) -> dict[str, str]:
        return {"authorization": f"Bearer {next(self.tokens)}"}


class Server:
    """Accepts by hand, so that a test sees what is on the wire while no loop turns."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(5)
        self.express = Express(Door(self.listener.getsockname()[1]))
        self.sock: socket.socket | None = None

    async def accept(self) -> bytes:
        """The next connection, which asks for /version first."""
        if self.sock is not None:
            self.sock.close()
        self.sock = (await asyncio.to_thread(self.listener.accept))[0]
        self.sock.settimeout(5)
        asked = await self.hear()
        self.say(VERSION)
        await settled()
        return asked

    async def hear(self) -> bytes:
        assert self.sock is not None
        return await asyncio.to_thread(self.sock.recv, 65536)

    def hear_now(self) -> bytes:
        assert self.sock is not None
        return self.sock.recv(65536)

    def say(self, answer: bytes) -> None:
        assert self.sock is not None
        self.sock.sendall(answer)

    def close(self) -> None:
        self.listener.close()
        if self.sock is not None:
            self.sock.close()


async def settled() -> None:
    """What is on loopback has been read."""
    await asyncio.sleep(0.05)


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "EVERY_S", 60.0)


@pytest.fixture
def server() -> Iterator[Server]:
    with contextlib.closing(Server()) as opened:
        yield opened


def kept(server: Server, story: Callable[[Server], Awaitable[None]]) -> None:
    """Tell a story while the connection is kept."""

    async def told() -> None:
        keeping = asyncio.get_running_loop().create_task(server.express.keep())
        try:
            await server.accept()
            await story(server)
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

    asyncio.run(told())


def test_a_patch_is_on_the_wire_when_the_call_returns(server: Server) -> None:
    async def story(server: Server) -> None:
        answer = server.express.merge_now(SCALE, ONE)
        head, _, body = server.hear_now().partition(b"\r\n\r\n")  # No turn of the loop before it.
        lines = head.decode().split("\r\n")
        assert lines[0] == (f"PATCH /clusters/c1{SCALE}?fieldManager=wangell-controller HTTP/1.1")
        assert {"authorization: Bearer t0", "Content-Type: application/merge-patch+json"} <= {
            *lines
        }
        assert f"Content-Length: {len(body)}" in lines
        assert json.loads(body) == ONE
        server.say(b'HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{"a":1}')
        assert answer is not None
        assert await answer == {"a": 1}

    kept(server, story)


def test_it_is_used_again_and_not_while_it_is_busy(server: Server) -> None:
    async def story(server: Server) -> None:
        first = server.express.merge_now(SCALE, ONE)
        assert server.express.merge_now(SCALE, ONE) is None
        server.hear_now()
        chunks = b'4\r\n{"b"\r\n3\r\n:2}\r\n0\r\n\r\n'
        server.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks[:6])
        await settled()
        assert server.express.merge_now(SCALE, ONE) is None
        server.say(chunks[6:])
        assert first is not None
        assert await first == {"b": 2}
        assert server.express.merge_now(SCALE, ONE) is not None

    kept(server, story)


def test_a_refusal_is_an_error_of_its_kind(server: Server) -> None:
    async def story(server: Server) -> None:
        answer = server.express.merge_now(SCALE, ONE)
        assert answer is not None
        body = b'{"reason":"Conflict","message":"has changed"}'
        server.say(b"HTTP/1.1 409 Conflict\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        with pytest.raises(ConflictError, match="has changed"):
            await answer

    kept(server, story)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"SSH-2.0-OpenSSH\r\n", "is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n[1]", "is not JSON"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{1]", "is not JSON"),
        (b"", "connection lost"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", "connection lost"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + b"x" * 9999, "is too long"),
    ],
    ids=["not HTTP", "a list", "broken", "nothing", "half", "long"],
)
def test_an_answer_that_is_none_is_no_answer(
    server: Server, said: bytes, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_test, "ANSWER_BYTES_MAX", 5000)

    async def story(server: Server) -> None:
        answer = server.express.merge_now(SCALE, ONE)
        assert answer is not None
        server.say(said)
        assert server.sock is not None
        server.sock.shutdown(socket.SHUT_WR)
        with pytest.raises(UnavailableError, match=why):
            await answer
        await settled()
        assert server.express.merge_now(SCALE, ONE) is None

    kept(server, story)


def test_no_answer_in_time_is_no_answer(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(server: Server) -> None:
        monkeypatch.setattr(under_test, "REQUEST_TIMEOUT_S", 0.1)
        answer = server.express.merge_now(SCALE, ONE)
        assert answer is not None
        with pytest.raises(UnavailableError, match="in time"):
            await answer
        assert server.express.merge_now(SCALE, ONE) is None

    kept(server, story)


def test_whoever_waits_no_more_leaves_the_connection_to_the_next(server: Server) -> None:
    async def story(server: Server) -> None:
        answer = server.express.merge_now(SCALE, ONE)
        assert answer is not None
        answer.cancel()
        assert server.express.merge_now(SCALE, ONE) is None  # Its answer is still to come.
        server.say(VERSION)
        await settled()
        assert server.express.merge_now(SCALE, ONE) is not None

    kept(server, story)


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}", VERSION]
)
def test_one_that_is_closed_is_opened_anew_with_a_new_token(
    server: Server, said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the API server, or after an answer that nobody has asked for."""

    async def story(server: Server) -> None:
        server.say(said)
        assert server.sock is not None
        server.sock.shutdown(socket.SHUT_WR)
        await settled()
        assert server.express.merge_now(SCALE, ONE) is None
        asked = await server.accept()
        assert b"GET /clusters/c1/version " in asked
        assert b"Bearer t0" not in asked
        assert server.express.merge_now(SCALE, ONE) is not None

    monkeypatch.setattr(under_test, "EVERY_S", 0.1)
    kept(server, story)


def test_before_it_is_open_and_where_only_the_library_knows_the_way_it_sends_nothing(
    server: Server,
) -> None:
    async def story() -> None:
        assert server.express.merge_now(SCALE, ONE) is None
        door = Door(1)
        door.host = ""
        behind_a_proxy = Express(door)
        keeping = asyncio.get_running_loop().create_task(behind_a_proxy.keep())
        await settled()
        assert not keeping.done()
        keeping.cancel()
        assert behind_a_proxy.merge_now(SCALE, ONE) is None

    asyncio.run(story())


def test_an_api_server_that_is_away_is_looked_for_again(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_test, "EVERY_S", 0.05)
    port = server.listener.getsockname()[1]
    server.listener.close()

    async def story() -> None:
        keeping = asyncio.get_running_loop().create_task(server.express.keep())
        await settled()
        server.listener = socket.create_server(("127.0.0.1", port))
        server.listener.settimeout(5)
        await server.accept()
        assert server.express.merge_now(SCALE, ONE) is not None
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)

    asyncio.run(story())
