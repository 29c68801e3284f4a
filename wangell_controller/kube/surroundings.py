"""What else the cluster runs that Wangell cannot work beside: found, and looked for again.

Cilium's kube-proxy replacement translates at connect() and in tc, before nftables and where no
handover can go; its own agents ask the ConfigMap that is read here, so it says what they do.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from wangell_controller.backends import Trouble
from wangell_controller.kube.errors import KubeError, NotFoundError
from wangell_controller.kube.resources import CONFIG_MAPS

__all__ = ["UNSUPPORTED", "Surroundings", "trouble_with"]

log = logging.getLogger(__name__)

UNSUPPORTED = "Unsupported"
CILIUM = CONFIG_MAPS.path("kube-system", "cilium-config")
# One GET. A cluster changes its network once in years, but who has just done so looks at a status.
LOOK_S = 10.0
# `true`; until Cilium 1.13 `strict` and `partial`, which replaced parts, and `probe`, whatever the
# kernel could do. `false` and `disabled` leave all of it to kube-proxy.
_REPLACED = ("true", "strict", "partial", "probe")
_KEY = "kube-proxy-replacement"


class SurroundingsApi(Protocol):
    """What looking around needs of the API server."""

    async def get(self, path: str) -> dict[str, Any]:
        """Return the object there."""


def trouble_with(cilium_config: Mapping[str, Any] | None) -> Trouble | None:
    """Return why Wangell cannot work in this cluster; None where it can. Pure."""
    said = str(((cilium_config or {}).get("data") or {}).get(_KEY, "false")).lower()
    if said not in _REPLACED:
        return None
    return Trouble(
        reason="CiliumReplacesKubeProxy",
        message=f"Cilium replaces kube-proxy here ({_KEY}: {said} in kube-system/cilium-config): it"
        " translates calls before Wangell could hold them or hand them over. Nothing is held and"
        " nothing is started; run kube-proxy beside Cilium with kubeProxyReplacement: false",
    )


class Surroundings:
    """Looked at once before anything is served, and `follow` from then on."""

    def __init__(
        self, api: SurroundingsApi, *, on_change: Callable[[Trouble | None], None]
    ) -> None:
        """`on_change` is told once the trouble has become another, or none."""
        self._api = api
        self._on_change = on_change
        self._known: Trouble | None = None

    async def look(self) -> None:
        """Look once. Raises KubeError where the API server will not say."""
        try:
            config = await self._api.get(CILIUM)
        except NotFoundError:
            config = None
        found = trouble_with(config)
        if found != self._known:
            self._known = found
            log.warning("unsupported: %s", found) if found else log.info("supported again")
            self._on_change(found)

    async def follow(self) -> None:
        """Look again and again; while nobody says, what was known holds."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self.look()
            except KubeError as error:
                log.warning("whether Cilium replaces kube-proxy is not known anew: %s", error)
