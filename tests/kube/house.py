"""The whole room at work: operator, backend and controller on a cluster in memory.

`KubeHouse` is to this room what `House` is to the controller: the test says what users, daemons and
Kubernetes do, and asks what was asked for.
"""

import asyncio
from collections.abc import Callable, Collection
from typing import Any

from tests.controller.helpers import RecordingLink, manifest
from tests.kube.fake_cluster import FakeCluster
from tests.kube.objects import LABELS, running, slice_of
from tests.kube.virtual_time import settle
from wangell_controller.controller import Controller
from wangell_controller.kube.backend import KubeBackend
from wangell_controller.kube.events import Events
from wangell_controller.kube.inventory import Inventory
from wangell_controller.kube.operator import Operator
from wangell_controller.kube.resources import (
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    EVENTS,
    NODES,
    PODS,
    SERVICES,
    WANGELL_SERVICES,
)
from wangell_controller.metrics import Metrics
from wangell_controller.services import Service
from wangell_proto.vocabulary import (
    Activity,
    Armed,
    ColdStart,
    Counted,
    Following,
    Listening,
    Phase,
    ServiceActivity,
    ServiceRecord,
    Wake,
)

__all__ = ["KEY", "NAME", "SCALE", "STATUS", "KubeHouse"]

NAME = "serverless-example"
KEY = f"default/{NAME}"
ADDRESS = "10.46.100.105"


class KubeHouse:
    """Make it in a running loop; `begin` it once what was there before has been put."""

    def __init__(
        self,
        cluster: FakeCluster | None = None,
        inventory: Inventory | None = None,
        *,
        keeps_announced: bool = False,
        removes_taint: bool = False,
    ) -> None:
        self.cluster = cluster or FakeCluster()
        self.tasks: list[asyncio.Task[None]] = []
        self.leads = True
        self.journal: list[str] = []
        self.link = RecordingLink(journal=self.journal)
        self.metrics = Metrics()
        self.loop = asyncio.get_running_loop()
        self.operator = Operator(
            self.cluster, keeps_announced=keeps_announced, removes_taint=removes_taint
        )
        self.inventory = inventory or Inventory(self.cluster, self.operator)
        self.inventory.pace.lead()
        self.events = Events(self.cluster, self.inventory.declaration, instance="controller-1")
        self.controller = Controller(
            link=self.link,
            metrics=self.metrics,
            boot_id="boot",
            activations=self.operator.activations,
            clock=self.loop.time,
            wall_clock=lambda: 1_700_000_000.0 + self.loop.time(),
            journal=self.events,
            on_change=self.operator.changed,
            on_following=self.operator.following,
        )
        self.backend = KubeBackend(
            self.cluster,
            self.inventory,
            tell=self.controller.tell,
            activations=self.operator.activations,
            hurry=self.operator.reconciler.hurry,
            merge_now=self.cluster.merge_now,
            leads=lambda: self.leads,
        )
        self.controller.use(self.backend)
        self.operator.use(
            inventory=self.inventory,
            controller=self.controller,
            backend=self.backend,
            events=self.events,
        )

    def succeed(self) -> None:
        """Lead from now on, with an inventory that was followed while another led."""
        self.inventory.hand_to(self.operator)

    async def begin(self, *nodes: str, holding: Collection[str] | None = None) -> None:
        """`holding`: whose daemons hold what sleeps; all."""
        for node in nodes or ("node1", "node2"):
            self.put_node(node)
        self.tasks = [
            self.loop.create_task(each) for each in (self.inventory.follow(), self.events.send())
        ]
        await self.inventory.whole()
        for node in self.backend.nodes:
            self.controller.link_up(node)
            if holding is None or node in holding:
                self.following(node)
        await settle(1)

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        await self.operator.aclose()
        await self.backend.aclose()

    # What users do.

    def declare(self, name: str = NAME, **changes: Any) -> None:
        document = manifest(metadata__name=name, **changes)
        defaults = {
            "replicas": 0,
            "activationTimeout": 60,
            "serviceType": "LoadBalancer",
            "imagePullPolicy": "IfNotPresent",
        }
        self.cluster.put(WANGELL_SERVICES, name, spec={**defaults, **document["spec"]})

    def delete(self) -> None:
        self.cluster.remove(WANGELL_SERVICES.path("default", NAME))

    # What Kubernetes does.

    def put_node(self, name: str, *, ready: bool = True) -> None:
        conditions = [{"type": "Ready", "status": str(ready)}]
        self.cluster.put(NODES, name, None, status={"conditions": conditions})

    def assign(self, address: str = ADDRESS) -> None:
        ingress = {"loadBalancer": {"ingress": [{"ip": address}]}}
        self.cluster.change(SERVICES.path("default", NAME), status=ingress)

    def schedule(self, uid: str = "pod-1", node: str = "node1") -> None:
        self.cluster.put(
            PODS, uid, metadata={"uid": uid, "labels": LABELS}, spec={"nodeName": node}
        )

    def run(self, uid: str = "pod-1", node: str = "node1", address: str = "10.244.0.5") -> None:
        each = running(uid, node=node, address=address)
        self.cluster.put(PODS, uid, metadata={"uid": uid, "labels": LABELS},
                         spec=each["spec"], status=each["status"])  # fmt: skip

    def crash(self, uid: str = "pod-1") -> None:
        state = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}
        self.cluster.change(
            PODS.path("default", uid),
            status={"containerStatuses": [{"name": "server", "state": state}]},
        )

    def delete_pod(self, uid: str = "pod-1") -> None:
        """Its end begins; it answers for a while yet."""
        path = PODS.path("default", uid)
        self.cluster.change(path, metadata={"deletionTimestamp": "2024-11-16T16:29:14Z"})

    def end_pod(self, uid: str = "pod-1") -> None:
        self.cluster.remove(PODS.path("default", uid))

    def call_ready(self, *uids: str) -> None:
        each = slice_of(*uids)
        metadata = {"labels": LABELS}
        self.cluster.put(ENDPOINT_SLICES, "slice", metadata=metadata, endpoints=each["endpoints"])

    # What daemons do.

    def following(self, node: str) -> None:
        self.controller.hear(node, Following(epoch=1), received_ns=500)

    def wake(self, node: str = "node1") -> None:
        report = Wake(
            service=KEY,
            address=ADDRESS,
            port=80,
            sequence=7,
            activation=self.record.activation,
        )
        self.controller.hear(node, report, received_ns=1_000)

    def listening(self, node: str = "node1", uid: str = "pod-1", address: str = "") -> None:
        report = Listening(
            service=KEY, activation=self.record.activation, workload=uid, address=address
        )
        self.controller.hear(node, report, received_ns=2_000)

    async def armed(
        self, connections: int = 0, *, meanwhile: Callable[[], None] = lambda: None
    ) -> None:
        """Every daemon holds, and counts as often as it is asked; `meanwhile`, before the last."""
        for node in self.backend.nodes:
            report = Armed(service=KEY, activation=self.record.activation, connections=connections)
            self.controller.hear(node, report, received_ns=3_000)
        self.count()
        await settle(1)
        self.controller.tick()
        meanwhile()
        self.count()

    def count(self) -> None:
        """Daemons find no connection."""
        asked, self.link.questions[:] = self.link.questions.copy(), []
        for node, each in asked:
            report = Counted(
                service=each.service,
                activation=each.activation,
                number=each.number,
                connections=0,
            )
            self.controller.hear(node, report, received_ns=3_500)

    def cold_start(self, total_s: float = 0.171, outcome: str = "answered") -> None:
        report = ColdStart(
            service=KEY,
            activation=self.record.activation,
            outcome=outcome,
            total_s=total_s,
            clients=1,
        )
        self.controller.hear("node1", report, received_ns=4_000)

    async def pass_s(self, seconds: float, *, idle_s: float | None = None) -> None:
        """Time passes with the controller's tick each second; daemons report if told how."""
        for _ in range(int(seconds)):
            await settle(1)
            if idle_s is not None:
                each = ServiceActivity(service=KEY, idle_s=idle_s, held=0)
                for node in self.backend.nodes:
                    self.controller.hear(node, Activity(services=(each,)), received_ns=5_000)
            self.controller.tick()
            self.count()
        await settle(0.5)

    # Where stories begin.

    async def cold(self, **changes: Any) -> None:
        await self.begin()
        self.declare(**changes)
        await settle(1)
        self.assign()
        await settle(2)
        assert self.phase is Phase.COLD
        self.cluster.did()

    async def warm(self, **changes: Any) -> None:
        await self.cold(**changes)
        self.wake()
        await settle(0.05)
        self.schedule()
        await settle(0.05)
        self.run()
        await settle(0.05)
        self.listening()
        await settle(1)
        assert self.phase is Phase.WARM
        self.cluster.did()

    async def draining(self) -> None:
        await self.warm(spec__idleTimeout=5)
        await self.pass_s(7, idle_s=100.0)
        assert self.phase is Phase.DRAINING
        self.cluster.did()

    # What there is to see.

    @property
    def service(self) -> Service:
        return self.controller.services[KEY]

    @property
    def phase(self) -> Phase:
        return self.service.phase

    @property
    def record(self) -> ServiceRecord:
        return self.link.table[KEY]

    @property
    def declaration(self) -> dict[str, Any]:
        return self.cluster.of(WANGELL_SERVICES, NAME)

    @property
    def replicas(self) -> int:
        return int(self.cluster.deployment()["spec"]["replicas"])

    @property
    def told(self) -> list[str]:
        """The Events' notes."""
        path = EVENTS.path("default")
        events = [each for at, each in self.cluster.objects.items() if at.startswith(path)]
        return [each["note"] for each in sorted(events, key=lambda each: each["eventTime"])]

    def metric_series(self) -> set[str]:
        """The services that Prometheus hears of."""
        samples = [each for family in self.metrics.registry.collect() for each in family.samples]
        return {each.labels["service"] for each in samples if "service" in each.labels}

    def condition(self, kind: str) -> tuple[str, str, str]:
        for each in self.declaration["status"]["conditions"]:
            if each["type"] == kind:
                return each["status"], each["reason"], each["message"]
        raise AssertionError(f"no condition {kind}")


SCALE = f"PATCH {DEPLOYMENTS.path('default', NAME)}/scale"
STATUS = f"PATCH {WANGELL_SERVICES.path('default', NAME)}/status"
