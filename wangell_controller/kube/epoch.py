"""The fencing epoch: kept in a Lease, and raised by every controller that takes it.

Daemons obey no epoch lower than they have seen, so a controller that was believed dead cannot come
back and lower what its successor has raised.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from wangell_controller.kube.errors import ConflictError, ExistsError, NotFoundError
from wangell_controller.kube.resources import CONTROLLER_NAME, LEASES

__all__ = ["LeaseApi", "epoch_of", "take_epoch"]

# Each attempt that fails means that another controller was faster; there are not that many.
ATTEMPTS_MAX = 20
# A restart each minute for two years.
TRANSITIONS_MAX = 2**20


class LeaseApi(Protocol):
    """What taking the Lease needs of the API server."""

    async def get(self, path: str) -> dict[str, Any]:
        """Return the object there."""

    async def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object."""

    async def merge(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Change some fields."""


async def take_epoch(api: LeaseApi, *, namespace: str, holder: str) -> int:
    """Raise the epoch by one, and return it. Raises KubeError.

    It is made of the time the Lease was created and of its count of transitions: so it grows even
    where somebody has deleted the Lease.
    """
    for _ in range(ATTEMPTS_MAX):
        try:
            return await _raise_epoch(api, namespace, holder)
        except (ConflictError, ExistsError):
            continue
    raise ConflictError(f"the Lease {namespace}/{CONTROLLER_NAME} changes all the time")


async def _raise_epoch(api: LeaseApi, namespace: str, holder: str) -> int:
    path = LEASES.path(namespace, CONTROLLER_NAME)
    try:
        lease = await api.get(path)
    except NotFoundError:
        body = {**LEASES.type_meta, "metadata": {"name": CONTROLLER_NAME, "namespace": namespace}}
        lease = await api.create(LEASES.path(namespace), {**body, "spec": _spec(holder, 1)})
        return epoch_of(lease)
    transitions = lease.get("spec", {}).get("leaseTransitions", 0) + 1
    version = {"metadata": {"resourceVersion": lease["metadata"]["resourceVersion"]}}
    return epoch_of(await api.merge(path, {**version, "spec": _spec(holder, transitions)}))


def epoch_of(lease: Mapping[str, Any]) -> int:
    """Return the epoch that a Lease stands for."""
    created = datetime.fromisoformat(lease["metadata"]["creationTimestamp"])
    return int(created.timestamp()) * TRANSITIONS_MAX + int(lease["spec"]["leaseTransitions"])


def _spec(holder: str, transitions: int) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return {"holderIdentity": holder, "leaseTransitions": transitions, "acquireTime": now}
