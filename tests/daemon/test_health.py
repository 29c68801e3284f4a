"""What the kubelet's startup probe is told: no until the table is in, whatever it asks."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from wangell_daemon import health as health_module
from wangell_daemon.health import REQUEST_BYTES_MAX, Health

PROBE = b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: kube-probe/1.36\r\n\r\n"


def serving(story: Callable[[Health], Coroutine[Any, Any, None]]) -> None:
    async def told() -> None:
        health = Health()
        await health.serve(("127.0.0.1", 0))
        try:
            await story(health)
        finally:
            health.close()

    asyncio.run(told())


async def ask(health: Health, request: bytes = PROBE) -> str:
    """The whole answer; empty where the connection is closed without one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", health.port)
    writer.write(request)
    try:
        return (await reader.read()).decode()
    except ConnectionResetError:
        return ""
    finally:
        writer.close()


def test_ready_is_not_said_before_it_is() -> None:
    async def story(health: Health) -> None:
        said = await ask(health)
        assert said.startswith("HTTP/1.0 503 ")
        assert said.endswith(
            "\r\n\r\nnot ready: the table of the controller that leads has not come yet\n"
        )
        health.missing = None
        assert await ask(health) == (
            "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nok\n"
        )

    serving(story)


def test_many_may_ask_at_once() -> None:
    async def story(health: Health) -> None:
        health.missing = None
        said = await asyncio.gather(*(ask(health) for _ in range(20)))
        assert all(each.startswith("HTTP/1.0 200 ") for each in said)

    serving(story)


def test_a_request_without_an_end_has_no_answer() -> None:
    async def story(health: Health) -> None:
        health.missing = None
        assert await ask(health, b"x" * (4 * REQUEST_BYTES_MAX)) == ""
        assert (await ask(health)).startswith("HTTP/1.0 200 "), "and others have theirs"

    serving(story)


def test_who_says_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(health: Health) -> None:
        assert await ask(health, b"GET /") == ""

    monkeypatch.setattr(health_module, "REQUEST_S", 0.01)
    serving(story)


def test_an_address_that_cannot_be_had_is_named_with_the_remedy() -> None:
    async def story(health: Health) -> None:
        taken = f"127.0.0.1:{health.port}"
        with pytest.raises(OSError, match=f"{taken}: .*give another --health-address"):
            await Health().serve(("127.0.0.1", health.port))

    serving(story)


def test_closed_it_answers_nobody() -> None:
    async def story(health: Health) -> None:
        port = health.port
        health.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)

    serving(story)
