"""What Prometheus sees: right names, bounded labels, and nothing of what is gone."""

import subprocess

import pytest
from prometheus_client import generate_latest

from tests.controller.helpers import House
from wangell_controller.exports import export
from wangell_controller.link import ProtocolLink
from wangell_controller.metrics import START_SECONDS, ReportRefusal
from wangell_proto.vocabulary import Following, Wake


def exporting(house: House) -> House:
    export(
        house.metrics,
        controller=house.controller,
        backend=house.backend,
        link=ProtocolLink(house.metrics),
    )
    return house


def scraped(house: House) -> str:
    return generate_latest(house.metrics.registry).decode()


def series(house: House) -> list[str]:
    return [line for line in scraped(house).splitlines() if not line.startswith("#")]


def busy_house() -> House:
    """One in which every series has been touched."""
    house = exporting(House())
    house.draining()
    house.wake()
    house.wake("node2", activation=0)
    for refusal in ReportRefusal:
        house.metrics.report_refused(refusal)
    house.metrics.round_trip("node1", 0.00013)
    house.metrics.reload_failed()
    house.controller.link_down("node2", "silence")
    for _ in range(40):
        house.activity("node1", idle_s=1000)
        house.pass_s(1)
    return house


def test_promtool_finds_nothing_to_say() -> None:
    checked = subprocess.run(
        ["promtool", "check", "metrics"],
        input=scraped(busy_house()),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_a_start_is_resolved_at_half_a_millisecond_and_at_a_minute() -> None:
    assert sum(bound < 0.0005 for bound in START_SECONDS) >= 4
    assert {0.0005, 0.001, 60.0} <= set(START_SECONDS)
    assert list(START_SECONDS) == sorted(START_SECONDS)


def test_a_start_is_measured_from_the_wake_that_was_read() -> None:
    house = House()
    house.backend.spawned_ns = 1_000 + 300_000
    house.wake()
    assert house.metric("wangell_backend_start_seconds_sum") == pytest.approx(0.0003)
    assert house.metric("wangell_backend_start_seconds_count") == 1


def test_repeats_are_no_starts() -> None:
    house = House()
    house.wake()
    house.wake("node2", activation=0)
    house.draining()
    assert house.metric("wangell_backend_start_seconds_count") == 1


def test_services_are_counted_by_phase_all_of_them_always() -> None:
    house = exporting(House())
    phases = ("cold", "waking", "warm", "draining")
    assert [house.metric("wangell_services", phase=each) for each in phases] == [1, 0, 0, 0]
    house.wake()
    assert [house.metric("wangell_services", phase=each) for each in phases] == [0, 1, 0, 0]


def test_a_missing_daemon_that_blocks_is_named_and_only_while_it_does() -> None:
    house = busy_house()
    name = "wangell_scale_down_blocked_services"
    assert house.metric(name, node="node2") == 1
    assert house.metric(name, node="node1") is None
    assert house.metric("wangell_daemons", kind="missing") == 1
    house.controller.link_up("node2")
    house.pass_idle_s(1)
    assert house.metric(name, node="node2") is None
    assert house.metric("wangell_daemons", kind="missing") == 0


def test_a_start_that_waits_for_a_daemon_is_not_blocked_from_going_down() -> None:
    """As the condition ScaleDownBlocked has it."""
    house = exporting(House())
    house.wake()
    for node in ("node1", "node2"):
        house.controller.link_down(node, "silence")
    house.pass_s(1)
    assert house.service.decision is not None
    assert house.service.decision.missing, "nobody would see it listen"
    assert house.metric("wangell_scale_down_blocked_services", node="node1") is None
    assert house.metric("wangell_daemons", kind="missing") == 2


def test_a_daemon_that_holds_what_sleeps_is_counted_while_it_is_linked() -> None:
    house = exporting(House())
    following = Following(epoch=1)
    assert house.metric("wangell_daemons", kind="following") == 0
    house.controller.hear("node1", following, received_ns=1)
    assert house.metric("wangell_daemons", kind="following") == 1
    house.controller.link_down("node1", "silent")
    house.controller.hear("node1", following, received_ns=2)
    assert house.metric("wangell_daemons", kind="following") == 0, "its last word came too late"
    house.controller.link_up("node1")
    assert house.metric("wangell_daemons", kind="following") == 0, "not before it says so again"


def test_what_strangers_say_makes_no_series() -> None:
    house = exporting(House())
    before = len(series(house))
    for number in range(100):
        wake = Wake(service=f"x/y{number}", address="10.0.0.1", port=1, sequence=1, activation=0)
        house.controller.hear("node1", wake, received_ns=1)
    assert len(series(house)) == before + 2, "one reason: its count, and when it began"


def test_a_deleted_service_takes_its_series_along() -> None:
    house = busy_house()
    assert 'service="serverless-example"' in scraped(house)
    house.controller.declare({})
    assert "serverless-example" not in scraped(house)


def test_a_peer_that_is_gone_takes_its_series_along() -> None:
    house = busy_house()
    assert house.metric("wangell_peer_round_trip_seconds", peer="node1") == 0.00013
    house.metrics.forget_peer("node1")
    assert house.metric("wangell_peer_round_trip_seconds", peer="node1") is None
