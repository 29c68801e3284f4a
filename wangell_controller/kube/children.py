"""A WangellService's own objects: made, mended where they drift, deleted.

An object is applied when what it should be has changed, or what it is; an apply that changes
nothing tells no event, so this comes to rest by itself.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from wangell_controller.kube.errors import KubeError, NotFoundError
from wangell_controller.kube.observed import is_owned
from wangell_controller.kube.resources import KIND, Resource, split_key

__all__ = ["ChildApi", "Children", "NotOursError", "is_other"]

Object = Mapping[str, Any]

_AROUND = ("apiVersion", "kind", "metadata", "status")


class ChildApi(Protocol):
    """What children need of the API server."""

    async def get(self, path: str) -> dict[str, Any]:
        """Return the object there."""

    async def apply(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Make the object have these fields."""

    async def delete(self, path: str, *, uid: str) -> None:
        """Delete the object there, if it is still this one."""


class NotOursError(KubeError):
    """An object of that name is somebody else's."""

    def __init__(self, resource: Resource, key: str) -> None:
        super().__init__(
            f"{resource.kind} {key} exists and does not belong to this {KIND}: rename or delete one"
        )


class Children:
    """Remembers what it has applied, so that it need not ask whether it still holds."""

    def __init__(self, api: ChildApi) -> None:
        self._api = api
        self._settled: dict[tuple[str, str], tuple[str, str]] = {}

    async def ensure(
        self,
        resource: Resource,
        live: Object | None,
        desired: Callable[[Object | None], Object],
        *,
        key: str,
        uid: str,
    ) -> None:
        """Make the object what `desired` makes of the live one. Raises NotOursError, KubeError."""
        place, wish = (resource.plural, key), desired(live)
        wanted = _digest(_intent(wish))
        if live is not None and self._holds(place, wanted, live, wish):
            return
        path = resource.path(*split_key(key))
        live = live or await self._unseen(path)
        if live is not None and not is_owned(live, uid):
            raise NotOursError(resource, key)
        applied = await self._api.apply(path, desired(live))
        self._settled[place] = wanted, _digest(_actual(applied))

    async def remove(self, resource: Resource, *, key: str, uid: str) -> bool:
        """Delete the object, if it is ours; return whether there is none any more."""
        self._settled.pop((resource.plural, key), None)
        path = resource.path(*split_key(key))
        live = await self._unseen(path)
        if live is None or not is_owned(live, uid):
            return True
        await self._api.delete(path, uid=live["metadata"]["uid"])
        return False

    def _holds(self, place: tuple[str, str], wanted: str, live: Object, wish: Object) -> bool:
        """Whether the object is as we left it, and that is as it should be."""
        is_settled = self._settled.get(place) == (wanted, _digest(_actual(live)))
        return is_settled and _replicas(live) == _replicas(wish)

    def forget(self, key: str) -> None:
        """There is no such service any more."""
        for place in [each for each in self._settled if each[1] == key]:
            del self._settled[place]

    async def _unseen(self, path: str) -> Object | None:
        """Return an object that our watches do not show: it may lack our labels."""
        try:
            return await self._api.get(path)
        except NotFoundError:
            return None


def is_other(before: Object, after: Object) -> bool:
    """Return whether more of an object has changed than its status."""
    # The generation counts changes of the spec; metadata is not in it.
    names = ("generation", "uid", "labels", "ownerReferences")
    return any(before["metadata"].get(name) != after["metadata"].get(name) for name in names)


def _replicas(each: Object) -> int | None:
    replicas: int | None = each.get("spec", {}).get("replicas")
    return replicas


def _intent(desired: Object) -> dict[str, Any]:
    """What the object should be, whatever its version and replicas are just now."""
    metadata = {
        name: each for name, each in desired["metadata"].items() if name != "resourceVersion"
    }
    return {"metadata": metadata, **_content(desired)}


def _actual(live: Object) -> dict[str, Any]:
    """What of the object others may have changed, and we would change back."""
    metadata = live["metadata"]
    ours = {name: metadata.get(name) for name in ("uid", "labels", "ownerReferences")}
    return {"metadata": ours, **_content(live)}


def _content(each: Object) -> dict[str, Any]:
    """What is neither name nor status; of most kinds that is the spec alone."""
    content = {name: value for name, value in each.items() if name not in _AROUND}
    spec = content.get("spec", {})
    content["spec"] = {name: value for name, value in spec.items() if name != "replicas"}
    return content


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
