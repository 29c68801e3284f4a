"""NewReno, sentence by sentence of RFC 9002 section 7."""

from hypothesis import given
from hypothesis import strategies as st

from wangell_proto.congestion import (
    INITIAL_WINDOW_BYTES,
    MINIMUM_WINDOW_BYTES,
    Congestion,
)

MTU = 1200


def filled() -> Congestion:
    congestion = Congestion()
    congestion.on_sent(congestion.window)
    return congestion


def test_it_starts_with_ten_datagrams_and_never_has_less_than_two():
    assert Congestion().room == INITIAL_WINDOW_BYTES == 10 * MTU
    assert MINIMUM_WINDOW_BYTES == 2 * MTU


def test_slow_start_grows_by_what_is_acknowledged():
    congestion = filled()
    congestion.on_acked(MTU, sent_at=1.0)
    assert congestion.window == 11 * MTU
    assert congestion.room == 2 * MTU


def test_a_window_that_is_not_used_does_not_grow():
    congestion = Congestion()
    congestion.on_sent(MTU)
    congestion.on_acked(MTU, sent_at=1.0)
    assert (congestion.window, congestion.in_flight) == (INITIAL_WINDOW_BYTES, 0)


def test_a_flight_with_losses_halves_the_window_once():
    congestion = filled()
    congestion.on_lost(MTU, sent_at=1.0, now=2.0)
    congestion.on_lost(MTU, sent_at=1.5, now=2.0)
    assert congestion.window == 5 * MTU
    congestion.on_lost(MTU, sent_at=2.5, now=3.0)  # Sent after the first cut: it cuts again.
    assert congestion.window == 5 * MTU // 2
    for later in range(4, 20):
        congestion.on_lost(0, sent_at=later - 0.5, now=float(later))
    assert congestion.window == MINIMUM_WINDOW_BYTES


def test_recovery_does_not_grow_and_avoidance_grows_by_a_datagram_a_window():
    congestion = filled()
    congestion.on_lost(MTU, sent_at=1.0, now=2.0)
    congestion.on_acked(MTU, sent_at=1.9)
    assert congestion.window == 5 * MTU
    congestion.on_acked(5 * MTU, sent_at=2.1)
    assert congestion.window == 6 * MTU


def test_persistent_congestion_starts_over():
    congestion = filled()
    congestion.on_probe_timeout(1)
    congestion.on_probe_timeout(2)
    assert congestion.window == INITIAL_WINDOW_BYTES
    congestion.on_probe_timeout(3)
    assert congestion.window == MINIMUM_WINDOW_BYTES


def test_what_is_exempt_is_counted_and_overdraws():
    congestion = filled()
    congestion.on_sent(500)
    assert congestion.room == -500
    congestion.on_gone(500)
    assert congestion.room == 0


@given(st.lists(st.tuples(st.sampled_from("sal"), st.integers(1, MTU)), max_size=80))
def test_bytes_in_flight_always_add_up_and_the_window_keeps_its_minimum(steps):
    congestion, sizes, now = Congestion(), [], 0.0
    for kind, size in steps:
        now += 1.0
        if kind == "s":
            congestion.on_sent(size)
            sizes.append((size, now))
        elif sizes:
            sent, sent_at = sizes.pop(0)
            if kind == "a":
                congestion.on_acked(sent, sent_at)
            else:
                congestion.on_lost(sent, sent_at, now=now)
        assert congestion.in_flight == sum(size for size, _ in sizes)
        assert congestion.window >= MINIMUM_WINDOW_BYTES
