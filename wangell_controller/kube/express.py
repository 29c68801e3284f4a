"""A connection to the API server on which a wake's PATCH leaves in the very call that asks for it.

The client library takes three turns of the loop and 1 ms of code that has not run for a while, all
of which a caller would wait for. So one connection more is kept open, and a request on it is some
bytes that are written. Whatever comes while it is busy or closed, and every further try of the same
PATCH, goes by the library.
"""

import asyncio
import json
import logging
import ssl
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit

import httptools

from wangell_controller.kube.api import JSON, JSON_MERGE, REQUEST_TIMEOUT_S, json_object, keep_alive
from wangell_controller.kube.errors import KubeError, UnavailableError, error_of
from wangell_controller.kube.resources import CONTROLLER_NAME
from wangell_controller.kube.warmth import EVERY_S

__all__ = ["Express", "ExpressApi"]

log = logging.getLogger(__name__)

# The answer to a PATCH of /scale has 1 KB; an API server that sends more than this is none.
ANSWER_BYTES_MAX = 1024 * 1024


class ExpressApi(Protocol):
    """What is needed of the library: where the API server is, how to trust it, and who we are."""

    @property
    def host(self) -> str:
        """Its URL; empty where a proxy is in between, or its name is not the one to be checked."""

    @property
    def ssl_context(self) -> ssl.SSLContext | None:
        """How to trust it."""

    async def authorization(self) -> dict[str, str]:
        """Return the headers that say who we are. Raises KubeError."""


class Express:
    """At most one request at a time. `keep` it for as long as it is to be used."""

    def __init__(self, api: ExpressApi) -> None:
        self._api = api
        self._url = urlsplit(api.host)
        self._connection: _Connection | None = None
        self._head = b""

    def merge_now(
        self, path: str, body: Mapping[str, Any]
    ) -> asyncio.Future[dict[str, Any]] | None:
        """Send a merge PATCH in this very call; None: not now. The future raises KubeError."""
        if self._connection is None or not self._connection.is_idle:
            return None
        path += f"?fieldManager={CONTROLLER_NAME}"
        return self._connection.ask(self._request("PATCH", path, json.dumps(body).encode()))

    async def keep(self) -> None:
        """Keep it open, and who we are up to date, for as long as it is let."""
        try:
            while True:
                if self._api.host:
                    await self._look()
                await asyncio.sleep(EVERY_S)
        finally:
            if self._connection is not None:
                self._connection.close()

    async def _look(self) -> None:
        try:
            await self._renew_head()
            if self._connection is None or not self._connection.is_open:
                self._connection = await self._connect()
            if self._connection.is_idle:
                await self._connection.ask(self._request("GET", "/version", b""))
        except (OSError, KubeError, TimeoutError) as error:
            log.debug("a wake's PATCH will go by the library: %s", error)

    async def _renew_head(self) -> None:
        headers = {
            "Host": self._url.netloc,
            "User-Agent": CONTROLLER_NAME,
            "Accept": JSON,
            "Content-Type": JSON_MERGE,
            **await self._api.authorization(),
        }
        self._head = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()

    async def _connect(self) -> "_Connection":
        is_tls = self._url.scheme == "https"
        async with asyncio.timeout(REQUEST_TIMEOUT_S):
            _, connection = await asyncio.get_running_loop().create_connection(
                _Connection,
                self._url.hostname or "",
                self._url.port or (443 if is_tls else 80),
                ssl=self._api.ssl_context if is_tls else None,
            )
        return connection

    def _request(self, method: str, path: str, body: bytes) -> bytes:
        line = f"{method} {self._url.path.rstrip('/')}{path} HTTP/1.1\r\n".encode()
        return b"%b%bContent-Length: %d\r\n\r\n%b" % (line, self._head, len(body), body)


class _Connection(asyncio.Protocol):
    """Bytes of one request out, one answer in. The last five are what httptools calls."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[dict[str, Any]] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._body = b""

    @property
    def is_open(self) -> bool:
        """Whether the other side has not closed it, as far as is known."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def is_idle(self) -> bool:
        """Whether a request may be sent."""
        return self.is_open and self._answer is None

    def ask(self, request: bytes) -> asyncio.Future[dict[str, Any]]:
        """Send it now."""
        assert self._transport is not None
        loop = asyncio.get_running_loop()
        answer = self._answer = loop.create_future()
        self._transport.write(request)
        self._timer = loop.call_later(REQUEST_TIMEOUT_S, self._fail, "no answer in time")
        return answer

    def close(self) -> None:
        """End it."""
        self._fail("closed")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        keep_alive(transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:
        """A part of an answer."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(f"the answer is not HTTP: {error}")

    def connection_lost(self, error: Exception | None) -> None:
        """The API server restarts, or has tired of us."""
        self._fail(f"connection lost: {error or 'closed by the API server'}")

    def on_message_begin(self) -> None:
        """Nothing of it is here yet."""
        self._body = b""

    def on_body(self, part: bytes) -> None:
        """It comes in parts."""
        self._body += part
        if len(self._body) > ANSWER_BYTES_MAX:
            self._fail("the answer is too long")

    def on_message_complete(self) -> None:
        """The answer is whole."""
        answer, self._answer = self._answer, None
        if self._timer is not None:
            self._timer.cancel()
        if answer is None:
            self._fail("an answer that nobody has asked for")
            return
        _settle(answer, self._parser.get_status_code(), self._body)
        if not self._parser.should_keep_alive():
            self._fail("closed by the API server")

    def _fail(self, why: str) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_exception(UnavailableError(f"no answer: {why}"))
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()


def _settle(answer: asyncio.Future[dict[str, Any]], status: int, body: bytes) -> None:
    """Nobody waits any more where it is done: cancelled."""
    if answer.done():
        return
    if status >= 400:
        answer.set_exception(error_of(status, body))
        return
    found = json_object(body)
    if found is None:
        answer.set_exception(UnavailableError("the answer is not JSON"))
    else:
        answer.set_result(found)
