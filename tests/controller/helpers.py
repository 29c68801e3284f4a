"""What the controller's tests share."""

from dataclasses import dataclass, field
from typing import Any

import yaml

from wangell_controller.backends import ReplicaStarted, ServicePlaced, Tell, Trouble
from wangell_controller.controller import Controller
from wangell_controller.metrics import Metrics
from wangell_controller.model import WangellService
from wangell_controller.services import Service
from wangell_proto.vocabulary import (
    Activity,
    Armed,
    Count,
    Counted,
    Endpoint,
    Frontend,
    Listening,
    Phase,
    Report,
    ServiceActivity,
    ServiceRecord,
    Wake,
)

# Section 1 of the design, to the letter.
PUBLISHED = """\
apiVersion: wangell.loutres.me/v1alpha1
kind: WangellService
metadata: {name: serverless-example, namespace: default}
spec: {idleTimeout: 1800, image: registry.loutres.me/helloworld-go:latest, targetPort: 8080, port: 80}
status: {latestRequest: "2024-11-16T16:29:14Z", loadBalancerIP: 10.46.100.105, replicas: 0}
"""  # noqa: E501


def manifest(**changes: Any) -> dict[str, Any]:
    """The published manifest; `metadata__name="x"` changes a field, and `...` removes it."""
    document: dict[str, Any] = yaml.safe_load(PUBLISHED)
    for path, value in changes.items():
        *parents, field = path.split("__")
        place = document
        for parent in parents:
            place = place[parent]
        if value is ...:
            del place[field]
        else:
            place[field] = value
    return document


def service(name: str = "serverless-example", **changes: Any) -> WangellService:
    """A service as its manifest declares it."""
    return WangellService.model_validate(manifest(metadata__name=name, **changes))


@dataclass
class RecordingLink:
    """Keeps what was published and sent, in order, where daemons would get it."""

    table: dict[str, ServiceRecord] = field(default_factory=dict)
    published: list[tuple[str, ServiceRecord | None]] = field(default_factory=list)
    sent: list[tuple[str, Report]] = field(default_factory=list)
    journal: list[str] = field(default_factory=list)
    questions: list[tuple[str, Count]] = field(default_factory=list)
    "How many connections live: each with the daemon that was asked, until it has answered"

    def publish(self, key: str, record: ServiceRecord | None) -> None:
        self.journal.append("deleted" if record is None else f"published {record.phase.value}")
        self.published.append((key, record))
        self.table.pop(key, None)
        if record is not None:
            self.table[key] = record

    def send(self, peer: str, report: Report) -> None:
        if isinstance(report, Count):
            self.questions.append((peer, report))
            return
        self.journal.append(f"sent {type(report).__name__} to {peer}")
        self.sent.append((peer, report))


PLACE = ServicePlaced(
    frontends=(Frontend(address="10.46.100.105", port=80),),
    endpoints=(Endpoint(address="10.244.0.5", node="node1", workload="net:[1]"),),
)


@dataclass
class HandBackend:
    """A backend whose replicas do what the test says; it only remembers what it was asked."""

    nodes: frozenset[str]
    tell: Tell
    journal: list[str]
    spawned_ns: int | None = 5_000
    "Told within start(), as the local backend does; None: told later, as Kubernetes does"
    place: ServicePlaced = PLACE
    replaces_image: bool = False
    known_trouble: Trouble | None = None

    def declare(self, service: WangellService) -> None:
        self.tell(service.key, self.place)

    def forget(self, key: str) -> None:
        self.journal.append(f"forget {key}")

    def start(self, key: str, activation: int) -> None:
        self.journal.append(f"start {activation}")
        if self.spawned_ns is not None:
            self.tell(key, ReplicaStarted(activation=activation, spawned_ns=self.spawned_ns))

    def prepare_stop(self, key: str) -> None:
        self.journal.append(f"prepare stop {key}")

    def trouble(self, key: str) -> Trouble | None:
        assert key == House.KEY
        return self.known_trouble

    def stop(self, key: str) -> None:
        self.journal.append(f"stop {key}")

    async def aclose(self) -> None:
        raise AssertionError("the controller does not end its backend")


class House:
    """A controller with one service on two nodes, a clock to turn, and all it did in `journal`."""

    KEY = "default/serverless-example"

    def __init__(self, *, idle_timeout_s: int = 30, activations: dict[str, int] | None = None):
        self.now = 1000.0
        self.wall_now = 1_700_000_000.0
        self.changes = 0
        self.live: dict[str, int | None] = {}
        "Connections by node, as daemons would count them; none where nothing is said"
        self.journal: list[str] = []
        self.metrics = Metrics()
        self.link = RecordingLink(journal=self.journal)
        self.controller = Controller(
            link=self.link,
            metrics=self.metrics,
            boot_id="boot",
            activations=activations or {},
            clock=lambda: self.now,
            wall_clock=lambda: self.wall_now,
            on_change=self._count_change,
        )
        self.backend = HandBackend(
            nodes=frozenset({"node1", "node2"}), tell=self.controller.tell, journal=self.journal
        )
        self.controller.use(self.backend)
        self.manifest = service(spec__idleTimeout=idle_timeout_s)
        self.controller.declare({self.KEY: self.manifest})
        for node in sorted(self.backend.nodes):
            self.controller.link_up(node)
        self.journal.clear()

    def _count_change(self, key: str) -> None:
        assert key == self.KEY
        self.changes += 1

    @property
    def service(self) -> Service:
        return self.controller.services[self.KEY]

    @property
    def phase(self) -> Phase:
        return self.service.phase

    @property
    def record(self) -> ServiceRecord:
        return self.link.table[self.KEY]

    def metric(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)

    def did(self) -> list[str]:
        """What happened since the last look."""
        done = self.journal.copy()
        self.journal.clear()
        return done

    # What daemons say.

    def wake(self, node: str = "node1", *, activation: int | None = None) -> None:
        if activation is None:
            activation = self.record.activation
        report = Wake(
            service=self.KEY, address="10.46.100.105", port=80, sequence=7, activation=activation
        )
        self.controller.hear(node, report, received_ns=1_000)

    def listening(
        self, node: str = "node1", *, activation: int | None = None, workload: str = "net:[1]"
    ) -> None:
        if activation is None:
            activation = self.record.activation
        report = Listening(service=self.KEY, activation=activation, workload=workload)
        self.controller.hear(node, report, received_ns=2_000)

    def armed(self, node: str, connections: int, *, activation: int | None = None) -> None:
        if activation is None:
            activation = self.record.activation
        report = Armed(service=self.KEY, activation=activation, connections=connections)
        self.controller.hear(node, report, received_ns=3_000)

    def answer_counts(self) -> None:
        """Daemons answer what they were asked."""
        asked, self.link.questions[:] = self.link.questions.copy(), []
        for node, question in asked:
            report = Counted(
                service=self.KEY,
                activation=question.activation,
                number=question.number,
                connections=self.live.get(node, 0),
            )
            self.controller.hear(node, report, received_ns=3_500)

    def counts(self) -> None:
        """Every daemon counts as often as it is asked, until the controller knows."""
        for _ in range(2):
            self.answer_counts()
            self.pass_s(1.0)
        self.answer_counts()

    def all_armed(self) -> None:
        """Every daemon holds, and counts."""
        for node in sorted(self.backend.nodes):
            self.armed(node, 0)
        self.counts()

    def activity(self, node: str, *, idle_s: float, held: int = 0) -> None:
        each = ServiceActivity(service=self.KEY, idle_s=idle_s, held=held)
        self.controller.hear(node, Activity(services=(each,)), received_ns=4_000)

    # What time brings.

    def pass_s(self, seconds: float) -> None:
        """Time passes in silence, with the controller's tick at its end."""
        self.now += seconds
        self.wall_now += seconds
        self.controller.tick()

    def pass_idle_s(self, seconds: float) -> None:
        """Time passes while both daemons report an idle service each second."""
        for _ in range(int(seconds)):
            for node in self.backend.nodes:
                self.activity(node, idle_s=1000.0)
            self.pass_s(1.0)
            self.answer_counts()

    # Where stories begin.

    def warm(self) -> None:
        self.wake()
        self.listening()
        assert self.phase is Phase.WARM
        self.journal.clear()

    def draining(self) -> None:
        self.warm()
        self.pass_idle_s(self.manifest.spec.idle_timeout_s)
        assert self.phase is Phase.DRAINING
        self.journal.clear()
