"""Reports of several ranks side by side: the fullest first, who is short, which values differ."""

from __future__ import annotations

import random

import numpy as np
import pytest

import recompviz as rv
from recompviz.core.reports.memory_report import MemoryReport
from recompviz.core.reports.rank_comparison import LETTERS, reduced_profile, sparkline
from recompviz.core.steps.timeline import Timeline
from tests.core.test_run_comparison import report, row


def test_a_value_that_only_some_ranks_have_is_one_row_with_zeros() -> None:
    embedding, block = row("wte", 500, "embedding"), row("h", 300)
    compared = rv.compare_ranks([report(block), report(block, embedding), report(embedding, row("h", 320))], budget=700)
    assert [(r.value, r.sizes) for r in compared.rows] == [("wte", (0, 500, 500)), ("h", (300, 300, 320))]
    assert compared.peaks == (300, 800, 820)
    assert compared.order == (2, 1, 0)
    assert (compared.fullest, compared.short) == ("rank 2", ("rank 2", "rank 1"))
    lines = compared.text.splitlines()
    assert lines[0] == "rank 2 is the fullest of 3 ranks: 820 B, 520 B more than rank 0; short of 700 B: rank 2, rank 1"
    assert [line.split()[1] for line in lines[1:4]] == ["2", "1", "0"]
    assert "short by 120 B" in lines[1]
    assert "400 B free" in lines[3]


@pytest.mark.parametrize("seed", range(5))
def test_all_sizes_of_all_values_add_up_to_the_peaks(seed: int) -> None:
    rng = random.Random(seed)
    names = [f"v{i}" for i in range(8)]
    reports = [report(*(row(name, rng.randint(1, 9)) for name in rng.sample(names, 5))) for _ in range(4)]
    compared = rv.compare_ranks(reports)
    differing = np.array([r.sizes for r in compared.rows]).sum(axis=0)
    same = {len(set(np.array(compared.peaks) - differing))}
    assert same == {1}  # what does not differ is equal on all ranks
    assert [r.spread for r in compared.rows] == sorted((r.spread for r in compared.rows), reverse=True)


def test_equal_ranks_differ_in_nothing_and_many_ranks_show_the_most_and_the_least() -> None:
    same = rv.compare_ranks([report(row("h", 300))] * 3)
    assert same.rows == ()
    assert "all 3 ranks have a peak of 300 B" in same.text
    many = rv.compare_ranks([report(row("h", 300 + i)) for i in range(9)], names=[f"<{i}>" for i in range(9)])
    assert "308 B (<8>)" in many.text
    assert "300 B (<0>)" in many.text
    page = many._repr_html_()
    assert "<8>" not in page
    assert page.count("<img ") == 9


def test_a_timeline_is_drawn_on_the_scale_of_all_ranks() -> None:
    events = [(i, i, 5, 100) for i in range(8)]
    line = Timeline.of_events(
        events,
        ["relu"] * 8,
        [0] * 8,
        storage_labels=[str(i) for i in range(8)],
        static_bytes={},
        kind="measured",
        device="cpu",
    )
    drawn = sparkline(line, 800)
    assert len(drawn) == LETTERS
    assert drawn == "".join(letter * (LETTERS // 8) for letter in "▁▂▃▄▅▆▇█")
    assert sparkline(line, 1600)[-1] == "▄"
    assert reduced_profile(line, 3).tolist() == [300, 600, 800]


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="reports is empty"):
        rv.compare_ranks([])
    with pytest.raises(TypeError, match=r"reports\[1\] is a int"):
        rv.compare_ranks([report(row("h", 1)), 5])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="names has 1 names for 2 reports"):
        rv.compare_ranks([report(row("h", 1))] * 2, names=["a"])
    assert isinstance(rv.compare_ranks([report(row("h", 1))]).reports[0], MemoryReport)
