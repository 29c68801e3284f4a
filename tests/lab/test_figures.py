"""Percentiles against numbers known beforehand."""

import statistics

import pytest

from wangell_lab.figures import percentile, summarize


def test_of_one_to_a_hundred() -> None:
    figures = summarize([float(each) for each in range(100, 0, -1)])
    assert (figures.p50, figures.p99, figures.min, figures.max) == (50, 99, 1, 100)
    assert figures.stdev == pytest.approx(29.011, abs=0.001)
    assert figures.count == 100


def test_below_a_hundred_numbers_p99_is_the_largest() -> None:
    """An outlier among 20 must not be smoothed away."""
    assert summarize([1.0] * 19 + [1020.0]).p99 == 1020.0


def test_a_percentile_is_always_a_number_that_was_measured() -> None:
    values = [1.0, 2.0, 1000.0]
    for share in range(101):
        assert percentile(values, share) in values
    assert percentile(values, 50) == statistics.median(values)


def test_one_number_has_no_spread() -> None:
    figures = summarize([4.2])
    assert (figures.p50, figures.p99, figures.min, figures.max, figures.stdev) == (
        *(4.2, 4.2, 4.2, 4.2),
        0.0,
    )


def test_no_numbers_have_no_figures() -> None:
    with pytest.raises(ValueError, match="no numbers"):
        summarize([])


def test_rounding_keeps_microseconds_of_milliseconds() -> None:
    assert summarize([1.23456]).rounded("p50", "p99") == {"p50": 1.235, "p99": 1.235}
