"""The report of a recorded step: its moments add up to the front, and its text has lines and reasons."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.core.recorded_steps import PRINTED, ROUTED, report_of


@pytest.mark.parametrize("seed", range(20))
def test_the_largest_moment_is_the_peak_of_every_point(seed: int) -> None:
    report = report_of(seed, regions=1 + seed % 4)
    for point, peak in enumerate(report.front.peak):
        moments = report.moments(point)
        assert max(moment.bytes for moment in moments) == peak
        assert all(min(moment.saved, moment.outside, moment.own) >= 0 for moment in moments)


def test_moments_run_forward_and_then_back() -> None:
    passes = [(moment.region, moment.of) for moment in report_of(1).moments() if not moment.eager]
    assert passes == [(i, "forward") for i in range(3)] + [(i, "backward") for i in (2, 1, 0)]


def test_a_total_has_the_point_of_least_recomputation_that_fits() -> None:
    report = report_of(2)
    for point in range(len(report.front.peak)):
        assert report.point_for(report.peak(point)) == point
    assert report.point_for(report.least_total - 1) is None


def test_the_text_says_a_reason_once_with_its_line() -> None:
    report = report_of(3)
    assert report.breaks == (ROUTED, PRINTED)
    assert report.text.count(ROUTED.reason) == 1
    assert "moe.py:17 (the shape depends on data)" in report.text
    assert "moe.py:17 (as above); moe.py:31 (print is not traced)" in report.text
    assert "train.py:5, outside the compiled model" in report.text
    assert "moe.py:31: Remove it" in report.text
    assert all(region.name in report.text for region in report.regions)


def test_a_step_without_breaks_says_so() -> None:
    whole = report_of(4, regions=1)
    assert "captured the whole model, without a graph break" in whole.text
    assert replace(report_of(4), islands=tuple(replace(i, breaks=()) for i in report_of(4).islands)).summary == (
        "3 regions, no graph break"
    )


def test_added_time_is_in_per_cent_of_the_step_first_as_in_the_explorer() -> None:
    report = report_of(3)
    slowest = replace(report, point=len(report.front.peak) - 1)
    overhead = slowest.front.overhead[slowest.point]
    assert f"{overhead / report.step_time:.1%} of the step" in slowest.text
    assert f"({overhead / report.forward_time:.1%} of the forward passes)" in slowest.text
    assert "% of the step" not in replace(slowest, step_time=0.0).text
