"""What a new leader does before it leads: it makes every lowering of its predecessor fail.

A leader that slept may have been about to lower any Deployment that is up. Its PATCH names the
version from before the drain, so each of these Deployments gets our epoch, which makes it another
version. Then we wait until our own watch has shown as much: what is adopted is never older than the
Lease.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Protocol

from wangell_controller.kube.api import Listed, Selection
from wangell_controller.kube.backoff import Backoff
from wangell_controller.kube.desired import OWNED
from wangell_controller.kube.errors import KubeError, NotFoundError
from wangell_controller.kube.inventory import Inventory
from wangell_controller.kube.observed import replicas_of, version_of
from wangell_controller.kube.resources import DEPLOYMENTS, EPOCH, split_key
from wangell_controller.kube.watching import object_key

__all__ = ["TakeoverApi", "take_over"]

log = logging.getLogger(__name__)

# Writes at a time: 1,000 Deployments take 1 s, and wakes still find an API server.
WRITES_MAX = 8
RETRY_S_MIN, RETRY_S_MAX = 0.1, 5.0
# A watch is some milliseconds behind; nobody waits for a takeover, so it may be looked at again.
LOOK_AGAIN_S = 0.02


class TakeoverApi(Protocol):
    """What taking over needs of the API server."""

    async def list(self, selection: Selection) -> Listed:
        """Return all objects of the selection."""

    async def merge(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Change some fields."""


async def take_over(api: TakeoverApi, inventory: Inventory, *, epoch: int) -> int:
    """Claim every Deployment that is up, and return how many, once the inventory shows it."""
    listed = await _listed(api)
    turns = asyncio.Semaphore(WRITES_MAX)

    async def claim(key: str) -> int:
        async with turns:
            return await _claim(api, key, epoch)

    up = [object_key(each) for each in listed if replicas_of(each)]
    versions = {object_key(each): version_of(each) for each in listed}
    versions |= dict(zip(up, await asyncio.gather(*map(claim, up)), strict=True))
    while any(_is_behind(inventory, *each) for each in versions.items()):  # noqa: ASYNC110
        await asyncio.sleep(LOOK_AGAIN_S)  # An Event would be a second user of the inventory.
    return len(up)


async def _listed(api: TakeoverApi) -> list[dict[str, Any]]:
    backoff = Backoff(RETRY_S_MIN, RETRY_S_MAX)
    while True:
        try:
            return (await api.list(Selection(resource=DEPLOYMENTS, labels=OWNED))).objects
        except KubeError as error:
            log.warning("taking over: Deployments are not listed yet: %s", error)
            await asyncio.sleep(backoff.next_s())


async def _claim(api: TakeoverApi, key: str, epoch: int) -> int:
    """Return the version that is ours."""
    backoff = Backoff(RETRY_S_MIN, RETRY_S_MAX)
    body = {"metadata": {"annotations": {EPOCH: str(epoch)}}}
    while True:
        try:
            return version_of(await api.merge(DEPLOYMENTS.path(*split_key(key)), body))
        except NotFoundError:
            return 0
        except KubeError as error:
            log.warning("taking over: %s is not claimed yet: %s", key, error)
            await asyncio.sleep(backoff.next_s())


def _is_behind(inventory: Inventory, key: str, version: int) -> bool:
    """One that the inventory does not have is told of later, as it is by then."""
    seen = inventory.deployment(key)
    return seen is not None and version_of(seen) < version
