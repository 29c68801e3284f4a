"""One kept-alive connection to the API server, for calls whose time matters."""

import http.client
import json
import socket
import ssl
import time
from pathlib import Path
from typing import Any

from tests.cluster.namespaces import Namespaces
from tests.cluster.network import CONTROL_PLANE

PORT = 6443
TIMEOUT_S = 30.0
MERGE_PATCH = "application/merge-patch+json"


class ApiConnection(http.client.HTTPSConnection):
    """As the cluster's admin, from the client's network namespace."""

    def __init__(self, namespaces: Namespaces, pki: Path) -> None:
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        super().__init__(CONTROL_PLANE, PORT, timeout=TIMEOUT_S, context=context)
        self._namespaces = namespaces
        self._tls = context

    def connect(self) -> None:
        """What http.client calls when there is no connection: from the other namespace."""
        plain = self._namespaces.open_socket()
        plain.settimeout(TIMEOUT_S)
        # A body is a segment of its own, and would wait 40 ms until the head is acknowledged.
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.connect((self.host, self.port))
        self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The response's JSON; RuntimeError with the API server's message otherwise."""
        return json.loads(self.exchange(method, path, body))

    def exchange(self, method: str, path: str, body: Any = None) -> str:
        """The response as it is; RuntimeError with the API server's message otherwise."""
        headers = {"Content-Type": MERGE_PATCH if method == "PATCH" else "application/json"}
        self.request(method, path, json.dumps(body) if body is not None else None, headers)
        response = self.getresponse()
        answer = response.read().decode(errors="replace")
        if response.status >= 400:
            raise RuntimeError(f"{method} {path} ({response.status}): {_message(answer)}")
        return answer

    def scale(self, deployment: str, replicas: int, *, namespace: str = "default") -> float:
        """Scale a Deployment by its scale subresource; return time.monotonic() of the call."""
        path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{deployment}/scale"
        called_s = time.monotonic()
        self.call("PATCH", path, {"spec": {"replicas": replicas}})
        return called_s


def _message(answer: str) -> str:
    try:
        return str(json.loads(answer)["message"])
    except (ValueError, LookupError, TypeError):
        return answer
