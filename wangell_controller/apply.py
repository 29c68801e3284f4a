"""The one place that changes a service's phase, and acts on the change.

Everything here is a plain call that returns at once; from a wake to the backend's start nothing is
awaited, written or logged.

A start that fails, a server that ends before it listens, and one that does not listen in time are
one case: the service goes back to Cold with the activation of the failed raise. Daemons see by the
number that the wake their SYNs wait for was tried, and answer them with RST. The next wake starts
it again, but not before a back-off that doubles with every failure in a row: clients retry within a
second, and a server that never comes up must not be started at their pace. A wake that comes
earlier waits. A server that ends while Warm makes the service Cold as well, but has worked: its
next wake starts it at once. So does one that was to be replaced, and was scaled to zero instead.
"""

import logging
from collections.abc import Callable
from typing import Protocol

from wangell_controller.backends import Backend, Trouble
from wangell_controller.journal import Journal
from wangell_controller.metrics import Metrics
from wangell_controller.phases import STOPS_REPLICA, PhaseInput, next_phase
from wangell_controller.services import Service
from wangell_proto.vocabulary import Phase, Report, ServiceRecord, Started

__all__ = ["BACKOFF_S_MAX", "Applier", "Link"]

log = logging.getLogger(__name__)

# Clients' own retries grow as far before they give up.
BACKOFF_S_MAX = 64.0


class Link(Protocol):
    """The way to the daemons."""

    def publish(self, key: str, record: ServiceRecord | None) -> None:
        """Put the record in every daemon's table; None takes it out."""

    def send(self, peer: str, report: Report) -> None:
        """Send to one daemon, or drop where it is not linked: it will ask again."""


class Applier:
    """Moves services from phase to phase. Give it a backend before anything else."""

    backend: Backend

    def __init__(
        self,
        *,
        link: Link,
        metrics: Metrics,
        boot_id: str,
        activation_timeout_s: float | None,
        clock: Callable[[], float],
        journal: Journal,
        on_change: Callable[[str], None],
    ) -> None:
        self.link = link
        self._activation_timeout_s = activation_timeout_s
        self._metrics = metrics
        self._boot_id = boot_id
        self._clock = clock
        self._journal = journal
        self._on_change = on_change

    def activation_timeout_s(self, service: Service) -> float:
        """Return how long a wake may take: as its manifest says, or else as we were told."""
        spec, default_s = service.manifest.spec, self._activation_timeout_s
        if default_s is None or "activation_timeout_s" in spec.model_fields_set:
            return spec.activation_timeout_s
        return default_s

    def apply(self, service: Service, happened: PhaseInput, reason: str) -> None:
        """Make the change that the phase table has for it, if any, and act on it."""
        before, after = service.phase, next_phase(service.phase, happened)
        if after is None:
            return
        service.phase, service.phase_since = after, self._clock()
        service.counting.forget()
        if after is Phase.WARM:
            service.decision = None  # What was missing before does not keep it up now.
        if happened is PhaseInput.WAKE and after is Phase.WAKING:
            self._begin(service)
        elif happened is PhaseInput.REPLACED:
            service.heard.clear()
            self._raise_again(service)
        elif (before, after) == (Phase.DRAINING, Phase.WARM):
            self._raise_again(service, kept=tuple(each.workload for each in service.endpoints))
        elif after is Phase.DRAINING:
            service.armed.clear()
            self.backend.prepare_stop(service.key)
        elif after is Phase.COLD:
            reason = self._end(service, before, happened, reason)
        elif after is Phase.WARM:
            service.failure = None
        # A wake's first record has a replica: one without is nothing that a daemon can act on, and
        # costs every node a turn on the CPUs that start the pod.
        if not (happened is PhaseInput.WAKE and service.is_unplaced):
            self.publish(service)
        service.reason, service.is_replacing = reason, happened is PhaseInput.REPLACED
        log.info("%s: %s -> %s (%s)", service.key, before.value, after.value, reason)
        self._on_change(service.key)

    def publish(self, service: Service) -> None:
        """Let daemons know the service as it is. Without an address nobody can call it."""
        if service.frontends:
            record = service.record(activation_timeout_s=self.activation_timeout_s(service))
            self.link.publish(service.key, record)
        elif service.is_published:
            self.link.publish(service.key, None)
        service.is_published = bool(service.frontends)

    def started(
        self, service: Service, *, woken_ns: int, spawned_ns: int, kept: tuple[str, ...] = ()
    ) -> None:
        """The replica of this activation has been asked for: answer those who woke it."""
        service.started = Started(
            service=service.key,
            activation=service.activation,
            received_ns=woken_ns,
            spawned_ns=spawned_ns,
            clock=self._boot_id,
            kept=kept,
        )
        self.answer(service)

    def answer(self, service: Service) -> None:
        """Send Started to every peer that waits for it, with the first record of a replica."""
        if service.started is None or service.is_unplaced:
            return
        for peer in service.unanswered:
            self.link.send(peer, service.started)
        service.unanswered.clear()

    def _begin(self, service: Service) -> None:
        service.activation += 1
        service.replica = service.activation
        service.started = None
        service.is_wake_waiting = False
        self.backend.start(service.key, service.activation)

    def _raise_again(self, service: Service, *, kept: tuple[str, ...] = ()) -> None:
        """Unasked: out of a drain, or another replica has come. What was reported is history."""
        service.activation += 1
        now_ns = int(self._clock() * 1e9)
        self.started(service, woken_ns=now_ns, spawned_ns=now_ns, kept=kept)

    def _end(self, service: Service, before: Phase, happened: PhaseInput, reason: str) -> str:
        """Return the reason, with what the backend knows beside it."""
        has_worked = service.is_replacing and happened is PhaseInput.ENDED
        is_asked_for = happened is PhaseInput.CHANGED
        is_failure = before is Phase.WAKING and not (has_worked or is_asked_for)
        if is_failure:
            known = self.backend.trouble(service.key)
            service.failure = known or Trouble(reason=_camel(happened), message=reason)
            reason = f"{reason}: {known}" if known else reason
        service.replica, service.started = None, None
        service.unanswered.clear()
        service.heard.clear()
        if happened in STOPS_REPLICA:
            self.backend.stop(service.key)
        if not is_failure:
            service.backoff_s = 0.0
            self._journal.slept(service.key, reason)
            return reason
        service.backoff_s = min(max(1.0, 2 * service.backoff_s), BACKOFF_S_MAX)
        service.may_start_at = self._clock() + service.backoff_s
        self._metrics.activation_failed(service.key, happened)
        assert service.failure is not None
        self._journal.failed(service.key, service.failure)
        return reason


def _camel(happened: PhaseInput) -> str:
    """A reason as Kubernetes writes them: StartFailed."""
    return "".join(word.capitalize() for word in happened.name.split("_"))
