"""The page of a memory report: its first sentence, its landscape, its groups of rows and its phases."""

from __future__ import annotations

import base64
import random
import re
from dataclasses import replace

import numpy as np
import pytest

from recompviz.core.reports.findings import Finding, PeakRow
from recompviz.core.reports.landscape import LIT, bars_of
from recompviz.core.reports.landscape_axis import WIDE, column_ends, step_widths, stretches
from recompviz.core.reports.memory_report import MemoryReport
from recompviz.core.reports.row_groups import grouped
from recompviz.core.reports.source_line import SourceLine
from recompviz.core.reports.step_phases import StepPhase, folded
from recompviz.core.steps.joint import Category
from recompviz.core.steps.timeline import Timeline

MIB = 1 << 20
LINE = SourceLine("train.py", 8, "log.append(out)")


def timeline(seed: int, steps: int = 40, events: int = 120) -> Timeline:
    """A random timeline with static memory; blocks of one label may be alive together."""
    drawn = random.Random(seed)
    alive: list[tuple[int, int, int]] = []
    rows: list[tuple[int, int, int, int]] = []
    at = sorted(drawn.randrange(steps) for _ in range(events))
    for step in at:
        if alive and drawn.random() < 0.45:
            storage, category, size = alive.pop(drawn.randrange(len(alive)))
            rows.append((step, storage, category, -size))
        else:
            block = drawn.randrange(6), drawn.choice([5, 6, 8, 11]), drawn.randint(1, 99)
            alive.append(block)
            rows.append((step, *block[:2], block[2]))
    return Timeline.of_events(
        rows,
        [f"op {i}" for i in range(steps)],
        [0] * steps,
        storage_labels=tuple("abcdef"),
        static_bytes={Category.PARAMETER: 50, Category.INPUT: 7},
        kind="measured",
        device="cpu",
    )


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("columns", [7, 240])
def test_the_bars_of_the_landscape_add_up_to_the_memory_of_each_step(seed: int, columns: int) -> None:
    line = timeline(seed)
    lit = {e for e in range(len(line.delta)) if line.delta[e] > 0 and e % 5 == 0}
    bars = bars_of(line, lit, columns)
    heights = np.zeros(bars.columns, np.int64)
    for a, b, bytes_ in zip(bars.first, bars.stop, bars.heights, strict=True):
        heights[a:b] += bytes_
    count = min(columns, 40)
    ends = [40 * (c + 1) // count for c in range(count)]
    assert heights.tolist() == [line.profile[a:b].max() for a, b in zip([0, *ends], ends, strict=False)]
    assert heights.max() == line.peak


def recorded(blocks: int = 4, times: int = 3) -> tuple[Timeline, tuple[int, int]]:
    """Equal training steps, in which most operators move no memory; and the part of the second one."""
    labels, rows = [], []
    for step in range(times):
        size = 5 if step == 1 else 4  # the peak is in the second step
        for prefix in ("", "backward: "):
            for block in range(blocks):
                for op in ("detach", f"net.{block}.conv/convolution", "detach", f"net.{block}.bn/add_"):
                    labels.append(prefix + op if "/" in op else op)
                    if "conv" in op:
                        rows.append((len(labels) - 1, block, int(Category.KEPT), -size if prefix else size))
    line = Timeline.of_events(
        rows, labels, [0] * len(labels), storage_labels=tuple("abcd"), static_bytes={}, kind="measured", device="cpu"
    )
    length = len(labels) // times
    return line, (length, 2 * length)


def test_the_training_step_with_the_peak_is_wide_and_operators_without_memory_share_columns() -> None:
    line, (first, stop) = recorded()
    widths = step_widths(line, (first, stop))
    assert widths.sum() == pytest.approx(1)
    assert widths[first:stop].sum() == pytest.approx(WIDE)
    busy = np.unique(line.step)
    inside = busy[(busy >= first) & (busy < stop)]
    assert widths[inside].sum() > 0.75 * WIDE  # three of four operators move no memory
    ends = column_ends(widths, 40)
    assert len(ends) == 40
    assert ends[-1] == len(line.phases)
    assert (np.diff([0, *ends]) >= 1).all()
    shown = sum(first < end <= stop for end in ends)
    assert shown > 0.6 * len(ends) > 2 * 40 / 3 * 0.8
    bars = bars_of(line, focus=(first, stop), columns=40)
    heights = np.zeros(bars.columns, np.int64)
    for a, b, bytes_ in zip(bars.first, bars.stop, bars.heights, strict=True):
        heights[a:b] += bytes_
    assert heights.tolist() == [line.profile[a:b].max() for a, b in zip([0, *ends], ends, strict=False)]


def test_the_axis_names_modules_as_deep_as_gives_the_most_names() -> None:
    line, (first, stop) = recorded()
    widths = step_widths(line, (first, stop))
    middle = (first + stop) // 2
    forward = stretches(line.step_labels, widths, first, middle)
    assert [name for name, _ in forward if name] == ["net.0", "net.1", "net.2", "net.3"]
    assert sum(share for _, share in forward) == pytest.approx(widths[first:middle].sum())
    many, part = recorded(blocks=60)
    named = stretches(many.step_labels, step_widths(many, part), *part)
    assert [name for name, _ in named] == ["net"]  # names of blocks would not fit


def test_a_report_of_a_recorded_step_has_the_modules_below_its_landscape() -> None:
    line, (first, stop) = recorded()
    phases = (StepPhase("forward", first, first + 15, 16), StepPhase("backward", first + 16, stop - 1, 16, True))
    rows = tuple(PeakRow(f"net.{i}", 5, Category.KEPT, "saved") for i in range(4))
    page = MemoryReport("step()", line, rows, (), phases=phases, growth=(0, 0, 0))._repr_html_()
    assert page.count('title="net.2"') == 2  # forward and backward
    assert 'title="steps before"' in page
    assert 'title="net.2"' not in leaking()._repr_html_()


def test_a_landscape_of_many_values_has_a_bounded_number_of_bars_and_still_adds_up() -> None:
    line = timeline(3, steps=400, events=4000)
    bars = bars_of(line)
    assert len(bars.heights) <= 120 + len(Category) + 2
    heights = np.zeros(bars.columns, np.int64)
    for a, b, bytes_ in zip(bars.first, bars.stop, bars.heights, strict=True):
        heights[a:b] += bytes_
    assert heights.max() == line.peak


def leaking(rows: int = 30, **changed: object) -> MemoryReport:
    """A report of three steps in which a list of outputs grows."""
    events = [(i % 3, 0, int(Category.TRANSIENT), MIB) for i in range(rows)]
    events.sort()
    line = Timeline.of_events(
        events, ["a", "b", "c"], [0] * 3, storage_labels=("out",), static_bytes={Category.PARAMETER: MIB},
        kind="measured", device="cpu",
    )  # fmt: skip
    held = [
        PeakRow("out", MIB, Category.TRANSIENT, f"held by `log[{i}]`", line=LINE, retainer="`log` (global)", event=i)
        for i in range(rows)
    ]
    finding = Finding(
        "reference held across iterations", "out", LINE, rows * MIB, (rows - 1) * MIB, "`log` keeps them",
        "empty `log` regularly", tuple(range(rows)), surprising=True, verified=True,
    )  # fmt: skip
    report = MemoryReport("step()", line, (*held, PeakRow("w", MIB, Category.PARAMETER, "parameter")), (finding,))
    return replace(report, **changed)  # type: ignore[arg-type]


def test_thirty_equal_rows_are_one_that_opens() -> None:
    report = leaking()
    assert [(group.label, group.size) for group in report.groups] == [("30 × out", 30 * MIB), ("w", MIB)]
    page = report._repr_html_()
    assert page.count("<details") == 2
    first = page[page.index("<details") : page.index("</details>")]
    assert first.count("<li>") == 30
    assert "30 × out" in report.text


def test_rows_of_different_lines_and_holders_stay_apart() -> None:
    row = PeakRow("out", 8, Category.KEPT, "saved", line=LINE, retainer="log")
    others = [
        replace(row, line=replace(LINE, number=9)),
        replace(row, retainer="bank"),
        replace(row, category=Category.GRADIENT),
        replace(row, age=1),
    ]
    assert len(grouped([row, *others])) == 5
    assert [group.rows for group in grouped([row] * 4, apart=(1, 3))] == [(0, 2), (1, 3)]
    assert sum(group.size for group in grouped([row, *others, row])) == 48


def test_the_first_sentence_says_where_what_to_do_and_what_it_saves() -> None:
    report = leaking()
    assert report.sentence == (
        "At train.py:8, `log.append(out)`: empty `log` regularly; the peak falls from 31.0 MiB to 2.00 MiB (−94%)."
    )
    growing = replace(report.findings[0], growth=MIB)
    said = leaking(findings=(growing,)).sentence
    assert said.startswith("Memory grows by 1.00 MiB with each step. At train.py:8")
    guess = leaking(findings=(replace(report.findings[0], verified=False),)).sentence
    assert "perhaps empty `log` regularly" in guess
    assert "falls" not in guess
    ordinary = leaking(findings=(replace(report.findings[0], surprising=False),)).sentence
    assert ordinary.startswith("Nothing looks wasted; transient values take the most, 30.0 MiB of 31.0 MiB (97%)")
    assert report.text.startswith(report.sentence)


def test_the_page_highlights_the_cause_and_has_no_back_ticks() -> None:
    page = leaking()._repr_html_()
    assert "`" not in page
    assert "<code>log</code>" in page
    pictures = re.findall(r"base64,([\w+/=]+)", page)
    assert len(pictures) == 1
    picture = base64.b64decode(pictures[0]).decode()
    assert picture.count(LIT) == 30
    ordinary = leaking(findings=())._repr_html_()
    assert LIT not in base64.b64decode(re.findall(r"base64,([\w+/=]+)", ordinary)[0]).decode()


def test_a_back_tick_without_a_partner_and_markup_are_escaped() -> None:
    page = leaking(notes=("a ` alone and <b>markup</b>",))._repr_html_()
    assert "a &#96; alone and &lt;b&gt;markup&lt;/b&gt;" in page


def test_cycles_of_phases_are_folded_and_keep_the_peak() -> None:
    names = ["forward", "backward", "SGD.step"] * 4 + ["no gradients", "forward"]
    phases = [StepPhase(name, i, i, 10 + i, i == 7) for i, name in enumerate(names)]
    found = folded(phases)
    assert [(phase.name, phase.times) for phase in found] == [
        ("forward → backward → SGD.step", 4),
        ("no gradients", 1),
        ("forward", 1),
    ]
    assert found[0].peak == 21
    assert [phase.has_peak for phase in found] == [True, False, False]
    assert (found[0].first, found[0].last) == (0, 11)
    text = leaking(phases=found).text
    assert "phases of the step:" in text
    assert "forward → backward → SGD.step, 4 times: up to 21 B ← the peak" in text
