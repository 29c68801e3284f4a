"""/readyz, for the kubelet's startup probe: whether the table is in, and what sleeps is held.

Answered in the loop that does the work. A few lines and not a web server: nobody asks but the
kubelet, once a second until it hears yes. Whatever it asks, the answer is the same.
"""

import asyncio
import logging

from wangell_daemon.settings import Address

__all__ = ["Health"]

log = logging.getLogger(__name__)

# Who connects and says nothing is let go.
REQUEST_S = 5.0
# A request line and a few headers; the kubelet's has some 150 bytes.
REQUEST_BYTES_MAX = 4096
_ANSWER = "HTTP/1.0 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{text}"


class Health:
    """`missing` is what is still waited for; None: nothing. Close it."""

    def __init__(self) -> None:
        self.missing: str | None = "the table of the controller that leads has not come yet"
        self._server: asyncio.Server | None = None

    async def serve(self, address: Address) -> None:
        """Raises OSError that names the remedy where the address cannot be had."""
        host, port = address
        try:
            self._server = await asyncio.start_server(
                self._answer, host, port, limit=REQUEST_BYTES_MAX
            )
        except OSError as error:
            reason = (
                f"health cannot be served at {host}:{port}: {error.strerror}; "
                "give another --health-address, and the startup probe its port"
            )
            raise OSError(error.errno, reason) from error

    @property
    def port(self) -> int:
        """Where it serves."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    def close(self) -> None:
        """Answer no more."""
        if self._server is not None:
            self._server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), REQUEST_S)
            status = "200 OK" if self.missing is None else "503 Service Unavailable"
            text = "ok\n" if self.missing is None else f"not ready: {self.missing}\n"
            answer = _ANSWER.format(status=status, length=len(text), text=text)
            writer.write(answer.encode())
            await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            log.debug("somebody asked for our health, and not to the end")
        finally:
            writer.close()
