"""Round trips and the timeouts made of them."""

import pytest

from wangell_proto import Timers
from wangell_proto.rtt import RoundTrip

TIMERS = Timers()


def test_the_first_estimate_is_the_handshake():
    rtt = RoundTrip(0.010, TIMERS)
    assert rtt.smoothed_s == 0.010
    # RFC 9002: smoothed + 4 x variation + the peer's delay.
    assert rtt.timeout_s(0, 0.0) == pytest.approx(0.010 + 4 * 0.005 + TIMERS.ack_delay_s)


def test_the_floor_is_5_ms_and_not_the_200_of_tcp():
    rtt = RoundTrip(0.0001, TIMERS)
    for _ in range(50):
        rtt.sample(0.0001)
    assert rtt.timeout_s(0, 0.0) == 0.005


def test_back_off_doubles_with_jitter_up_to_a_cap():
    rtt = RoundTrip(0.0001, TIMERS)
    waits = [rtt.timeout_s(backoffs, 0.0) for backoffs in range(12)]
    assert waits[:4] == [0.005, 0.010, 0.020, 0.040]
    assert waits[-1] == TIMERS.rto_cap_s
    assert rtt.timeout_s(1, 1.0) == pytest.approx(0.0125)
    assert rtt.timeout_s(10**6, 1.0) == TIMERS.rto_cap_s * 1.25


def test_samples_move_the_estimate_by_an_eighth():
    rtt = RoundTrip(0.008, TIMERS)
    rtt.sample(0.016)
    assert rtt.smoothed_s == pytest.approx(0.009)
    assert rtt.latest_s == 0.016


def test_the_peers_own_delay_is_taken_off():
    rtt = RoundTrip(0.010, TIMERS)
    rtt.sample(0.015, delay_s=0.005)
    assert rtt.latest_s == pytest.approx(0.010)


@pytest.mark.parametrize("delay_s", [0.02, 1e9, -1.0])
def test_a_delay_that_cannot_be_true_is_ignored(delay_s: float):
    rtt = RoundTrip(0.010, TIMERS)
    rtt.sample(0.015, delay_s=delay_s)
    assert rtt.latest_s == 0.015


def test_a_clock_that_was_turned_back_measures_nothing():
    rtt = RoundTrip(0.010, TIMERS)
    rtt.sample(-3.0)
    rtt.sample(0.0)
    assert (rtt.smoothed_s, rtt.latest_s) == (0.010, 0.010)


def test_what_is_overtaken_counts_as_lost_after_nine_eighths_of_a_round_trip():
    assert RoundTrip(0.080, TIMERS).loss_delay_s() == pytest.approx(0.090)
    assert RoundTrip(0.0001, TIMERS).loss_delay_s() == 0.001
