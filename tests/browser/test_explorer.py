"""The Explorer in a real JupyterLab, offline, found by label as a person would."""

import base64
import re
from itertools import count

import pytest

pytestmark = pytest.mark.browser
questions = count()

# A module beside the notebook: a residual network without torch, since the widget layer is tested here.
RESIDUAL = """
import dataclasses, time
import recompviz as rv
from recompviz.core.steps.examples import residual_step
from recompviz.core.reports.run_report import RunReport
from recompviz.core.reports.step_times import StepTimes
from recompviz.widgets.explorer.resizing import Subject

planner = rv.Planner(*residual_step((1, 1, 1)))

class Runner:
    steps = 10

    def run(self, plan, progress):
        for i in range(self.steps):
            progress(i, self.steps, f"part {i}")
            time.sleep(0.05)
        if plan.keep_mask.all():
            raise MemoryError("could not allocate 3 GiB")
        simulated = planner.simulate(plan)
        more = simulated.delta.copy()
        more[0] += simulated.peak // 100
        measured = dataclasses.replace(simulated, delta=more, kind="measured")
        times = StepTimes((200.0,) * 8, (220.0,) * 8, 15.0, 190.0)
        return RunReport(plan, measured, "CPU", 0.5, True, "bitwise equal to eager", times=times)

runner = Runner()

class Axis:
    name, size, most = "batch", 8, 4096

class Resizer:
    axes = (Axis,)

    def at(self, sizes, progress):
        progress(1, 2, "tracing at another batch")
        time.sleep(0.3)
        other = planner if sizes["batch"] == 8 else rv.Planner(*residual_step((1, 1, 1), batch=sizes["batch"]))
        return Subject(other, runner if other is planner else None, "ms (scaled)")

options = dict(resizer=Resizer(), objectives=["time", "memory"], baselines=[], background=False, title="Residual net")
explorer = rv.Explorer(planner, runner, **options)
"""
EXPLORE = "import residual\nfrom residual import explorer\nexplorer"
# runs more than once in a kernel, and makes all objects anew
EXPLORE_AGAIN = "import importlib, residual\nimportlib.reload(residual)\nfrom residual import explorer\nexplorer"


@pytest.fixture
def page(show_notebook, jupyter):
    (jupyter.folder / "residual.py").write_text(RESIDUAL)
    return painted(show_notebook("explore.ipynb", EXPLORE_AGAIN))


@pytest.fixture
def own_page(open_notebook, jupyter):
    """A page of its own, for a test that ends the kernel."""
    (jupyter.folder / "residual.py").write_text(RESIDUAL)
    page = painted(open_notebook("own.ipynb", EXPLORE))
    yield page
    assert page.errors == []


def painted(page):
    """The page once its graph is drawn."""
    page.get_by_role("group", name="Explorer of Residual net").wait_for(timeout=120_000)
    page.locator(".rv-nodes .rv-keep").first.wait_for()
    page.locator(".rv-budget-foot").scroll_into_view_if_needed()
    return page


# the number of values that the plan of the kernel does not recompute
NOT_RECOMPUTED = (
    "int((__import__('recompviz.widgets.explorer.shown_values', fromlist=['_']).ShownValues"
    ".of(explorer.planner.joint, explorer.plan).states > 0).sum())"
)


def states(page):
    """For each box whether its value is not recomputed."""
    recomputed = "boxes => boxes.map(b => !b.classList.contains('rv-recompute'))"
    return page.eval_on_selector_all(".rv-nodes > g > rect", recomputed)


def paper_view(page):
    """Show lower sets, boundaries, segments, the formula and the paper's objectives, which the default view hides."""
    button = page.get_by_role("button", name="Paper's view")
    button.click()
    assert button.get_attribute("aria-pressed") == "true"


def slider(page):
    return page.get_by_label("Budget in total bytes")


def settled(page):
    """Wait until the kernel has confirmed the row that the page shows."""
    page.wait_for_function("document.querySelector('.rv-explorer').recompviz.state.confirmed")


def in_kernel(page, expression):
    """What the kernel says of an expression, asked in a new cell."""
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Insert a cell below").first.click()
    cell = page.locator(".jp-Notebook-cell").last
    cell.locator(".cm-content").click()
    tag = f"answer-{next(questions)}"
    page.keyboard.insert_text(f"print('{tag}', {expression})")
    page.keyboard.press("Shift+Enter")
    answer = page.locator(".jp-OutputArea-output pre", has_text=tag).last
    answer.wait_for(timeout=120_000)
    return answer.inner_text().removeprefix(tag).strip()


def test_the_graph_is_drawn_with_a_label_for_every_node(page):
    nodes = page.locator(".rv-nodes > g[role='graphics-symbol']")
    assert nodes.count() == len(states(page)) > 40
    assert re.search(r"(kept|recomputed), [\d.]+ [KMG]?i?B, value 1 of", nodes.first.get_attribute("aria-label"))
    assert page.get_by_text("total bytes", exact=True).first.is_visible()


def test_a_button_shows_the_view_on_the_full_screen_and_ends_this(page):
    button = page.get_by_role("button", name="Full screen")
    for shown in (True, False):
        button.click()
        page.wait_for_selector(f"[aria-label='Full screen'][aria-pressed='{str(shown).lower()}']")
        assert page.evaluate("Boolean(document.fullscreenElement?.querySelector('.rv-explorer'))") == shown


def drawn_again(page):
    """Let the view be drawn anew, as after a search."""
    page.evaluate(
        "document.activeElement.blur()"
    )  # Escape, which ends the editing of a cell, has a meaning in the view
    page.evaluate("document.querySelector('.rv-explorer').old = true")
    in_kernel(page, f"setattr(explorer, '_tables', {renamed()})")
    page.wait_for_function("!document.querySelector('.rv-explorer').old", timeout=20_000)


def renamed():
    """The tables with another name of a plan, as an expression in the kernel."""
    return f"[{{**t, 'names': ['better {next(questions)}', *t['names'][1:]]}} for t in explorer._tables]"


def drawn_again_soon(page, seconds=3):
    """The same from a thread of the kernel, for a page that shows no cells: what is seen until then can be set up."""
    page.evaluate("document.activeElement.blur()")
    page.evaluate("document.querySelector('.rv-explorer').old = true")
    set_ = f"lambda: setattr(explorer, '_tables', {renamed()})"
    in_kernel(page, f"__import__('threading').Timer({seconds}, {set_}).start()")


def test_full_screen_outlives_better_plans(page):
    drawn_again_soon(page)
    page.get_by_role("button", name="Full screen").click()
    page.wait_for_selector("[aria-label='Full screen'][aria-pressed='true']")
    page.evaluate("document.fullscreenElement.scrollTop = 150")
    place = page.evaluate("document.fullscreenElement.scrollTop")
    assert place > 0
    page.wait_for_function("!document.querySelector('.rv-explorer').old", timeout=20_000)
    page.wait_for_selector("[aria-label='Full screen'][aria-pressed='true']")
    assert (
        page.evaluate("document.fullscreenElement?.querySelector('.rv-explorer').getBoundingClientRect().width") > 1400
    )
    assert page.evaluate("document.fullscreenElement.scrollTop") == place
    page.get_by_role("button", name="Full screen").click()
    page.wait_for_function("!document.fullscreenElement")


def test_a_table_shows_whole_rows_and_says_how_many_follow(page):
    page.get_by_role("tab", name="Alive at the peak").click()
    page.wait_for_function("document.querySelector('.rv-tab-panel:not([hidden]) .rv-table-below').textContent")
    cut, below, text, plain = page.evaluate(
        """() => {
            const panel = document.querySelector('.rv-tab-panel:not([hidden])');
            const end = panel.querySelector('.rv-table-scroll').getBoundingClientRect().bottom;
            const rows = [...panel.querySelectorAll('tbody tr')];
            const boxes = rows.map((row) => row.getBoundingClientRect());
            const plain = rows.filter((row) => !row.querySelector('td:first-child .rv-link'));
            return [boxes.filter((box) => box.top < end - 1 && box.bottom > end + 1).length,
                boxes.filter((box) => box.bottom > end + 2).length,
                panel.querySelector('.rv-table-below').textContent,
                plain.map((row) => row.classList.contains('rv-pickable'))];
        }"""
    )
    assert cut == 0
    assert below > 0
    assert text == f"▾ {below} more row{'s' * (below > 1)} below"
    assert plain
    assert not any(plain)  # such as the parameters, which are no value of the graph


def test_better_plans_leave_zoom_filters_search_and_scrolled_tables(page):
    page.add_style_tag(content=".rv-table-scroll { max-height: 120px !important }")  # so that few rows are scrolled
    chart = page.get_by_role("group", name=re.compile("^Memory over"))
    chart.focus()
    for _ in range(2):
        page.keyboard.press("+")
    page.get_by_role("button", name="Speed 1×").click()
    page.get_by_role("tab", name="Alive at the peak").click()
    rows = page.locator(".rv-tab-panel:not([hidden]) .rv-table-scroll")
    whole = rows.locator("tbody tr").count()
    page.locator(".rv-legend button[data-category]", has_text="kept").click()
    page.wait_for_function(
        "n => document.querySelectorAll('.rv-tab-panel:not([hidden]) tbody tr').length < n", arg=whole
    )
    rows.evaluate("rows => (rows.scrollTop = 40)")
    search = page.get_by_label("Search values by name, operator or size")
    search.fill("conv")
    search.press("Enter")
    seen = """() => {
        const scrubber = document.querySelector('.rv-scrubber');
        return [scrubber.min, scrubber.max, document.querySelector('.rv-search-count').textContent,
            document.querySelectorAll('.rv-legend [aria-pressed=true]').length,
            document.querySelectorAll('.rv-tab-panel:not([hidden]) tbody tr').length,
            document.querySelector('.rv-tab-panel:not([hidden]) .rv-table-scroll').scrollTop];
    }"""
    before = page.evaluate(seen)
    assert int(before[1]) - int(before[0]) > 0
    assert page.get_by_role("button", name="Whole step").is_visible()
    assert before[2].startswith("1/")
    assert before[3] == 1
    assert before[5] > 0
    drawn_again(page)
    page.wait_for_function(f"before => JSON.stringify(({seen})()) === JSON.stringify(before)", arg=before)
    assert page.get_by_role("button", name="Whole step").is_visible()
    assert page.get_by_role("button", name="Speed 2×").is_visible()
    assert search.input_value() == "conv"


def test_better_plans_leave_the_lower_set_and_the_sizes_asked_for(page):
    paper_view(page)
    page.get_by_role("button", name="Browse the plan's lower sets").click()
    page.get_by_role("button", name="Next lower set").click()
    where = page.locator(".rv-sequence-where")
    before = where.inner_text()
    batch = page.get_by_role("group", name="Will it fit?").get_by_label("batch", exact=True)
    # an event without the end of the drag: the kernel has not been asked yet
    move = "slider => { slider.value = Number(slider.value) + 2; slider.dispatchEvent(new Event('input')); }"
    drawn_again_soon(page, 1)
    batch.evaluate(move)
    page.wait_for_function("!document.querySelector('.rv-explorer').old", timeout=20_000)
    assert where.inner_text() == before
    page.get_by_text("batch 16", exact=True).wait_for(timeout=20_000)
    page.locator(".rv-fit-sentence", has_text="batch 16").wait_for(timeout=20_000)
    page.wait_for_function("!document.querySelector('.rv-fit-working')", timeout=20_000)
    assert in_kernel(page, "explorer._sizes['now']") == "[16]"


def test_the_keyboard_keeps_its_place_and_the_caret(page):
    drawn_again_soon(page)
    search = page.get_by_label("Search values by name, operator or size")
    search.fill("conv")
    search.press("ArrowLeft")
    page.wait_for_function("!document.querySelector('.rv-explorer').old", timeout=20_000)
    assert page.evaluate("[document.activeElement.ariaLabel, document.activeElement.selectionStart]") == [
        "Search values by name, operator or size",
        3,
    ]
    drawn_again_soon(page)
    page.get_by_role("tab", name="Runs").click()  # it has no label but its text
    page.wait_for_function("!document.querySelector('.rv-explorer').old", timeout=20_000)
    assert page.evaluate("document.activeElement.textContent") == "Runs"


def test_steps_of_the_slider_are_one_earlier_choice(page):
    earlier = "document.querySelectorAll('.rv-point[aria-label^=\"earlier choice\"]').length"
    row = "document.querySelector('.rv-explorer').recompviz.state.row"
    first = page.evaluate(row)
    slider(page).focus()
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
    settled(page)
    assert page.evaluate(row) != first
    assert page.evaluate(earlier) == 0  # nobody chose the plan before the steps
    page.keyboard.press("End")
    page.wait_for_function(f"{earlier} === 1")  # the one that they ended at
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    settled(page)
    page.wait_for_function(f"{earlier} === 2")


def test_nothing_moves_when_the_code_is_copied(page):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    places = """() => ['.rv-fit', '.rv-fit-sentence', '.rv-bar', '.rv-graph', '.rv-drawer'].map((name) => {
        const box = document.querySelector(name).getBoundingClientRect();
        return [box.x, box.y, box.width, box.height];
    })"""
    fit = page.get_by_role("group", name="Will it fit?")
    code = fit.get_by_role("button", name="Copy the code")
    code.hover()
    before = page.evaluate(places)
    code.click()
    told = fit.get_by_text("copied: model")
    told.wait_for()
    assert page.evaluate(places) == before
    done = fit.get_by_role("button", name="✓ Copied")
    assert "model = rv.compile(model, total=" in done.get_attribute("title")
    covered = """sentence => {
        const box = sentence.getBoundingClientRect();
        return [0.02, 0.25, 0.5, 0.98].map((part) => {
            const there = document.elementFromPoint(box.x + part * box.width, box.y + box.height / 2);
            return there === sentence;
        });
    }"""
    assert all(fit.locator(".rv-fit-sentence").evaluate(covered))
    page.mouse.move(5, 5)
    page.keyboard.press("Shift")
    told.wait_for(state="hidden")
    code.wait_for()
    assert page.evaluate(places) == before


@pytest.mark.parametrize("wide", [700, 760, 800])
def test_in_a_narrow_view_tiles_and_buttons_wrap_into_tidy_lines(page, wide):
    view = page.locator(".rv-explorer")
    view.evaluate("(view, wide) => (view.style.width = `${wide}px`)", wide)
    settled(page)
    page.get_by_role("button", name="Step forward").click()  # one button more beside the title of the memory
    longest = """view => {
        const fill = (name, text) => (view.querySelector(name).textContent = text);
        fill(".rv-title strong", "UNetWithAttention, training step");
        fill(".rv-tile-overhead .rv-tile-value", "within noise");
        fill(".rv-tile-overhead .rv-tile-unit", "measured −7.1% to +6.6%");
        fill(".rv-tile-overhead .rv-tile-remark", "predicted +2.5%");
        view.querySelector(".rv-header").classList.add("rv-noise");
    }"""
    outside = """view => {
        const right = view.getBoundingClientRect().right;
        const cut = (one) => one.clientWidth && one.scrollWidth > one.clientWidth + 1;
        return [...view.querySelectorAll("button, .rv-tile, .rv-tile *, .rv-title strong")]
            .filter((one) => one.offsetWidth && (one.getBoundingClientRect().right > right || cut(one)))
            .map((one) => [one.className, one.textContent]);
    }"""
    alone = """([view, names]) => {
        const tops = [...view.querySelectorAll(names)].filter((one) => one.offsetWidth).map((one) => one.offsetTop);
        return tops.filter((top) => tops.filter((other) => Math.abs(other - top) < 12).length === 1).length;
    }"""
    for _ in range(2):  # also with the tile of the paper's view
        view.evaluate(longest)
        assert view.evaluate(outside) == []
        for names in (".rv-tile", ".rv-bar .rv-button"):
            assert page.evaluate(alone, [view.element_handle(), names]) == 0
        run, panel = (
            page.get_by_role("button", name="Run on").bounding_box(),
            page.locator(".rv-timeline").bounding_box(),
        )
        assert run["x"] + run["width"] < panel["x"] + panel["width"]
        page.get_by_role("button", name="Paper's view").click()


def test_nothing_below_the_graph_moves_when_a_step_is_selected(page):
    places = """() => new Promise((resolve) => {
        let [last, same] = ["", 0];
        const look = () => {
            const top = document.querySelector(".rv-explorer").getBoundingClientRect().top;
            const now = [".rv-graph", ".rv-graph-foot", ".rv-drawer"].map((name) => {
                const box = document.querySelector(name).getBoundingClientRect();
                return [Math.round(box.top - top), box.height];
            });
            same = JSON.stringify(now) === last ? same + 1 : 0; // frames in which nothing has moved
            last = JSON.stringify(now);
            if (same > 30) resolve(now);
            else requestAnimationFrame(look);
        };
        look();
    })"""
    view = page.locator(".rv-explorer")
    for wide in (970, 860, 700):
        view.evaluate("(view, wide) => (view.style.width = `${wide}px`)", wide)
        before = page.evaluate(places)
        page.get_by_label("Step of the schedule").focus()
        page.keyboard.press("ArrowRight")
        page.get_by_text("faded: not in memory at this step").wait_for()
        assert page.evaluate(places) == before
        page.keyboard.press("Escape")
        page.get_by_text("faded: not in memory at this step").wait_for(state="hidden")


def test_signs_of_the_theory_are_shown_only_in_the_paper_s_view(page):
    signs = [
        page.get_by_text("formula bytes", exact=True),
        page.locator(".rv-key-boundary"),
        page.get_by_label("Solver"),
    ]
    browse = page.get_by_role("button", name="Browse the plan's lower sets")
    assert not any(sign.is_visible() for sign in [*signs, browse])
    page.locator(".rv-nodes > g[data-v='20']").hover()
    page.get_by_role("tooltip").wait_for()
    assert page.locator(".rv-node.rv-outside, .rv-node.rv-boundary").count() == 0
    assert "Lᵛ" not in page.get_by_role("tooltip").inner_text()
    paper_view(page)
    for sign in [*signs, browse]:
        sign.wait_for()


def test_arrow_keys_move_the_budget_and_nodes_change(page):
    before = states(page)
    slider(page).focus()
    page.keyboard.press("Home")
    settled(page)
    least = states(page)
    assert sum(least) < sum(before)
    page.keyboard.press("End")
    settled(page)
    assert all(states(page))
    page.keyboard.press("ArrowLeft")
    settled(page)
    assert not all(states(page))
    assert re.search(
        r"Budget .* total bytes, peak .*, extra time", page.locator(".rv-live[aria-live=polite]").inner_text()
    )
    assert in_kernel(page, NOT_RECOMPUTED) == str(sum(states(page)))


def test_dragging_repaints_at_once_and_the_kernel_ends_at_the_same_plan(page):
    before = states(page)
    box = slider(page).bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.9, y)
    page.mouse.down()
    for i in range(60):
        page.mouse.move(box["x"] + box["width"] * (0.9 - i / 120), y)
    page.mouse.up()
    settled(page)
    assert states(page) != before
    state = page.evaluate(
        "(({row, budget}) => ({row, budget}))(document.querySelector('.rv-explorer').recompviz.state)"
    )
    assert in_kernel(page, "explorer._reply['row'], explorer.budget") == f"{state['row']} {round(state['budget'])}"
    assert in_kernel(page, NOT_RECOMPUTED) == str(sum(states(page)))


def test_a_budget_below_the_least_feasible_is_held_there(page):
    box = slider(page).bounding_box()
    page.mouse.click(box["x"] + 12, box["y"] + box["height"] / 2)
    settled(page)
    assert page.get_by_text(re.compile("least feasible")).is_visible()
    assert in_kernel(page, "explorer.budget == explorer.tables[0].least_total") == "True"


def test_a_drag_that_is_held_at_the_least_feasible_budget_ends_when_the_pointer_is_released(page):
    box = slider(page).bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.9, y)
    page.mouse.down()
    for share in (0.8, 0.5, 0.2, 0.05, 0.02):
        page.mouse.move(box["x"] + box["width"] * share, y)
    page.mouse.up()
    settled(page)
    page.wait_for_function("document.querySelector('.rv-explorer').recompviz.state.settled")


def test_a_budget_set_in_python_moves_the_page(page):
    assert not all(states(page))
    assert in_kernel(page, "setattr(explorer, 'budget', '100 GiB')") == "None"
    page.wait_for_function("!document.querySelector('.rv-nodes .rv-recompute')")


def test_the_objective_can_be_switched(page):
    page.get_by_role("radio", name="least memory").click()
    settled(page)
    assert page.get_by_role("radio", name="least memory").get_attribute("aria-checked") == "true"
    assert in_kernel(page, "explorer._reply['table']") == "1"


def test_hovering_a_node_shows_its_card_and_its_lower_set(page):
    paper_view(page)
    page.locator(".rv-nodes > g[data-v='20']").hover()
    card = page.get_by_role("tooltip")
    card.wait_for()
    page.wait_for_selector(".rv-node.rv-outside")
    text = card.inner_text()
    for word in ("operator", "size Mᵥ", "formula bytes", "cost Tᵥ", "segment", "Lᵛ"):
        assert word in text
    inside = int(re.search(r"(\d+) of \d+ values", text)[1])
    assert page.locator(".rv-nodes > g:not(.rv-outside)").count() == inside
    assert page.locator(".rv-node.rv-boundary").count() >= 1


def test_a_click_pins_a_node_and_escape_lets_go(page):
    page.set_viewport_size({"width": 1000, "height": 720})
    page.locator(".rv-nodes > g[data-v='20']").click()
    page.get_by_role("region", name="Selected value").wait_for()  # beside the graph, which is narrower now
    names = page.eval_on_selector_all(
        ".rv-nodes > g > text:not(.rv-corner)",
        "all => all.map(t => [t.getClientRects().length, parseFloat(getComputedStyle(t).fontSize) * t.getCTM().a])",
    )
    assert all(drawn for drawn, _ in names)
    assert min(size for _, size in names) >= 10.9
    page.mouse.move(5, 5)
    page.get_by_text("selected: click it again").wait_for()
    page.keyboard.press("Escape")
    page.wait_for_function("!document.querySelector('.rv-card.rv-there')")


def test_keys_that_mean_nothing_here_do_not_reach_the_notebook(page):
    page.get_by_role("application", name=re.compile("^Graph of")).focus()
    for key in ("r", "x", "d", "d", "y", "Delete", "Backspace"):  # commands of JupyterLab on the cell
        page.keyboard.press(key)
    page.get_by_role("button", name="Fit the graph").focus()
    page.keyboard.press("r")
    assert page.get_by_role("group", name="Explorer of Residual net").is_visible()
    assert in_kernel(page, "'the notebook goes on'") == "the notebook goes on"
    assert page.get_by_role("group", name="Explorer of Residual net").is_visible()


def test_the_timeline_reads_out_a_step_and_a_click_selects_its_node(page):
    chart = page.get_by_role("group", name=re.compile("^Memory over"))
    point = {"x": 200, "y": 160}  # in a bar
    told = page.get_by_text(re.compile(r"^step \d+/\d+ · forward · [\d.]+ [KMG]iB · .*[\d.]+ [KMG]iB · "))
    for shift in range(20):  # a chart that was painted anew under a pointer at rest says nothing until it moves
        chart.hover(position={"x": point["x"] + shift % 2, "y": point["y"]})  # waits until the chart stands still
        if told.is_visible():
            break
        page.wait_for_timeout(250)
    told.wait_for()
    chart.click(position=point)
    page.get_by_text("selected: click it again").wait_for()


def test_zoom_buttons_fit_and_the_minimap(page):
    world = page.locator(".rv-world")
    fitted = world.get_attribute("transform")
    page.get_by_role("button", name="Zoom in").click()
    page.get_by_role("button", name="Zoom in").click()
    assert world.get_attribute("transform") != fitted
    page.wait_for_selector(".rv-minimap.rv-there")
    page.get_by_role("button", name="Fit the graph").click()
    assert world.get_attribute("transform") == fitted


def test_the_layout_can_be_switched(page):
    page.get_by_role("button", name="Top down").click()
    page.wait_for_selector("[aria-label='Top down'][aria-pressed='true']")
    before = states(page)
    assert any(before)
    assert not all(before)


def test_run_shows_progress_then_measured_over_predicted(page):
    page.get_by_role("button", name="Run on CPU").click()
    page.get_by_role("progressbar", name="Progress of the run").wait_for()
    page.get_by_text(re.compile(r"predicted .*, measured .*, [\d.]+% off")).wait_for(timeout=120_000)
    page.get_by_text("✓ bitwise equal").wait_for()
    assert page.locator(".rv-measured").get_attribute("d").startswith("M")
    assert in_kernel(page, "len(explorer.runs)") == "1"


# with the file browser on a screen of 1280 pixels, and without it
@pytest.mark.parametrize("wide", [848, 1180])
def test_nothing_moves_while_a_plan_is_run_and_its_figures_are_read_in_full(page, wide):
    view = page.locator(".rv-explorer")
    view.evaluate("(view, wide) => (view.style.width = `${wide}px`)", wide)
    places = """view => ['.rv-plot', '.rv-fit', '.rv-bar'].map((name) =>
        Math.round(view.querySelector(name).getBoundingClientRect().y - view.getBoundingClientRect().y))"""
    cut = """view => [...view.querySelectorAll('.rv-timeline :is(.rv-status, .rv-panel-head) *, .rv-header *')]
        .filter((one) => one.clientWidth && one.textContent && !one.matches('.rv-live'))
        .filter((one) => one.scrollWidth > one.clientWidth + 1 || one.scrollHeight > one.clientHeight + 2)
        .map((one) => `${one.className}: ${one.textContent}`)"""
    before = view.evaluate(places)
    page.get_by_role("button", name="Run on CPU").click()
    page.get_by_role("progressbar", name="Progress of the run").wait_for()
    assert view.evaluate(places) == before
    page.get_by_text("✓ bitwise equal").wait_for(timeout=120_000)
    page.get_by_text("measured step: eager 200 ms, plan 220 ms, +10% (+10% to +10%, 8 pairs)").wait_for()
    page.get_by_text("predicted step: eager 190 ms, plan 205 ms, +7.9%").wait_for()
    assert view.evaluate(places) == before
    assert view.evaluate(cut) == []
    longer = "[{**one, 'too_low': True, 'predicted_eager': 112.0} for one in explorer._runs]"
    in_kernel(page, f"setattr(explorer, '_runs', {longer})")
    page.get_by_text(re.compile(r"both steps took 79% longer; rv\.calibrate\(trace, fresh=True\) times the")).wait_for()
    assert view.evaluate(places) == before
    assert view.evaluate(cut) == []


def test_a_run_whose_plan_was_replaced_is_told_and_its_plan_can_be_shown(page):
    page.get_by_role("button", name="Run on CPU").click()
    page.get_by_text("✓ bitwise equal").wait_for(timeout=120_000)
    place = """['.rv-plot', '.rv-explorer'].map((name) => document.querySelector(name).getBoundingClientRect().y)
        .reduce((plot, view) => plot - view)"""
    before, kept = page.evaluate(place), states(page)
    v = kept.index(False)
    assert in_kernel(page, f"explorer.pin(keep=[explorer.graph.names[{v}]]), explorer.wait(60)")
    told = page.get_by_text(re.compile(r"^Not measured yet\. Run 1 measured an earlier plan for this budget: peak "))
    told.wait_for(timeout=60_000)
    assert told.inner_text().endswith(", step +10%.")
    assert page.evaluate(place) == before
    assert page.locator(".rv-measured").get_attribute("d") == ""
    page.get_by_role("button", name="Show run 1", exact=True).first.click()
    page.get_by_text("✓ bitwise equal").wait_for()
    told.wait_for(state="hidden")
    settled(page)
    assert states(page) == kept


def test_earlier_choices_outlast_pins_and_better_plans(page):
    earlier = "document.querySelectorAll('.rv-point[aria-label^=\"earlier choice\"]').length"
    state = "(({table, row}) => [table, row])(document.querySelector('.rv-explorer').recompviz.state)"
    slider(page).focus()
    for key in ("Home", "End", "ArrowLeft"):
        page.keyboard.press(key)
        settled(page)
    before, choice = page.evaluate(earlier), page.evaluate(state)
    assert before == 2
    v = states(page).index(False)
    page.locator(f".rv-nodes > g[data-v='{v}']").click()
    page.keyboard.press("k")
    page.get_by_text("Clear pins").wait_for()
    page.wait_for_function(f"JSON.stringify({state}) !== '{choice}'.replace(/ /g, '')", timeout=60_000)
    page.wait_for_function(f"{earlier} === {before + 1}")  # the plan that was shown before the pin
    page.get_by_role("button", name="Clear pins").click()
    page.wait_for_function(f"JSON.stringify({state}) === '{choice}'.replace(/ /g, '')", timeout=60_000)
    settled(page)
    assert page.evaluate(earlier) >= before
    # better plans: the view is drawn anew
    page.evaluate("document.querySelector('.rv-explorer').classList.add('old-view')")
    fewer = "[residual.planner.table(t.plans[:3] + t.plans[4:], t.objective) for t in explorer.tables]"
    assert in_kernel(page, f"explorer._replace_tables({fewer})") == "None"
    page.wait_for_selector(".rv-explorer:not(.old-view) .rv-nodes .rv-keep")
    page.wait_for_function(f"{earlier} >= {before}")


def test_a_run_can_be_cancelled_and_never_blocks_the_notebook(page):
    assert in_kernel(page, "(setattr(residual.runner, 'steps', 400), 'long')[1]") == "long"
    page.get_by_role("button", name="Run on CPU").click()
    page.get_by_role("progressbar", name="Progress of the run").wait_for()
    assert in_kernel(page, "'free'") == "free"
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("cancelled").wait_for(timeout=120_000)


def test_out_of_memory_is_told_in_the_widget(page):
    slider(page).focus()
    page.keyboard.press("End")
    settled(page)
    page.get_by_role("button", name="Run on CPU").click()
    page.get_by_text(re.compile("out of memory: could not allocate 3 GiB. Choose a smaller budget")).wait_for(
        timeout=120_000
    )
    page.get_by_role("button", name="Run on CPU").wait_for()


def test_a_drag_while_a_cell_runs_is_confirmed(page):
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Insert a cell below").first.click()
    page.locator(".jp-Notebook-cell").last.locator(".cm-content").click()
    page.keyboard.insert_text("import time; time.sleep(8); print('slept')")
    page.keyboard.press("Shift+Enter")
    page.get_by_text("| Busy").wait_for()
    slider(page).focus()
    page.keyboard.press("End")
    page.wait_for_function("!document.querySelector('.rv-nodes .rv-recompute')")
    page.get_by_text("slept", exact=True).wait_for(timeout=120_000)
    settled(page)
    assert in_kernel(page, "bool(explorer.plan.keep_mask.all())") == "True"


def saved_pictures(page):
    """The saved pictures of all cells, as SVG. They are in the page, and hidden beside a live widget."""
    sources = page.eval_on_selector_all(".recompviz-static img", "all => all.map(image => image.src)")
    return [base64.b64decode(source.partition("base64,")[2]).decode() for source in sources]


def test_the_saved_picture_follows_the_selected_plan_in_its_own_cell_and_is_not_replaced_during_a_drag(page):
    (before,) = saved_pictures(page)
    slider(page).focus()
    for key in ("Home", "ArrowRight", "ArrowRight", "ArrowLeft", "ArrowRight", "End"):
        page.keyboard.press(key)
        page.wait_for_timeout(700)  # more than the quiet time in all
        assert saved_pictures(page) == [before]
    assert re.search(r" · [1-9]\d* of \d+ values recomputed", before)
    settled(page)
    page.wait_for_function(
        """before => {
        const now = document.querySelector('.recompviz-static img').src;
        return atob(now.split('base64,')[1]).length !== before;
    }""",
        arg=len(before.encode()),
        timeout=20_000,
    )
    (after,) = saved_pictures(page)
    assert re.search(r" · 0 of \d+ values recomputed", after)


def test_another_batch_is_planned_again_and_a_device_becomes_the_budget(page):
    fit = page.get_by_role("group", name="Will it fit?")
    batch = fit.get_by_label("batch", exact=True)
    batch.focus()
    for _ in range(14):
        page.keyboard.press("ArrowRight")
    assert batch.get_attribute("aria-valuetext") == "1024"
    fit.get_by_text(re.compile("batch 1024 (does not|may) fit in")).wait_for()  # the budget stays the question
    page.wait_for_function("!document.querySelector('.rv-fit-working')")
    focused = page.evaluate("document.activeElement.ariaLabel")
    assert focused == "batch"  # the view is made anew, and the keyboard stays where it was
    device = fit.get_by_role("button", name=re.compile("^24 GB: fits for"))
    device.click()
    fit.get_by_text(re.compile(r"batch 1024 fits in 24 GB \(22.4 GiB\) for \+")).wait_for()
    assert device.get_attribute("aria-pressed") == "true"
    settled(page)
    for _ in range(60):  # on a machine with other load, the search for the new size is still under way
        if int(in_kernel(page, "explorer.timeline.peak")) <= 24e9:
            break
        page.wait_for_timeout(500)
    assert int(in_kernel(page, "explorer.timeline.peak")) <= 24e9
    assert in_kernel(page, "explorer._sizes['now']") == "[1024]"


def test_a_budget_that_does_not_fit_a_batch_is_told_and_comes_back_with_the_old_batch(page):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    fit = page.get_by_role("group", name="Will it fit?")
    entry, note = page.get_by_label(re.compile("^Budget, typed")), page.locator(".rv-budget-note")
    batch = fit.get_by_label("batch", exact=True)
    budget = entry.input_value()
    fit.get_by_role("button", name="Copy the code").click()
    fit.get_by_text("copied: model").wait_for()
    batch.focus()
    for _ in range(6):
        page.keyboard.press("ArrowRight")
    assert fit.get_by_text("copied: model").count() == 0
    told = page.get_by_text(re.compile(f"^{re.escape(budget)} does not fit batch 64; shown: the least, "))
    told.wait_for(timeout=60_000)  # after the search
    assert told.inner_text().endswith(entry.input_value())
    assert f"does not fit in {budget}" in fit.locator(".rv-fit-sentence").inner_text()
    batch.focus()
    for _ in range(6):
        page.keyboard.press("ArrowLeft")
    fit.get_by_text(f"batch 8 fits in {budget}").wait_for()
    assert not note.is_visible()
    assert entry.input_value() == budget


def test_a_text_that_is_no_size_is_told_at_its_field_and_outlives_a_search(page):
    fit = page.get_by_role("group", name="Will it fit?")
    own = fit.get_by_label("Memory of your device")
    own.fill("potato")
    own.press("Enter")
    told = fit.get_by_text("“potato” is not a size; for example 12 GB")
    told.wait_for()
    entry = page.get_by_label(re.compile("^Budget, typed"))
    entry.fill("lots")
    entry.press("Enter")
    lots = page.get_by_text("“lots” is not a size; for example 500 MiB or 60%")
    lots.wait_for()
    page.evaluate("document.querySelector('.rv-explorer').old = true")  # as after a search
    named = "[{**t, 'names': ['better', *t['names'][1:]]} for t in explorer._tables]"
    in_kernel(page, f"setattr(explorer, '_tables', {named})")
    page.wait_for_function("!document.querySelector('.rv-explorer').old", timeout=20_000)
    assert told.is_visible()
    assert own.input_value() == "potato"
    assert lots.is_visible()
    slider(page).focus()
    page.keyboard.press("Home")
    lots.wait_for(state="detached")
    assert told.count() == 0


def test_the_copied_lines_name_the_device_and_a_budget_forgets_it(page):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    fit = page.get_by_role("group", name="Will it fit?")
    fit.get_by_label("Memory of your device").fill("12")
    page.keyboard.press("Enter")
    fit.get_by_text(re.compile(r"fits in 12 GB \(11.2 GiB\) with nothing recomputed")).wait_for()
    fit.get_by_role("button", name="Copy the code").click()
    fit.get_by_text('copied: model = rv.compile(model, total="12 GB")').wait_for()
    assert 'rv.compile(model, total="12 GB")' in page.evaluate("navigator.clipboard.readText()")
    slider(page).focus()
    page.keyboard.press("Home")
    fit.get_by_text(re.compile(r"fits in [\d.]+ .iB for \+")).wait_for()


def test_a_typed_device_is_answered_in_its_unit_and_leaves_when_another_is_chosen(page):
    fit = page.get_by_role("group", name="Will it fit?")
    own = fit.get_by_label("Memory of your device")
    own.fill("100mib")
    page.keyboard.press("Enter")
    fit.get_by_text(re.compile(r"does not fit in 100 MiB: the leanest plan found needs [\d.]+ [MG]iB")).wait_for()
    assert not re.search(r"\d [kMG]B", fit.locator(".rv-fit-sentence").inner_text())
    mark = page.locator("[data-device='104857600']")
    assert mark.text_content() == "100 MiB"
    page.evaluate("document.querySelector('.rv-explorer').old = true")  # as after a search
    named = "[{**t, 'names': ['better', *t['names'][1:]]} for t in explorer._tables]"
    in_kernel(page, f"setattr(explorer, '_tables', {named})")
    page.wait_for_function("!document.querySelector('.rv-explorer').old")
    assert own.input_value() == "100 MiB"
    assert mark.count() == 1
    fit.get_by_role("button", name=re.compile("^16 GB: ")).click()
    fit.get_by_text(re.compile("fits in 16 GB")).wait_for()
    assert own.input_value() == ""
    assert mark.count() == 0


def test_an_emptied_device_and_a_budget_take_the_device_from_the_field_and_from_the_axis(page):
    fit = page.get_by_role("group", name="Will it fit?")
    own = fit.get_by_label("Memory of your device")
    mark = page.locator("[data-device='104857600']")
    budget = page.get_by_label(re.compile("^Budget, typed"))

    def choose():
        own.fill("100 MiB")
        own.press("Enter")
        fit.get_by_text(re.compile("does not fit in 100 MiB: ")).wait_for()
        assert mark.count() == 1

    choose()
    own.fill("")
    own.press("Enter")
    mark.wait_for(state="detached")
    settled(page)
    assert own.input_value() == ""
    assert fit.get_by_text("is not a size").count() == 0
    own.press("Enter")  # nothing is left to remove
    assert fit.get_by_text("is not a size").count() == 0
    choose()
    budget.fill("60%")
    budget.press("Enter")
    mark.wait_for(state="detached")
    settled(page)
    assert own.input_value() == ""


def test_during_a_search_the_least_total_is_the_least_so_far(page):
    least = page.locator(".rv-least")
    assert "least feasible" in least.inner_text()
    slider(page).focus()
    page.keyboard.press("Home")  # a plan that recomputes something: a search may find a better one
    settled(page)
    sentence = page.locator(".rv-fit-sentence")
    assert sentence.evaluate("one => getComputedStyle(one).fontWeight") == "620"
    in_kernel(page, "setattr(explorer, '_searching', True)")
    page.get_by_text(re.compile("least so far")).wait_for()
    assert page.locator(".rv-budget .rv-tick", has_text="no plan yet").count() == 1
    assert page.get_by_text("infeasible", exact=True).count() == 0
    assert sentence.evaluate("one => getComputedStyle(one).fontWeight") == "500"
    in_kernel(page, "setattr(explorer, '_searching', False)")
    page.get_by_text(re.compile("least feasible")).wait_for()


def test_better_plans_leave_the_selected_value_and_the_open_tab(page):
    page.locator(".rv-nodes > g[data-v='20']").click()
    page.get_by_label("Step of the schedule").focus()
    page.keyboard.press("End")
    page.get_by_role("tab", name="Compare").click()
    page.get_by_label("Compare the plan shown with").select_option(label="keep-all")
    page.get_by_role("tab", name="Runs").click()
    state = "document.querySelector('.rv-explorer').recompviz.state"
    chosen = f"(({{selected, step, against}}) => [selected, step, against])({state})"
    before = page.evaluate(chosen)
    page.evaluate("document.querySelector('.rv-explorer').old = true")
    named = "[{**t, 'names': ['better', *t['names'][1:]]} for t in explorer._tables]"
    in_kernel(page, f"setattr(explorer, '_tables', {named})")
    page.wait_for_function("!document.querySelector('.rv-explorer').old")
    assert page.evaluate(chosen) == before
    assert before[0] == 20
    assert before[1] > 0
    assert before[2] == {"table": 0, "row": 0}
    assert page.get_by_role("tab", name="Runs").get_attribute("aria-selected") == "true"
    assert page.locator(".rv-card").is_visible()


def test_a_kernel_that_is_gone_is_told_of(own_page):
    page = own_page
    page.get_by_role("button", name="Restart the kernel", exact=False).first.click()
    page.get_by_role("button", name="Confirm Kernel Restart").or_(
        page.locator(".jp-Dialog .jp-mod-accept")
    ).first.click()
    page.locator(".jp-Dialog").wait_for(state="detached")
    slider(page).focus()
    page.keyboard.press("Home")
    alert = page.get_by_role("alert").filter(has_text="The kernel does not answer")
    alert.wait_for()
    run = page.get_by_role("button", name="Run on CPU")
    assert abs(alert.bounding_box()["y"] - run.bounding_box()["y"]) < 60
    run.click()  # no error in the page
    page.get_by_text("| Idle").wait_for()  # the new kernel can be ended


SLOW_SIZES = "lambda *_: (_[2](1, 2, 'tracing at another batch'), residual.time.sleep(60))"


@pytest.mark.parametrize("end", ["shut down", "killed"])
def test_the_end_of_the_kernel_is_told_at_once_and_ends_the_progress_bars(own_page, end):
    page = own_page
    in_kernel(page, f"(setattr(residual.Resizer, 'at', {SLOW_SIZES}), setattr(residual.runner, 'steps', 10**4))")
    page.get_by_role("button", name="Run on CPU").click()
    batch = page.get_by_role("group", name="Will it fit?").get_by_label("batch", exact=True)
    batch.focus()
    page.keyboard.press("ArrowRight")
    bars = page.locator(".rv-explorer progress:visible")
    page.wait_for_function("document.querySelectorAll('.rv-explorer progress:not([hidden])').length === 2")
    if end == "killed":
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Insert a cell below").first.click()
        page.locator(".jp-Notebook-cell").last.locator(".cm-content").click()
        page.keyboard.insert_text("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
        page.keyboard.press("Shift+Enter")
    else:
        page.locator(".lm-MenuBar-item", has_text="Kernel").click()
        page.get_by_role("menuitem", name="Shut Down Kernel", exact=True).click()
    # nobody asks the kernel anything from here on
    page.get_by_role("alert").filter(has_text="The kernel does not answer").wait_for(timeout=20_000)
    bars.first.wait_for(state="hidden")
    assert bars.count() == 0
    sentence = page.locator(".rv-fit-sentence")
    assert sentence.inner_text().startswith("The kernel does not answer")
    if end == "killed":  # JupyterLab's own message about the kernel
        page.locator(".jp-Dialog .jp-mod-accept").click(timeout=20_000)
        page.get_by_text("| Idle").wait_for()
