"""axe-core finds no fault in light and dark: the shell, the Explorer with Will it fit, the recorded step, ranks."""

from pathlib import Path

import pytest

from tests.browser.conftest import missing
from tests.browser.test_explorer import RESIDUAL
from tests.core import rank_boards, recorded_steps

pytestmark = pytest.mark.browser

# one cell, because JupyterLab draws no cells that are out of sight
CELL = """
import threading
from IPython.display import display
from recompviz.widgets.explorer.opening import OpeningExplorer
from recompviz.widgets.explorer.step_explorer import StepExplorer
from recompviz.widgets.ranks.rank_explorer import RankExplorer
from rank_boards import pipeline_board
from recorded_steps import report_of
from residual import explorer

never = threading.Event()

def work(progress):
    while not never.wait(0.2):
        progress(1, 3, "tracing")

shell = OpeningExplorer(work, "Shell net")
steps = StepExplorer(report_of(5))
board = pipeline_board(1)
display(shell, steps, explorer, RankExplorer(board, board.least - 1))
"""
SHELL, EXPLORER, STEP = "Opening Shell net", "Explorer of Residual net", "Recorded step of Net"
RANKS = "Ranks of Net"


@pytest.fixture(scope="module", params=["JupyterLab Light", "JupyterLab Dark"])
def page(open_notebooks, jupyter, request):
    (jupyter.folder / "residual.py").write_text(RESIDUAL)
    (jupyter.folder / "recorded_steps.py").write_text(Path(recorded_steps.__file__).read_text())
    (jupyter.folder / "rank_boards.py").write_text(Path(rank_boards.__file__).read_text())
    page = open_notebooks("accessible.ipynb", CELL, theme=request.param)
    page.dark = request.param.endswith("Dark")
    for name in (SHELL, EXPLORER, STEP, RANKS):
        page.get_by_role("group", name=name).first.wait_for(timeout=120_000)
    page.locator(".rv-nodes .rv-keep").first.wait_for()
    yield page
    assert page.errors == []


def faults(page, name):
    """What axe-core reports for a widget, minor matters included."""
    try:
        from axe_playwright_python.sync_playwright import Axe
    except ImportError:
        missing("axe_playwright_python is not installed")
    found = Axe().run(page, context=f"[role=group][aria-label='{name}']").response["violations"]
    return [
        f"{each['id']} ({each['impact']}): {one['target']} {one['html'][:120]} {one.get('failureSummary', '')[:200]}"
        for each in found
        for one in each["nodes"]
    ]


@pytest.mark.parametrize("name", [SHELL, EXPLORER, STEP, RANKS])
def test_axe_finds_no_fault(page, name):
    page.get_by_role("group", name=name).first.scroll_into_view_if_needed()
    assert faults(page, name) == []


@pytest.mark.parametrize("tab", ["Plans", "Compare", "Predicted to measured", "Runs", "Save and share"])
def test_axe_finds_no_fault_in_any_part_of_the_drawer(page, tab):
    page.get_by_role("group", name=EXPLORER).get_by_role("tab", name=tab).first.click()
    assert faults(page, EXPLORER) == []


def test_axe_finds_no_fault_with_a_selected_value_and_in_the_papers_view(page):
    view = page.get_by_role("group", name=EXPLORER)
    view.locator(".rv-nodes > g").nth(3).click()
    view.get_by_role("button", name="Paper's view").click()
    assert faults(page, EXPLORER) == []
    view.get_by_role("button", name="Paper's view").click()


@pytest.mark.parametrize("name", [EXPLORER, STEP])
def test_the_slider_is_among_the_first_five_tab_stops(page, name):
    stops = page.get_by_role("group", name=name).first.evaluate(
        """view => [...view.querySelectorAll("a[href], button, input, select, textarea, [tabindex]")]
            .filter((e) => e.tabIndex >= 0 && !e.disabled && e.getClientRects().length)
            .map((e) => e.getAttribute("aria-label") ?? e.textContent)"""
    )
    assert any("udget in total bytes" in stop for stop in stops[:5]), stops[:8]


def test_axe_finds_a_fault_that_is_put_there_and_dark_is_dark(page):
    view = page.get_by_role("group", name=EXPLORER).first
    text, ground = view.evaluate(
        "view => [getComputedStyle(view)].flatMap((style) => [style.color, style.backgroundColor])"
        ".map((colour) => colour.match(/\\d+/g).slice(0, 3).map(Number))"
    )
    view.evaluate("view => view.append(Object.assign(document.createElement('button'), {className: 'planted'}))")
    found = faults(page, EXPLORER)
    view.evaluate("view => view.querySelector('.planted').remove()")
    assert (max(ground) < 60) == page.dark
    assert (sum(text) - sum(ground) > 300) == page.dark
    assert len(found) == 1
    assert "button-name (critical)" in found[0]
