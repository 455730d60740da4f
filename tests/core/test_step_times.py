"""The spread of step times: an interval of the median that is wrong at most once in twenty times."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from recompviz.core.reports.step_times import StepTimes, rank_left_out


def _times(shares: list[float], eager: float = 100.0) -> StepTimes:
    return StepTimes((eager,) * len(shares), tuple(eager * (1 + share) for share in shares))


@pytest.mark.parametrize("count", range(1, 13))
def test_the_interval_misses_the_median_in_at_most_one_of_twenty_outcomes_and_is_the_smallest_such(count: int) -> None:
    above = [sum(signs) for signs in itertools.product((0, 1), repeat=count)]  # values above the true median
    missed = [
        np.mean([not left_out < found < count - left_out for found in above]) for left_out in range((count + 1) // 2)
    ]
    allowed = [left_out for left_out, share in enumerate(missed) if share <= 0.05]
    assert rank_left_out(count) == max(allowed, default=0)


def test_a_spread_around_zero_is_within_noise_and_another_is_not() -> None:
    assert _times([-0.01, 0.02, 0.03, 0.01, 0.04, 0.02]).within_noise
    assert not _times([0.01, 0.02, 0.03, 0.01, 0.04, 0.02]).within_noise
    assert _times([0.01, 0.02, -0.5, 0.01, 0.04, 0.02, 0.03, 0.02, 0.05]).spread == pytest.approx((0.01, 0.04))


def test_a_plan_that_recomputes_is_never_said_to_be_faster() -> None:
    faster = tuple(90.0 + k for k in range(6))
    recomputing = StepTimes((100.0,) * 6, faster, predicted_extra=2.5)
    assert recomputing.within_noise
    assert not recomputing.resolved
    assert "extra no slower than eager (-10.0% to -5.0%, 6 pairs)" in str(recomputing)
    assert StepTimes((100.0,) * 6, faster, predicted_extra=0.0).resolved


def test_the_text_says_the_extra_time_only_if_the_pairs_show_it() -> None:
    assert "extra within noise" in str(_times([-0.01, 0.02, 0.03, 0.01, 0.04, 0.02]))
    assert "extra +2.0% (+1.0% to +4.0%, 6 pairs)" in str(_times([0.01, 0.02, 0.03, 0.01, 0.04, 0.02]))


def test_long_times_are_seconds_and_few_pairs_are_said_to_be_too_few() -> None:
    assert str(StepTimes((3950.0,), (4860.0,), 600.0, 13900.0)).startswith(
        "step 4.86 s, eager 3.95 s, predicted 14.5 s"
    )
    assert str(_times([0.23])).endswith("extra +23.0% (1 pair: too few to tell)")
    assert str(_times([0.25] * 5)).endswith("(+25.0% to +25.0%, 5 pairs: too few to tell)")


def test_load_that_slows_both_steps_of_a_pair_is_not_in_the_spread() -> None:
    load = [1.0, 3.0, 2.0, 1.5, 5.0, 1.0, 2.5]
    times = StepTimes(tuple(100 * x for x in load), tuple(110 * x for x in load))
    assert times.spread == pytest.approx((0.1, 0.1))
    assert times.planned_step == pytest.approx(1.1 * times.eager_step)
    assert times.pairs == 7


def test_extra_time_is_taken_from_processor_times_where_they_are_known() -> None:
    """Another program slows every second step by the clock, and none by its processor time."""
    eager, planned = (100.0, 300.0) * 4, (330.0, 110.0) * 4
    assert StepTimes(eager, planned).within_noise
    times = StepTimes(eager, planned, eager_work=(100.0,) * 8, planned_work=(110.0,) * 8)
    assert times.extra == pytest.approx(0.1)
    assert times.spread == pytest.approx((0.1, 0.1))
    assert times.resolved
    assert times.eager_step == 200.0


def test_a_prediction_does_not_change_with_the_load_of_the_run() -> None:
    slow = StepTimes((200.0,), (220.0,), 9.0, 90.0)
    assert (slow.predicted_share, slow.predicted_step) == (0.1, 99.0)
    assert StepTimes((200.0,), (220.0,), 9.0).predicted_step == 209.0
    assert "predicted 99.0 ms and 90.0 ms" in str(slow)
    assert not _times([0.1] * 5).resolved
    assert _times([0.1] * 6).resolved


def test_a_run_is_called_slower_than_predicted_only_beyond_its_noise() -> None:
    def too_low(eager: tuple[float, ...], predicted: float | None = 264.0) -> bool:
        return StepTimes(eager, eager, 0.0, predicted).too_low

    assert too_low((341.0, 350.0, 330.0, 345.0, 338.0, 339.0, 400.0, 320.0))
    assert not too_low((341.0,) * 8, predicted=None)
    # a few steps that other programs disturbed do not count, and neither does a small difference
    assert not too_low((270.0, 275.0, 280.0, 410.0, 430.0, 268.0, 271.0, 390.0))
    assert not too_low((300.0,) * 8)
    assert not too_low((0.27,) * 8, predicted=0.17)
    assert "29% longer" in str(StepTimes((341.0,) * 8, (345.0,) * 8, 0.0, 264.0))
    assert "longer" not in str(StepTimes((280.0,) * 8, (285.0,) * 8, 0.0, 264.0))
