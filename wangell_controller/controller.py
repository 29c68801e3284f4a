"""What users declare, daemons say, the backend tells and the clock brings about, for all services.

Each of them is a plain call that returns at once. `decide` says what follows, `apply` does it.
"""

import logging
import time
from collections.abc import Callable, Mapping

from wangell_controller.apply import Applier, Link
from wangell_controller.backends import (
    Backend,
    BackendEvent,
    ReplicaEnded,
    ReplicaFailed,
    ReplicaFound,
    ReplicaReplaced,
    ReplicaStarted,
    ServicePlaced,
)
from wangell_controller.decide import decide
from wangell_controller.fleet import Fleet
from wangell_controller.journal import Journal, NoJournal
from wangell_controller.metrics import Metrics, ReportRefusal, WakeResult
from wangell_controller.model import WangellService, ip_address
from wangell_controller.observe import Observed
from wangell_controller.phases import PhaseInput
from wangell_controller.services import Service
from wangell_proto.vocabulary import (
    Activity,
    Armed,
    ColdStart,
    Count,
    Counted,
    Following,
    Listening,
    Phase,
    Raised,
    Report,
    Started,
    Wake,
)

__all__ = ["ACTIVATION_MAX", "Controller"]

log = logging.getLogger(__name__)

# A daemon's count may be ahead of ours if our run directory was lost; above this it is nonsense.
ACTIVATION_MAX = 2**53


class Controller:
    """Owns the services. Give it a backend before anything else."""

    def __init__(
        self,
        *,
        link: Link,
        metrics: Metrics,
        boot_id: str,
        activations: Mapping[str, int],
        activation_timeout_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        journal: Journal | None = None,
        on_change: Callable[[str], None] = lambda _: None,
        on_following: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`activations` are those of an earlier life; `on_change` is called after each change.

        `on_following` is told of each daemon that holds what sleeps from now on.

        `activation_timeout_s` is for manifests that do not say; `clock` is CLOCK_MONOTONIC in
        seconds.
        """
        self.services: dict[str, Service] = {}
        self.fleet = Fleet()
        self._metrics = metrics
        self._activations = activations
        self._clock = clock
        self._wall_clock = wall_clock
        self._journal = journal or NoJournal()
        self._on_change = on_change
        self._on_following = on_following
        self._is_closing = False
        self._applier = Applier(
            link=link,
            metrics=metrics,
            boot_id=boot_id,
            activation_timeout_s=activation_timeout_s,
            clock=clock,
            journal=self._journal,
            on_change=on_change,
        )

    def use(self, backend: Backend) -> None:
        """Start and stop replicas by this backend, whose events come to `tell`."""
        self._backend = self._applier.backend = backend

    def close(self) -> None:
        """Start nothing more: whoever wakes a service now wakes it at the next controller."""
        self._is_closing = True

    # What users declare.

    def declare(self, manifests: Mapping[str, WangellService]) -> None:
        """Make these the services: new ones come, changed ones follow, all others go."""
        for key in self.services.keys() - manifests.keys():
            self.remove(key)
        for manifest in manifests.values():
            self.update(manifest)

    def update(self, manifest: WangellService) -> None:
        """Make this one of the services, or what one of them is from now on."""
        service = self.services.get(manifest.key)
        if service is None:
            self._create(manifest)
        elif service.manifest != manifest:
            self._change(service, manifest)
        self._backend.declare(manifest)
        if manifest.spec.replicas:
            self._look(self.services[manifest.key])
        self._on_change(manifest.key)

    def _create(self, manifest: WangellService) -> None:
        self.services[manifest.key] = Service(
            manifest=manifest,
            phase_since=self._clock(),
            activation=self._activations.get(manifest.key, 0),
        )
        log.info("%s: declared", manifest.key)

    def _change(self, service: Service, manifest: WangellService) -> None:
        """Follow a changed manifest."""
        before, service.manifest = service.manifest.spec, manifest
        after = manifest.spec
        log.info("%s: changed", service.key)
        if before.image != after.image or before.target_port != after.target_port:
            if not self._backend.replaces_image:
                reason = "its image or target port was changed"
                self._applier.apply(service, PhaseInput.CHANGED, reason)
            service.may_start_at = 0.0  # What failed was the other one.
        if before.replicas and not after.replicas and service.phase is Phase.WARM:
            self._applier.apply(service, PhaseInput.IDLE, "spec.replicas was set to 0")

    def remove(self, key: str) -> None:
        """Make this one of the services no more."""
        if key not in self.services:
            return
        del self.services[key]
        self._applier.link.publish(key, None)
        self._backend.forget(key)
        self._metrics.forget(key)
        self._on_change(key)
        log.info("%s: deleted", key)

    # What daemons say.

    def link_up(self, peer: str) -> None:
        """A daemon is linked."""
        self.fleet.link_up(peer, now=self._clock())
        log.info("%s: linked", peer)

    def link_down(self, peer: str, reason: str) -> None:
        """A daemon's link has ended: what it armed it may have forgotten when it comes back."""
        self.fleet.link_down(peer)
        for service in self.services.values():
            if service.armed.pop(peer, None) is not None:
                service.counting.forget()  # It may have let somebody in since.
            service.unanswered.discard(peer)
        log.warning("%s: link ended: %s", peer, reason)

    def hear(self, peer: str, report: Report, *, received_ns: int) -> None:
        """A daemon reports. `received_ns` is CLOCK_MONOTONIC."""
        if isinstance(report, Activity):
            self._hear_activity(peer, report)
            return
        if isinstance(report, Following):
            self._hear_following(peer, report)
            return
        service = self.services.get(report.service)
        if service is None:
            self._metrics.report_refused(ReportRefusal.UNKNOWN_SERVICE)
            return
        match report:
            case Wake():
                self._hear_wake(peer, service, report, received_ns=received_ns)
            case Listening():
                self._hear_listening(peer, service, report)
            case Armed():
                self._hear_armed(peer, service, report)
            case ColdStart():
                self._hear_cold_start(peer, service, report)
            case Counted():
                self._hear_counted(peer, service, report)
            case Started() | Raised() | Count():
                self._metrics.report_refused(ReportRefusal.NOT_FOR_CONTROLLERS)

    def _hear_wake(self, peer: str, service: Service, wake: Wake, *, received_ns: int) -> None:
        if not 0 <= wake.activation <= ACTIVATION_MAX:
            self._metrics.report_refused(ReportRefusal.IMPOSSIBLE_ACTIVATION)
            return
        service.unanswered.add(peer)
        result = self._wake(service, wake, received_ns=received_ns)
        self._applier.answer(service)
        self._metrics.woken(service.key, result)
        self._note_request(service, idle_s=0.0)

    def _wake(self, service: Service, wake: Wake, *, received_ns: int) -> WakeResult:
        if service.phase is Phase.DRAINING:
            # Whatever drain its daemon knows of: somebody waits, and raising harms nobody.
            self._applier.apply(service, PhaseInput.WAKE, _syn_to(wake))
            return WakeResult.KEPT
        if service.phase is not Phase.COLD or wake.activation < service.activation:
            return WakeResult.REPEATED
        service.activation = wake.activation
        if self._is_closing or self._clock() < service.may_start_at:
            service.is_wake_waiting = True
            return WakeResult.PUT_OFF
        service.woken_ns = received_ns
        self._applier.apply(service, PhaseInput.WAKE, _syn_to(wake))
        return WakeResult.RAISED

    def _hear_listening(self, peer: str, service: Service, report: Listening) -> None:
        replicas = {(each.node, each.workload) for each in service.endpoints}
        if (peer, report.workload) not in replicas:
            self._metrics.report_refused(ReportRefusal.NOT_ITS_REPLICA)
        elif report.activation == service.activation:
            is_news = report.workload not in service.heard
            service.heard[report.workload] = _address_of(report)
            if service.phase is Phase.WAKING:
                self._applier.apply(service, PhaseInput.LISTENING, f"listens on {peer}")
            elif is_news:
                self._applier.publish(service)

    def _hear_armed(self, peer: str, service: Service, report: Armed) -> None:
        if service.phase is Phase.DRAINING and report.activation == service.activation:
            service.armed[peer] = report.connections
            self._look(service)

    def _hear_counted(self, peer: str, service: Service, report: Counted) -> None:
        if report.activation != service.activation:
            return
        if service.counting.answer(peer, report, now=self._clock()):
            self._look(service)

    def _hear_cold_start(self, peer: str, service: Service, report: ColdStart) -> None:
        self._note_request(service, idle_s=0.0)
        self._journal.woke(service.key, report)
        outcome = _printable(report.outcome)
        log.info(
            "%s: cold start seen by %s: %s after %.1f ms, connections: %d",
            *(service.key, peer, outcome, report.total_s * 1e3, report.clients),
        )

    def _hear_activity(self, peer: str, report: Activity) -> None:
        self.fleet.heard(peer, report, now=self._clock())
        for each in report.services:
            service = self.services.get(each.service)
            if service is not None and service.phase is Phase.WARM:
                self._note_request(service, idle_s=each.idle_s)

    def _hear_following(self, peer: str, report: Following) -> None:
        self.fleet.followed(peer)
        log.info("%s: holds what sleeps, by the table of epoch %d", peer, report.epoch)
        self._on_following(peer)

    def _note_request(self, service: Service, *, idle_s: float) -> None:
        moment = self._wall_clock() - max(0.0, idle_s)
        # Status is written in seconds, and a report's jitter must not look like a request.
        if service.latest_request is None or moment >= service.latest_request + 1.0:
            service.latest_request = moment
            self._on_change(service.key)

    # What the backend tells.

    def tell(self, key: str, event: BackendEvent) -> None:
        """Something happened to a service's replica."""
        service = self.services.get(key)
        if service is None:  # Deleted meanwhile.
            return
        match event:
            case ServicePlaced():
                service.frontends = event.frontends
                service.place(event.endpoints, event.ready)
                self._applier.publish(service)
                self._applier.answer(service)
                self._on_change(key)
            case ReplicaFound():
                self._adopt(service, event)
            case _ if event.activation not in (service.replica, None):
                log.debug("%s: of an earlier replica: %s", key, event)
            case ReplicaStarted():
                self._start(service, event)
            case ReplicaFailed():
                self._applier.apply(service, PhaseInput.START_FAILED, event.reason)
            case ReplicaEnded():
                self._applier.apply(service, PhaseInput.ENDED, f"the server {event.reason}")
            case ReplicaReplaced():
                self._applier.apply(service, PhaseInput.REPLACED, f"the server {event.reason}")

    def _start(self, service: Service, event: ReplicaStarted) -> None:
        woken_ns, spawned_ns = service.woken_ns, event.spawned_ns
        self._applier.started(service, woken_ns=woken_ns, spawned_ns=spawned_ns)
        self._metrics.replica_started((spawned_ns - woken_ns) / 1e9)
        if event.is_listening:
            self._applier.apply(service, PhaseInput.LISTENING, "it was not lowered, and listens")

    def _adopt(self, service: Service, event: ReplicaFound) -> None:
        if service.phase is not Phase.COLD:
            return
        service.replica = service.activation + 1 if event.activation is None else event.activation
        service.activation = max(service.activation, service.replica)
        at_ns = event.spawned_ns
        self._applier.started(service, woken_ns=at_ns, spawned_ns=at_ns)
        self._applier.apply(service, PhaseInput.FOUND, event.reason)
        if event.is_listening:
            self._applier.apply(service, PhaseInput.LISTENING, "and listens")

    # What the clock says.

    def tick(self) -> None:
        """Look at every service that is not at rest. Call it each second."""
        for service in self.services.values():
            is_at_rest = service.phase is Phase.COLD and not (
                service.is_wake_waiting or service.manifest.spec.replicas
            )
            if not is_at_rest and not self._is_closing:
                self._look(service)
            if service.is_unplaced:
                self._applier.publish(service)

    def _look(self, service: Service) -> None:
        before = service.decision
        decision = service.decision = decide(self._observe(service), now=self._clock())
        if before is None or (before.reason, before.missing) != (decision.reason, decision.missing):
            self._on_change(service.key)
        if decision.missing and (before is None or before.missing != decision.missing):
            log.warning("%s: stays %s: %s", service.key, service.phase.value, decision.reason)
        if decision.asks_for_count:
            self._ask_for_count(service)
        if decision.happened is not None:
            service.woken_ns = int(self._clock() * 1e9)
            self._applier.apply(service, decision.happened, decision.reason)

    def _ask_for_count(self, service: Service) -> None:
        questions = service.counting.ask(
            service.key,
            service.endpoints,
            activation=service.activation,
            port=service.manifest.spec.target_port,
            now=self._clock(),
        )
        for node, question in questions.items():
            self._applier.link.send(node, question)

    def _observe(self, service: Service) -> Observed:
        nodes = self._backend.nodes
        watchers = {each.node for each in service.endpoints} or nodes
        return Observed(
            phase=service.phase,
            phase_since=service.phase_since,
            idle_timeout_s=service.manifest.spec.idle_timeout_s,
            replicas_min=service.manifest.spec.replicas,
            activation_timeout_s=self._applier.activation_timeout_s(service),
            sights=self.fleet.sights(service.key, nodes, now=self._clock()),
            armed=service.armed,
            rounds=service.counting.rounds,
            watched_since=self.fleet.watched_since(watchers),
            is_wake_waiting=service.is_wake_waiting,
            may_start_at=service.may_start_at,
        )


def _syn_to(wake: Wake) -> str:
    return f"SYN to {_printable(wake.address)}:{wake.port}"


def _address_of(report: Listening) -> str:
    """Where the workload is, as its node says; empty if that is no address."""
    try:
        return ip_address(report.address)
    except ValueError:
        return ""


def _printable(words: str) -> str:
    """A daemon's words for the log, which is read on a terminal: an address has 45 characters."""
    return ascii(words)[1:-1][:45]
