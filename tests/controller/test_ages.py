"""Ages in words."""

import itertools

import pytest

from wangell_controller.ages import ago


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "less than 10 s ago"),
        (9.9, "less than 10 s ago"),
        (12, "over 10 s ago"),
        (59, "over 30 s ago"),
        (60, "over 1 min ago"),
        (3599, "over 30 min ago"),
        (3600, "over 1 h ago"),
        (1e9, "over 24 h ago"),
    ],
)
def test_an_age_is_the_step_that_it_has_reached(seconds: float, text: str) -> None:
    assert ago(seconds) == text


def test_in_half_an_hour_it_is_another_text_nine_times() -> None:
    texts = [ago(second) for second in range(1801)]
    changes = sum(before != after for before, after in itertools.pairwise(texts))
    assert changes == 9
    assert len(set(texts)) == 10, "and never an earlier one again"
