"""From wakes to figures: the JSON that `make demo` writes."""

import json

import pytest

from tests.lab.helpers import a_cold_start, a_wake, an_exchange
from wangell_lab.cold_starts import PHASES
from wangell_lab.report import Series, machine, report
from wangell_lab.wakes import Wake, problem_with


def series(readiness: str = "listen", *, count: int = 10, syns: int = 1) -> Series:
    wakes = [a_wake(listen_ms=float(each)) for each in range(1, count)]
    return Series(
        readiness=readiness,
        wakes=[*wakes, a_wake(listen_ms=float(count), syns=syns)],
        warm_ms=[0.4] * count,
    )


def test_it_has_what_was_promised_and_no_other_name_for_it() -> None:
    told = report([series()], scale_down={"idle_timeout_s": 3}, server=["./server"])
    assert told["runs"] == 10
    assert told["client_syns_per_wake"] == {"max": 1}
    assert set(told["cold_start_ms"]) == {"p50", "p99", "min", "max", "stdev"}
    assert set(told["platform_ms"]) == {"p50", "p99"}
    assert set(told["phases_ms"]) == set(PHASES)
    assert all(set(each) == {"p50", "p99"} for each in told["phases_ms"].values())
    assert told["warm_ms"]["p50"] == 0.4
    assert json.loads(json.dumps(told)) == told


def test_the_figures_are_those_of_the_wakes() -> None:
    told = series().figures()
    # Servers that took 1 to 10 ms, and 1 ms of platform round each.
    assert told["cold_start_ms"] == {
        "p50": 6.0, "p99": 11.0, "min": 2.0, "max": 11.0, "stdev": 3.028
    }  # fmt: skip
    assert told["platform_ms"] == {"p50": 1.0, "p99": 1.0}
    assert told["phases_ms"]["listen"] == {"p50": 5.0, "p99": 10.0}
    assert told["phases_ms"]["detect"] == {"p50": 0.1, "p99": 0.1}
    assert told["first_byte_ms"]["max"] == 11.5


def test_the_median_phases_add_up_to_the_cold_start_where_only_one_varies() -> None:
    told = series().figures()
    together = sum(each["p50"] for each in told["phases_ms"].values())
    assert together == pytest.approx(told["cold_start_ms"]["p50"])


def test_one_wake_of_two_syns_shows() -> None:
    assert series(syns=2).figures()["client_syns_per_wake"] == {"max": 2}


def test_a_wake_that_the_daemon_gave_up_counts_its_syns_and_not_its_time() -> None:
    given_up = Wake(
        caller=an_exchange(first_byte_ms=1020.0),
        cold_start=a_cold_start(outcome="timeout", phases_ms={"detect": 0.1}),
        client_syns=2,
    )
    good = series()
    mixed = Series(readiness="listen", wakes=[*good.wakes, given_up], warm_ms=good.warm_ms)
    told = mixed.figures()
    assert told["runs"] == 11
    assert told["client_syns_per_wake"] == {"max": 2}
    assert told["first_byte_ms"]["max"] == 1020.0
    assert told["cold_start_ms"] == good.figures()["cold_start_ms"]


def test_the_first_series_is_at_the_top_and_each_has_its_place() -> None:
    told = report([series("listen"), series("probe", count=5)], scale_down={}, server=["./server"])
    assert told["runs"] == told["readiness"]["listen"]["runs"] == 10
    assert told["readiness"]["probe"]["runs"] == 5


def test_it_says_what_it_was_measured_on() -> None:
    here = machine()
    assert set(here) == {"kernel", "cpu", "cpus", "python", "commit"}
    assert here["cpus"] >= 1
    assert here["commit"] is None or len(here["commit"]) >= 7


def test_a_wake_that_kept_the_promise_has_no_problem() -> None:
    assert problem_with(a_wake()) is None


@pytest.mark.parametrize(
    ("wake", "said"),
    [
        (a_wake(syns=2), "2 SYNs of the client"),
        (a_wake(syns=0), "0 SYNs of the client"),
        (a_wake(status=503), "HTTP 503"),
        (
            Wake(
                caller=an_exchange(first_byte_ms=1),
                cold_start=a_cold_start(outcome="timeout"),
                client_syns=1,
            ),
            "the daemon says it was timeout",
        ),
        (
            Wake(
                caller=an_exchange(first_byte_ms=1),
                cold_start=a_cold_start(phases_ms={"detect": 0.1, "listen": 3.0}),
                client_syns=1,
            ),
            "nobody knows how long notify, start, replay, handshake took",
        ),
    ],
)
def test_what_broke_the_promise_is_said(wake: Wake, said: str) -> None:
    problem = problem_with(wake)
    assert problem is not None
    assert said in problem
