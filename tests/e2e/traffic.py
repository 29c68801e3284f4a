"""Callers who never stop: new connections one after another, and one that stays open."""

import socket
import threading
from collections.abc import Callable
from typing import Self

from tests.cluster.cluster import Cluster

# Some hundred a second would keep a machine of two cores busy with nothing else.
BETWEEN_S = 0.02
REQUEST = b"GET / HTTP/1.1\r\nHost: wangell\r\n\r\n"


class Traffic:
    """To a warm service while the block runs. A failure is kept, and ends nothing."""

    def __init__(self, cluster: Cluster, address: str, port: int = 80) -> None:
        self._client, self._address, self._port = cluster.client, address, port
        self._over = threading.Event()
        self._open = self._connect()
        self._threads = [
            threading.Thread(target=self._repeat, args=(each,)) for each in (self._anew, self._on)
        ]
        self.requests = 0
        self.failures: list[str] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._open.close()

    def _repeat(self, ask: Callable[[], None]) -> None:
        while not self._over.wait(BETWEEN_S):
            try:
                ask()
            except (OSError, AssertionError) as problem:
                self.failures.append(f"{ask.__name__}: {problem!r}")
            self.requests += 1

    def _connect(self) -> socket.socket:
        return self._client.connect(self._address, self._port, timeout_s=5)

    def _anew(self) -> None:
        with self._connect() as connection:
            _ask(connection)

    def _on(self) -> None:
        _ask(self._open)


def _ask(connection: socket.socket) -> None:
    connection.sendall(REQUEST)
    answer = b""
    while not answer.endswith(b"Hello World!\n"):
        chunk = connection.recv(4096)
        assert chunk, "closed in the middle"
        answer += chunk
