"""The exported page, opened from disk with the network off: all that needs no kernel, by label as a person would."""

import itertools
import json
import re
import xml.etree.ElementTree as ET

import pytest

from recompviz.core.plans.plan import Plan
from recompviz.widgets.base.static_output import NO_MESSAGE
from recompviz.widgets.explorer.shown_values import ShownValues
from tests.widgets.conftest import Lab

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    lab = Lab((1, 1, 1))
    path = tmp_path_factory.mktemp("page") / "explorer.html"
    explorer = lab.explorer(title="Residual net", capacity=lab.time.total_peaks[0] * 9 // 10)
    explorer.to_html(path)
    return lab, explorer, path


@pytest.fixture
def page(chromium, exported):
    context = chromium.new_context(viewport={"width": 1280, "height": 1100}, offline=True, accept_downloads=True)
    page = context.new_page()
    asked, errors = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(exported[2].as_uri())
    page.get_by_role("group", name="Explorer of Residual net").wait_for()
    page.locator(".rv-nodes .rv-keep").first.wait_for()
    yield page
    assert errors == []
    assert [url for url in asked if not url.startswith(("file:", "blob:", "data:"))] == []
    context.close()


def states(page):
    """For each box whether its value is not recomputed."""
    recomputed = "boxes => boxes.map(b => !b.classList.contains('rv-recompute'))"
    return page.eval_on_selector_all(".rv-nodes > g rect", recomputed)


def shown(page):
    page.wait_for_function("document.querySelector('.rv-explorer').recompviz.state.confirmed")
    return page.evaluate("(({table, row}) => [table, row])(document.querySelector('.rv-explorer').recompviz.state)")


def picture(page):
    """The pixels of the memory landscape."""
    return page.locator(".rv-landscape").evaluate("canvas => canvas.toDataURL()")


def state(page, name):
    return page.evaluate(f"document.querySelector('.rv-explorer').recompviz.state.{name}")


def landscape(page):
    """The box of the chart, and a point of it in a bar of the middle."""
    chart = page.get_by_role("group", name=re.compile("^Memory over"))
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    return chart, box, (box["x"] + box["width"] * 0.45, box["y"] + box["height"] * 0.7)


# widths of the view in JupyterLab: with its file browser on a screen of 1280 and of 1440 pixels, and without it
@pytest.mark.parametrize("wide", [848, 1000, 1140])
def test_on_a_laptop_slider_curve_landscape_and_fit_are_seen_without_scrolling(page, wide):
    page.set_viewport_size({"width": 1280, "height": 720})
    view = page.locator(".rv-explorer")
    view.evaluate("(view, wide) => (view.style.width = `${wide}px`)", wide)
    box = view.bounding_box()
    assert wide <= box["width"] <= wide + 2  # with the frame
    lower = {
        name: page.locator(name).bounding_box() for name in (".rv-header", ".rv-budget", ".rv-timeline", ".rv-fit")
    }
    assert lower[".rv-header"]["height"] < 50  # one line of tiles
    assert lower[".rv-budget"]["y"] == lower[".rv-timeline"]["y"]  # side by side
    assert lower[".rv-fit"]["y"] + lower[".rv-fit"]["height"] - box["y"] < 560
    code, sentence = page.get_by_role("button", name="Copy the code").bounding_box(), page.locator(".rv-fit-sentence")
    line = sentence.bounding_box()
    assert line["y"] - 8 < code["y"] < line["y"] + line["height"]  # beside the sentence, not alone in a line
    texts = view.evaluate(
        """view => [...view.querySelectorAll(".rv-fit *, .rv-header *, .rv-bar *")]
            .filter(one => one.clientWidth && one.scrollWidth > one.clientWidth + 1)
            .filter(one => getComputedStyle(one).overflow === "visible").map(one => one.className)"""
    )
    assert texts == []  # nothing is drawn over its neighbour
    cut = view.evaluate(
        """view => {
            const title = view.querySelector(".rv-title strong");
            title.textContent = "UNet, training step";
            const choice = view.querySelector(".rv-colour select");
            const pen = document.createElement("canvas").getContext("2d");
            pen.font = getComputedStyle(choice).font;
            const [room, word] = [choice.clientWidth - 20, pen.measureText(choice.selectedOptions[0].text).width];
            return [title.scrollWidth > title.clientWidth, title.scrollHeight > title.clientHeight + 1, word > room];
        }"""
    )
    assert cut == [False, False, False]  # of the title and of the chosen colouring
    longest = ["60% of keep-all", "paper's model, no liveness", "measured +13% to +123%"]
    page.evaluate(
        """texts => document.querySelectorAll(".rv-header .rv-tile-remark").forEach((one, i) => {
            if (texts[i]) one.textContent = texts[i];
        })""",
        longest,
    )
    assert page.locator(".rv-header").bounding_box() == lower[".rv-header"]  # as after a run at another batch size
    page.get_by_role("button", name="Paper's view").click()  # one tile more
    assert page.locator(".rv-header").bounding_box()["height"] < (80 if wide < 900 else 50)
    panel = page.locator(".rv-budget").bounding_box()
    last = page.get_by_role("radio", name="paper: least memory").bounding_box()
    assert last["x"] + last["width"] < panel["x"] + panel["width"]


def test_a_bar_of_the_landscape_says_what_it_is_and_a_click_selects_its_value(page):
    _, _, point = landscape(page)
    pixel = """([x, y]) => {
        const canvas = document.querySelector("canvas.rv-landscape");
        const box = canvas.getBoundingClientRect();
        const at = [(x - box.x) * canvas.width / box.width, (y - box.y) * canvas.height / box.height];
        return Array.from(canvas.getContext("2d").getImageData(...at.map(Math.round), 1, 1).data);
    }"""
    colour, before = page.evaluate(pixel, point), picture(page)
    page.mouse.move(*point)
    tip = page.locator(".rv-tip")
    tip.wait_for()
    assert re.search(r"B · step \d+ to (step \d+|the end) of \d+", tip.inner_text())
    name = tip.locator(".rv-tip-title").inner_text()
    tab = page.get_by_role("tab", selected=True).inner_text()
    page.mouse.click(*point)
    page.get_by_role("region", name="Selected value").get_by_text(name).wait_for()
    assert page.evaluate(pixel, point) == colour  # the bar keeps its colour in its outline
    assert picture(page) != before
    # a click selects, and changes nothing else
    assert (state(page, "step"), state(page, "category")) == (-1, None)
    assert page.get_by_role("tab", selected=True).inner_text() == tab
    assert page.locator(".rv-node.rv-not-alive").count() == 0
    page.get_by_role("tab", name="Alive at the peak").click()
    page.get_by_role("tabpanel", name="Alive at the peak").get_by_role("table").wait_for()


def test_calls_below_the_landscape_say_their_phase_and_choose_a_step(page):
    _, box, _ = landscape(page)
    strip = (box["x"] + box["width"] * 0.3, box["y"] + box["height"] - 25)
    page.mouse.move(*strip)
    tip = page.locator(".rv-tip")
    assert re.search(r"^forward\nstep 1 to \d+ of \d+\ncalls of the forward pass$", tip.inner_text())
    page.mouse.click(*strip)
    assert state(page, "step") > 0
    assert state(page, "selected") == -1
    page.mouse.click(*strip)
    assert state(page, "step") == -1


def selected_card(page):
    return page.get_by_role("region", name="Selected value")


def test_escape_and_a_second_click_deselect_a_value_wherever_it_was_selected(page):
    _, _, bar = landscape(page)
    page.get_by_role("tab", name="Alive at the peak").click()
    panel = page.get_by_role("tabpanel", name="Alive at the peak")
    row = panel.get_by_role("row").filter(has_text="layer1.0.conv1/aten.convolution#0").first
    clicks = {
        "graph": lambda: page.locator(".rv-nodes > g[data-v='20']").click(),
        "landscape": lambda: page.mouse.click(*bar),
        "table": lambda: row.get_by_role("button").first.click(),
        "row of the table": lambda: row.get_by_role("cell").nth(1).click(),
    }
    for where, click in clicks.items():
        for again in (click, lambda: page.keyboard.press("Escape")):
            page.evaluate("scrollTo(0, 0)")
            click()
            selected_card(page).wait_for()
            assert state(page, "selected") >= 0, where
            page.evaluate("scrollTo(0, 0)")
            again()
            selected_card(page).wait_for(state="hidden")
            assert state(page, "selected") == -1, where


def test_every_colour_of_the_landscape_is_in_the_legend(page):
    legend = page.locator(".rv-legend")
    more = legend.get_by_role("button", name=re.compile(r"^\+\d+ small$"))
    before = legend.locator("[data-category]").count()
    hidden = int(re.search(r"\d+", more.inner_text())[0])
    more.click()
    assert legend.locator("[data-category]").count() == before + hidden
    parts = legend.locator(".rv-part-keys .rv-key")
    colours = parts.evaluate_all("all => all.map((one) => getComputedStyle(one).backgroundColor)")
    assert len(set(colours)) == len(colours) > 1
    kept = legend.locator(".rv-key-5").evaluate("key => getComputedStyle(key).backgroundColor")
    assert kept in colours  # kept values have one colour in the legend, that of the part in the middle
    legend.get_by_role("button", name="fewer").click()
    assert legend.locator("[data-category]").count() == before


# the boxes in the window of the title of the axis, of its numbers, of the curve and of the slider
AXIS = """wide => {
    const box = (one) => one.getBoundingClientRect().toJSON();
    const chart = document.querySelector(".rv-budget .rv-chart");
    const room = chart.parentNode.clientWidth;
    if (Math.abs(room - chart.getAttribute("width")) > 1) return null; // not drawn for the new width yet
    const texts = [...chart.querySelectorAll("text")];
    const title = texts.find((text) => text.textContent.startsWith("budget, total bytes in "));
    const numbers = texts.filter((text) => /^[\\d.]+$/.test(text.textContent)).map(box).sort((a, b) => a.x - b.x);
    return [box(title), numbers, box(chart), box(document.querySelector(".rv-budget .rv-slider"))];
}"""


def test_the_axis_of_budgets_has_a_title_and_at_least_three_ticks(page):
    for wide in (848, 1248):
        page.locator(".rv-explorer").evaluate("(view, wide) => (view.style.width = `${wide}px`)", wide)
        title, ticks, curve, slider = page.wait_for_function(AXIS, arg=wide).json_value()
        assert curve["left"] <= title["left"]
        assert title["right"] <= curve["right"]
        assert title["bottom"] <= slider["top"] + 4
        assert len(ticks) >= 3
        assert all(one["right"] + 6 < other["left"] for one, other in itertools.pairwise(ticks))


def test_a_drag_zooms_into_a_stretch_and_a_double_click_shows_the_whole_step(page):
    chart, box, _ = landscape(page)
    whole = picture(page)
    y = box["y"] + box["height"] * 0.7
    page.mouse.move(box["x"] + box["width"] * 0.4, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, y, steps=3)
    page.mouse.up()
    back = page.get_by_role("button", name="Whole step", exact=True)
    back.wait_for()
    assert picture(page) != whole
    scrubber = page.get_by_label("Step of the schedule")
    assert int(scrubber.get_attribute("min")) > 0
    page.mouse.dblclick(box["x"] + box["width"] * 0.5, y)
    back.wait_for(state="hidden")
    assert int(scrubber.get_attribute("min")) == 0
    chart.focus()
    page.keyboard.press("+")
    back.wait_for()
    page.keyboard.press("0")
    back.wait_for(state="hidden")


HINT_PARTS = """view => {
    const hint = view.querySelector('.rv-graph-foot .rv-hint');
    const text = hint.firstChild, box = hint.getBoundingClientRect();
    return ['click', '· drag', '· arrows', '· /:'].map((start, i, starts) => {
        const at = (word) => text.data.replaceAll('\u00a0', ' ').indexOf(word);
        const range = document.createRange();
        range.setStart(text, at(start));
        range.setEnd(text, i + 1 < starts.length ? at(starts[i + 1]) - 1 : text.data.length);
        const part = range.getBoundingClientRect();
        if (part.top >= box.bottom - 2) return 'hidden';
        return part.right <= box.right + 1 && part.bottom <= box.bottom + 2 ? 'seen' : 'cut';
    });
}"""


def test_a_hint_below_the_graph_is_never_cut_inside_one_of_its_parts(page):
    view = page.locator(".rv-explorer")
    hint = page.locator(".rv-graph-foot .rv-hint")
    found = set()
    for room in range(40, 420, 20):
        hint.evaluate("(hint, room) => (hint.style.maxWidth = `${room}px`)", room)
        found.update(view.evaluate(HINT_PARTS))
    assert found == {"seen", "hidden"}


THUMB_AND_LINE = """view => {
    const slider = view.querySelector('.rv-scrubber');
    const {left, width} = slider.getBoundingClientRect();
    const thumb = 13;
    const share = (slider.value - slider.min) / (slider.max - slider.min);
    const line = view.querySelector('.rv-playhead line').getBoundingClientRect();
    return [left + thumb / 2 + share * (width - thumb), line.left + line.width / 2];
}"""


def test_the_slider_of_the_step_stands_below_the_line_of_the_step_in_every_zoom(page):
    view = page.locator(".rv-explorer")
    chart, box, _ = landscape(page)

    def agree():
        thumb, line = view.evaluate(THUMB_AND_LINE)
        assert thumb == pytest.approx(line, abs=1)
        return line

    chart.focus()
    page.keyboard.press("ArrowRight")
    whole = agree()
    for _ in range(8):
        page.keyboard.press("ArrowRight")
    agree()
    for _ in range(6):
        page.keyboard.press("+")
        assert agree() != whole
    scrubber = page.get_by_label("Step of the schedule")
    first = scrubber.get_attribute("min")
    for _ in range(30):  # the stretch follows the step
        page.keyboard.press("ArrowRight")
        agree()
    assert scrubber.get_attribute("min") != first
    page.keyboard.press("0")
    agree()
    # a step that is not in the stretch is not at the thumb
    y = box["y"] + box["height"] * 0.7
    page.mouse.move(box["x"] + box["width"] * 0.8, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.95, y, steps=3)
    page.mouse.up()
    page.get_by_role("button", name="Whole step", exact=True).wait_for()
    assert "rv-idle" in scrubber.get_attribute("class")
    page.mouse.dblclick(box["x"] + box["width"] * 0.5, y)
    agree()
    assert "rv-idle" not in scrubber.get_attribute("class")


def test_the_landscape_is_walked_by_keyboard(page):
    chart, _, _ = landscape(page)
    chart.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowUp"):
        page.keyboard.press(key)
    assert state(page, "step") == 1
    assert state(page, "selected") >= 0
    assert "At the peak:" in page.locator(f"[id='{chart.get_attribute('aria-describedby')}']").text_content()
    page.keyboard.press("Escape")
    assert state(page, "step") == -1


def plan_of(exported, choice):
    return exported[1]._selection.tables.table(choice[0]).plans[choice[1]]


def test_dragging_changes_the_plan_and_the_timeline_follows(page, exported):
    before = shown(page)
    box = page.get_by_label("Budget in total bytes").bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.9, y)
    page.mouse.down()
    for i in range(40):
        page.mouse.move(box["x"] + box["width"] * (0.9 - i / 80), y)
    page.mouse.up()
    assert shown(page) != before
    timeline = exported[0].simulate(plan_of(exported, shown(page)))
    page.get_by_role("button", name=re.compile(f"^Peak .* at step {timeline.peak_step + 1}:")).wait_for()


def test_a_budget_is_typed_in_bytes_or_in_per_cent_of_keep_all(page, exported):
    entry = page.get_by_label(re.compile("^Budget, typed"))
    entry.fill("100%")
    entry.press("Enter")
    assert shown(page) == [0, 0]
    total = int(exported[0].time.total_peaks[4])
    entry.fill(f"{total + 1} B")
    entry.press("Enter")
    assert shown(page) == [0, exported[0].time.row(total + 1)]
    assert state(page, "budget") == total + 1  # not the total of the plan
    entry.fill("much")
    entry.press("Enter")
    assert entry.get_attribute("aria-invalid") == "true"
    message = page.get_by_role("status").get_by_text("“much” is not a size; for example 500 MiB or 60%")
    message.wait_for()
    assert page.locator(".rv-below-least").count() == 0  # the least budget is not the reason
    page.get_by_label("Budget in total bytes").press("Home")  # a valid action
    message.wait_for(state="detached")
    entry.fill("1 KiB")
    entry.press("Enter")
    page.get_by_role("status").get_by_text(
        re.compile("^1.00 KiB does not fit this step; shown: the least, ")
    ).wait_for()
    assert page.locator(".rv-below-least").count() == 1
    assert state(page, "budget") == exported[0].time.least_total
    page.get_by_role("button", name="Show budgets in per cent of keep-all").click()
    assert page.locator(".rv-budget .rv-tick", has_text="%").count() > 4


def test_what_binds_at_the_least_budget_is_told_and_shown(page, exported):
    lab = exported[0]
    link = page.get_by_role("button", name=re.compile("^What limits the least: .* step"))
    link.click()
    assert plan_of(exported, shown(page)) is lab.time.plan(lab.time.least_total)
    page.get_by_role("tab", name=re.compile(r"Alive at step \d+")).wait_for()
    page.get_by_role("img", name=re.compile("has .* [MG]iB")).wait_for()  # the device's capacity is marked


def test_the_peak_is_clicked_for_what_is_alive_and_why(page, exported):
    timeline = exported[0].simulate(plan_of(exported, shown(page)))
    page.get_by_role("button", name=re.compile("^Peak .* what is alive here and why")).click()
    panel = page.get_by_role("tabpanel", name=re.compile("Alive at step"))
    panel.get_by_text(re.compile(rf"step {timeline.peak_step + 1} of {len(timeline.phases)}, ")).wait_for()
    names = panel.locator("tbody tr td:first-child").all_inner_texts()
    largest = [block.label for block in timeline.at_peak()]
    assert set(names[:5]) <= {*largest, *(category.label for category in timeline.static_bytes)}
    panel.get_by_text(re.compile(r"showing 50 of \d+ blocks|^\d+ blocks$")).wait_for()
    assert "kept for the backward pass, until" in panel.inner_text()


def test_a_table_row_selects_its_node_and_the_node_marks_its_life(page):
    page.get_by_role("tab", name="Alive at the peak").click()
    panel = page.get_by_role("tabpanel", name=re.compile("Alive at"))
    panel.get_by_role("button", name="layer1.0.conv1/aten.convolution#0").first.click()
    page.get_by_role("region", name="Selected value").get_by_text("layer1.0.conv1/aten.convolution#0").wait_for()
    assert page.locator(".rv-lives rect").count() >= 1
    assert panel.locator("tr.rv-picked-row").count() >= 1
    before = picture(page)
    panel.get_by_role("button", name="Only kept values").first.click()
    panel.get_by_role("button", name="Remove the filter kept values").wait_for()
    assert picture(page) != before, "the landscape shows the other categories faded"


def test_scrubbing_by_keyboard_goes_step_by_step_and_escape_leaves(page, exported):
    steps = len(exported[0].simulate(plan_of(exported, shown(page))).phases)
    scrubber = page.get_by_label("Step of the schedule")
    scrubber.focus()
    page.keyboard.press("Home")
    assert scrubber.get_attribute("aria-valuetext").startswith(f"step 1 of {steps}, forward")
    faded = page.get_by_text("faded: not in memory at this step")
    assert faded.is_visible()
    page.keyboard.press("ArrowRight")
    page.get_by_role("tab", name="Alive at step 2").wait_for()
    page.keyboard.press("End")
    page.get_by_role("tab", name=f"Alive at step {steps}").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("tab", name="Alive at the peak").wait_for()
    assert not faded.is_visible()
    page.locator(".rv-nodes [data-v]").first.click()
    selected_card(page).wait_for()
    assert page.locator(".rv-card strong wbr").count() > 0  # a long name is broken at its parts only


def test_playing_runs_through_the_schedule_until_paused(page):
    page.get_by_role("button", name="Speed 1×").click()
    place = page.get_by_role("button", name="Play").bounding_box()
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("document.querySelector('.rv-explorer').recompviz.state.step > 5")
    assert page.get_by_role("button", name="Pause").bounding_box() == place  # no button moves under the pointer
    page.get_by_role("button", name="Pause").click()
    at = page.evaluate("document.querySelector('.rv-explorer').recompviz.state.step")
    page.get_by_role("button", name="Step back").click()
    page.get_by_role("tab", name=f"Alive at step {at}").wait_for()


def test_a_plan_is_chosen_in_the_table_of_plans(page, exported):
    panel = page.get_by_role("tabpanel", name="Plans")
    panel.get_by_role("button", name=re.compile("^Show the plan chen, ")).click()
    assert plan_of(exported, shown(page)).kind == "chen"
    assert panel.locator("tr.rv-picked-row").inner_text().startswith("chen")


def test_a_baseline_is_a_point_to_choose_and_to_go_back_from(page, exported):
    page.get_by_label("Budget in total bytes").press("End")
    page.keyboard.press("ArrowLeft")
    before = shown(page)
    page.get_by_role("button", name=re.compile("^baseline chen: .* total bytes")).press("Enter")
    assert plan_of(exported, shown(page)).kind == "chen"
    page.get_by_role("button", name=re.compile("^earlier choice 1: ")).press("Enter")
    assert shown(page) == before


def test_two_plans_are_compared_in_a_table(page, exported):
    page.get_by_role("tab", name="Compare").click()
    page.get_by_label("Compare the plan shown with").select_option(label="chen")
    panel = page.get_by_role("tabpanel", name="Compare")
    chen = next(p for p in exported[1]._selection.tables.table(2).plans if p.kind == "chen")
    joint = exported[1].planner.joint
    here, there = (ShownValues.of(joint, plan).states for plan in (plan_of(exported, shown(page)), chen))
    panel.get_by_text(f"{(here != there).sum()} values differ").wait_for()
    assert page.locator(".rv-rival").get_attribute("d").startswith("M")
    page.locator(".rv-legend").get_by_text("compared with chen").wait_for()
    here, there = re.search(
        r"kept values, at most at once ([\d.]+) MiB, the other ([\d.]+) MiB", panel.inner_text()
    ).groups()
    assert 0 < float(there) < float(here) < 1024
    assert "formula" not in panel.inner_text()
    table = panel.get_by_role("table")
    assert table.is_visible()
    page.get_by_label("Compare the plan shown with").select_option(label="nothing")
    table.wait_for(state="hidden")
    offered = page.get_by_label("Compare the plan shown with").locator("option").all_inner_texts()
    assert offered.count("keep-all") == 1
    assert "keep all" not in offered


def test_a_comparison_keeps_the_step_that_was_chosen_and_fades_no_node(page):
    page.get_by_label("Step of the schedule").focus()
    page.keyboard.press("End")
    page.wait_for_function("document.querySelectorAll('.rv-node.rv-not-alive').length > 0")
    chosen = state(page, "step")
    page.get_by_role("tab", name="Compare").click()
    page.get_by_label("Compare the plan shown with").select_option(label="chen")
    page.wait_for_function("document.querySelectorAll('.rv-node.rv-only-first').length > 0")
    assert page.locator(".rv-node.rv-not-alive").count() == 0
    assert state(page, "step") == chosen > 0
    # a card beside the pointer would cover what differs: the line below the graph says what it is
    page.locator(".rv-nodes > g.rv-only-first").first.hover()
    page.locator(".rv-graph-reading").get_by_text("by the other plan recomputed").wait_for()
    assert not page.locator(".rv-card").is_visible()
    page.get_by_role("button", name="Step back").click()
    assert page.locator(".rv-node.rv-not-alive").count() == 0
    page.get_by_label("Compare the plan shown with").select_option(label="nothing")
    page.wait_for_function("document.querySelectorAll('.rv-node.rv-not-alive').length > 0")
    assert state(page, "step") == chosen - 1


@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_what_was_selected_elsewhere_is_scrolled_into_view(page, motion):
    page.emulate_media(reduced_motion=motion)
    page.set_viewport_size({"width": 1280, "height": 560})
    place = """selector => [...document.querySelectorAll(selector)].map((e) => e.getBoundingClientRect())
        .filter((r) => r.top >= 0 && r.bottom <= innerHeight).map((r) => [r.x + r.width / 2, r.y + r.height / 2])[0]"""
    still = """() => new Promise((done) => { let last = -1;
        const look = () => (scrollY === last ? done(scrollY) : ((last = scrollY), setTimeout(look, 120))); look(); })"""
    page.get_by_label("Search values by name, operator or size").fill("conv2")
    page.evaluate("scrollTo(0, 120)")  # the graph is below the fold
    page.keyboard.press("Enter")
    page.wait_for_function(place, arg=".rv-node.rv-picked")
    assert page.evaluate(still) > 120
    page.get_by_role("tab", name="Alive at the peak").click()
    panel = page.get_by_role("tabpanel", name=re.compile("Alive at"))
    panel.get_by_role("button", name="layer1.0.conv1/aten.convolution#0").first.click()
    page.wait_for_function(place, arg=".rv-node.rv-picked")
    before = page.evaluate(still)
    page.mouse.click(*page.evaluate(place, ".rv-nodes > [data-v]:not(.rv-picked)"))
    page.wait_for_timeout(300)
    assert page.evaluate(still) == before, "the reader clicked a box that was seen"


def test_a_plan_is_saved_and_loaded_back(page, exported, tmp_path):
    first = shown(page)
    page.get_by_role("tab", name="Save and share").click()
    with page.expect_download() as got:
        page.get_by_role("button", name="Plan (JSON)").click()
    path = tmp_path / "plan.json"
    got.value.save_as(path)
    plan = Plan.from_json(exported[0].graph, path.read_text())
    assert (plan.keep_mask == plan_of(exported, first).keep_mask).all()
    page.get_by_label("Budget in total bytes").press("Home")
    assert shown(page) != first
    page.get_by_label("Plan to load").set_input_files(path)
    page.get_by_text("plan loaded").wait_for()
    assert shown(page) == first
    path.write_text(json.dumps(json.loads(path.read_text()) | {"fingerprint": "f" * 64}))
    page.get_by_label("Plan to load").set_input_files(path)
    page.get_by_text(re.compile("made for graph ffff")).wait_for()


# the left and the right edge of all boxes of the graph in a picture, and its width
PLACE_OF_GRAPH = """() => {
    const names = [...document.querySelectorAll("svg svg text")].filter((text) => text.textContent === "conv");
    const boxes = [...names[0].parentNode.parentNode.children].map((group) => group.getBoundingClientRect());
    const { left, width } = document.querySelector("svg").getBoundingClientRect();
    return [Math.min(...boxes.map((b) => b.left)) - left, Math.max(...boxes.map((b) => b.right)) - left, width];
}"""


def test_pictures_of_the_view_are_saved(page, tmp_path):
    page.locator(".rv-nodes > g").first.click()
    page.get_by_role("region", name="Selected value").wait_for()
    page.get_by_role("tab", name="Save and share").click()
    for name, start in (("SVG", b"<svg"), ("PNG", b"\x89PNG")):
        with page.expect_download() as got:
            page.get_by_role("button", name=f"Picture ({name})").click()
        path = tmp_path / name
        got.value.save_as(path)
        assert path.read_bytes().startswith(start)
        assert path.stat().st_size > 20_000
    drawing = (tmp_path / "SVG").read_text()
    assert f'href="{picture(page)}"' in drawing  # the bars of the landscape
    legend = page.locator(".rv-legend .rv-legend-item").all_inner_texts()
    assert len(legend) > 3
    words = "\n".join(legend).split("\n")  # the names of the parts of the model have their own lines
    for text in [*words, page.locator(".rv-tile-total .rv-tile-value").inner_text(), "Will it fit?"]:
        assert f">{text}</text>" in drawing
    for text in ("Fit", "Paper's view", "must be kept (K)", "Copy the code"):  # of buttons and of the inspector
        assert f">{text}</text>" not in drawing
    # nor what can be done on the page
    assert not re.search(
        r"hover a bar|drag to zoom|click|under the pointer", re.sub(r"<title>.*?</title>", "", drawing)
    )
    assert all("display:none" in tag for tag in re.findall(r"<tspan[^>]*>[^<]*what is alive", drawing))
    texts = [text for text in ET.fromstring(drawing).iter("{http://www.w3.org/2000/svg}text") if text.text]
    height = {text.text: float(text.get("y")) for text in texts if re.fullmatch(r"[\d.]+", text.get("y", ""))}
    (least,) = [y for text, y in height.items() if text.startswith(("least found", "least feasible"))]
    (limit,) = [y for text, y in height.items() if text.startswith("What limits the least")]
    assert 0 < limit - least < 24  # no gap where the page has a slider
    assert page.get_by_role("button", name="Paper's view").is_visible()
    assert drawing.count("<linearGradient") >= 1  # the hatched swatch of recomputed values
    assert "text-decoration" not in drawing  # nothing in a picture can be clicked
    assert page.get_by_role("slider").count() >= 2
    assert drawing.count("<circle") <= page.locator(".rv-explorer svg circle").count()  # no thumbs of sliders
    # the graph takes the place of the inspector, too
    place = page.context.new_page()
    place.set_content(drawing)
    left, right, width = place.evaluate(PLACE_OF_GRAPH)
    assert abs(left - (width - right)) < 8
    place.close()


# the number of boxes of the graph in a picture, and of those that are not wholly inside of it
# the numbers of a rectangle have the precision of a float of four bytes: 0.00001 px at a width of 400 px
OUTSIDE_OF_PICTURE = """() => {
    const rounding = 0.001;
    const names = [...document.querySelectorAll("svg svg text")].filter((text) => text.textContent === "conv");
    const boxes = [...names[0].parentNode.parentNode.children].map((group) => group.firstChild.getBoundingClientRect());
    const pane = names[0].closest("svg").getBoundingClientRect();
    const whole = document.querySelector("svg").getBoundingClientRect();
    const into = (b, p) => Math.min(b.left - p.left, p.right - b.right, b.top - p.top, p.bottom - b.bottom);
    const seen = (b) => into(b, pane) >= -rounding && into(b, whole) >= -rounding;
    return [boxes.length, boxes.filter((b) => !seen(b)).length];
}"""


@pytest.mark.parametrize("mode", ["Wrapped like a text", "Left to right", "Top down"])
def test_a_picture_contains_the_whole_graph_also_where_the_page_shows_its_start(page, tmp_path, mode):
    page.set_viewport_size({"width": 420, "height": 900})
    page.get_by_role("button", name="Collapse all modules").click()
    closed = page.locator(".rv-nodes [data-m]")
    while closed.count():
        closed.first.focus()
        page.keyboard.press("Enter")
    page.get_by_role("button", name=mode).click()
    pane = page.locator(".rv-graph")
    before = [pane.bounding_box()["height"], page.locator(".rv-world").get_attribute("transform")]
    page.get_by_role("tab", name="Save and share").click()
    with page.expect_download() as got:
        page.get_by_role("button", name="Picture (SVG)").click()
    got.value.save_as(tmp_path / "picture.svg")
    place = page.context.new_page()
    place.set_content((tmp_path / "picture.svg").read_text())
    boxes, outside = place.evaluate(OUTSIDE_OF_PICTURE)
    place.close()
    assert (boxes, outside) == (page.locator(".rv-nodes > g").count(), 0)
    page.wait_for_function("!document.querySelector('.rv-picture')")
    page.wait_for_function("height => document.querySelector('.rv-graph').offsetHeight === height", arg=before[0])
    assert page.locator(".rv-world").get_attribute("transform") == before[1]


def test_a_picture_with_a_selected_value_fades_no_box_in_the_paper_s_view(page, tmp_path):
    page.get_by_role("button", name="Paper's view").click()
    page.locator(".rv-nodes > g").nth(2).click()
    page.get_by_role("region", name="Selected value").wait_for()
    faint = page.locator(".rv-node.rv-outside")
    page.get_by_role("tab", name="Save and share").click()
    assert faint.count() > 3  # outside of the lower set of the value
    with page.expect_download() as got:
        page.get_by_role("button", name="Picture (SVG)").click()
    got.value.save_as(tmp_path / "picture.svg")
    drawing = ET.parse(tmp_path / "picture.svg")
    boxes = [group for group in drawing.iter("{http://www.w3.org/2000/svg}g") if group.get("role") == "graphics-symbol"]
    assert len(boxes) == page.locator(".rv-nodes > g").count()
    assert not [box for box in boxes if re.search(r"(^|;)opacity:", box.get("style"))]
    page.wait_for_function("!document.querySelector('.rv-picture')")
    faint.nth(3).wait_for()  # the page shows the lower set again


# the places of the boxes, the camera, and what the minimap shows
VIEW_OF_GRAPH = """() => {
    const told = (one) => [...one.attributes].map(({ name, value }) => `${name}=${value}`).sort();
    const names = [".rv-nodes > g", ".rv-world", ".rv-minimap-window"];
    return names.map((name) => [...document.querySelectorAll(name)].map(told).join()).join();
}"""


def test_a_picture_has_names_where_opened_modules_have_made_the_graph_wide_and_the_page_stays_as_it_was(page, tmp_path):
    page.set_viewport_size({"width": 640, "height": 900})
    page.get_by_role("button", name="Collapse all modules").click()
    closed = page.locator(".rv-nodes [data-m]")
    while closed.count():
        closed.last.focus()
        page.keyboard.press("Enter")
    page.get_by_role("tab", name="Save and share").click()
    page.wait_for_function("document.getAnimations().length === 0")
    before = page.evaluate(VIEW_OF_GRAPH)
    with page.expect_download() as got:
        page.get_by_role("button", name="Picture (SVG)").click()
    got.value.save_as(tmp_path / "picture.svg")
    drawing = ET.parse(tmp_path / "picture.svg")
    boxes = [group for group in drawing.iter("{http://www.w3.org/2000/svg}g") if group.get("role") == "graphics-symbol"]
    names = [box.find("{http://www.w3.org/2000/svg}text") for box in boxes]
    assert len(names) == page.locator(".rv-nodes > g").count()
    assert not [name.text for name in names if "display:none" in name.get("style")]
    page.wait_for_function("!document.querySelector('.rv-picture')")
    page.wait_for_function(f"before => ({VIEW_OF_GRAPH})() === before", arg=before)


MARKS = ["only-first", "only-second", "not-alive", "outside", "in-segment", "pin-keep", "pin-recompute", "hit", "step"]


@pytest.mark.parametrize("mark", [*MARKS, "only-first rv-not-alive"])
def test_the_outline_of_the_selected_value_is_seen_under_every_other_mark(page, mark):
    page.locator(".rv-nodes > g").nth(2).click()
    page.locator(".rv-node.rv-picked").wait_for()
    outline = """mark => {
        const group = document.querySelector(".rv-node.rv-picked");
        const read = () => {
            const { stroke, strokeWidth, strokeDasharray, strokeOpacity, opacity } = getComputedStyle(group.firstChild);
            return [stroke, strokeWidth, strokeDasharray, strokeOpacity, opacity, getComputedStyle(group).opacity];
        };
        group.style.transition = "none";
        const alone = read();
        group.setAttribute("class", `${group.getAttribute("class")} rv-${mark}`);
        return [alone, read()];
    }"""
    alone, marked = page.evaluate(outline, mark)
    assert alone == marked
    assert alone[1:] == ["3.4px", "none", "1", "1", "1"]


def test_the_hover_text_of_a_closed_module_says_what_it_is(page):
    page.get_by_role("button", name="Collapse all modules").click()
    said = page.locator(".rv-canvas > title")
    module = page.locator(".rv-nodes [data-m]").first
    module.hover()
    assert said.text_content() == module.get_attribute("aria-label")
    page.locator(".rv-nodes [data-v]").first.hover()  # a value has a card
    assert said.text_content() == ""


def test_a_graph_that_is_much_wider_than_the_view_opens_by_module(chromium, exported):
    for wide, modules in ((1280, False), (420, True)):
        context = chromium.new_context(viewport={"width": wide, "height": 900}, offline=True)
        page = context.new_page()
        page.goto(exported[2].as_uri())
        page.locator(".rv-graph[data-shown]").wait_for()
        shown_as = page.locator(".rv-graph").get_attribute("data-shown")
        assert (shown_as != "all") == modules, wide
        if modules:
            page.get_by_role("button", name="Expand all modules").click()  # the reader may still see every value
            page.locator(".rv-graph[data-shown=all]").wait_for()
        context.close()


@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_opening_a_module_moves_the_boxes_unless_the_reader_wants_no_motion(chromium, exported, motion):
    context = chromium.new_context(viewport={"width": 1280, "height": 1100}, offline=True, reduced_motion=motion)
    page = context.new_page()
    page.goto(exported[2].as_uri())
    page.get_by_role("button", name="Collapse all modules").click()
    box = page.locator(".rv-nodes [data-m]").first
    m = box.get_attribute("data-m")
    page.wait_for_function("document.getAnimations().length === 0")
    first = page.locator(".rv-nodes [data-v]").first
    before = first.bounding_box()
    moving = box.evaluate("""box => {
        const { x, y, width, height } = box.getBoundingClientRect();
        const at = { clientX: x + width / 2, clientY: y + height / 2, bubbles: true, pointerId: 1, button: 0 };
        box.dispatchEvent(new PointerEvent("pointerdown", at));
        box.dispatchEvent(new PointerEvent("pointerup", at));
        return document.getAnimations().length;
    }""")
    page.locator(f".rv-frame-head[data-m='{m}']").wait_for()
    assert (moving > 0) == (motion == "no-preference")
    page.wait_for_function("document.getAnimations().length === 0")
    assert abs(first.bounding_box()["x"] - before["x"]) < 400  # what was there is still about there
    context.close()


def letters(page):
    """The heights of all letters of the graph on the screen, in pixels."""
    return page.evaluate("""() => [...document.querySelectorAll(".rv-graph text")]
        .filter((text) => text.textContent && text.getBoundingClientRect().width)
        .map((text) => parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a)""")


def test_letters_of_the_graph_are_legible_or_left_out_with_a_hint(page):
    page.set_viewport_size({"width": 1140, "height": 720})
    graph = page.get_by_role("toolbar", name="Graph")
    hint = page.get_by_text("too small for names: zoom in")
    for name in ("Expand all modules", "Fit the graph", "Collapse all modules", "Top down", "Fit the graph"):
        graph.get_by_role("button", name=name).click()
        page.wait_for_function("document.getAnimations().length === 0")
        assert min(letters(page), default=11) >= 10.99
        labels = page.locator(".rv-nodes [data-v] text").evaluate_all(
            "all => all.map((t) => getComputedStyle(t).display)"
        )
        assert hint.count() == ("none" in labels)
    for _ in range(12):
        graph.get_by_role("button", name="Zoom out").click()
        assert min(letters(page), default=11) >= 10.99
        border = page.locator(".rv-nodes .rv-recompute").first.evaluate("box => getComputedStyle(box).stroke")
        assert (border == "none") == (page.locator(".rv-canvas.rv-plain").count() == 1)
    assert letters(page) == []


def test_the_landscape_reads_colours_of_the_page_by_name(page):
    pixels = """async ground => {
        const root = document.documentElement;
        root.style.setProperty("--jp-layout-color0", ground);
        for (const light of ["false", "true"]) {
            root.setAttribute("data-jp-theme-light", light);
            await new Promise((done) => setTimeout(done, 300));
        }
        return document.querySelector("canvas.rv-landscape").toDataURL();
    }"""
    white = page.evaluate(pixels, "white")
    assert white == page.evaluate(pixels, "#ffffff")
    assert white != page.evaluate(pixels, "black")


def test_the_picture_of_a_saved_notebook_follows_the_theme_of_the_lab(chromium, exported):
    page = chromium.new_page()
    pictures = {}
    for light in ("true", "false"):
        ground = 'style="background: #888"'  # the picture has none
        page.set_content(f"<body data-jp-theme-light={light} {ground}>{NO_MESSAGE}{exported[1]._image()}</body>")
        page.wait_for_function("document.images[0].complete")
        pictures[light] = page.locator("img").screenshot()
    page.close()
    assert pictures["true"] != pictures["false"]


@pytest.mark.parametrize(("system", "light"), [("light", "true"), ("dark", "false")])
def test_a_page_from_python_has_the_theme_of_the_system(chromium, exported, system, light):
    context = chromium.new_context(color_scheme=system, offline=True)
    page = context.new_page()
    page.goto(exported[2].as_uri())
    page.locator(f"html[data-jp-theme-light={light}] .rv-explorer").wait_for()
    context.close()


PLACES = """() => {
    const texts = [...document.querySelectorAll(".rv-nodes text")]
        .map((one) => [one.textContent, one.getClientRects().length]);
    const around = [".rv-graph", ".rv-graph-legend", ".rv-fit", ".rv-timeline"].map((name) => {
        const box = document.querySelector(name).getBoundingClientRect();
        return [box.width, box.height];
    });
    return [document.querySelector(".rv-world").getAttribute("transform"), texts, around];
}"""


@pytest.mark.parametrize("wide", [700, 848, 1000, 1200])
@pytest.mark.parametrize("modules", [True, False])
def test_a_selection_changes_nothing_in_the_graph_and_its_card_covers_no_box(page, wide, modules):
    page.set_viewport_size({"width": wide + 32, "height": 900})
    if modules:
        page.get_by_role("button", name="Collapse all modules").click()
    page.get_by_role("button", name="Fit the graph").click()
    page.mouse.move(5, 5)
    page.wait_for_timeout(200)  # until the graph is fitted to the window, and the boxes have moved there
    before = page.evaluate(PLACES)
    page.locator(".rv-nodes > g[data-v]").last.click()
    selected_card(page).wait_for()
    page.mouse.move(5, 5)
    page.wait_for_timeout(100)
    assert page.evaluate(PLACES) == before
    card = selected_card(page).bounding_box()
    covered = """({ x, y, width, height }) => [...document.querySelectorAll(".rv-nodes > g")]
        .map((box) => box.getBoundingClientRect())
        .filter((box) => box.right > x && box.left < x + width && box.bottom > y && box.top < y + height).length"""
    assert page.evaluate(covered, card) == 0
    height = card["height"]
    page.locator(".rv-nodes > g[data-v]").first.hover()  # another value is read there
    page.wait_for_timeout(200)
    assert page.get_by_role("region", name="Selected value").bounding_box()["height"] == height
    page.keyboard.press("Escape")
    selected_card(page).wait_for(state="hidden")
    page.mouse.move(5, 5)
    page.wait_for_timeout(100)
    assert page.evaluate(PLACES) == before


def test_the_close_button_of_the_card_deselects(page):
    page.locator(".rv-nodes > g[data-v='20']").click()
    selected_card(page).get_by_role("button", name="Close: deselect this value").click()
    selected_card(page).wait_for(state="hidden")
    assert state(page, "selected") == -1


def test_the_card_of_a_clicked_box_is_seen(page):
    page.set_viewport_size({"width": 1280, "height": 640})
    page.locator(".rv-graph").evaluate(
        "graph => scrollTo(0, scrollY + graph.getBoundingClientRect().bottom - innerHeight)"
    )
    page.locator(".rv-nodes > g[data-v='20']").click()
    page.wait_for_function(
        "document.querySelector('.rv-card.rv-selected')?.getBoundingClientRect().bottom < innerHeight"
    )
    assert page.locator(".rv-nodes > g[data-v='20']").bounding_box()["y"] >= 0


def crosshair(page):
    """The x of the line of the step under the pointer, in the window; and its reading."""
    return page.evaluate(
        """() => {
            const line = document.querySelector(".rv-crosshair");
            const seen = line.getAttribute("visibility") === "visible";
            const reading = document.querySelector(".rv-readout");
            return [seen ? line.getBoundingClientRect().x : null, reading.checkVisibility() ? reading.textContent : ""];
        }"""
    )


def test_what_is_under_a_pointer_at_rest_follows_the_drawing(page):
    chart, box, (x, y) = landscape(page)
    at = lambda: crosshair(page)[0]  # noqa: E731
    near = lambda: abs(at() - x) < 25  # noqa: E731 (a place of a zoomed step is wider than a pixel)
    page.mouse.move(box["x"] + box["width"] * 0.3, y)
    page.mouse.down()
    page.mouse.move(x, y, steps=3)
    assert at() is None, "a stretch is under the pointer, and no step"
    page.mouse.up()
    assert near()
    zoomed = crosshair(page)[1]
    tip = page.locator(".rv-tip")
    page.mouse.dblclick(x, y)
    assert near()
    assert crosshair(page)[1] != zoomed
    page.get_by_label("Budget in total bytes").focus()
    page.keyboard.press("Home")  # another plan, whose steps have other numbers
    shown(page)
    page.wait_for_function(
        "([x]) => Math.abs(document.querySelector('.rv-crosshair').getBoundingClientRect().x - x) < 12", arg=[x]
    )
    steps = page.evaluate("document.querySelector('.rv-readout').textContent.match(/\\/(\\d+) /)[1]")
    assert tip.inner_text().split("\n")[1].endswith(f"of {steps}")
    page.locator(".rv-explorer").evaluate(
        "view => (view.style.width = '900px')"
    )  # the chart moves away below the pointer, or not
    page.wait_for_timeout(200)
    now = chart.bounding_box()
    inside = now["x"] + 58 <= x < now["x"] + now["width"] - 14 and now["y"] <= y <= now["y"] + now["height"]
    assert near() if inside else at() is None
    page.locator(".rv-explorer").evaluate("view => view.removeAttribute('style')")
    page.wait_for_timeout(200)
    # a step chosen by a key is read, although the pointer rests on another one
    page.mouse.move(x + 3, y)
    chart.focus()
    page.keyboard.press("Home")
    assert crosshair(page)[0] is None
    assert crosshair(page)[1].startswith("step 1/")
    assert not tip.is_visible()
    page.mouse.move(x + 5, y)
    assert abs(at() - x - 5) < 12


def test_the_value_under_the_pointer_looks_other_than_the_selected_one(page):
    _, box, (x, y) = landscape(page)
    page.mouse.click(x, y)
    selected = state(page, "selected")
    assert selected >= 0
    page.mouse.move(x, box["y"] + box["height"] * 0.78)
    page.wait_for_function("document.querySelector('.rv-node.rv-hovered')")
    picked, hovered = page.locator(".rv-node.rv-picked"), page.locator(".rv-node.rv-hovered")
    assert (picked.count(), hovered.count()) == (1, 1)
    assert picked.get_attribute("data-v") == str(selected) != hovered.get_attribute("data-v")
    name = page.locator(".rv-tip-title").inner_text()
    assert hovered.get_attribute("aria-label").startswith(name)
    outlines = "box => { const s = getComputedStyle(box.firstChild); return [s.strokeWidth, s.outlineStyle]; }"
    assert picked.evaluate(outlines)[1] == "none"
    assert hovered.evaluate(outlines)[1] == "solid"
    assert picked.evaluate(outlines)[0] != hovered.evaluate(outlines)[0]
    page.mouse.move(5, 5)
    page.wait_for_function("!document.querySelector('.rv-node.rv-hovered')")
    assert picked.count() == 1
    legend = page.locator(".rv-graph-legend")
    for text in ("selected", "under the pointer", "runs at the step read"):
        assert legend.get_by_text(text, exact=True).is_visible()


@pytest.mark.parametrize("ask", ["peak", "limit"])
@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_a_table_that_answers_a_click_is_scrolled_into_view_and_there_is_a_way_back(page, ask, motion):
    page.emulate_media(reduced_motion=motion)
    page.set_viewport_size({"width": 1280, "height": 600})
    asked = {
        "peak": page.get_by_role("button", name=re.compile("^Peak .* what is alive here and why")),
        "limit": page.locator(".rv-binds"),
    }[ask]
    asked.scroll_into_view_if_needed()
    still = """() => new Promise((done) => { let last = -1;
        const look = () => (scrollY === last ? done(scrollY) : ((last = scrollY), setTimeout(look, 120))); look(); })"""
    before = page.evaluate(still)
    asked.click()
    after = page.evaluate(still)
    assert after > before
    table = page.get_by_role("tabpanel", name=re.compile("Alive at"))
    place = table.bounding_box()
    assert place["y"] >= 0
    assert place["y"] + place["height"] <= 600
    back = page.get_by_role("button", name="↑ back")
    back.click()
    assert abs(page.evaluate(still) - before) <= 1
    assert not back.is_visible()


def test_full_screen_fits_the_graph_anew_unless_the_reader_zoomed(page):
    page.set_viewport_size({"width": 1000, "height": 800})
    toolbar = page.get_by_role("toolbar", name="Graph")
    toolbar.get_by_role("button", name="Collapse all modules").click()
    page.locator(".rv-nodes > g[data-m]").first.click()  # a module is opened in its place
    world = page.locator(".rv-world")
    full = page.get_by_role("button", name="Full screen")

    def fitted():
        seen = world.get_attribute("transform")
        toolbar.get_by_role("button", name="Fit the graph").click()
        page.wait_for_timeout(100)
        return seen == world.get_attribute("transform")

    for on in (True, False):
        full.click()
        page.wait_for_function("on => Boolean(document.fullscreenElement) === on", arg=on)
        if on:
            page.set_viewport_size({"width": 1400, "height": 800})  # a headless browser has no screen
        else:
            page.set_viewport_size({"width": 1000, "height": 800})
        page.wait_for_timeout(400)
        boxes = page.evaluate(
            "[...document.querySelectorAll('.rv-nodes > g')].map((box) => box.getBoundingClientRect().toJSON())"
        )
        pane = page.locator(".rv-graph").bounding_box()
        left, right = (
            min(box["left"] for box in boxes) - pane["x"],
            pane["x"] + pane["width"] - max(box["right"] for box in boxes),
        )
        assert abs(left - right) < 40  # in the middle of the pane
        assert fitted()
    toolbar.get_by_role("button", name="Zoom in").click()
    zoomed = world.get_attribute("transform").split("scale")[1]
    page.set_viewport_size({"width": 1300, "height": 800})
    page.wait_for_timeout(300)
    assert world.get_attribute("transform").split("scale")[1] == zoomed
    full.click()
    page.wait_for_function("Boolean(document.fullscreenElement)")
    page.locator(".rv-explorer").dispatch_event(
        "keydown", {"key": "Escape", "bubbles": True}
    )  # of a host that leaves it to the page
    page.wait_for_function("!document.fullscreenElement")


def test_a_longer_sentence_of_the_fit_moves_nothing_and_is_read_in_full(page):
    graph = page.locator(".rv-graph")
    for wide in (700, 848, 1000, 1248):
        page.locator(".rv-explorer").evaluate("(view, wide) => (view.style.width = `${wide}px`)", wide)
        page.wait_for_timeout(150)
        before = graph.bounding_box()["y"]
        sentence = page.locator(".rv-fit-sentence")
        sentence.evaluate("one => (one.textContent += '; computed from the step traced at batch 8, length 128')")
        assert graph.bounding_box()["y"] == before
        sentence.evaluate("one => (one.textContent = 'short')")
        assert graph.bounding_box()["y"] == before
        sentence.evaluate("one => (one.textContent = 'a very long sentence '.repeat(60))")
        assert graph.bounding_box()["y"] == before
        assert sentence.evaluate("one => { one.scrollTop = 1e4; return one.scrollTop > 0; }")


def test_the_plan_shown_first_can_be_chosen_again(page):
    first = shown(page)
    page.get_by_label("Budget in total bytes").focus()
    page.keyboard.press("Home")
    assert shown(page) != first
    page.get_by_role("button", name=re.compile("^the plan shown first: ")).click()
    assert shown(page) == first


def test_an_error_of_a_typed_budget_moves_neither_curve_nor_graph(page):
    places = """() => [".rv-budget .rv-chart", ".rv-budget .rv-slider", ".rv-fit", ".rv-graph"].map((name) => {
        const box = document.querySelector(name).getBoundingClientRect();
        return [name, box.x, box.y, box.height];
    })"""
    field = page.get_by_label("Budget, typed")
    for wide in (1248, 848):
        page.locator(".rv-explorer").evaluate("(view, wide) => (view.style.width = `${wide}px`)", wide)
        page.wait_for_function(AXIS, arg=wide)
        page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")  # painted
        before = page.evaluate(places)
        for text in ("abc", "1 KiB", "-5 MiB", "500 GiB"):
            field.fill(text)
            field.press("Enter")
            page.locator(".rv-budget-note:not([hidden])").wait_for()
            moved = [(one, other) for one, other in zip(before, page.evaluate(places), strict=True) if one != other]
            assert moved == [], text
        field.fill("60%")
        field.press("Enter")
        page.locator(".rv-budget-note").wait_for(state="hidden")


def test_the_sentence_keeps_the_height_that_it_once_needed(page):
    page.set_viewport_size({"width": 880, "height": 900})
    slider = page.get_by_label("Budget in total bytes")
    slider.focus()
    high = 0
    for key in ("End", "Home", *["PageUp"] * 6, "End"):
        page.keyboard.press(key)
        shown(page)
        page.wait_for_timeout(60)
        height = page.locator(".rv-fit-sentence").bounding_box()["height"]
        assert height >= high
        high = height
    assert high > 20  # of two lines, which the sentence for keep-all does not need


def test_plans_of_one_kind_have_names_of_their_own(page):
    page.get_by_label("Budget, typed").fill("70%")
    page.get_by_label("Budget, typed").press("Enter")
    names = page.get_by_role("tabpanel", name="Plans").locator("tbody tr td:first-child").all_inner_texts()
    assert len(names) > 4
    assert len(set(names)) == len(names)


def test_a_closed_module_says_its_bytes_of_both_kinds(page):
    page.get_by_role("button", name="Collapse all modules").click()
    facts = page.locator(".rv-box-fact")
    assert any("kept" in text for text in facts.all_text_contents())
    page.locator(".rv-colour select").select_option("bytes")
    assert all(re.search(r"^[\d.]+ \w+(, [\d.]+( \w+)? held)?$", text) for text in facts.all_text_contents())
    page.locator(".rv-graph-legend").get_by_text("all values; held: for the backward pass").wait_for()
    page.locator(".rv-colour select").select_option("time")
    assert all(re.search(r"^[\d.e+]+ ", text) for text in facts.all_text_contents())


def test_a_long_name_of_what_limits_the_budget_is_not_cut(page):
    page.set_viewport_size({"width": 880, "height": 900})
    cut = """text => {
        const link = document.querySelector(".rv-binds");
        link.textContent = text;
        return link.scrollWidth > link.clientWidth;
    }"""
    assert not page.evaluate(
        cut, f"What limits the least: model.{'the_only_linear_layer_of_this_model' * 3}.weight 16.0 KiB"
    )


def test_a_key_that_needs_a_kernel_says_so(page):
    page.locator(".rv-nodes [data-v]").first.click()
    page.keyboard.press("k")
    page.get_by_text("only a notebook can plan with pins").wait_for()
    assert page.locator(".rv-pin-keep").count() == 0
