"""/healthz and /readyz, answered in the loop that does the work: what hangs does not answer."""

from collections.abc import Awaitable, Callable
from typing import Self

from aiohttp import web

__all__ = ["Health"]


class Health:
    """An HTTP server for the kubelet's probes. Close it."""

    def __init__(self, runner: web.AppRunner) -> None:
        self._runner = runner

    @classmethod
    async def serve(cls, address: tuple[str, int], unready: Callable[[], str | None]) -> Self:
        """Serve; `unready` returns what is still missing. Raises OSError."""
        app = web.Application()
        app.router.add_get("/healthz", _healthz)
        app.router.add_get("/readyz", _readyz(unready))
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        host, port = address
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            await runner.cleanup()
            reason = f"health cannot be served at {host}:{port}: {error.strerror}"
            raise OSError(error.errno, reason) from error
        return cls(runner)

    @property
    def port(self) -> int:
        """Where it serves."""
        return int(self._runner.addresses[0][1])

    async def aclose(self) -> None:
        """Answer no more."""
        await self._runner.cleanup()


async def _healthz(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")


def _readyz(unready: Callable[[], str | None]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def readyz(_: web.Request) -> web.Response:
        missing = unready()
        if missing is None:
            return web.Response(text="ok\n")
        return web.Response(status=503, text=f"not ready: {missing}\n")

    return readyz
