"""What the Explorer asks its kernel again, in a real JupyterLab: pins, solvers, runs, and the page it hands out."""

import itertools
import re

import pytest

from tests.browser.test_explorer import RESIDUAL, paper_view, settled

pytestmark = pytest.mark.browser

MORE = """
from recompviz.core.plans.gap import gap_of

class Slow(rv.Planner):
    def what_if(self, *arguments, progress=None, **options):
        for i in range(5):
            progress(i, 5)
            time.sleep(0.02)
        return super().what_if(*arguments, progress=progress, **options)

class Explaining(Runner):
    def run(self, plan, progress):
        report = super().run(plan, progress)
        return dataclasses.replace(report, gap=gap_of(planner.joint, plan, report.measured))

planner = Slow(planner.graph, planner.joint)
explorer = rv.Explorer(planner, Explaining(), **options | {"baselines": ["chen"]})
"""


# a sentence about the cost of the pins
COST = re.compile(
    r"^(This pin|These \d pins together) (raises?|costs?) .* at this budget.*\.$|^No plan fits"
    r"|^The search with (this pin|these pins) found a faster plan for this budget, .*\.$"
)


@pytest.fixture(scope="module")
def page(request):
    """One notebook for all of these: each leaves it as it may be found."""
    open_notebook = request.getfixturevalue("open_notebook_once")
    page = open_notebook("questions.ipynb", "import residual_more\nfrom residual_more import explorer\nexplorer")
    page.get_by_role("group", name="Explorer of Residual net").wait_for(timeout=120_000)
    page.locator(".rv-nodes .rv-keep").first.wait_for()
    page.locator(".rv-drawer").scroll_into_view_if_needed()
    return page


@pytest.fixture(scope="module")
def open_notebook_once(jupyter, open_notebooks):
    (jupyter.folder / "residual_more.py").write_text(RESIDUAL + MORE)
    return open_notebooks


def row_of(page, kept):
    """Select a node that is kept, or recomputed; its key."""
    state = "kept" if kept else "recomputed"
    node = page.locator(f".rv-nodes > g[aria-label*=', {state}, ']").nth(3)
    name = node.get_attribute("aria-label").split(",")[0]
    node.click()
    page.get_by_role("region", name="Selected value").get_by_text(name).wait_for()
    return name


def test_a_pin_from_the_card_shows_what_it_costs(page):
    name = row_of(page, kept=True)
    page.get_by_role("button", name="must be recomputed (R)").click()
    page.locator(".rv-node.rv-pin-recompute .rv-corner", has_text="R").wait_for()
    pins = page.get_by_role("region", name="Pins")
    pins.get_by_text(COST).wait_for()
    card = page.get_by_role("region", name="Selected value")  # the cost stands beside the button, too
    card.get_by_text(COST).wait_for()
    settled(page)
    page.locator(f".rv-nodes > g[aria-label^='{name}, recomputed']").wait_for()
    pins.get_by_role("button", name="Clear pins").click()
    pins.wait_for(state="hidden")
    page.locator(f".rv-nodes > g[aria-label^='{name}, kept']").wait_for()
    page.keyboard.press("Escape")


def test_a_pin_by_keyboard_is_taken_away_by_its_chip(page):
    name = row_of(page, kept=False)
    page.keyboard.press("k")
    pins = page.get_by_role("region", name="Pins")
    pins.get_by_text(COST).wait_for()
    # it is kept, or nothing needs it under a plan that keeps what reads it
    page.locator(f".rv-nodes > g[aria-label^='{name}, ']:not([aria-label*=', recomputed, '])").wait_for()
    pins.get_by_role("button", name=f"Remove the pin of {name}").click()
    pins.wait_for(state="hidden")


def test_the_strip_of_pins_neither_overlaps_nor_spills_in_a_narrow_notebook(page):
    pins = page.get_by_role("region", name="Pins")
    for chips, (v, key) in enumerate([(10, "k"), (20, "r"), (30, "k")]):
        page.locator(f".rv-nodes > g[data-v='{v}']").click()
        page.get_by_role("region", name="Selected value").wait_for()
        page.keyboard.press(key)
        pins.locator(".rv-chip").nth(chips).wait_for()
        page.wait_for_function("document.querySelector('.rv-pins').dataset.state !== 'solving'")
        pins.get_by_text(COST).wait_for()
        settled(page)
    page.keyboard.press("Escape")
    view = page.locator(".rv-explorer")
    for wide in (1140, 848, 700):
        view.evaluate("(view, wide) => (view.style.width = `${wide}px`)", wide)
        page.wait_for_timeout(100)
        around = pins.bounding_box()
        parts = pins.locator(".rv-chip, .rv-pins-text, .rv-button:visible").evaluate_all(
            "all => all.map((one) => one.getBoundingClientRect().toJSON()).filter((box) => box.width)"
        )
        assert len(parts) == 5  # three chips, the text and a button
        for one, other in itertools.combinations(parts, 2):
            apart = one["right"] <= other["left"] + 1 or other["right"] <= one["left"] + 1
            below = one["bottom"] <= other["top"] + 1 or other["bottom"] <= one["top"] + 1
            assert apart or below, wide
        assert all(around["x"] <= one["left"] for one in parts)
        assert all(one["right"] <= around["x"] + around["width"] + 1 for one in parts)
        cut = pins.evaluate(
            "pins => [...pins.querySelectorAll('*')].filter((one) => one.scrollWidth > one.clientWidth + 1"
            " && one.clientWidth && getComputedStyle(one).overflow === 'visible').map((one) => one.className)"
        )
        assert cut == [], wide
    view.evaluate("view => view.removeAttribute('style')")
    pins.get_by_role("button", name="Clear pins").click()
    pins.wait_for(state="hidden")


def test_the_solver_is_switched_and_back(page):
    paper_view(page)
    solver = page.get_by_label("Solver")
    solver.select_option("paper")
    page.wait_for_function("document.querySelector('.rv-explorer').recompviz.state.table === 4")
    settled(page)
    solver.select_option("auto")
    page.wait_for_function("document.querySelector('.rv-explorer').recompviz.state.table === 0")


def test_a_run_enters_the_history_and_its_gap_is_split_into_causes(page):
    page.get_by_role("button", name="Run on CPU").click()
    page.get_by_text(re.compile(r"predicted .*, measured .*, [\d.]+% off")).wait_for(timeout=120_000)
    page.get_by_role("tab", name="Runs (1)").click()
    page.get_by_role("button", name="Show run 1").click()
    panel = page.get_by_role("tabpanel", name="Predicted to measured")
    causes = panel.locator("tbody tr td:first-child").all_inner_texts()
    assert causes == ["formula", "static", "liveness", "rounding", "workspace", "measured"]


def test_out_of_memory_offers_a_smaller_budget(page):
    slider = page.get_by_label("Budget in total bytes")
    slider.focus()
    page.keyboard.press("End")
    settled(page)
    page.get_by_role("button", name="Run on CPU").click()
    page.get_by_text(re.compile("out of memory: could not allocate 3 GiB")).wait_for(timeout=120_000)
    before = page.evaluate("document.querySelector('.rv-explorer').recompviz.state.budget")
    page.get_by_role("button", name=re.compile(r"^Try \d")).click()
    settled(page)
    assert page.evaluate("document.querySelector('.rv-explorer').recompviz.state.budget") < before


def test_the_explorer_is_downloaded_as_one_page(page, tmp_path):
    page.get_by_role("tab", name="Save and share").click()
    with page.expect_download() as got:
        page.get_by_role("button", name=re.compile("as one page")).click()
    path = tmp_path / "page.html"
    got.value.save_as(path)
    assert "<title>Residual net: recompviz</title>" in path.read_text()
    assert page.errors == []


def test_the_downloaded_page_opens_as_the_notebook_looked(page, tmp_path, chromium):
    graph = page.get_by_role("toolbar", name="Graph")
    graph.get_by_role("button", name="Collapse all modules").click()
    closed = page.locator(".rv-nodes [data-m]").nth(1)
    head = f".rv-frame-head[data-m='{closed.get_attribute('data-m')}']"
    closed.click()
    page.locator(head).wait_for()
    graph.get_by_role("button", name="Top down").click()
    page.locator(".rv-colour select").select_option("bytes")
    own_label = "Memory of your device, for example 12 GB"
    own = page.get_by_label(own_label)
    own.fill("0.15 MB")
    own.press("Enter")
    settled(page)
    page.locator(".rv-budget .rv-panel-head .rv-button").click()
    page.get_by_label("Step of the schedule").focus()
    page.keyboard.press("Home")
    page.get_by_role("tab", name="Save and share").click()
    page.evaluate("document.body.setAttribute('data-jp-theme-light', 'false')")  # the system has a light theme
    with page.expect_download() as got:
        page.get_by_role("button", name=re.compile("as one page")).click()
    page.evaluate("document.body.setAttribute('data-jp-theme-light', 'true')")
    path = tmp_path / "page.html"
    got.value.save_as(path)
    opened = chromium.new_page()
    opened.goto(path.as_uri())
    opened.locator("html[data-jp-theme-light=false] .rv-explorer").wait_for()
    opened.locator(head).wait_for()
    shown = "document.querySelector('.rv-graph-note').textContent"
    assert re.match(r"\d+ boxes for \d+ values", opened.evaluate(shown))
    assert opened.evaluate(shown) == page.evaluate(shown)
    assert opened.locator(".rv-colour select").input_value() == "bytes"
    assert opened.locator("[aria-label='Top down'][aria-pressed=true]").count() == 1
    assert opened.get_by_role("tab", name="Save and share").get_attribute("aria-selected") == "true"
    assert opened.get_by_label(own_label).input_value() == "0.15 MB"
    for text in (".rv-fit-sentence", ".rv-tile-total", ".rv-readout"):
        assert opened.locator(text).inner_text() == page.locator(text).inner_text()
    assert opened.get_by_label("Budget, typed").input_value().endswith("%")
    state = "document.querySelector('.rv-explorer').recompviz.state"
    chosen = f"(({{step, selected, earlier}}) => [step, selected, earlier.length])({state})"
    assert opened.evaluate(chosen) == page.evaluate(chosen)
    assert opened.evaluate(chosen)[2] > 0
    assert "writing" not in opened.locator(".rv-drawer").inner_text()
    opened.close()
    page.locator(".rv-colour select").select_option("state")
    page.locator(".rv-budget .rv-panel-head .rv-button").click()
    page.get_by_label("Step of the schedule").press("Escape")
    graph.get_by_role("button", name="Expand all modules").click()


def test_the_curve_of_given_plans_does_not_cover_the_typed_budget(page):
    page.get_by_role("button", name=re.compile("^baseline chen: ")).press("Enter")
    settled(page)
    page.get_by_label("Budget, typed").click(timeout=5000)
    covers = page.evaluate(
        "(() => { const chart = document.querySelector('.rv-budget .rv-chart').getBoundingClientRect();"
        " return [...Array(40).keys()].filter((i) => document.elementFromPoint(chart.left + i * chart.width / 40,"
        " chart.top - 12)?.closest('.rv-chart')).length; })()"
    )
    assert covers == 0
    page.keyboard.press("Escape")
    page.get_by_role("radio", name="least time").click()
    settled(page)
