"""Keeps connections to the API server open, so that a wake waits for no handshake."""

import asyncio
import logging
from typing import Any, Protocol

from wangell_controller.kube.errors import KubeError

__all__ = ["EVERY_S", "keep_warm"]

log = logging.getLogger(__name__)

# Wakes that come within the same millisecond each take one; a TLS handshake costs the third 3 ms.
CONNECTIONS = 2
# Well within the 90 s after which an API server closes one, and the 60 s of many load balancers.
EVERY_S = 15.0


class WarmApi(Protocol):
    """What keeping warm needs of the API server."""

    async def get(self, path: str) -> dict[str, Any]:
        """Return the object there."""


async def keep_warm(api: WarmApi) -> None:
    """Ask something small on each connection now and then, for as long as it is let."""
    while True:
        asked = (api.get("/version") for _ in range(CONNECTIONS))
        for result in await asyncio.gather(*asked, return_exceptions=True):
            if isinstance(result, KubeError):
                log.warning("the API server does not answer: %s", result)
            elif isinstance(result, BaseException):
                raise result
        await asyncio.sleep(EVERY_S)
