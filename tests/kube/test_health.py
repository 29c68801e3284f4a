"""What the kubelet asks, and what it is told."""

import asyncio

import aiohttp
import pytest

from wangell_controller.kube.health import Health


async def ask(port: int, path: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}{path}") as answer,
    ):
        return answer.status, await answer.text()


def test_alive_and_ready_are_two_things() -> None:
    async def story() -> None:
        missing: list[str | None] = ["the cluster is being read"]
        health = await Health.serve(("127.0.0.1", 0), lambda: missing[0])
        port = health.port
        assert await ask(port, "/healthz") == (200, "ok\n")
        assert await ask(port, "/readyz") == (503, "not ready: the cluster is being read\n")
        missing[0] = None
        assert await ask(port, "/readyz") == (200, "ok\n")
        assert (await ask(port, "/metrics"))[0] == 404
        await health.aclose()
        with pytest.raises(aiohttp.ClientConnectorError):
            await ask(port, "/healthz")

    asyncio.run(story())


def test_an_address_that_cannot_be_had_is_named() -> None:
    async def story() -> None:
        with pytest.raises(OSError, match=r"health cannot be served at 192\.0\.2\.1:8081"):
            await Health.serve(("192.0.2.1", 8081), lambda: None)

    asyncio.run(story())
