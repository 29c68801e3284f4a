"""What a controller on Kubernetes is once it leads: controller, backend and operator, put together.

What it writes goes through `OnlyLeading`, but for what raises a service, and Events: anybody may.
"""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from wangell_controller.controller import Controller
from wangell_controller.exports import export
from wangell_controller.kube.api import Api
from wangell_controller.kube.backend import KubeBackend
from wangell_controller.kube.events import Events
from wangell_controller.kube.express import Express
from wangell_controller.kube.inventory import Inventory
from wangell_controller.kube.lease import LeaseLostError
from wangell_controller.kube.operator import Operator
from wangell_controller.kube.surroundings import Surroundings
from wangell_controller.link import ProtocolLink
from wangell_controller.metrics import Metrics

__all__ = ["Leading", "OnlyLeading"]

log = logging.getLogger(__name__)

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class OnlyLeading:
    """The API server as a leader has it: who leads no more writes no more, and fails.

    A leader that was stopped and goes on has requests ready to be sent, before it looks at a clock.
    """

    def __init__(self, api: Api, leads: Callable[[], bool]) -> None:
        self._api = api
        self._leads = leads

    async def get(self, path: str) -> dict[str, Any]:
        """As of Api."""
        return await self._api.get(path)

    async def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """As of Api. Raises LeaseLostError, as all of these do."""
        self._check()
        return await self._api.create(path, body)

    async def merge(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """As of Api."""
        self._check()
        return await self._api.merge(path, body)

    async def apply(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """As of Api."""
        self._check()
        return await self._api.apply(path, body)

    async def delete(self, path: str, *, uid: str) -> None:
        """As of Api."""
        self._check()
        await self._api.delete(path, uid=uid)

    def _check(self) -> None:
        if not self._leads():
            raise LeaseLostError("this controller leads no more")


class Leading:
    """Made and begun once this controller leads, and the inventory is whole."""

    def __init__(
        self,
        *,
        api: Api,
        wakes: Api,
        express: Express,
        inventory: Inventory,
        link: ProtocolLink,
        metrics: Metrics,
        events: Events,
        keeps_announced: bool,
        removes_taint: bool,
        leads: Callable[[], bool],
    ) -> None:
        """`wakes` is a pool of connections kept warm for wakes alone, `express` one besides."""
        self._inventory = inventory
        self._link = link
        self._metrics = metrics
        fenced = OnlyLeading(api, leads)
        self.operator = operator = Operator(
            fenced, keeps_announced=keeps_announced, removes_taint=removes_taint
        )
        self.surroundings = Surroundings(api, on_change=operator.surrounded)
        self.controller = Controller(
            link=link,
            metrics=metrics,
            boot_id=BOOT_ID.read_text().strip(),
            activations=operator.activations,
            journal=events,
            on_change=operator.changed,
            on_following=operator.following,
        )
        self.backend = KubeBackend(
            wakes,
            inventory,
            tell=self.controller.tell,
            activations=operator.activations,
            hurry=operator.reconciler.hurry,
            merge_now=express.merge_now,
            leads=leads,
        )
        self.controller.use(self.backend)
        operator.use(
            inventory=inventory,
            controller=self.controller,
            backend=self.backend,
            events=events,
        )

    def begin(self, epoch: int) -> None:
        """Know what runs and who is linked, then serve the table. Raises SupersededError."""
        self._link.user = self.controller
        self._inventory.hand_to(self.operator)
        for peer in self._link.linked:
            self.controller.link_up(peer)
        export(self._metrics, controller=self.controller, backend=self.backend, link=self._link)
        self._link.lead(epoch)
        self._metrics.leads(True)
        log.info("leading with epoch %d: %d services", epoch, len(self.controller.services))

    def close(self) -> None:
        """Start nothing more, and lower nothing more."""
        self._metrics.leads(False)
        self.controller.close()

    async def aclose(self) -> None:
        """Write the last statuses, and leave what runs to the next leader."""
        await self.operator.aclose()
        await self.backend.aclose()
