"""Heartbeats, pings and silence, by the clock."""

import msgpack
import pytest

from wangell_proto import Timers
from wangell_proto.liveness import PING_FRAME, PONG_FRAME, Liveness
from wangell_proto.wire import parse_body

TIMERS = Timers()
NOW = 100.0


def lives(jitter: float = 0.5) -> Liveness:
    return Liveness(TIMERS, now=NOW, jitter=jitter)


def beat(liveness: Liveness, now: float) -> list:
    frame = liveness.heartbeat(now, epoch=3, flags=1, version=7, digest=b"d" * 8)
    assert parse_body(b"\x91" + frame) is not None
    return msgpack.unpackb(frame)


def test_the_deadlines_of_a_silent_peer():
    liveness = lives()
    assert liveness.next_deadline() == NOW + 0.5  # The first heartbeat, by its jitter.
    beat(liveness, NOW + 0.5)
    assert liveness.next_deadline() == NOW + 1.2  # The first ping.
    pings = []
    while (now := liveness.next_deadline()) < liveness.silence_deadline:
        if now == liveness.ping_due_at:
            assert liveness.ping(now, 0.5) == PING_FRAME
            pings.append(now)
        else:
            beat(liveness, now)
    assert now == liveness.silence_deadline == NOW + 3.0
    # One each 100 ms; rounding may squeeze another in just before the end.
    assert pings[:18] == pytest.approx([NOW + 1.2 + 0.1 * index for index in range(18)])
    assert len(pings) <= 19


def test_anything_heard_starts_the_silence_anew():
    liveness = lives()
    liveness.ping(NOW + 1.2, 0.0)
    liveness.on_heard(NOW + 1.25)
    assert liveness.ping_due_at == NOW + 2.45
    assert liveness.silence_deadline == NOW + 4.25


def test_pings_are_jittered_by_a_fifth():
    liveness = lives()
    liveness.ping(NOW, 0.0)
    assert liveness.ping_due_at == pytest.approx(NOW + 0.09)
    liveness.ping(NOW, 1.0)
    assert liveness.ping_due_at == pytest.approx(NOW + 0.11)


def test_a_heartbeat_says_when_the_peer_was_last_heard():
    liveness = lives()
    liveness.on_heard(NOW + 1.0)
    liveness.on_heartbeat(41, 0, 0, now=NOW + 1.0)
    liveness.on_heard(NOW + 1.5)
    assert beat(liveness, NOW + 2.0)[1:5] == [1, 41, 1_000_000, 500_000]


def test_ages_are_never_negative_where_the_clock_was_turned_back():
    assert beat(lives(), NOW - 50.0)[3:5] == [0, 0]


def test_an_echo_of_the_last_heartbeat_measures_the_round_trip():
    liveness = lives()
    beat(liveness, NOW)
    rtt_s = liveness.on_heartbeat(9, 1, 40_000, now=NOW + 0.05)
    assert rtt_s == pytest.approx(0.01)


@pytest.mark.parametrize("echoed", [0, 1, 3])
def test_no_echo_or_an_older_one_measures_nothing(echoed: int):
    liveness = lives()
    beat(liveness, NOW)
    beat(liveness, NOW + 1)
    assert liveness.on_heartbeat(9, echoed, 0, now=NOW + 1.1) is None
    assert lives().on_heartbeat(9, 0, 0, now=NOW) is None


def test_a_heartbeat_with_news_leaves_at_once():
    liveness = lives()
    liveness.hurry_heartbeat(NOW + 0.1)
    assert liveness.next_deadline() == NOW + 0.1
    beat(liveness, NOW + 0.1)
    assert liveness.heartbeat_due_at == NOW + 1.1
    liveness.hurry_heartbeat(NOW + 9.0)
    assert liveness.heartbeat_due_at == NOW + 1.1  # It was due before that anyway.


def test_ping_and_pong_are_frames():
    assert parse_body(b"\x92" + PING_FRAME + PONG_FRAME) is not None
