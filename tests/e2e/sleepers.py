"""Several services asleep at once: who calls each of them once has as many cold starts, and waits
for no scale-down between two of them.
"""

import contextlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml

from tests.e2e.wangell import Wangell, sample

__all__ = ["named_alike", "sleepers", "wait_until_all_cold"]

# No other test's, and more than are asleep at once.
_ADDRESSES = itertools.cycle(f"10.200.2.{number}" for number in range(1, 255))


def named_alike(name: str, count: int, **spec: Any) -> dict[str, dict[str, Any]]:
    """So many services that differ by a number in their names alone."""
    return {f"{name}-{number}": spec for number in range(count)}


@contextlib.contextmanager
def sleepers(
    wangell: Wangell, specs: Mapping[str, Mapping[str, Any]], *, node: str = "node1"
) -> Iterator[dict[str, str]]:
    """Published manifests by name, each with fields of its own; their addresses while they are.

    All are at zero as the block begins, and the client reaches them by `node`.
    """
    addresses = {name: next(_ADDRESSES) for name in specs}
    manifests = [_manifest(name, spec) for name, spec in specs.items()]
    wangell.cluster.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests}))
    with contextlib.ExitStack() as leaving:
        leaving.callback(wangell.cluster.kubectl, "delete", "wsvc", *specs, "--ignore-not-found")
        for name, address in addresses.items():
            wangell.expose(address, node=node, name=name)
            leaving.callback(wangell.cluster.withdraw, address)
        wait_until_all_cold(wangell, specs)
        yield addresses


def wait_until_all_cold(wangell: Wangell, names: Iterable[str]) -> None:
    """Return once each is at zero, and not even an ending pod is left of any."""
    for name in names:
        wangell.wait_until_cold(name)


def _manifest(name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    manifest: dict[str, Any] = yaml.safe_load(sample(name))
    return {**manifest, "spec": {**manifest["spec"], **spec}}
