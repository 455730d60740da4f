"""The view of a recorded step: what the page computes is what the report says, and regions open with their plans."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from recompviz.core.base.errors import InfeasibleBudget
from recompviz.core.base.units import format_bytes
from recompviz.widgets.base import assets
from recompviz.widgets.explorer.step_explorer import StepExplorer
from tests.core.recorded_steps import PRINTED, report_of
from tests.widgets.test_javascript import run

MESSAGE = """(() => {
  const step = {...v.step};
  for (const [name, Type] of [["plans", Float64Array], ["outside", Float64Array], ["overheads", Float64Array],
    ["peaks", Float64Array], ["choices", Uint32Array]]) step[name] = new DataView(Type.from(step[name]).buffer);
  return m.readStep(step);
})()"""


@pytest.fixture(scope="module")
def steps():
    return StepExplorer(report_of(5))


def plain(view):
    """The message with lists for buffers."""
    kinds = {"plans": "<f8", "outside": "<f8", "overheads": "<f8", "peaks": "<f8", "choices": "<u4"}
    return {k: np.frombuffer(v, kinds[k]).tolist() if k in kinds else v for k, v in view._step.items()}


@pytest.mark.node
def test_the_moments_of_the_page_are_those_of_the_report(steps):
    points = [0, len(steps.report.front.peak) // 2, len(steps.report.front.peak) - 1]
    expression = f"((step) => v.points.map((p) => m.momentsOf(step, p)))({MESSAGE})"
    answers = run("data/step.js", expression, step=plain(steps._view), points=points)
    for point, moments in zip(points, answers, strict=True):
        expected = [
            {
                "region": moment.region,
                "backward": moment.of == "backward",
                "eager": moment.eager,
                "saved": moment.saved,
                "outside": moment.outside,
                "own": moment.own,
            }
            for moment in steps.report.moments(point)
        ]
        assert moments == expected


@pytest.mark.node
def test_the_front_is_a_table_of_total_bytes(steps):
    body = MESSAGE.replace("m.readStep(step)", "step")
    expression = f"m.tableOf((await import(v.data)).readStep({body}))"
    data = (assets.HERE / "js" / "data" / "step.js").as_uri()
    table = run("explorer/step_view.js", expression, step=plain(steps._view), data=data)
    assert list(table["totalPeaks"].values()) == [steps.report.peak(point) for point in range(table["rows"])]
    assert table["binding"].endswith(tuple(region.name for region in steps.report.regions))


@pytest.mark.node
def test_a_break_is_described_at_its_first_island_only():
    islands = [{"breaks": []}, {"breaks": [0]}, {"breaks": [0, 1]}]
    described = run("explorer/step_rows.js", "m.describedBreaks(v.islands)", islands=islands)
    assert [[entry["first"] for entry in entries] for entries in described] == [[], [True], [False, True]]


@pytest.mark.node
def test_times_and_bytes_are_short():
    texts = run("shared/units.js", "[0, 0.001, 0.5, 12.345, 2500].map(m.formatTime)")
    assert texts == ["0", "<0.01 ms", "0.50 ms", "12.3 ms", "2.50 s"]
    assert run("explorer/step_rows.js", "[m.keptText(1024, 2048), m.keptText(5, 5)]") == ["1.00 KiB of 2.00 KiB", "5 B"]


@pytest.mark.node
def test_a_column_of_the_chart_is_found_under_the_pointer():
    moments = [{"eager": True}, {"eager": False}, {"eager": True}]
    edges = run("explorer/step_chart.js", "m.columnEdges(v.moments, 0, 180)", moments=moments)
    np.testing.assert_allclose(edges, [0, 40, 140, 180])
    hits = run("explorer/step_chart.js", "v.x.map((x) => m.columnAt(v.edges, x))", edges=edges, x=[-1, 0, 41, 179, 181])
    assert hits == [-1, 0, 1, 2, -1]


def test_every_field_is_written_down(steps):
    text = (assets.HERE / "step_wire.md").read_text()
    written = set(re.findall(r"^\| `(\w+)` \| `(\w+)` \|", text, re.MULTILINE))
    view = steps._view
    sent = {(trait, field) for trait in ("_step", "_chosen", "_opened") for field in getattr(view, trait)}
    assert written == sent
    read = re.findall(r"\bmessage\.(\w+)", (assets.HERE / "js" / "data" / "step.js").read_text())
    assert set(read) == set(view._step)


def test_a_region_opens_with_its_plan_and_follows_the_total():
    steps = StepExplorer(report_of(6))
    explorer = steps.open_region(2)
    assert steps.children == (steps._view, explorer)
    region, last = steps.report.regions[1], len(steps.report.front.peak) - 1
    for point in (0, last):
        steps.total = steps.report.peak(point)
        assert steps.point == point
        assert explorer.plan.keep_mask.tolist() == region.masks[steps.report.row(1, point)].tolist()
    assert steps.open_region(2) is explorer
    with pytest.raises(InfeasibleBudget) as caught:
        steps.total = steps.report.least_total - 1
    assert caught.value.least == steps.report.least_total
    with pytest.raises(IndexError):
        steps.open_region(4)


def test_a_click_in_the_page_opens_a_region_and_an_error_is_shown():
    steps = StepExplorer(report_of(7))
    steps._on_message(steps._view, {"type": "open", "region": 0}, [])
    assert steps.explorer is not None
    assert steps._view._opened["region"] == 0
    steps._on_message(steps._view, {"type": "open", "region": 9}, [])
    assert "cannot be shown" in steps._view._opened["text"]


def test_without_a_page_the_report_is_shown_as_a_picture_and_as_text(steps):
    bundle = steps._repr_mimebundle_()
    assert bundle["text/plain"] == steps.report.text
    assert PRINTED.reason in bundle["text/html"]
    assert '<img alt="' in bundle["text/html"]


@pytest.mark.parametrize("end", [0, -1])
def test_the_picture_has_a_column_for_each_part_of_the_step_as_high_as_its_bytes(end):
    steps = StepExplorer(report_of(5))
    point = len(steps.report.front.peak) - 1 if end else 0
    steps.total = steps.report.peak(point)
    root = ET.fromstring(steps.to_svg())
    moments = steps.report.moments(point)
    columns = {}
    for rect in root.iter("{http://www.w3.org/2000/svg}rect"):
        if rect.get("x") and float(rect.get("height")) != 10:  # no ground, no key of the legend
            columns[rect.get("x")] = columns.get(rect.get("x"), 0.0) + float(rect.get("height"))
    heights = [columns[x] for x in sorted(columns, key=float)]
    total = [steps.report.resident + moment.bytes for moment in moments]
    assert len(heights) == len(moments)
    scale = max(heights) / max(total)
    assert heights == pytest.approx([scale * size for size in total], abs=0.5)
    words = "".join(element.text or "" for element in root.iter())
    assert format_bytes(steps.report.peak(point)) in words


def test_a_notebook_gets_the_picture_as_an_output_of_its_own(steps, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *values, **options: shown.append((values, options)))
    steps._ipython_display_()
    (widget,), (picture,) = shown[0][0], shown[1][0]
    assert "application/vnd.jupyter.widget-view+json" in widget
    assert "text/html" not in widget
    assert "data:image/svg+xml" in picture.data


def test_budget_is_the_total_of_all_regions():
    steps = StepExplorer(report_of(5))
    region = steps.open_region(1)
    least, most = steps.report.least_total, steps.report.peak(0)
    for value, total in ((least, least), ("100%", most), (f"{most} B", most)):
        steps.budget = value
        assert steps.budget == steps.total == total
        mask = steps.report.regions[0].masks[steps.report.row(0, steps.report.point_for(total))]
        assert region.plan.keep_mask.tolist() == list(mask)
    with pytest.raises(InfeasibleBudget):
        steps.budget = least - 1
    for wrong, kind in ((True, TypeError), ("10 GX", ValueError), (-1, ValueError)):
        with pytest.raises(kind, match="is not a size"):
            steps.budget = wrong


@pytest.mark.parametrize("name", ["plan", "timeline", "runs", "capacity", "bugdet"])
def test_what_a_step_does_not_have_cannot_be_set(steps, name):
    with pytest.raises(AttributeError, match=rf"{name}.*set total.*open_region\(1\)"):
        setattr(steps, name, 5)


@pytest.mark.parametrize("name", ["plan", "run", "pin", "to_html"])
def test_what_only_the_explorer_of_a_region_has_is_explained(steps, name):
    with pytest.raises(AttributeError, match=rf"no attribute '{name}'.*open_region\(1\)"):
        getattr(steps, name)
