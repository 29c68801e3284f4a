"""The one door to the API server: JSON goes in, JSON or a KubeError comes out.

The official client knows how to find and trust an API server, and how to prove who we are. Its
models are left aside: they take milliseconds for an object, and a controller older than its cluster
would drop the fields that it does not know.
"""

import asyncio
import contextlib
import json
import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import client, config

from wangell_controller.kube.errors import (
    ForbiddenError,
    RefusedError,
    UnavailableError,
    error_of,
)
from wangell_controller.kube.resources import CONTROLLER_NAME, Resource
from wangell_controller.kube.valve import Valve

__all__ = [
    "JSON",
    "JSON_MERGE",
    "REQUEST_TIMEOUT_S",
    "Api",
    "Happening",
    "Happenings",
    "Listed",
    "NoClusterError",
    "Selection",
    "json_object",
    "keep_alive",
]

JSON = "application/json"
JSON_MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"
# The API server's own limit for a request is 60 s; nothing here takes it a second.
REQUEST_TIMEOUT_S = 20.0
# Pages of a list, so that 5,000 pods are not one answer of 50 MB.
PAGE_OBJECTS = 500
# A watch ends by itself after this, and is taken up where it ended.
WATCH_S = 240
# Bookmarks come each minute: a watch without one is dead, whatever TCP thinks.
SILENCE_S = 75.0
# The API server closes an idle connection after 90 s; one that we close first fails no request.
IDLE_CONNECTION_S = 80.0
# An API server whose machine has gone says nothing: known after 5 + 3 x 5 s, not after 2 h.
KEEPALIVE = {
    socket.TCP_KEEPIDLE: 5,
    socket.TCP_KEEPINTVL: 5,
    socket.TCP_KEEPCNT: 3,
    socket.TCP_USER_TIMEOUT: 20_000,
}
# What of a configuration says where the API server is, and how to trust it and be trusted.
_CONFIGURED = (
    *("host", "proxy", "tls_server_name", "ssl_ca_cert", "verify_ssl"),
    *("cert_file", "key_file", "api_key"),
)

# ADDED, MODIFIED, DELETED or BOOKMARK, and the object.
Happening = tuple[str, dict[str, Any]]
Happenings = list[Happening]

SOON = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
_AS_US = {"fieldManager": CONTROLLER_NAME}


class NoClusterError(ValueError):
    """There is no API server to be found. The message has the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Some objects of a kind."""

    resource: Resource
    namespace: str | None = None
    "None: of all namespaces"
    labels: str = ""
    "A label selector, such as `app=hello`"
    fields: str = ""
    "A field selector, such as `metadata.name=hello`"

    @property
    def path(self) -> str:
        """Where they are listed."""
        return self.resource.path(self.namespace)

    @property
    def query(self) -> dict[str, str]:
        """What narrows the list."""
        found = {"labelSelector": self.labels, "fieldSelector": self.fields}
        return {name: value for name, value in found.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """All objects of a kind, at one moment."""

    objects: list[dict[str, Any]]
    version: str
    "Where a watch begins"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    method: str
    path: str
    body: Mapping[str, Any] | None = None
    content: str = JSON
    query: Mapping[str, str] = field(default_factory=dict)
    patience: aiohttp.ClientTimeout = SOON


class Api:
    """One API server, over a pool of connections of its own. Close it."""

    def __init__(self, configuration: client.Configuration) -> None:
        self._configuration = configuration
        self._client = client.ApiClient(configuration)
        self._connector = aiohttp.TCPConnector(
            limit=0,  # Watches stay open: a limit would let them starve the rest.
            ssl=self._client.rest_client.ssl_context,
            keepalive_timeout=IDLE_CONNECTION_S,
            socket_factory=_open_socket,
        )
        # trust_env would ask a thread for ~/.netrc and for proxies at each request, a wake's too.
        configuration.client_session_kwargs = {"connector": self._connector, "trust_env": False}

    @classmethod
    async def connect(cls, kubeconfig: Path | None) -> "Api":
        """Find the API server: of this file, or of $KUBECONFIG, or of the pod that we are in.

        Nothing is sent yet. Raises NoClusterError.
        """
        configuration = client.Configuration()
        path = kubeconfig or os.environ.get("KUBECONFIG")
        try:
            if path:
                await config.load_kube_config(  # type: ignore[no-untyped-call]
                    config_file=str(path), client_configuration=configuration, persist_config=False
                )
            else:
                config.load_incluster_config(  # type: ignore[no-untyped-call]
                    client_configuration=configuration
                )
        except config.ConfigException as error:
            raise NoClusterError(
                f"no Kubernetes: {error} Run this in a pod with a ServiceAccount, or give"
                " --kubeconfig FILE"
            ) from error
        except OSError as error:
            raise NoClusterError(f"{path}: {error.strerror}") from error
        return cls(configuration)

    def twin(self) -> "Api":
        """Return another pool of connections to the same API server."""
        copied = client.Configuration()
        for name in _CONFIGURED:
            setattr(copied, name, getattr(self._configuration, name))
        copied.refresh_api_key_hook = self._configuration.refresh_api_key_hook
        return Api(copied)

    @property
    def host(self) -> str:
        """Its URL; empty where only the library knows the way: by a proxy, by another name."""
        configured = self._configuration
        return "" if configured.proxy or configured.tls_server_name else str(configured.host)

    @property
    def ssl_context(self) -> ssl.SSLContext | None:
        """How it is trusted, and we are, where that takes a certificate."""
        found: ssl.SSLContext | None = self._client.rest_client.ssl_context
        return found

    async def authorization(self) -> dict[str, str]:
        """Return the headers that say who we are. Raises KubeError."""
        headers: dict[str, str] = {}
        with _transport_errors():
            await self._client.update_params_for_auth(headers, [], ["BearerToken"], "", "", None)
        return headers

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.close()  # type: ignore[no-untyped-call]
        await self._connector.close()  # Given to the client, it is not the client's to close.

    async def get(self, path: str) -> dict[str, Any]:
        """Return the object there. Raises KubeError, as all of these do."""
        return await self._ask(_Request(method="GET", path=path))

    async def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object, and return it as it is now. Raises ExistsError where one is."""
        return await self._ask(_Request(method="POST", path=path, body=body, query=_AS_US))

    async def merge(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Change some fields; with `metadata.resourceVersion` only of that version."""
        return await self._ask(
            _Request(method="PATCH", path=path, body=body, content=JSON_MERGE, query=_AS_US)
        )

    async def apply(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Make the object have these fields, whoever has set them otherwise; create it if need be.

        Fields that an earlier call had, and this one has not, go.
        """
        query = {**_AS_US, "force": "true"}
        return await self._ask(
            _Request(method="PATCH", path=path, body=body, content=APPLY, query=query)
        )

    async def delete(self, path: str, *, uid: str) -> None:
        """Delete the object there, if it is still this one; what it owns goes by itself."""
        options = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        await self._ask(_Request(method="DELETE", path=path, body=options))

    async def list(self, selection: Selection) -> Listed:
        """Return all objects of the selection."""
        objects: list[dict[str, Any]] = []
        query = {"limit": str(PAGE_OBJECTS), **selection.query}
        while True:
            page = await self._ask(_Request(method="GET", path=selection.path, query=query))
            objects += page["items"]
            if not page["metadata"].get("continue"):
                return Listed(objects=objects, version=page["metadata"]["resourceVersion"])
            query["continue"] = page["metadata"]["continue"]

    async def watch(
        self, selection: Selection, version: str, valve: Valve
    ) -> AsyncIterator[Happenings]:
        """Yield what happens after `version`, all at once that has come, in order.

        Nothing is read while the valve is shut. Ends after WATCH_S. Raises GoneError where that
        version is too old, UnavailableError where nothing has come for SILENCE_S.
        """
        query = {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": version}
        query |= {"timeoutSeconds": str(WATCH_S), **selection.query}
        patience = aiohttp.ClientTimeout(connect=REQUEST_TIMEOUT_S, sock_read=SILENCE_S)
        response = await self._send(
            _Request(method="GET", path=selection.path, query=query, patience=patience)
        )
        rest = b""
        try:
            with valve.on(_transport_of(response)):
                while True:
                    with _transport_errors():
                        chunk = await response.content.readany()
                    if not chunk:
                        return
                    *lines, rest = (rest + chunk).split(b"\n")
                    if lines:
                        yield [_event(line) for line in lines]
        finally:
            response.close()

    async def _ask(self, request: _Request) -> dict[str, Any]:
        response = await self._send(request)
        with _transport_errors():
            raw = await response.read()
        answer = json_object(raw)
        if answer is None:
            raise UnavailableError(f"{request.method} {request.path}: the answer is not JSON")
        return answer

    async def _send(self, request: _Request) -> aiohttp.ClientResponse:
        """Send, and return the answer once its head is here, if it is no error."""
        headers = {"Accept": JSON, "User-Agent": CONTROLLER_NAME, **await self.authorization()}
        if request.body is not None:
            headers["Content-Type"] = request.content
        url = f"{self._configuration.host}{request.path}"
        if request.query:
            url += f"?{urlencode(request.query)}"
        with _transport_errors():
            answer = await self._client.rest_client.request(  # type: ignore[no-untyped-call]
                request.method,
                url,
                headers=headers,
                body=request.body,
                _request_timeout=request.patience,
            )
            response: aiohttp.ClientResponse = answer.response
            if response.status >= 400:
                raise error_of(response.status, await response.read())
        return response


def _transport_of(response: aiohttp.ClientResponse) -> asyncio.ReadTransport | None:
    """What is read for it; None: all of it has come.

    Not aiohttp's own pause: its parser stops, too, and then gives one event at a time.
    """
    transport = response.connection and response.connection.transport
    assert transport is None or isinstance(transport, asyncio.ReadTransport)
    return transport


@contextlib.contextmanager
def _transport_errors() -> Iterator[None]:
    """Whatever keeps an answer from us, has one name."""
    try:
        yield
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise UnavailableError(f"no answer: {error or type(error).__name__}") from error
    except client.ApiException as error:
        raise RefusedError(str(error.reason)) from error
    except config.ConfigException as error:  # The ServiceAccount's token could not be read anew.
        raise ForbiddenError(str(error)) from error


def _open_socket(address: Any) -> socket.socket:
    family, kind, protocol, _, _ = address
    sock = socket.socket(family, kind, protocol)
    keep_alive(sock)
    return sock


def keep_alive(sock: socket.socket) -> None:
    """Know of an API server whose machine has gone."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE.items():
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


def json_object(raw: bytes) -> dict[str, Any] | None:
    """Return what an answer holds; None where that is no JSON object."""
    try:
        answer = json.loads(raw)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _event(line: bytes) -> Happening:
    event = json_object(line)
    if event is None or "object" not in event:
        raise UnavailableError("a watch told what is not JSON")
    if event["type"] == "ERROR":
        status = event["object"]
        raise error_of(int(status.get("code", 500)), status)
    return event["type"], event["object"]
