"""Lays a part of an object over another, as `kubectl patch` does by default. Pure."""

from collections.abc import Mapping
from typing import Any

__all__ = ["overlaid"]

# How Kubernetes tells the items of a pod's lists apart; lists that are not here are replaced whole.
# Of those with several keys, the one is here that users mean.
MERGE_KEYS = {
    "containers": "name",
    "env": "name",
    "ephemeralContainers": "name",
    "hostAliases": "ip",
    "imagePullSecrets": "name",
    "initContainers": "name",
    "ports": "containerPort",
    "topologySpreadConstraints": "topologyKey",
    "volumeDevices": "devicePath",
    "volumeMounts": "mountPath",
    "volumes": "name",
}


def overlaid(below: Any, above: Any, *, field: str = "") -> Any:
    """Return `below` with `above` laid over it: maps by key, named lists by name; null removes."""
    if isinstance(below, Mapping) and isinstance(above, Mapping):
        return _maps(below, above)
    key = MERGE_KEYS.get(field)
    if key is not None and isinstance(below, list) and isinstance(above, list):
        return _lists(below, above, key)
    return above


def _maps(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        if value is None:
            merged.pop(name, None)
        elif name in merged:
            merged[name] = overlaid(merged[name], value, field=name)
        else:
            merged[name] = value
    return merged


def _lists(below: list[Any], above: list[Any], key: str) -> list[Any]:
    """Items of one name are merged; those that are only above come last."""
    merged = list(below)
    for each in above:
        place = _place(merged, each, key)
        if place is None:
            merged.append(each)
        else:
            merged[place] = overlaid(merged[place], each)
    return merged


def _place(items: list[Any], wanted: Any, key: str) -> int | None:
    name = wanted.get(key) if isinstance(wanted, Mapping) else None
    if name is None:
        return None
    for place, each in enumerate(items):
        if isinstance(each, Mapping) and each.get(key) == name:
            return place
    return None
