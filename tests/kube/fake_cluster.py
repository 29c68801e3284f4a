"""An API server in memory, as far as this room asks one: objects, versions, watches, conflicts.

It serves unit tests alone. What the real one does is proved in tests/e2e.
"""

import asyncio
import copy
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from wangell_controller.kube.api import Happening, Happenings, Listed, Selection
from wangell_controller.kube.errors import (
    ConflictError,
    ExistsError,
    GoneError,
    KubeError,
    NotFoundError,
)
from wangell_controller.kube.resources import DEPLOYMENTS, SERVICES, Resource
from wangell_controller.kube.valve import Valve

__all__ = ["FakeCluster"]

SUBRESOURCES = ("scale", "status")


class Tap:
    """The connection of a watch, as far as its valve goes."""

    def __init__(self) -> None:
        self.is_open = asyncio.Event()
        self.is_open.set()

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.is_open.clear()

    def resume_reading(self) -> None:
        self.is_open.set()


class FakeCluster:
    """Objects by their paths."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self._asked: list[tuple[str, Mapping[str, Any]]] = []
        self._looked = 0
        self.version = 100
        self.refusals: list[tuple[str, KubeError]] = []
        "A request that begins so fails so; taken from the front, None stays"
        self.before: Callable[[str], None] = lambda _: None
        "Called before a request is carried out: for what others do in between"
        self._applied: dict[str, Mapping[str, Any]] = {}
        self._express: asyncio.Task[dict[str, Any]] | None = None
        self._history: list[tuple[int, str, str, dict[str, Any] | None, dict[str, Any]]] = []
        self._oldest = 0
        self._moved = asyncio.Event()
        self._watch_error: KubeError | None = None
        self._watches = 0

    # What the room asks.

    async def get(self, path: str) -> dict[str, Any]:
        await self._enter("GET", path)
        return copy.deepcopy(self._found(path))

    async def list(self, selection: Selection) -> Listed:
        await self._enter("LIST", selection.path)
        found = [
            copy.deepcopy(each)
            for path, each in sorted(self.objects.items())
            if _selects(selection, path, each)
        ]
        return Listed(objects=found, version=str(self.version))

    async def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        await self._enter("POST", path, body)
        name = body.get("metadata", {}).get("name")
        if name is None:  # A review: answered, and not kept.
            return {**body, "status": {}}
        if f"{path}/{name}" in self.objects:
            raise ExistsError(f"{name} exists")
        return self._put(f"{path}/{name}", dict(body))

    def merge_now(
        self, path: str, body: Mapping[str, Any]
    ) -> asyncio.Future[dict[str, Any]] | None:
        """As Express: one request at a time."""
        if self._express is not None and not self._express.done():
            return None
        self._express = asyncio.get_running_loop().create_task(self.merge(path, body))
        return self._express

    async def merge(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        await self._enter("PATCH", path, body)
        parent, _, last = path.rpartition("/")
        live = self._found(parent if last in SUBRESOURCES else path)
        self._check_version(body, live)
        if last == "scale":
            scale = self._put(parent, _merged(live, {"spec": body["spec"]}))
            return {"metadata": scale["metadata"], "spec": body["spec"]}
        return self._put(parent if last == "status" else path, _merged(live, body))

    async def apply(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        await self._enter("APPLY", path, body)
        live = self.objects.get(path)
        if live is None:
            self._applied[path] = copy.deepcopy(body)
            return self._put(path, copy.deepcopy(dict(body)))
        self._check_version(body, live)
        before, self._applied[path] = self._applied.get(path, {}), copy.deepcopy(body)
        return self._put(path, _merged(_without(live, before, body), body))

    async def delete(self, path: str, *, uid: str) -> None:
        await self._enter("DELETE", path)
        if self._found(path)["metadata"]["uid"] != uid:
            raise ConflictError("the UID in the precondition is another")
        self.remove(path)

    async def watch(
        self, selection: Selection, version: str, valve: Valve
    ) -> AsyncIterator[Happenings]:
        if int(version) < self._oldest:
            raise GoneError("too old resource version")
        seen, watches, tap = int(version), self._watches, Tap()
        with valve.on(tap):
            while watches == self._watches:
                await tap.is_open.wait()
                new = [one for one in self._history if one[0] > seen]
                told = [_told(selection, *one[1:]) for one in new]
                seen = new[-1][0] if new else seen
                if happenings := [each for each in told if each is not None]:
                    yield happenings
                    continue
                self._moved.clear()
                await self._moved.wait()
        if self._watch_error is not None:
            raise self._watch_error

    # What others do.

    def put(
        self, resource: Resource, name: str, namespace: str | None = "default", **fields: Any
    ) -> dict[str, Any]:
        """Create an object, or replace what its fields say."""
        path = resource.path(namespace, name)
        body = {"metadata": {"name": name}, **fields}
        if namespace is not None and resource.is_namespaced:
            body["metadata"] = {"namespace": namespace, **body["metadata"], "name": name}
        return self._put(path, _merged(self.objects.get(path, {}), body))

    def change(self, path: str, **fields: Any) -> dict[str, Any]:
        """Merge fields into an object."""
        return self._put(path, _merged(self._found(path), fields))

    def remove(self, path: str) -> None:
        """Delete an object; one with finalizers begins to go."""
        live = self._found(path)
        if live["metadata"].get("finalizers"):
            stamp = {"metadata": {"deletionTimestamp": "2026-11-24T10:00:00Z"}}
            self._put(path, _merged(live, stamp))
            return
        del self.objects[path]
        self._applied.pop(path, None)
        self.version += 1
        live["metadata"]["resourceVersion"] = str(self.version)
        self._tell("DELETED", path, live, live)

    def forget_history(self) -> None:
        """Compact: a watch can begin no earlier than now."""
        self._history.clear()
        self._oldest = self.version

    def end_watches(self, error: KubeError | None = None) -> None:
        """End every watch, as a restart does."""
        self._watch_error = error
        self._watches += 1
        self._moved.set()

    def of(self, resource: Resource, name: str, namespace: str = "default") -> dict[str, Any]:
        """Return an object."""
        return self._found(resource.path(namespace, name))

    def deployment(self, name: str = "serverless-example") -> dict[str, Any]:
        return self.of(DEPLOYMENTS, name)

    def kube_service(self, name: str = "serverless-example") -> dict[str, Any]:
        return self.of(SERVICES, name)

    def did(self) -> "list[str]":
        """What was asked for since the last look, without what only reads."""
        done = self._asked[self._looked :]
        self._looked = len(self._asked)
        return [request for request, _ in done]

    def bodies(self, request: str) -> "list[Mapping[str, Any]]":
        """What was sent with each request of that name, from the beginning."""
        return [body for asked, body in self._asked if asked == request]

    async def _enter(self, verb: str, path: str, body: Mapping[str, Any] | None = None) -> None:
        await asyncio.sleep(0.001)
        request = f"{verb} {path}"
        self.before(request)
        if verb not in ("GET", "LIST"):
            self._asked.append((request, copy.deepcopy(body or {})))
        for place, (beginning, error) in enumerate(self.refusals):
            if request.startswith(beginning):
                del self.refusals[place]
                raise error

    def _found(self, path: str) -> dict[str, Any]:
        if path not in self.objects:
            raise NotFoundError(f"{path} not found")
        return self.objects[path]

    def _check_version(self, body: Mapping[str, Any], live: Mapping[str, Any]) -> None:
        wanted = body.get("metadata", {}).get("resourceVersion")
        if wanted not in (None, live["metadata"]["resourceVersion"]):
            raise ConflictError("the object has been modified")

    def _put(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        before = self.objects.get(path)
        after = copy.deepcopy(body)
        metadata = after.setdefault("metadata", {})
        metadata["resourceVersion"] = before["metadata"]["resourceVersion"] if before else ""
        if after == before:
            return copy.deepcopy(after)
        self.version += 1
        metadata["resourceVersion"] = str(self.version)
        metadata.setdefault("uid", f"uid-{self.version}")
        metadata.setdefault("creationTimestamp", "2026-11-24T09:00:00Z")
        if before is None or before.get("spec") != after.get("spec"):
            metadata["generation"] = (before or {}).get("metadata", {}).get("generation", 0) + 1
        if "deletionTimestamp" in metadata and not metadata.get("finalizers"):
            self.objects.pop(path, None)
            self._tell("DELETED", path, before, after)
            return after
        self.objects[path] = after
        self._tell("MODIFIED" if before else "ADDED", path, before, after)
        return copy.deepcopy(after)

    def _tell(
        self, kind: str, path: str, before: dict[str, Any] | None, after: dict[str, Any]
    ) -> None:
        self._history.append((self.version, kind, path, before, copy.deepcopy(after)))
        self._moved.set()


def _told(
    selection: Selection,
    kind: str,
    path: str,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any],
) -> Happening | None:
    """What a watch says of a change: an object that is selected no more has gone."""
    if _selects(selection, path, after):
        return kind, copy.deepcopy(dict(after))
    if before is not None and _selects(selection, path, before):
        return "DELETED", copy.deepcopy(dict(after))
    return None


def _selects(selection: Selection, path: str, each: Mapping[str, Any]) -> bool:
    if path.split("/")[-2] != selection.resource.plural:
        return False
    labels = each["metadata"].get("labels", {})
    wanted = [term.split("=") for term in selection.labels.split(",") if term]
    named = selection.fields.removeprefix("metadata.name=")
    return all(labels.get(name) == value for name, value in wanted) and named in (
        "",
        each["metadata"]["name"],
    )


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, Mapping) and isinstance(merged.get(name), Mapping):
            merged[name] = _merged(merged[name], value)
        else:
            merged[name] = copy.deepcopy(value)
    return merged


def _without(
    live: Mapping[str, Any], before: Mapping[str, Any], now: Mapping[str, Any]
) -> dict[str, Any]:
    """What an apply had set, and no longer does, goes."""
    left = dict(live)
    for name, value in before.items():
        if name not in now:
            left.pop(name, None)
        elif isinstance(value, Mapping) and isinstance(left.get(name), Mapping):
            left[name] = _without(left[name], value, now[name])
    return left
