"""What Prometheus is told. Names and units as it asks; a service deleted takes its series along."""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from wangell_daemon.effects import EndColdStart

__all__ = ["Metrics"]

# A thawed container answers in 0.5 ms, an image that has to be pulled in a minute.
SECONDS = (
    *(0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1),
    *(0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0),
)
# The platform's own phases lie between 50 us and some ms.
PHASE_SECONDS = (0.00005, 0.0001, 0.0002, 0.0003, *SECONDS)
# It lies between a LISTEN and the replay, and must not take more than 0.5 ms.
HANDOVER_SECONDS = (
    *(0.0001, 0.00015, 0.0002, 0.00025, 0.0003, 0.00035, 0.0004, 0.00045, 0.0005),
    *(0.00075, 0.001, 0.002, 0.005, 0.01, 0.02),
)
# A service has some 250 series once it has been woken here; what exceeds this shares one label.
LABELLED_SERVICES_MAX = 1000
OTHER = "_other"


class Metrics:
    """The daemon's own registry and what feeds it. Services are `namespace/name`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._labelled: set[str] = set()
        self._cold_start = self._histogram(
            "cold_start", "First SYN in XDP to the client's ACK.", SECONDS, "outcome"
        )
        self._phase = self._histogram(
            "cold_start_phase", "The same, by phase.", PHASE_SECONDS, "phase"
        )
        self._wait = self._histogram("held_syn_wait", "How long a client's SYN was held.", SECONDS)
        self._wakes = self._counter("wakes", "Wakes reported to a controller.")
        self._held = self._counter("syns_held", "SYNs held in XDP, the client's repeats included.")
        self._replays = self._counter("syn_replays", "Frames injected, repeats included.")
        self._refused = self._counter("syns_refused", "Held SYNs answered with RST.")
        self._waiting = Gauge("wangell_syns_waiting", "SYNs held now.", registry=self.registry)
        self._dropped = Counter(
            "wangell_syns_dropped",
            "SYNs held and let go without an answer, by reason.",
            ("reason",),
            registry=self.registry,
        )
        self._failures = Counter(
            "wangell_daemon_failures",
            "Steps that failed; the log says why.",
            ("step",),
            registry=self.registry,
        )
        self._round_trip = Histogram(
            "wangell_link_round_trip_seconds",
            "Round trips of acknowledged messages to the controller.",
            buckets=PHASE_SECONDS,
            registry=self.registry,
        )
        self._handover = Histogram(
            "wangell_handover_seconds",
            "How long it took to send a service's new connections to a replica.",
            buckets=HANDOVER_SECONDS,
            registry=self.registry,
        )
        self._is_linked = Gauge(
            "wangell_link_up", "1 while a controller answers.", registry=self.registry
        )

    def pod_interfaces(self, count: Callable[[], int]) -> None:
        """At so many interfaces of pods their calls are seen, read at each scrape."""
        help_text = "Interfaces of this node's pods where their calls are seen."
        gauge = Gauge("wangell_pod_interfaces", help_text, registry=self.registry)
        gauge.set_function(count)

    def woke(self, service: str) -> None:
        """A wake was reported."""
        self._wakes.labels(*self._labels(service)).inc()

    def held(self, service: str) -> None:
        """A SYN was held."""
        self._held.labels(*self._labels(service)).inc()

    def replayed(self, service: str) -> None:
        """A frame was injected."""
        self._replays.labels(*self._labels(service)).inc()

    def refused(self, service: str) -> None:
        """A held SYN was answered with RST."""
        self._refused.labels(*self._labels(service)).inc()

    def answered(self, service: str, *, waited_s: float) -> None:
        """A client whose SYN was held sent its ACK."""
        self._wait.labels(*self._labels(service)).observe(waited_s)

    def gave_up(self, reason: str, count: int) -> None:
        """SYNs were let go without an answer.

        no_room, no_service, bad_frame, unanswered or queue_full.
        """
        self._dropped.labels(reason).inc(count)

    def failed(self, what: str) -> None:
        """A step was refused by the kernel or the link, or a record could not be applied."""
        self._failures.labels(what).inc()

    def waiting(self, held: int) -> None:
        """This many SYNs are held now."""
        self._waiting.set(held)

    def round_trip(self, seconds: float) -> None:
        """A message was acknowledged."""
        self._round_trip.observe(seconds)

    def handed_over(self, seconds: float) -> None:
        """A service's new connections go to a replica by now."""
        self._handover.observe(seconds)

    def linked(self, is_up: bool) -> None:  # noqa: FBT001 (it is the value)
        """A controller answers, or none does."""
        self._is_linked.set(is_up)

    def cold_start(self, ended: EndColdStart, *, now_ns: int) -> None:
        """A wake is over; one that was never answered has lasted until now."""
        labels = self._labels(ended.service)
        total_ns = ended.timeline.total_ns
        if total_ns is None:
            total_ns = now_ns - ended.timeline.first_syn_ns
        self._cold_start.labels(*labels, ended.outcome).observe(total_ns / 1e9)
        for phase, duration_ns in ended.timeline.phases_ns().items():
            self._phase.labels(*labels, phase).observe(duration_ns / 1e9)

    def forget(self, service: str) -> None:
        """The service was deleted: so are its series."""
        if service not in self._labelled:
            return
        self._labelled.discard(service)
        namespace, name = _split(service)
        labels = {"namespace": namespace, "service": name}
        for metric in (
            *(self._cold_start, self._phase, self._wait),
            *(self._wakes, self._held, self._replays, self._refused),
        ):
            metric.remove_by_labels(labels)

    def count(self, name: str, help_text: str, counts: Callable[[], Mapping[str, int]]) -> None:
        """Tell counters that are kept elsewhere, read at each scrape; their label is `reason`."""
        self.registry.register(_Reasons(f"wangell_{name}", help_text, counts))

    def _labels(self, service: str) -> tuple[str, str]:
        if service not in self._labelled:
            if len(self._labelled) >= LABELLED_SERVICES_MAX:
                return OTHER, OTHER
            self._labelled.add(service)
        return _split(service)

    def _histogram(
        self, name: str, help_text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(
            f"wangell_{name}_seconds",
            help_text,
            ("namespace", "service", *labels),
            buckets=buckets,
            registry=self.registry,
        )

    def _counter(self, name: str, help_text: str) -> Counter:
        return Counter(
            f"wangell_{name}", help_text, ("namespace", "service"), registry=self.registry
        )


class _Reasons(Collector):
    def __init__(self, name: str, help_text: str, counts: Callable[[], Mapping[str, int]]) -> None:
        self._name, self._help, self._counts = name, help_text, counts

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily(self._name, self._help, labels=("reason",))
        for reason, count in self._counts().items():
            family.add_metric((reason,), count)
        yield family


def _split(service: str) -> tuple[str, str]:
    namespace, _slash, name = service.partition("/")
    return namespace, name
