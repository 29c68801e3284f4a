"""Loss detection and probes, after RFC 9002 section 6."""

import pytest

from wangell_proto import Timers
from wangell_proto.flight import Flight, SentPacket
from wangell_proto.outbox import Message
from wangell_proto.rtt import RoundTrip
from wangell_proto.wire import Kind

RTT_S = 0.010


def flight() -> Flight:
    return Flight(RoundTrip(RTT_S, Timers()))


def send(flight: Flight, number: int, at: float, kind: Kind = Kind.STATE) -> Message:
    message = Message(kind, b"x")
    flight.on_sent(SentPacket(number, at, 100, [(message, 0)]))
    return message


def numbers(packets: list[SentPacket]) -> list[int]:
    return sorted(packet.number for packet in packets)


def test_an_acknowledgement_takes_its_ranges_once_and_measures_the_largest():
    aloft = flight()
    for number in range(6):
        send(aloft, number, at=1.0)
    assert numbers(aloft.on_ack([5, 4, 1, 0], now=1.02, delay_s=0.0)) == [0, 1, 4, 5]
    assert aloft._rtt.latest_s == pytest.approx(0.02)
    assert aloft.congestion.in_flight == 200
    assert aloft.on_ack([5, 4, 1, 0], now=9.0, delay_s=0.0) == []
    assert aloft._rtt.latest_s == pytest.approx(0.02)  # A repetition measures nothing.


def test_a_range_of_everything_costs_no_more_than_the_flight():
    aloft = flight()
    send(aloft, 7, at=1.0)
    assert numbers(aloft.on_ack([2**61, 0], now=1.01, delay_s=0.0)) == [7]


def test_three_later_ones_acknowledged_mean_a_loss():
    aloft = flight()
    lost = send(aloft, 0, at=1.0)
    for number in (1, 2, 3):
        send(aloft, number, at=1.0)
    aloft.on_ack([2, 1], now=1.001, delay_s=0.0)
    assert aloft.detect_lost(1.001) == []
    aloft.on_ack([3, 1], now=1.002, delay_s=0.0)
    assert aloft.detect_lost(1.002) == [(lost, 0)]
    assert aloft.packets == {}
    assert aloft.deadline() is None


def test_one_later_one_acknowledged_means_a_loss_after_nine_eighths_of_a_round_trip():
    aloft = flight()
    lost = send(aloft, 0, at=1.0)
    send(aloft, 1, at=1.0)
    aloft.on_ack([1, 1], now=1.010, delay_s=0.0)
    assert aloft.detect_lost(1.010) == []
    assert aloft.deadline() == pytest.approx(1.0 + 0.010 * 1.125)
    contents, probes = aloft.on_timeout(1.0113, jitter=0.0)
    assert (contents, probes) == ([(lost, 0)], 0)
    assert aloft.congestion.window < 12000


def test_silence_means_a_probe_of_the_oldest_and_wakes_first():
    aloft = flight()
    state = [send(aloft, number, at=1.0) for number in range(3)]
    wake = send(aloft, 3, at=1.0, kind=Kind.WAKE)
    deadline = aloft.deadline()
    assert deadline == pytest.approx(1.0 + aloft._rtt.timeout_s(0, 0.0))
    contents, probes = aloft.on_timeout(deadline, jitter=0.5)
    assert (contents, probes) == ([(wake, 0), (state[0], 0)], 2)
    assert len(aloft.packets) == 4  # They stay: a late acknowledgement still counts.
    assert aloft.deadline() == pytest.approx(deadline + aloft._rtt.timeout_s(1, 0.5))
    assert aloft.on_ack([3, 0], now=2.0, delay_s=0.0)
    assert aloft.backoffs == 0


def test_timeouts_in_a_row_close_the_window():
    aloft = flight()
    send(aloft, 0, at=1.0)
    for _ in range(2):
        aloft.on_timeout(aloft.deadline(), jitter=0.0)
    assert aloft.congestion.window == 12_000
    aloft.on_timeout(aloft.deadline(), jitter=0.0)
    assert aloft.congestion.window == 2_400


def test_what_was_answered_by_another_packet_is_not_probed_for():
    aloft = flight()
    message = send(aloft, 0, at=1.0)
    message.acked = 1
    assert aloft.on_timeout(2.0, jitter=0.0) == ([], 0)
    assert aloft.packets == {}
    assert (aloft.backoffs, aloft.congestion.in_flight) == (0, 0)


def test_nothing_in_flight_has_no_deadline_and_loses_nothing():
    aloft = flight()
    assert aloft.deadline() is None
    assert aloft.detect_lost(1.0) == []
