"""The widgets of the course in a real JupyterLab, offline: found by label, stepped in both directions."""

import re
from pathlib import Path

import nbformat
import pytest

pytestmark = pytest.mark.browser
COURSE = sorted((Path(__file__).parent.parent.parent / "notebooks").glob("[0-9]-*.ipynb"))
# number and height of each cell in the page
HEIGHTS = "[...document.querySelectorAll('.jp-Cell')].map((e) => [+e.dataset.windowedListIndex, e.offsetHeight])"
CELLS = (
    "import recompviz as rv\nplay = rv.playground('diamond')\nplay",
    "rv.step_strategy('chain', budget=15)",
    "rv.step_programme('diamond', budget=10)",
)


@pytest.fixture
def page(show_notebook):
    page = show_notebook("course.ipynb", *CELLS)
    for name in ("Lower-set playground", "Strategy stepper", "DP stepper"):
        page.get_by_role("group", name=name, exact=True).wait_for(timeout=120_000)
    return page


def button(group, name):
    return group.get_by_role("button", name=name, exact=True)


def caption(group):
    return group.locator(".rv-tcaption").inner_text()


def test_a_set_is_checked_closed_added_to_a_sequence_and_stepped(page):
    group = page.get_by_role("group", name="Lower-set playground", exact=True)
    verdict = group.get_by_role("status").first
    button(group, "node b").click()
    button(group, "node d").click()
    assert "not a lower set: the edges a → b, c → d enter it" in verdict.inner_text()
    assert button(group, "Add the set to the sequence").is_disabled()
    group.get_by_role("button", name=re.compile("Take the closure")).click()
    assert verdict.inner_text() == "{a, b, c, d} is a lower set; its boundary is ∂(L) = {d}."
    button(group, "lower set {a, b}").click()
    assert button(group, "node a, in the boundary").get_attribute("aria-pressed") == "true"
    button(group, "Add the set to the sequence").click()
    group.get_by_text("(V is added at the end): overhead").wait_for()
    button(group, "Step through the strategy").click()
    stepper = group.get_by_role("group", name="Strategy stepper", exact=True)
    stepper.wait_for()
    assert caption(stepper).startswith("Nothing is computed yet: ∅ ⊊ {a, b} ⊊")
    group.get_by_label("Graph", exact=True).select_option("inception")
    group.get_by_text("20 lower sets among 128 subsets").wait_for()


def test_a_graph_is_edited_and_a_cycle_is_refused(page):
    group = page.get_by_role("group", name="Lower-set playground", exact=True)
    group.get_by_text("Change the graph").click()
    group.get_by_label("Node", exact=True).fill("x")
    group.get_by_label("size M").fill("7")
    button(group, "Set node").click()
    button(group, "node x").wait_for()
    group.get_by_label("Edge from").select_option("e")
    group.get_by_label("Edge to").select_option("x")
    button(group, "Add or remove edge").click()
    group.get_by_text("8 lower sets among 64 subsets").wait_for()
    group.get_by_label("Edge from").select_option("x")
    group.get_by_label("Edge to").select_option("a")
    button(group, "Add or remove edge").click()
    assert (
        "cycle" in group.get_by_role("alert").inner_text()
        or group.get_by_text("the graph has a cycle").wait_for() is None
    )
    button(group, "node b").drag_to(button(group, "node x"))  # b → x: e is no longer needed to reach it, the sets stay
    group.get_by_text("my own").first.wait_for(state="attached")


@pytest.mark.parametrize("name", ["Strategy stepper", "DP stepper"])
def test_a_stepper_goes_forward_back_and_to_the_ends(page, name):
    group = page.get_by_role("group", name=name, exact=True)
    group.scroll_into_view_if_needed()
    first = caption(group)
    place = group.locator(".rv-tplace")
    seen = [first]
    for _ in range(6):
        button(group, "Next step").click()
        seen.append(caption(group))
    assert len(set(seen)) == 7
    for before in reversed(seen[:-1]):
        button(group, "Previous step").click()
        assert caption(group) == before
    assert button(group, "Previous step").is_disabled()
    group.get_by_label("Step", exact=True).press("End")
    count = place.inner_text().split(" / ")[1]
    assert place.inner_text() == f"{count} / {count}"
    button(group, "First step").click()
    assert caption(group) == first
    group.get_by_label("Speed").select_option("4")
    group.get_by_role("button", name="Play").click()
    page.wait_for_function("e => !e.textContent.startsWith('1 /')", arg=place.element_handle())
    group.get_by_role("button", name="Pause").click()
    assert group.get_by_role("button", name="Play").is_visible()


def test_keys_in_a_player_do_not_reach_jupyterlab(page):
    group = page.get_by_role("group", name="Strategy stepper", exact=True)
    cells = "[...document.querySelectorAll('.jp-Cell')].map(e => e.classList.contains('jp-mod-active'))"
    group.get_by_label("Step", exact=True).focus()
    before = page.evaluate(cells)
    assert before == [False, True, False]
    for place in (group.get_by_label("Step", exact=True), button(group, "Next step"), group.get_by_label("Speed")):
        place.focus()
        for key in ("ArrowDown", "ArrowUp", "ArrowUp", "ArrowRight", "Home", "End", "ArrowLeft"):
            page.keyboard.press(key)
    assert page.evaluate(cells) == before
    group.get_by_label("Step", exact=True).focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert group.locator(".rv-tplace").inner_text().startswith("2 / ")


def test_a_point_of_the_curve_is_walked_back_and_the_other_tab_is_shown(page):
    group = page.get_by_role("group", name="DP stepper", exact=True)
    button(group, "Finished table").click()
    assert "(1, 11), (2, 10), (4, 9)" in caption(group)
    button(group, "walk back the plan of overhead 2 and peak 10").click()
    assert caption(group).endswith("Overhead 2, peak 10.")
    button(group, "step that fills R({a}, 3)").click()
    assert caption(group).startswith("R({a}, 3) = 9.")
    button(group, "One budget: 10").click()
    button(group, "Finished table").click()
    assert "the least overhead is 2" in caption(group)


@pytest.mark.parametrize("path", COURSE, ids=lambda path: path.stem)
def test_a_notebook_of_the_course_runs_and_shows_its_widgets(open_notebook, path):
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    page = open_notebook(path.name, *cells)
    last = page.locator(".jp-CodeCell").last.locator(".jp-InputPrompt")
    last.filter(has_text=f"[{len(cells)}]").wait_for(state="attached")
    page.locator(".rv-teach").first.wait_for()
    assert page.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0
    assert page.errors == []


@pytest.mark.slow
def test_every_slide_of_the_lecture_fits_the_screen(open_notebook, jupyter):
    """At 1280 × 720 in presentation mode: what a slide shows, without the notes, is no higher than the panel."""
    lecture = nbformat.read(COURSE[0], as_version=4)
    page = open_notebook("empty.ipynb", "1", run=False)
    nbformat.write(lecture, jupyter.folder / COURSE[0].name)
    page.set_viewport_size({"width": 1280, "height": 720})
    page.goto(jupyter.address(f"doc/tree/{COURSE[0].name}", reset=""))
    page.get_by_text("| Idle").wait_for()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    page.get_by_role("menuitem", name="View", exact=True).click()
    page.locator(".lm-Menu-item", has_text="Appearance").hover()
    page.locator(".lm-Menu-item", has_text="Presentation Mode").click()
    panel = page.locator(".jp-WindowedPanel-outer").first
    height, measured = panel.evaluate("(e) => e.clientHeight"), {}
    for i, cell in enumerate(lecture.cells):  # JupyterLab keeps only the cells near the screen in the page
        if cell.cell_type == "code":
            panel.evaluate("(e) => e.scrollBy(0, 400)")
            found = page.locator(f".jp-Cell[data-windowed-list-index='{i}']")
            found.scroll_into_view_if_needed()
            found.locator(".jp-OutputArea-output").first.wait_for()
            if cell.metadata.get("jupyter", {}).get("source_hidden"):
                found.locator(".rv-teach").wait_for()
        for j, high in page.evaluate(HEIGHTS):
            measured[j] = max(measured.get(j, 0), high)
    slides = []
    for i, cell in enumerate(lecture.cells):
        kind = cell.metadata.slideshow.slide_type
        if kind in ("slide", "subslide"):
            slides.append(0)
        if kind != "notes":
            slides[-1] += measured[i]
    assert len(slides) >= 14
    assert max(slides) <= height
    assert page.errors == []
