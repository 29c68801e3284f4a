"""Controllers beside the leader, on the same cluster in memory."""

import asyncio
from dataclasses import dataclass, field

from tests.controller.helpers import RecordingLink
from tests.kube.fake_cluster import FakeCluster
from tests.kube.house import ADDRESS, KEY
from wangell_controller.kube.events import Events
from wangell_controller.kube.inventory import Bystander, Inventory
from wangell_controller.kube.stand_in import StandIn
from wangell_proto.vocabulary import Wake

__all__ = ["StandingBy"]


@dataclass
class StandingBy:
    """One that does not lead. Begin it in a running loop."""

    cluster: FakeCluster
    link: RecordingLink = field(default_factory=RecordingLink)

    async def begin(self) -> "StandingBy":
        """Know all that there is."""
        self.inventory = Inventory(self.cluster, Bystander())
        events = Events(self.cluster, self.inventory.declaration, instance="controller-2")
        self.stand_in = StandIn(
            self.cluster, self.inventory, self.link, boot_id="other boot", journal=events
        )
        self.inventory.hand_to(self.stand_in)
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(each) for each in (self.inventory.follow(), events.send())]
        await self.inventory.whole()
        return self

    def wake(self, activation: int, *, peer: str = "node1", key: str = KEY) -> None:
        """A daemon's wake comes to this one."""
        report = Wake(service=key, address=ADDRESS, port=80, sequence=7, activation=activation)
        self.stand_in.hear(peer, report, received_ns=1_000)

    async def end(self) -> None:
        await self.stand_in.aclose()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
