"""The graph pane in a real JupyterLab, walked by label as a person would: modules, search, colours, lower sets."""

import re

import pytest

from tests.browser.test_explorer import EXPLORE, EXPLORE_AGAIN, RESIDUAL, in_kernel, paper_view, settled, slider

pytestmark = pytest.mark.browser
RESNET50 = RESIDUAL.replace("residual_step((1, 1, 1))", "residual_step((3, 4, 6, 3))")


@pytest.fixture
def page(show_notebook, jupyter):
    (jupyter.folder / "residual.py").write_text(RESNET50)
    page = show_notebook("graph.ipynb", EXPLORE_AGAIN)
    page.get_by_role("group", name="Explorer of Residual net").wait_for(timeout=120_000)
    page.get_by_role("button", name=re.compile("^layer3, ")).wait_for()
    page.locator(".rv-graph-foot").get_by_text("not needed later").wait_for()  # the page has unpacked the step
    page.get_by_role("toolbar", name="Graph").scroll_into_view_if_needed()
    return page


def boxes(page):
    """Label → place on the screen of everything drawn."""
    return page.eval_on_selector_all(
        ".rv-nodes > g", "all => Object.fromEntries(all.map(g => [g.ariaLabel, g.getBoundingClientRect().x]))"
    )


def in_order(places, labels):
    return sorted(labels, key=places.__getitem__)


def walk(page, *keys):
    """Press keys in the graph; the labels of what has the focus after each."""
    said = []
    for key in keys:
        page.keyboard.press(key)
        said.append(page.evaluate("document.activeElement.ariaLabel"))
    return said


def test_the_focus_walks_over_modules_and_values_and_each_says_what_it_is(page):
    paper_view(page)
    page.get_by_role("application", name=re.compile("^Graph of 176 values in 12 boxes. Arrow keys")).focus()
    first, second, last, before = walk(page, "Home", "ArrowRight", "End", "ArrowLeft")
    assert re.search(r"^conv1/aten.convolution#0, (kept|recomputed), segment \d+, [\d.]+ MiB, value 1 of 176$", first)
    assert re.search(r"^bn1.*value 2 of 176$", second)
    assert re.search(r"value 176 of 176$", last)
    assert re.search(r"value 175 of 176$", before)
    page.get_by_role("button", name=re.compile("^layer1, ")).focus()
    assert walk(page, "ArrowRight", "Enter")[1] == "Collapse layer2"
    (inside,) = walk(page, "ArrowRight")
    assert inside.startswith("layer2.0")
    assert page.locator(".rv-node.rv-outside").count() > 0, "the lower set of what has the focus is lit"
    assert walk(page, "Backspace")[0].startswith("layer2, ")
    value = walk(page, "Home", "Enter")[1].split(",")[0]
    assert value in page.get_by_role("region", name="Selected value").inner_text()
    page.get_by_text("selected: click it again").wait_for()
    page.keyboard.press("Escape")


def test_a_large_graph_opens_collapsed_and_modules_open_and_close_in_place(page):
    page.get_by_text("12 boxes for 176 values").wait_for()
    page.get_by_role("button", name="Left to right").click()
    closed = boxes(page)
    page.get_by_role("button", name=re.compile("^layer3, ")).click()
    fold = page.get_by_role("button", name=re.compile(r"^layer3\.1–5, 5 equal blocks, 50 values, \d+ recomputed"))
    fold.wait_for()
    opened = boxes(page)
    stay = [label for label in closed if label in opened]
    assert len(stay) == 11
    assert in_order(closed, stay) == in_order(opened, stay)
    fold.focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name=re.compile(r"^layer3\.4, ")).wait_for()
    page.get_by_role("button", name="Collapse layer3", exact=True).click()
    page.get_by_text("12 boxes for 176 values").wait_for()
    page.get_by_role("button", name="Expand all modules").click()
    page.wait_for_function("document.querySelectorAll('.rv-nodes > g').length === 176")
    page.get_by_role("button", name="Collapse all modules").click()
    page.get_by_text("12 boxes for 176 values").wait_for()


def test_a_closed_module_tells_its_state_on_every_change_of_the_budget(page):
    slider(page).focus()
    page.keyboard.press("End")
    settled(page)
    page.get_by_role("button", name=re.compile("^layer1, 32 values, 0 recomputed")).wait_for()
    page.get_by_text(re.compile("^100% of 245 MiB kept")).wait_for()  # of its 453 MiB, as memory holds them
    page.keyboard.press("Home")
    settled(page)
    least = page.get_by_role("button", name=re.compile(r"^layer1, 32 values, ([23]\d|1[3-9]) recomputed"))
    least.wait_for()
    states = page.evaluate("document.querySelector('.rv-explorer').recompviz.states")
    assert int(re.search(r"(\d+) recomputed", least.get_attribute("aria-label"))[1]) == states[4:36].count(0)


def test_a_search_counts_and_enter_goes_to_the_next_inside_closed_modules(page):
    before = boxes(page)
    search = page.get_by_role("searchbox", name="Search values by name, operator or size")
    search.fill("layer3 conv >1 MiB")
    page.get_by_role("status").get_by_text(re.compile(r"^\d+ of 176$")).wait_for()
    page.keyboard.press("Enter")
    page.get_by_role("status").get_by_text(re.compile(r"^1/\d+$")).wait_for()
    card = page.get_by_role("region", name="Selected value")
    assert "layer3.0.conv1" in card.inner_text()
    assert page.locator(".rv-node.rv-picked").count() == 1
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('.rv-card').innerText.includes('layer3.0.conv2')")
    search.fill("no such value")
    page.get_by_role("status").get_by_text("none", exact=True).wait_for()
    page.keyboard.press("Escape")  # the graph is as it was before the search
    card.wait_for(state="hidden")
    assert boxes(page) == before


def test_every_colouring_has_a_legend_and_keeps_the_border_of_the_state(page):
    paper_view(page)
    choice = page.get_by_label("Colour by")
    legend = page.locator(".rv-graph-legend")
    for value, told in (("bytes", "MiB"), ("density", "MiB/"), ("segment", "V₁"), ("time", "dashed: recomputed")):
        choice.select_option(value)
        legend.get_by_text(told).first.wait_for()
        assert page.locator(".rv-nodes > g > .rv-recompute").count() > 0
    choice.select_option("state")
    legend.get_by_text("share of the bytes held for the backward pass").wait_for()


def test_the_plan_s_lower_sets_are_browsed_with_the_terms_of_the_peak(page):
    paper_view(page)
    slider(page).focus()
    page.keyboard.press("Home")
    settled(page)
    page.get_by_role("button", name="Browse the plan's lower sets").click()
    panel = page.get_by_role("region", name="Lower sets of the plan")
    panel.get_by_text(re.compile(r"^L₁ of \d+$")).wait_for()
    page.keyboard.press("ArrowRight")
    panel.get_by_text(re.compile(r"^L₂ of \d+$")).wait_for()
    assert page.locator(".rv-node.rv-outside").count() > 0
    assert page.locator(".rv-node.rv-boundary").count() > 0
    panel.get_by_role("button", name="Lower set at the formula's peak").click()
    panel.get_by_text("the peak of the formula").wait_for()
    terms = panel.locator("dd").evaluate_all("all => all.map(d => Number(d.dataset.bytes))")
    assert sum(terms[:4]) == terms[4]
    peak = page.evaluate(
        "(() => { const r = document.querySelector('.rv-explorer').recompviz; return r.formulaPeak; })()"
    )
    assert terms[4] == peak
    page.keyboard.press("Escape")
    page.wait_for_function("!document.querySelector('.rv-node.rv-outside')")


def test_hovering_a_closed_module_shows_the_lower_set_of_all_it_holds(page):
    paper_view(page)
    page.get_by_role("button", name=re.compile("^layer2, ")).hover()
    page.wait_for_selector(".rv-node.rv-outside")
    outside = page.locator(".rv-module.rv-outside").evaluate_all("all => all.map(g => g.ariaLabel.split(',')[0])")
    assert outside == ["layer3", "layer4"]
    page.mouse.move(5, 5)
    page.wait_for_function("!document.querySelector('.rv-node.rv-outside')")


LARGE = """
import threading
import recompviz as rv
from recompviz.core.steps.examples import residual_step

go = threading.Event()

class Waiting(rv.Planner):
    def plans(self, objective="time", progress=None):
        go.wait(300)
        return super().plans(objective, progress)

explorer = rv.Explorer(Waiting(*residual_step((8, 12, 13, 9))), objectives=["time", "memory"], title="Residual net")
"""


def test_a_large_graph_is_dragged_on_a_canvas_and_goes_on_as_it_was_when_better_plans_come(open_notebook, jupyter):
    (jupyter.folder / "residual.py").write_text(LARGE)
    page = open_notebook("large.ipynb", EXPLORE)
    page.get_by_text(re.compile("searching for better ones")).wait_for()
    page.get_by_role("button", name=re.compile("^layer3, ")).click()
    page.get_by_role("button", name="Collapse layer3", exact=True).wait_for()
    assert in_kernel(page, "residual.go.set()") == "None"
    page.wait_for_function("!document.querySelector('.rv-graph-note').textContent.includes('better')")
    page.get_by_role("button", name="Collapse layer3", exact=True).wait_for()
    page.get_by_role("button", name="Expand all modules").click()
    page.wait_for_selector(".rv-graph.rv-large[data-shown=all]")
    box = slider(page).bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.9, y)
    page.mouse.down()
    for i in range(100):
        page.mouse.move(box["x"] + box["width"] * (0.9 - i / 200), y)
    page.mouse.up()
    settled(page)
    kept = page.evaluate("document.querySelector('.rv-explorer').recompviz.kept")
    assert 0 < sum(kept) < len(kept)
    assert in_kernel(page, "[int(k) for k in explorer.plan.keep_mask] == " + str(kept)) == "True"
    page.get_by_role("application", name=re.compile(r"^Graph of \d+ values. Arrow keys")).focus()
    said = walk(page, "Home", "ArrowRight", "n", "n", "ArrowRight")
    count = len(kept)
    assert [int(re.search(rf"value (\d+) of {count}$", each)[1]) for each in said] == [1, 2, 3, 4, 5]
    assert said[0].startswith("conv1/aten.convolution#0, " + ("kept" if kept[0] else "recomputed"))
    assert page.locator(".rv-nodes > [role='graphics-symbol']:focus").count() == 1
    painted = page.evaluate(
        "(() => { const c = document.querySelector('.rv-graph-canvas');"
        " const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        " const seen = new Set(); for (let i = 0; i < d.length; i += 4) seen.add(d.slice(i, i + 3).join());"
        " return ['0,114,178', '255,244,214'].filter((colour) => seen.has(colour)).length; })()"
    )
    assert painted == 2, "kept and recomputed are both seen on the canvas"
    assert page.errors == []
