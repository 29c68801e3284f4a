"""How long those who follow a crowd go in by way of the daemon."""

from wangell_daemon.meter import METER_NS, Meter


def test_it_is_off_until_a_crowd_is_let_in() -> None:
    meter = Meter()
    assert not meter.is_on(0)
    assert meter.until_ns is None


def test_a_crowd_turns_it_on_for_a_tenth_of_a_second() -> None:
    meter = Meter()
    meter.start(now_ns=1_000, callers=2)
    assert meter.until_ns == 1_000 + METER_NS
    assert meter.is_on(1_000)
    assert meter.is_on(1_000 + METER_NS - 1)
    assert not meter.is_on(1_000 + METER_NS)


def test_once_off_there_is_nothing_to_wait_for() -> None:
    meter = Meter()
    meter.start(now_ns=0, callers=50)
    meter.is_on(METER_NS)
    assert meter.until_ns is None


def test_a_single_caller_is_no_crowd() -> None:
    meter = Meter()
    meter.start(now_ns=0, callers=1)
    assert not meter.is_on(0)


def test_it_stops_where_nothing_listens_any_more() -> None:
    meter = Meter()
    meter.start(now_ns=0, callers=2)
    meter.stop()
    assert not meter.is_on(1)
