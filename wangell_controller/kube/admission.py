"""Who may link: a pod of the daemon's ServiceAccount, and as its own node only.

The daemon shows a token that its node's kubelet has made for the audience `wangell`; it opens
nothing at the API server, which alone can say whose it is.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from wangell_controller.kube.errors import KubeError
from wangell_controller.kube.resources import TOKEN_REVIEWS

__all__ = ["AUDIENCE", "Admission", "objection_to", "review_of"]

log = logging.getLogger(__name__)

AUDIENCE = "wangell"
NODE_CLAIM = "authentication.kubernetes.io/node-name"
# Reviews at a time: whoever has the pre-shared key may ask, and the API server has others to serve.
REVIEWS_MAX = 16


class ReviewApi(Protocol):
    """What judging needs of the API server."""

    async def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object."""


def review_of(token: str) -> dict[str, Any]:
    """Return the question that the API server answers."""
    return {**TOKEN_REVIEWS.type_meta, "spec": {"token": token, "audiences": [AUDIENCE]}}


def objection_to(peer: str, status: Mapping[str, Any], *, user: str) -> str | None:
    """Return what is wrong with a peer of that name, going by a review's status; None: nothing."""
    if not status.get("authenticated") or AUDIENCE not in status.get("audiences", ()):
        return f"the API server does not know its token: {status.get('error') or 'unknown'}"
    found = status.get("user", {})
    if found.get("username") != user:
        return f"its token is {found.get('username')}'s, not {user}'s"
    nodes = found.get("extra", {}).get(NODE_CLAIM, [])
    if nodes != [peer]:
        return f"its token is of a pod on {', '.join(nodes) or 'no node'}"
    return None


class Admission:
    """Judges peers; `verdict` is given at once where it can be, and soon in any case."""

    def __init__(self, api: ReviewApi, *, user: str) -> None:
        """`user` is the daemon's, such as system:serviceaccount:wangell-system:wangell-daemon."""
        self._api = api
        self._user = user
        self._turns = asyncio.Semaphore(REVIEWS_MAX)
        self._tasks: set[asyncio.Task[None]] = set()

    def judge(self, peer: str, credential: bytes, verdict: Callable[[bool], None]) -> None:
        """Call `verdict` with whether the peer may link; not at all where nobody knows now."""
        try:
            token = credential.decode("ascii").strip()
        except UnicodeDecodeError:
            token = ""
        if not token:
            log.warning("%s: refused: it shows no token", peer)
            verdict(False)
            return
        task = asyncio.get_running_loop().create_task(self._judge(peer, token, verdict))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Judge nobody any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _judge(self, peer: str, token: str, verdict: Callable[[bool], None]) -> None:
        try:
            async with self._turns:
                review = await self._api.create(TOKEN_REVIEWS.path(), review_of(token))
        except KubeError as error:
            # The daemon asks again by itself; a refusal would be a judgement.
            log.warning("%s: its token could not be reviewed: %s", peer, error)
            return
        objection = objection_to(peer, review.get("status", {}), user=self._user)
        if objection is not None:
            log.warning("%s: refused: %s", ascii(peer), objection)
        verdict(objection is None)
