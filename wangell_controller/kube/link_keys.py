"""The keys of the link, in two Secrets: all of them for controllers, two of three for daemons.

The first controller makes them. So no key is ever in a manifest, an apply never changes one, and
the private key is in no Secret that a node may read.
"""

import base64
from collections.abc import Mapping
from typing import Any, Protocol

from wangell_controller.keys import (
    PRIVATE,
    PUBLIC,
    SHARED,
    KeyFileError,
    Keys,
    new_keys,
    read_key,
    read_psks,
)
from wangell_controller.kube.errors import ExistsError, NotFoundError
from wangell_controller.kube.resources import MANAGED_BY, SECRETS

__all__ = ["CONTROLLER_SECRET", "DAEMON_SECRET", "SecretApi", "keys_of", "psks_of"]

CONTROLLER_SECRET = "wangell-controller-keys"  # noqa: S105 (a name)
DAEMON_SECRET = "wangell-daemon-keys"  # noqa: S105


class SecretApi(Protocol):
    """What the keys need of the API server."""

    async def get(self, path: str) -> dict[str, Any]:
        """Return the object there."""

    async def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object."""


async def keys_of(api: SecretApi, *, namespace: str) -> Keys:
    """Return the keys, made now if there are none. Raises KubeError, KeyFileError."""
    texts = await _read_or_make(api, namespace, CONTROLLER_SECRET, new_keys())
    keys = Keys(
        private_key=read_key(texts.get(PRIVATE, ""), f"{CONTROLLER_SECRET}: {PRIVATE}"),
        psks=_psks(texts, CONTROLLER_SECRET),
    )
    wanted = {name: texts.get(name, "") for name in (PUBLIC, SHARED)}
    shown = await _read_or_make(api, namespace, DAEMON_SECRET, wanted)
    is_shown = shown.get(PUBLIC, "").strip() == wanted[PUBLIC].strip()
    if not (is_shown and set(_psks(shown, DAEMON_SECRET)) & set(keys.psks)):
        raise KeyFileError(
            f"{DAEMON_SECRET} does not fit {CONTROLLER_SECRET}: no daemon could link. Delete"
            f" {DAEMON_SECRET}, and it is made anew"
        )
    return keys


async def psks_of(api: SecretApi, *, namespace: str) -> tuple[bytes, ...]:
    """Return the pre-shared keys of now. Raises KubeError, KeyFileError."""
    return _psks(
        _texts(await api.get(SECRETS.path(namespace, CONTROLLER_SECRET))), CONTROLLER_SECRET
    )


def _psks(texts: Mapping[str, str], secret: str) -> tuple[bytes, ...]:
    return read_psks(texts.get(SHARED, ""), f"{secret}: {SHARED}")


async def _read_or_make(
    api: SecretApi, namespace: str, name: str, texts: Mapping[str, str]
) -> Mapping[str, str]:
    path = SECRETS.path(namespace, name)
    try:
        return _texts(await api.get(path))
    except NotFoundError:
        pass
    try:
        return _texts(await api.create(SECRETS.path(namespace), _secret(namespace, name, texts)))
    except ExistsError:  # Another controller was faster.
        return _texts(await api.get(path))


def _secret(namespace: str, name: str, texts: Mapping[str, str]) -> dict[str, Any]:
    labels = {MANAGED_BY: "wangell"}
    return {
        **SECRETS.type_meta,
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "type": "Opaque",
        "data": {each: base64.b64encode(text.encode()).decode() for each, text in texts.items()},
    }


def _texts(secret: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: base64.b64decode(text).decode("ascii", "replace")
        for name, text in (secret.get("data") or {}).items()
    }
