"""The one place that changes a service's phase, and acts on the change.

Everything here is a plain call that returns at once; from a wake to the backend's start nothing is
awaited, written or logged.

A start that fails, a server that ends before it listens, and one that does not listen in time are
one case: the service goes back to Cold with the activation of the failed raise. Daemons see by the
number that the wake their SYNs wait for was tried, and answer them with RST. The next wake starts
it again, but not before a back-off that doubles with every failure in a row: clients retry within a
second, and a server that never comes up must not be started at their pace. A wake that comes
earlier waits. A server that ends while Warm makes the service Cold as well, but has worked: its
next wake starts it at once.
"""

import logging
from collections.abc import Callable
from typing import Protocol

from wangell_controller.backends import Backend
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
        activation_timeout_s: float,
        clock: Callable[[], float],
        on_change: Callable[[], None],
    ) -> None:
        self.link = link
        self.activation_timeout_s = activation_timeout_s
        self._metrics = metrics
        self._boot_id = boot_id
        self._clock = clock
        self._on_change = on_change

    def apply(self, service: Service, happened: PhaseInput, reason: str) -> None:
        """Make the change that the phase table has for it, if any, and act on it."""
        before, after = service.phase, next_phase(service.phase, happened)
        if after is None:
            return
        service.phase, service.phase_since = after, self._clock()
        if happened is PhaseInput.WAKE and after is Phase.WAKING:
            self._begin(service)
        elif before is Phase.DRAINING and after is Phase.WARM:
            self._raise_again(service)
        elif after is Phase.DRAINING:
            service.armed.clear()
        elif after is Phase.COLD:
            self._end(service, before, happened)
        self.publish(service)
        log.info("%s: %s -> %s (%s)", service.key, before.value, after.value, reason)
        self._on_change()

    def publish(self, service: Service) -> None:
        """Let daemons know the service as it is. Without an address nobody can call it."""
        if service.frontends:
            record = service.record(activation_timeout_s=self.activation_timeout_s)
            self.link.publish(service.key, record)

    def started(self, service: Service, *, woken_ns: int, spawned_ns: int) -> None:
        """The replica of this activation has been asked for: answer those who woke it."""
        service.started = Started(
            service=service.key,
            activation=service.activation,
            received_ns=woken_ns,
            spawned_ns=spawned_ns,
            clock=self._boot_id,
        )
        self.answer(service)

    def answer(self, service: Service) -> None:
        """Send Started to every peer that waits for it, as soon as there is one."""
        if service.started is None:
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

    def _raise_again(self, service: Service) -> None:
        """Out of a drain: the replica runs, but every Wake and Armed of before is history."""
        service.activation += 1
        now_ns = int(self._clock() * 1e9)
        self.started(service, woken_ns=now_ns, spawned_ns=now_ns)

    def _end(self, service: Service, before: Phase, happened: PhaseInput) -> None:
        service.replica, service.started = None, None
        service.unanswered.clear()
        if happened in STOPS_REPLICA:
            self.backend.stop(service.key)
        if before is not Phase.WAKING or happened is PhaseInput.CHANGED:
            service.backoff_s = 0.0
            return
        service.backoff_s = min(max(1.0, 2 * service.backoff_s), BACKOFF_S_MAX)
        service.may_start_at = self._clock() + service.backoff_s
        self._metrics.activation_failed(service.key, happened)
