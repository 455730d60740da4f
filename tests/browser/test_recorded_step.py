"""A recorded step in a real JupyterLab: the slider needs no kernel, a region opens in the Explorer."""

import re
from pathlib import Path

import pytest

from recompviz.core.base.units import format_bytes
from tests.core import recorded_steps

pytestmark = pytest.mark.browser
CELL = """
from recorded_steps import report_of
from recompviz.widgets.explorer.step_explorer import StepExplorer
steps = StepExplorer(report_of(5))
steps
"""


def test_the_slider_picks_a_point_and_a_region_opens_with_its_plan(open_notebook, jupyter):
    (jupyter.folder / "recorded_steps.py").write_text(Path(recorded_steps.__file__).read_text())
    report = recorded_steps.report_of(5)
    page = open_notebook("step.ipynb", CELL)
    view = page.get_by_role("group", name="Recorded step of Net")
    view.wait_for(timeout=120_000)
    assert view.get_by_text("3 regions, 2 graph breaks").is_visible()
    assert view.get_by_role("cell", name="moe.py:17").count() >= 2
    assert view.get_by_text("the shape depends on data").is_visible()
    entry = page.get_by_label(re.compile("^Budget, typed"))
    for text, told in [("lots", "“lots” is not a size"), ("1 B", "1 B does not fit this step; shown: the least, ")]:
        entry.fill(text)
        entry.press("Enter")
        view.get_by_text(re.compile(f"^{told}")).wait_for()
    entry.fill("100%")
    entry.press("Enter")
    view.locator(".rv-budget-note").wait_for(state="hidden")
    view.locator(".rv-tile-total .rv-tile-value", has_text=format_bytes(report.peak(0))).wait_for()
    page.get_by_label("Budget in total bytes").focus()
    page.keyboard.press("Home")
    least = format_bytes(report.least_total)
    view.locator(".rv-tile-total .rv-tile-value", has_text=least).wait_for()
    # what is read at the pointer is that of the plans shown
    box = view.locator(".rv-step-memory .rv-chart").bounding_box()
    held = "document.querySelector('.rv-step-memory .rv-panel-head > .rv-muted').textContent"
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 60)
    before = page.evaluate(held)
    page.keyboard.press("End")
    page.wait_for_function(f"before => {held} !== before", arg=before)
    now = page.evaluate(held)
    assert not now.startswith("peak")
    page.mouse.move(box["x"] + box["width"] * 0.5 + 1, box["y"] + 60)
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 60)
    assert page.evaluate(held) == now
    page.keyboard.press("Home")
    view.get_by_role("button", name="blocks.1", exact=True).click()
    explorer = page.get_by_role("group", name="Explorer of blocks.1: region 2 of 3, by itself")
    explorer.wait_for(timeout=60_000)
    mask = report.regions[1].masks[report.row(1, len(report.front.peak) - 1)]
    page.wait_for_function(
        "count => document.querySelectorAll('.rv-explorer')[1].recompviz.kept.filter(Boolean).length === count",
        arg=int(mask.sum()),
    )
    page.wait_for_function("document.querySelectorAll('.rv-explorer')[1].getBoundingClientRect().top < 300")
    assert page.errors == []
