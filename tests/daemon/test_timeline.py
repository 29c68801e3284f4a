"""What each phase of a cold start took. The demo, the metrics and the log read these numbers."""

from hypothesis import given
from hypothesis import strategies as st

from wangell_daemon.timeline import PHASES, Timeline

US, MS = 1_000, 1_000_000


def timeline() -> Timeline:
    """The published order of things, on one machine."""
    told = Timeline(first_syn_ns=10 * MS, detected_ns=10 * MS + 100 * US)
    told.place_start(received_ns=10 * MS + 400 * US, spawned_ns=11 * MS, rtt_ns=None)
    told.listened_ns = 14 * MS
    told.injected_ns = 14 * MS + 250 * US
    told.acked_ns = 14 * MS + 300 * US
    return told


def test_each_phase_ends_where_the_next_begins() -> None:
    assert timeline().phases_ns() == {
        "detect": 100 * US,
        "notify": 300 * US,
        "start": 600 * US,
        "listen": 3 * MS,
        "replay": 250 * US,
        "handshake": 50 * US,
    }


def test_phases_are_named_in_their_order() -> None:
    assert tuple(timeline().phases_ns()) == PHASES


def test_together_they_are_the_whole() -> None:
    assert timeline().total_ns == 4_300 * US
    assert sum(timeline().phases_ns().values()) == timeline().total_ns


@given(st.lists(st.integers(0, 10**12), min_size=7, max_size=7))
def test_any_moments_in_order_add_up(moments: list[int]) -> None:
    first, detected, received, spawned, listened, injected, acked = sorted(moments)
    told = Timeline(first_syn_ns=first, detected_ns=detected)
    told.place_start(received_ns=received, spawned_ns=spawned, rtt_ns=None)
    told.listened_ns, told.injected_ns, told.acked_ns = listened, injected, acked
    assert sum(told.phases_ns().values()) == told.total_ns == acked - first


def test_before_the_ack_there_is_no_total() -> None:
    told = Timeline(first_syn_ns=1, detected_ns=2)
    assert told.total_ns is None
    assert told.phases_ns() == {"detect": 1}


def test_a_phase_with_one_end_unknown_is_left_out_not_guessed() -> None:
    told = timeline()
    told.received_ns = told.spawned_ns = None
    assert tuple(told.phases_ns()) == ("detect", "replay", "handshake")


def test_a_server_that_listens_before_its_spawn_is_told_took_no_time_and_never_less() -> None:
    told = timeline()
    told.listened_ns = 10 * MS + 900 * US
    assert told.spawned_ns is not None
    assert told.listened_ns < told.spawned_ns
    assert told.phases_ns()["listen"] == 0
    assert min(told.phases_ns().values()) >= 0


def test_another_machines_clock_counts_for_its_differences_only() -> None:
    told = timeline()
    told.place_start(received_ns=987_654 * MS, spawned_ns=987_657 * MS, rtt_ns=2 * MS)
    # Half a round trip after the daemon's own reading.
    assert told.received_ns == told.detected_ns + 1 * MS
    assert told.spawned_ns == told.detected_ns + 4 * MS


def test_another_machines_clock_may_be_behind_ours() -> None:
    told = timeline()
    told.place_start(received_ns=5, spawned_ns=5 + 600 * US, rtt_ns=0)
    assert told.phases_ns()["notify"] == 0
    assert told.phases_ns()["start"] == 600 * US
