"""What Prometheus is told. Names and units as it asks; a service deleted takes its series along.

Bounded: labels are reasons of our own, phases, services that are declared, and nodes that are
expected or linked. Nothing that a stranger can invent becomes a label.
"""

import enum
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from wangell_controller.phases import PhaseInput

__all__ = ["START_SECONDS", "Metrics", "ReportRefusal", "WakeResult"]

# A process is spawned in 0.2 ms; an image that has to be pulled takes a minute. A decade has three
# buckets, below 1 ms more: there the wake path's budget lies.
START_SECONDS = (
    *(0.0001, 0.0002, 0.0003, 0.0004, 0.0005, 0.00075, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05),
    *(0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0),
)


class WakeResult(enum.Enum):
    """What a daemon's wake came to."""

    RAISED = "raised"  # From zero: a replica was started.
    KEPT = "kept"  # A drain was cancelled.
    REPEATED = "repeated"  # It was awake already, or the wake is of an earlier activation.
    PUT_OFF = "put_off"  # Its last start failed a moment ago.


class ReportRefusal(enum.Enum):
    """Why a report was not used."""

    MALFORMED = "malformed"  # Not in our vocabulary.
    UNKNOWN_SERVICE = "unknown_service"  # Deleted a moment ago, or never declared.
    NOT_ITS_REPLICA = "not_its_replica"  # LISTEN of a node or workload that is not the service's.
    IMPOSSIBLE_ACTIVATION = "impossible_activation"  # A count that no controller ever gave.
    NOT_FOR_CONTROLLERS = "not_for_controllers"  # What only a controller says.


class Metrics:
    """The controller's own registry and what feeds it. Services are `namespace/name`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        service = ("namespace", "service")
        self._wakes = Counter(
            "wangell_wakes_received",
            "Wakes that daemons sent, by what they came to.",
            (*service, "result"),
            registry=self.registry,
        )
        self._failures = Counter(
            "wangell_activation_failures",
            "Activations that ended before the server listened.",
            (*service, "reason"),
            registry=self.registry,
        )
        self._start = Histogram(
            "wangell_backend_start_seconds",
            "From the wake being read to the replica being asked for.",
            buckets=START_SECONDS,
            registry=self.registry,
        )
        self._refused = Counter(
            "wangell_reports_refused",
            "Daemons' reports that were not used.",
            ("reason",),
            registry=self.registry,
        )
        self._reloads_failed = Counter(
            "wangell_reloads_failed",
            "Times that manifests were read again and were not right.",
            registry=self.registry,
        )
        self._leader = Gauge(
            "wangell_controller_leader",
            "Whether this controller leads: 1, or 0 while it stands by.",
            registry=self.registry,
        )
        self._round_trip = Gauge(
            "wangell_peer_round_trip_seconds",
            "Of the last message that the peer acknowledged.",
            ("peer",),
            registry=self.registry,
        )

    def leads(self, is_so: bool) -> None:  # noqa: FBT001 (what a gauge is set to)
        """This controller leads from now on, or no more."""
        self._leader.set(is_so)

    def woken(self, service: str, result: WakeResult) -> None:
        """A wake came."""
        self._wakes.labels(*service.split("/"), result.value).inc()

    def activation_failed(self, service: str, happened: PhaseInput) -> None:
        """A start came to nothing."""
        self._failures.labels(*service.split("/"), happened.name.lower()).inc()

    def replica_started(self, seconds: float) -> None:
        """A replica was asked for, so long after the wake."""
        self._start.observe(seconds)

    def report_refused(self, reason: ReportRefusal) -> None:
        """A report was not used."""
        self._refused.labels(reason.value).inc()

    def reload_failed(self) -> None:
        """New manifests were not right and changed nothing."""
        self._reloads_failed.inc()

    def round_trip(self, peer: str, seconds: float) -> None:
        """A peer acknowledged a message."""
        self._round_trip.labels(peer).set(seconds)

    def forget(self, service: str) -> None:
        """The service was deleted."""
        namespace, name = service.split("/")
        for family in (self._wakes, self._failures):
            family.remove_by_labels({"namespace": namespace, "service": name})

    def forget_peer(self, peer: str) -> None:
        """Its link has ended."""
        self._round_trip.remove_by_labels({"peer": peer})

    def count(
        self, name: str, text: str, label: str, read: Callable[[], Mapping[str, int]]
    ) -> None:
        """Export, by label, counts that others keep."""
        self.registry.register(_Read(CounterMetricFamily, f"wangell_{name}", text, label, read))

    def gauge(
        self, name: str, text: str, label: str, read: Callable[[], Mapping[str, int]]
    ) -> None:
        """Export, by label, numbers that others know."""
        self.registry.register(_Read(GaugeMetricFamily, f"wangell_{name}", text, label, read))


class _Read(Collector):
    """Reads at every scrape. The scrape has its own thread: `read` must take one snapshot."""

    def __init__(
        self,
        family: type[CounterMetricFamily] | type[GaugeMetricFamily],
        name: str,
        text: str,
        label: str,
        read: Callable[[], Mapping[str, int]],
    ) -> None:
        self._family = family
        self._name = name
        self._text = text
        self._label = label
        self._read = read

    def collect(self) -> Iterable[Metric]:
        """Yield the family as it is now."""
        family = self._family(self._name, self._text, labels=[self._label])
        for value, number in self._read().items():
            family.add_metric([value], number)
        yield family

    def describe(self) -> Iterable[Metric]:
        """Say the name without reading."""
        yield self._family(self._name, self._text, labels=[self._label])
