"""Budgets: each has its figure, and a figure over its budget is missed."""

from typing import Any

import pytest

from benchmarks.proto.budgets import BUDGETS, Budget, figure, judge

FIGURES: dict[str, Any] = {
    "wake_us": {"p50": 90.0, "p99": 200.0},
    "echo_us": {"p50": 50.0, "p99": 80.0},
    "grpc_us": {"p50": 500.0, "p99": 900.0},
    "wake_loss10_ms": {"p50": 0.2, "p99": 18.0},
    "seal_us": 4.0,
    "open_us": 5.0,
    "server": {"peers": 1000, "core_share": 0.1, "bytes_per_peer": 20480},
    "snapshot_10k_ms": 100.0,
    "fanout_1000_ms": 100.0,
    "resync_unchanged_1000_s": 1.0,
    "details": {"resync_wake_ms": {"p99": 9.0}},
}


def missed(figures: dict[str, Any]) -> list[str]:
    return [each.name for each in judge(figures) if not each.met]


def test_a_run_within_every_budget_misses_none():
    assert missed(FIGURES) == []
    assert len(judge(FIGURES)) == len(BUDGETS)


@pytest.mark.parametrize("budget", [each for each in BUDGETS if each.of is None])
def test_a_figure_may_be_its_budget_and_not_more(budget):
    limit = budget.limit(FIGURES)
    figures = {budget.name: limit}
    only = Budget(name="only", most=limit)
    assert judge({"only": figures[budget.name]}, [only])[0].met
    assert not judge({"only": limit * 1.001}, [only])[0].met


def test_a_wake_is_judged_by_the_echo_and_the_call_of_its_own_run():
    limits = [each.limit for each in judge(FIGURES) if each.name == "wake_us.p50"]
    assert limits == [100.0, pytest.approx(175.0)]
    slow_echo = {**FIGURES, "echo_us": {"p50": 44.0}}
    assert missed(slow_echo) == ["wake_us.p50"]


def test_the_report_says_limit_and_rule():
    against_echo = judge(FIGURES)[0].as_json()
    assert against_echo == {
        "value": 90.0,
        "budget": 100.0,
        "rule": "2 x echo_us.p50",
        "met": True,
    }


def test_what_was_not_measured_is_no_pass():
    without = {name: value for name, value in FIGURES.items() if name != "seal_us"}
    with pytest.raises(KeyError, match="seal_us"):
        judge(without)
    assert figure(FIGURES, "server.peers") == 1000.0
