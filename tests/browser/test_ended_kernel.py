"""A kernel ends while an Explorer opens, or beside a recorded step: the page says so, and no button waits for it."""

import re
from pathlib import Path

import pytest

from recompviz.core.base.units import format_bytes
from tests.core import recorded_steps

pytestmark = pytest.mark.browser
ENDED = "The kernel does not answer. If it ended or restarted, run the cell again."
OPENING = """
import time
from recompviz.widgets.explorer.opening import OpeningExplorer

def work(progress):
    for second in range(600):
        progress(second, 600, "tracing the training step")
        time.sleep(0.2)

OpeningExplorer(work, "Net, training step")
"""
STEP = """
from recorded_steps import report_of
from recompviz.widgets.explorer.step_explorer import StepExplorer
StepExplorer(report_of(5))
"""


def restart(page):
    page.get_by_role("button", name="Restart the kernel", exact=False).first.click()
    page.locator(".jp-Dialog .jp-mod-accept").first.click()
    page.locator(".jp-Dialog").wait_for(state="detached")


def test_an_opening_says_that_its_kernel_ended_and_offers_no_cancel(open_notebook):
    page = open_notebook("opening.ipynb", OPENING)
    view = page.get_by_role("group", name="Opening Net, training step")
    view.get_by_text("tracing the training step ·").wait_for(timeout=120_000)
    assert view.get_by_role("button", name="Cancel").is_visible()
    assert view.get_by_role("progressbar").is_visible()
    restart(page)
    view.get_by_text(ENDED, exact=True).wait_for()
    assert not view.get_by_role("button", name="Cancel").is_visible()
    assert not view.get_by_role("progressbar").is_visible()
    page.get_by_text("| Idle").wait_for()  # the new kernel does not know the opening
    assert view.get_by_text(ENDED, exact=True).is_visible()
    assert page.errors == []


def test_a_step_view_without_its_kernel_keeps_its_slider_and_opens_no_region(open_notebook, jupyter):
    (jupyter.folder / "recorded_steps.py").write_text(Path(recorded_steps.__file__).read_text())
    page = open_notebook("ended_step.ipynb", STEP)
    view = page.get_by_role("group", name="Recorded step of Net")
    view.wait_for(timeout=120_000)
    region = view.get_by_role("button", name="blocks.1", exact=True)
    assert region.is_enabled()
    restart(page)
    view.get_by_text(ENDED, exact=True).wait_for()
    assert region.is_disabled()
    assert region.get_attribute("title") == "The kernel does not answer, so the region cannot be opened"
    report = recorded_steps.report_of(5)
    total = view.locator(".rv-tile-total .rv-tile-value")
    entry = page.get_by_label(re.compile("^Budget, typed"))
    entry.fill("100%")
    entry.press("Enter")
    total.filter(has_text=format_bytes(report.peak(0))).wait_for()
    page.get_by_label("Budget in total bytes").focus()
    page.keyboard.press("Home")
    total.filter(has_text=format_bytes(report.least_total)).wait_for()
    page.get_by_text("| Idle").wait_for()
    assert page.errors == []
