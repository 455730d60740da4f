"""Two memory reports compared: an edit of names and lines is no change, a change of bytes is one change."""

from __future__ import annotations

import random
from typing import Any

import pytest

import recompviz as rv
from recompviz.core.reports.findings import PeakRow
from recompviz.core.reports.memory_report import MemoryReport
from recompviz.core.reports.source_line import SourceLine
from recompviz.core.steps.joint import Category
from recompviz.core.steps.timeline import Timeline


def report(*rows: PeakRow, growth: tuple[int, ...] = ()) -> MemoryReport:
    line = Timeline.of_events(
        [(0, 0, 5, 1)], ["relu"], [0], storage_labels=("relu",), static_bytes={}, kind="measured", device="cpu"
    )
    return MemoryReport("step", line, rows, (), growth=growth)


def row(value: str, size: int, operator: str = "relu", text: str = "", number: int = 1, **more: Any) -> PeakRow:
    line = SourceLine("/home/me/train.py", number, text or f"{value} = f(x)")
    return PeakRow(value, size, Category.KEPT, operator=operator, line=line, shape=(size,), dtype="uint8", **more)


def test_a_renamed_variable_is_no_change() -> None:
    a = report(row("o (addmm)", 400, "addmm"), row("relu", 300, text="o = m(x)"))
    b = report(row("pred (addmm)", 400, "addmm", number=7), row("relu", 300, text="pred = m(x)", number=7))
    assert rv.compare_runs(a, b).rows == ()


def test_a_renamed_variable_of_another_size_is_one_change() -> None:
    changed = rv.compare_runs(report(row("o", 400)), report(row("pred", 700, number=2)))
    assert [(r.value, r.before, r.after) for r in changed.rows] == [("pred", 400, 700)]


def test_remaining_values_are_paired_by_size_before_their_place() -> None:
    a = report(row("p", 100, number=1), row("q", 200, number=2))
    b = report(row("new", 900, number=1), row("r", 100, number=2), row("s", 200, number=3))
    assert [(r.value, r.change) for r in rv.compare_runs(a, b).rows] == [("new", 900)]


def test_other_operators_are_not_paired() -> None:
    changed = rv.compare_runs(report(row("o", 400, "relu")), report(row("o2", 300, "tanh")))
    assert [(r.value, r.change) for r in changed.rows] == [("o", -400), ("o2", 300)]


@pytest.mark.parametrize("seed", range(30))
def test_the_changes_add_up_to_the_change_of_the_peak(seed: int) -> None:
    drawn = random.Random(seed)

    def some() -> MemoryReport:
        return report(
            *(
                row(drawn.choice("abcd"), drawn.choice([64, 128, 512]), drawn.choice(["relu", "", "mul"]), number=i)
                for i in range(drawn.randrange(12))
            )
        )

    a, b = some(), some()
    there, back = rv.compare_runs(a, b), rv.compare_runs(b, a)
    assert sum(r.change for r in there.rows) == there.peak_change == -back.peak_change
    assert all(r.change for r in there.rows)
    assert rv.compare_runs(a, a).rows == ()


def test_the_growth_per_step_of_both_runs_is_shown() -> None:
    leaks = report(row("o", 400), growth=(5 << 20, 6 << 20, 7 << 20))
    fixed = report(row("o", 400), growth=(5 << 20, 5 << 20, 5 << 20))
    changed = rv.compare_runs(leaks, fixed)
    assert changed.growth == (1 << 20, 0)
    assert "1.00 MiB → 0 B" in changed._repr_html_()
    assert repr(changed).count("\n") == 1
    assert rv.compare_runs(fixed, fixed).notes == ()


def test_a_note_says_that_the_numbers_of_steps_differ() -> None:
    short, long = (report(row("o", n), growth=tuple(i << 20 for i in range(n))) for n in (3, 6))
    assert "different numbers of steps" in repr(rv.compare_runs(short, long))


def test_a_value_that_is_not_a_report_is_refused_with_its_type() -> None:
    with pytest.raises(TypeError, match="a is NoneType, expected a memory report"):
        rv.compare_runs(None, None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="b is str"):
        rv.compare_runs(report(), "x")  # type: ignore[arg-type]
