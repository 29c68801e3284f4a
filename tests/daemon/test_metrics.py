"""What Prometheus gets: right numbers, right names, bounded series."""

import re
import subprocess

import pytest
from prometheus_client import generate_latest

from wangell_daemon import metrics as metrics_module
from wangell_daemon.effects import EndColdStart
from wangell_daemon.metrics import Metrics
from wangell_daemon.timeline import Timeline

MS = 1_000_000
X, Y = "default/x", "default/y"


def ended(service: str = X, *, outcome: str = "answered") -> EndColdStart:
    timeline = Timeline(first_syn_ns=0, detected_ns=100_000)
    if outcome == "answered":
        timeline.place_start(received_ns=300_000, spawned_ns=1 * MS, rtt_ns=None)
        timeline.listened_ns, timeline.injected_ns, timeline.acked_ns = 3 * MS, 3_250_000, 3_400_000
    return EndColdStart(service, 1, outcome, 1, timeline)


def used() -> Metrics:
    """Everything that can be told, told once."""
    metrics = Metrics()
    metrics.woke(X)
    metrics.held(X)
    metrics.replayed(X)
    metrics.refused(X)
    metrics.answered(X, waited_s=0.003)
    metrics.gave_up("no_room", 2)
    metrics.failed("Inject")
    metrics.waiting(3)
    metrics.round_trip(0.0003)
    metrics.linked(True)
    metrics.cold_start(ended(), now_ns=10 * MS)
    metrics.cold_start(ended(outcome="timeout"), now_ns=60_000 * MS)
    metrics.count("xdp_packets", "Packets by why they left.", lambda: {"held": 7, "passed": 9})
    return metrics


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def of(service: str) -> dict[str, str]:
    namespace, name = service.split("/")
    return {"namespace": namespace, "service": name}


def rendered(metrics: Metrics) -> str:
    return generate_latest(metrics.registry).decode()


def series(metrics: Metrics) -> list[str]:
    return [line for line in rendered(metrics).splitlines() if not line.startswith("#")]


def test_a_cold_start_is_told_in_whole_and_by_phase() -> None:
    metrics = used()
    whole = "wangell_cold_start_seconds"
    assert value(metrics, f"{whole}_count", **of(X), outcome="answered") == 1
    assert value(metrics, f"{whole}_sum", **of(X), outcome="answered") == pytest.approx(0.0034)
    sums = [
        value(metrics, "wangell_cold_start_phase_seconds_sum", **of(X), phase=phase)
        for phase in ("detect", "notify", "start", "listen", "replay", "handshake")
    ]
    assert None not in sums
    # `detect` also has the wake that timed out.
    assert sum(each or 0 for each in sums) == pytest.approx(0.0034 + 0.0001)


def test_a_wake_that_was_never_answered_has_lasted_until_now() -> None:
    metrics = used()
    name = "wangell_cold_start_seconds_sum"
    assert value(metrics, name, **of(X), outcome="timeout") == pytest.approx(60.0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("wangell_wakes_total", 1),
        ("wangell_syns_held_total", 1),
        ("wangell_syn_replays_total", 1),
        ("wangell_syns_refused_total", 1),
        ("wangell_held_syn_wait_seconds_count", 1),
        ("wangell_held_syn_wait_seconds_sum", 0.003),
    ],
)
def test_each_thing_that_happens_to_a_service_is_counted(name: str, expected: float) -> None:
    assert value(used(), name, **of(X)) == expected


def test_what_has_no_service_is_counted_by_reason() -> None:
    metrics = used()
    assert value(metrics, "wangell_syns_dropped_total", reason="no_room") == 2
    assert value(metrics, "wangell_daemon_failures_total", step="Inject") == 1
    assert value(metrics, "wangell_syns_waiting") == 3
    assert value(metrics, "wangell_link_up") == 1
    assert value(metrics, "wangell_link_round_trip_seconds_count") == 1
    assert value(metrics, "wangell_xdp_packets_total", reason="held") == 7


def test_counters_kept_elsewhere_are_read_at_each_scrape() -> None:
    counts = {"held": 1}
    metrics = Metrics()
    metrics.count("xdp_packets", "Packets by why they left.", lambda: counts)
    counts["held"] = 5
    assert value(metrics, "wangell_xdp_packets_total", reason="held") == 5


def test_the_link_that_ends_is_no_longer_up() -> None:
    metrics = Metrics()
    metrics.linked(True)
    metrics.linked(False)
    assert value(metrics, "wangell_link_up") == 0


def test_buckets_tell_half_a_millisecond_from_one_and_a_minute_from_half() -> None:
    text = rendered(used())
    bounds = {
        float(bound)
        for bound in re.findall(r'wangell_cold_start_seconds_bucket\{.*le="([\d.e-]+)"', text)
    }
    assert {0.0005, 0.001, 30.0, 60.0} <= bounds
    phases = set(re.findall(r'wangell_cold_start_phase_seconds_bucket\{.*le="([\d.e-]+)"', text))
    assert {float(bound) for bound in phases} >= {0.00005, 0.0001, 0.0005, 60.0}


def test_promtool_has_nothing_to_say() -> None:
    checked = subprocess.run(
        ["promtool", "check", "metrics"],
        input=rendered(used()),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_each_metric_has_a_sentence_of_help() -> None:
    helps = re.findall(r"^# HELP (\S+) (.*)$", rendered(used()), re.MULTILINE)
    assert len(helps) > 10
    for name, sentence in helps:
        assert name.startswith("wangell_")
        assert sentence.endswith("."), name


# Bounds.


def test_a_deleted_service_takes_all_its_series_along_and_no_others() -> None:
    metrics = used()
    metrics.woke(Y)
    metrics.cold_start(ended(Y), now_ns=10 * MS)
    metrics.forget(X)
    left = rendered(metrics)
    assert 'service="x"' not in left
    assert 'service="y"' in left
    assert value(metrics, "wangell_syns_dropped_total", reason="no_room") == 2


def test_forgetting_twice_or_a_stranger_is_no_error() -> None:
    metrics = used()
    metrics.forget(X)
    metrics.forget(X)
    metrics.forget("default/stranger")
    metrics.forget("no-slash")


def test_a_service_that_comes_back_begins_at_zero() -> None:
    metrics = used()
    metrics.forget(X)
    metrics.woke(X)
    assert value(metrics, "wangell_wakes_total", **of(X)) == 1


def test_a_service_has_some_250_series_and_no_more() -> None:
    metrics = Metrics()
    before = len(series(metrics))
    metrics.woke(X)
    metrics.held(X)
    metrics.replayed(X)
    metrics.refused(X)
    metrics.answered(X, waited_s=0.1)
    metrics.cold_start(ended(), now_ns=10 * MS)
    assert 200 < len(series(metrics)) - before < 260


def test_services_beyond_the_bound_share_one_label(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_module, "LABELLED_SERVICES_MAX", 3)
    metrics = Metrics()
    for number in range(10):
        metrics.woke(f"default/{number}")
    assert value(metrics, "wangell_wakes_total", namespace="_other", service="_other") == 7
    services = set(re.findall(r'service="(\w+)"', rendered(metrics)))
    assert services == {"0", "1", "2", "_other"}


def test_a_service_deleted_makes_room_for_another_label(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_module, "LABELLED_SERVICES_MAX", 1)
    metrics = Metrics()
    metrics.woke(X)
    metrics.woke(Y)
    metrics.forget(X)
    metrics.woke(Y)
    assert value(metrics, "wangell_wakes_total", **of(Y)) == 1
    assert value(metrics, "wangell_wakes_total", namespace="_other", service="_other") == 1


def test_two_daemons_of_one_process_share_no_registry() -> None:
    first, second = Metrics(), Metrics()
    first.woke(X)
    assert value(second, "wangell_wakes_total", **of(X)) is None


def test_where_pods_calls_are_seen_is_counted_at_each_scrape() -> None:
    metrics, interfaces = Metrics(), ["veth1", "veth2"]
    metrics.pod_interfaces(lambda: len(interfaces))
    assert value(metrics, "wangell_pod_interfaces") == 2
    interfaces.clear()
    assert value(metrics, "wangell_pod_interfaces") == 0
