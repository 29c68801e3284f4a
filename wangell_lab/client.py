"""The caller: connections from the client's namespace, timed, and curl beside them."""

import json
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import Self

from wangell_lab.errors import LabError
from wangell_lab.namespaces import Namespace

__all__ = ["Client", "Connection", "CurlExchange", "Exchange"]

# A SYN's retries come after 1, 3 and 7 s; a client that waits longer waits for nothing.
TIMEOUT_S = 10.0
NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A connection and one request on it, as the caller saw them. Times are CLOCK_MONOTONIC."""

    client_port: int
    started_ns: int
    "Just before connect()"
    connected_ns: int
    first_byte_ns: int
    status: int
    body: bytes

    @property
    def connect_ms(self) -> float:
        """What connect() took."""
        return (self.connected_ns - self.started_ns) / NS_PER_MS

    @property
    def first_byte_ms(self) -> float:
        """From connect() to the first byte of the response."""
        return (self.first_byte_ns - self.started_ns) / NS_PER_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class CurlExchange:
    """The same as curl measured it, from its own start of the transfer."""

    client_port: int
    connect_ms: float
    first_byte_ms: float
    status: int


class Connection:
    """An open connection to a service."""

    def __init__(self, connected: socket.socket, *, namespace: Namespace, started_ns: int) -> None:
        self._socket = connected
        self._namespace = namespace
        self.started_ns = started_ns
        "CLOCK_MONOTONIC, just before connect()"
        self.connected_ns = time.monotonic_ns()
        "CLOCK_MONOTONIC, just after connect()"
        self.client_port: int = connected.getsockname()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def request(self, path: str = "/") -> Exchange:
        """Send one GET and read the response. Raises OSError; LabError if it is not HTTP."""
        self._socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n".encode()
        )
        if not self._socket.recv(1, socket.MSG_PEEK):
            raise LabError("the server closed the connection without a response")
        first_byte_ns = time.monotonic_ns()
        try:
            with HTTPResponse(self._socket, method="GET") as response:
                response.begin()
                body = response.read()
        except HTTPException as error:
            raise LabError(f"the server does not speak HTTP: {error!r}") from error
        return Exchange(
            client_port=self.client_port,
            started_ns=self.started_ns,
            connected_ns=self.connected_ns,
            first_byte_ns=first_byte_ns,
            status=response.status,
            body=body,
        )

    def rto_ms(self) -> float:
        """Return its retransmission timeout, as `ss -ti` shows it."""
        ss = ["ss", "-tinH", f"sport = :{self.client_port}"]
        shown = self._namespace.run(ss, check=True).stdout
        found = re.search(r"\brto:([\d.]+)", shown)
        if found is None:
            raise LabError(f"ss shows no connection from port {self.client_port}: {shown!r}")
        return float(found[1])


class Client:
    """Makes connections from one namespace, by default to one service."""

    def __init__(self, namespace: Namespace, *, address: str, port: int) -> None:
        self._namespace = namespace
        self._default = (address, port)

    def connect(
        self, address: str | None = None, port: int | None = None, *, timeout_s: float = TIMEOUT_S
    ) -> Connection:
        """Connect; every later read and write has the same timeout. Raises OSError."""
        target = (address or self._default[0], port or self._default[1])
        connecting = self._namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            connecting.settimeout(timeout_s)
            started_ns = time.monotonic_ns()
            connecting.connect(target)
        except BaseException:
            connecting.close()
            raise
        return Connection(connecting, namespace=self._namespace, started_ns=started_ns)

    def get(
        self,
        address: str | None = None,
        port: int | None = None,
        *,
        path: str = "/",
        timeout_s: float = TIMEOUT_S,
    ) -> Exchange:
        """Connect, send a GET, read the response, close. Raises OSError, LabError."""
        with self.connect(address, port, timeout_s=timeout_s) as connection:
            return connection.request(path)

    def get_at_once(
        self,
        count: int,
        address: str | None = None,
        port: int | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> list[Exchange]:
        """Do `count` of them at the same time. Raises what the first that failed raised."""
        gate = threading.Barrier(count)

        def get(_: int) -> Exchange:
            gate.wait(timeout_s)
            return self.get(address, port, timeout_s=timeout_s)

        with ThreadPoolExecutor(max_workers=count) as callers:
            return list(callers.map(get, range(count)))

    def curl(
        self, address: str | None = None, port: int | None = None, *, timeout_s: float = TIMEOUT_S
    ) -> CurlExchange:
        """Let curl do it. Raises LabError with what curl said."""
        url = f"http://{address or self._default[0]}:{port or self._default[1]}/"
        curl = ["curl", "--noproxy", "*", "--silent", "--show-error", "--output", "/dev/null"]
        limits = ["--max-time", f"{timeout_s:g}", "--write-out", "%{json}"]
        done = self._namespace.run([*curl, *limits, url])
        if done.returncode != 0:
            raise LabError(f"curl {url}: {done.stderr.strip()}")
        measured = json.loads(done.stdout)
        return CurlExchange(
            client_port=measured["local_port"],
            connect_ms=1000 * measured["time_connect"],
            first_byte_ms=1000 * measured["time_starttransfer"],
            status=measured["http_code"],
        )
