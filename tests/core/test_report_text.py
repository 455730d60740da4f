"""A memory report as text and HTML: rows show dtype and shape, and long texts are cut between words."""

from __future__ import annotations

import random

import pytest

from recompviz.core.base.shortened_text import shortened
from recompviz.core.reports.findings import PeakRow
from recompviz.core.reports.memory_report import MemoryReport
from recompviz.core.reports.source_line import SourceLine
from recompviz.core.steps.joint import Category
from recompviz.core.steps.timeline import Timeline


def report(*notes: str) -> MemoryReport:
    line = Timeline.of_events(
        [(0, 0, 5, 1)], ["relu"], [0], storage_labels=("relu",), static_bytes={}, kind="measured", device="cpu"
    )
    shaped = PeakRow(
        "h (relu)", 524288, Category.KEPT, "saved", line=SourceLine("a.py", 3), shape=(512, 256), dtype="float32"
    )
    return MemoryReport("step", line, (shaped, PeakRow("bare", 7, Category.OTHER, "there before")), (), notes=notes)


def test_a_row_of_the_text_shows_dtype_and_shape_if_they_are_known() -> None:
    lines = report().text.splitlines()
    assert "   512 KiB  h (relu)  float32 [512, 256]  a.py:3  saved" in lines
    assert "       7 B  bare  there before" in lines


@pytest.mark.parametrize(
    ("notes", "expected"), [((), "without advise=False"), (("no trace: a loop",), "no trace: a loop")]
)
def test_a_report_without_a_trace_says_why_it_has_no_explorer_or_what_to_do(
    notes: tuple[str, ...], expected: str
) -> None:
    with pytest.raises(ValueError, match=expected):
        _ = report(*notes).explorer


def test_a_long_note_of_the_page_is_cut_between_words() -> None:
    page = report("attempting " * 40)._repr_html_()
    assert "attempting…</i>" in page


@pytest.mark.parametrize("seed", range(50))
def test_a_cut_text_is_the_longest_beginning_of_whole_words(seed: int) -> None:
    drawn = random.Random(seed)
    text = " ".join("x" * drawn.randint(1, 9) for _ in range(30))
    most = drawn.randint(30, 80)
    cut = shortened(text, most)
    assert cut.endswith("…")
    assert most - 11 < len(cut) <= most
    assert text.startswith(cut[:-1] + " ")


def test_the_old_name_of_reached_at_warns_and_says_the_new_one() -> None:
    with pytest.warns(DeprecationWarning, match="reached_at"):
        assert report().moment == report().reached_at == "relu"
