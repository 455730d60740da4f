"""The actions of the soak test: what a person does with an Explorer, and what other cells do to it at the same time."""

from __future__ import annotations

import json
from typing import Any

from recompviz.benchmarks.explorer.soak_session import NotNow, Session

# name of an action → how often it is chosen, relative to the others
ACTIONS = {
    "drag_budget": 14,
    "press_keys_on_the_budget": 8,
    "type_a_budget": 4,
    "click_the_curve": 4,
    "click_a_point": 4,
    "choose_an_objective": 5,
    "choose_a_solver": 4,
    "hover_nodes": 4,
    "select_a_node": 5,
    "pin_a_node": 6,
    "unpin": 5,
    "stop_solving": 2,
    "run_the_plan": 3,
    "cancel_the_run": 2,
    "compare": 5,
    "open_a_tab": 4,
    "show_a_run": 2,
    "save_a_plan": 1,
    "load_a_plan": 3,
    "load_damaged_text": 1,
    "save_a_picture": 1,
    "save_the_page": 0.5,
    "browse_lower_sets": 4,
    "point_at_the_timeline": 4,
    "click_the_timeline": 3,
    "play": 4,
    "filter_the_timeline": 3,
    "click_a_row": 3,
    "zoom": 4,
    "pan": 3,
    "choose_a_layout": 3,
    "collapse_or_expand": 4,
    "open_or_close_a_module": 4,
    "walk_the_graph": 3,
    "search": 3,
    "colour": 3,
    "show_per_cent": 2,
    "switch_the_paper_view": 2,
    "change_the_theme": 2,
    "resize_the_window": 3,
    "reload": 0.35,
    "second_view": 2.5,
    "scroll_the_notebook": 2,
    "set_traits_in_python": 5,
    "set_budgets_in_a_thread": 2,
    "keep_the_kernel_busy": 1.5,
    "interrupt_a_loop_of_budgets": 2,
    "interrupt_a_wait": 1.5,
    "interrupt": 1.5,
    "make_a_new_explorer": 0.2,
}
SIZES = ((1280, 720), (1440, 900), (1024, 768), (1920, 1000), (1280, 1000))
# cells that set traits may be refused
ALLOWED = "import contextlib, recompviz\nwith contextlib.suppress(ValueError, recompviz.RecompvizError):\n    "


class Soak(Session):
    """The session of the soak test, with one method for each action.

    A method raises :class:`NotNow` if the page does not offer its action.
    """

    def reload(self) -> None:
        """Load the page again. If the saved notebook does not show the Explorer, run the cell that shows it."""
        from playwright.sync_api import TimeoutError as NotShown

        saved = self.random.random() < 0.7
        if saved:
            self._command("docmanager:save")
            self.page.wait_for_timeout(400)
        self._open()
        try:
            self.page.locator(".rv-explorer").first.wait_for(timeout=12_000)
            self.page.wait_for_timeout(300)
            self.detail = "from the notebook"
        except NotShown:  # the notebook was not saved, or its output came without the Explorer
            self._run_cell(0)
            self.page.locator(".rv-explorer").first.wait_for(timeout=120_000)
            self.detail = "by running the cell"
        self.detail += ", saved" if saved else ""
        self.page.wait_for_timeout(2500)
        self.views = self.page.locator(".rv-explorer").count()  # the second view comes back too if it was saved

    def make_a_new_explorer(self) -> None:
        """Close the Explorer and make another one."""
        # IPython keeps outputs, the last ones in two places
        self.kernel.run(
            "soaked.close(explorer); del explorer; get_ipython().displayhook.flush(); "
            "get_ipython().push(dict.fromkeys(('_', '__', '___'), ''), interactive=False)"
        )
        self.kernel.ask("'explorer' in globals()")
        self.made += 1
        self._run_cell(1, "None")
        self.views = 1
        self._run_cell(0)
        self.page.wait_for_timeout(1500)
        self.page.locator(".rv-explorer").first.wait_for(timeout=120_000)

    # ---------------------------------------------------------------- budget

    def drag_budget(self) -> None:
        """Drag the slider over many small moves."""
        view = self._view()
        x, y, width, height = self._box(".rv-slider:not(.rv-scrubber)", view)
        at, mouse = self.random.random(), self.page.mouse
        mouse.move(x + width * at, y + height / 2)
        mouse.down()
        for _ in range(self.random.randint(5, 70)):
            at = min(1.0, max(0.0, at + self.random.uniform(-0.04, 0.04)))
            mouse.move(x + width * at, y + height / 2)
        mouse.up()

    def press_keys_on_the_budget(self) -> None:
        """Move the slider by keys."""
        self._any(".rv-slider:not(.rv-scrubber)").focus()
        self._press(("ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End", "PageUp", "PageDown"), 6)

    def type_a_budget(self) -> None:
        """Type a budget, sometimes an invalid one."""
        text = self.random.choice(
            ("60%", "75%", "100%", "5%", "300%", "24 MiB", "30 MiB", "1 GiB", "lots", "", "-3", "1e3")
        )
        field = self._any(".rv-budget-value")
        field.click()
        self.page.keyboard.press("Control+A")
        self.page.keyboard.insert_text(text)
        self.page.keyboard.press(self.random.choice(("Enter", "Enter", "Enter", "Escape", "Tab")))
        self.detail = text

    def click_the_curve(self) -> None:
        """Click on the trade-off curve."""
        self.page.mouse.click(*self._within(".rv-budget .rv-chart"))

    def click_a_point(self) -> None:
        """Choose a point beside the curve."""
        point = self._any(".rv-point")
        point.scroll_into_view_if_needed()
        self.detail = point.get_attribute("aria-label") or ""
        if self.random.random() < 0.5:
            point.dispatch_event("click")
        else:
            point.focus()
            self.page.keyboard.press("Enter")

    def choose_an_objective(self) -> None:
        """Choose a trade-off curve at random."""
        self._click(".rv-switch [role=radio]", self._paper_view())

    def choose_a_solver(self) -> None:
        """Choose a solver at random."""
        view = self._paper_view()
        if not view.locator("select[aria-label=Solver]:visible").count():
            self._click(".rv-switch [role=radio]:nth-child(2)", view)  # a curve of the formula, which has solvers
        solver = self._any("select[aria-label=Solver]", view)
        self.detail = self.random.choice(("auto", "all", "paper", "prefixes"))
        solver.select_option(self.detail)

    def switch_the_paper_view(self) -> None:
        """Show or hide the paper's view."""
        self._click(".rv-theory-switch")

    def _paper_view(self) -> Any:
        """Return a view of the Explorer with the paper's view switched on."""
        view = self._view()
        if "rv-theory" not in (view.get_attribute("class") or "").split():
            view.locator(".rv-theory-switch").click(timeout=3000)
        return view

    def show_per_cent(self) -> None:
        """Switch budgets between bytes and per cent, or choose the plan of least peak."""
        self._click(self.random.choice((".rv-panel-head .rv-button[aria-label^='Show budgets']", ".rv-binds")))

    # ---------------------------------------------------------------- graph

    def hover_nodes(self) -> None:
        """Move the pointer over the graph."""
        view = self._view()
        for _ in range(self.random.randint(1, 8)):
            self.page.mouse.move(*self._within(".rv-graph", view))
            self.page.wait_for_timeout(self.random.choice((0, 30, 90)))

    def select_a_node(self) -> None:
        """Click a value."""
        self.page.mouse.click(*self._point_of_a_box(self._view(), "v"))

    def pin_a_node(self) -> None:
        """Select a value and pin it by key or by button."""
        view = self._view()
        self.page.mouse.click(*self._point_of_a_box(view, "v"))
        if self.random.random() < 0.6:
            self.page.keyboard.press(self.random.choice("kr"))
        else:
            self._click(".rv-card-pins .rv-button", view)
        if self.random.random() < 0.5:
            self.page.keyboard.press("Escape")

    def unpin(self) -> None:
        """Remove one pin or all."""
        view = self._view()
        if self.random.random() < 0.5:
            self._click(".rv-chip-away", view)
        else:
            self._click(".rv-pins .rv-button:text('Clear pins')", view)

    def stop_solving(self) -> None:
        """Stop a solver or the search for better plans."""
        self._click(".rv-pins [aria-label='Stop solving']")

    def zoom(self) -> None:
        """Zoom by button or wheel."""
        view = self._view()
        if self.random.random() < 0.5:
            self._click(
                self.random.choice(
                    ("[aria-label='Zoom in']", "[aria-label='Zoom out']", "[aria-label='Fit the graph']")
                ),
                view,
            )
        else:
            self._any(".rv-canvas", view).focus()
            self.page.mouse.move(*self._within(".rv-graph", view))
            self.page.mouse.wheel(0, self.random.choice((-240, 240, -120, 500)))

    def pan(self) -> None:
        """Drag the graph, or the minimap."""
        view = self._view()
        where = self.random.choice((".rv-graph", ".rv-graph", ".rv-minimap"))
        x, y = self._within(where, view)
        self.page.mouse.move(x, y)
        self.page.mouse.down()
        for _ in range(self.random.randint(3, 12)):
            x, y = x + self.random.uniform(-25, 25), y + self.random.uniform(-15, 15)
            self.page.mouse.move(x, y)
        self.page.mouse.up()

    def choose_a_layout(self) -> None:
        """Choose a layout of the graph at random."""
        self._click(
            self.random.choice(("[aria-label^='Wrapped']", "[aria-label='Left to right']", "[aria-label='Top down']"))
        )

    def collapse_or_expand(self) -> None:
        """Close or open all modules."""
        self._click(self.random.choice(("[aria-label^='Collapse all']", "[aria-label^='Expand all']")))

    def open_or_close_a_module(self) -> None:
        """Open a module, or close an open one."""
        self.page.mouse.click(*self._point_of_a_box(self._view(), self.random.choice("mc")))

    def walk_the_graph(self) -> None:
        """Move over the boxes of the graph by keys."""
        self._any(".rv-canvas").focus()
        keys = (
            "ArrowRight",
            "ArrowLeft",
            "ArrowUp",
            "ArrowDown",
            "Home",
            "End",
            "n",
            "p",
            "Enter",
            "Backspace",
            "Escape",
            "+",
            "-",
            "0",
        )
        self._press(keys, 10)

    def search(self) -> None:
        """Search for values."""
        field = self._any(".rv-search-input")
        self.detail = self.random.choice(("conv", "layer3 conv", ">100 KiB", "nothing", "relu", ""))
        field.fill(self.detail)
        self._press(("Enter", "Enter", "Shift+Enter", "Escape"), 4)

    def colour(self) -> None:
        """Choose the quantity by which the graph is coloured."""
        self.detail = self.random.choice(("state", "segment", "bytes", "time", "density"))
        view = self._paper_view() if self.detail == "segment" else self._view()
        self._any("select[aria-label='Colour by']", view).select_option(self.detail)

    def browse_lower_sets(self) -> None:
        """Open the panel of the lower sets, go to another lower set, or close the panel."""
        view = self._paper_view()
        if not view.locator(".rv-sequence:visible").count():
            self._click('[aria-label^="Browse the plan\'s lower sets"]', view)
        for _ in range(self.random.randint(1, 5)):
            what = self.random.random()
            if what < 0.5:
                self._click(".rv-sequence [aria-label$='lower set'], .rv-sequence [aria-label^='Lower set']", view)
            elif what < 0.8:
                self.page.mouse.click(*self._within(".rv-sequence-chart", view))
            else:
                self._any(".rv-sequence .rv-button", view).focus()
                self._press(("ArrowRight", "ArrowLeft", "End", "Home"), 3)
        if self.random.random() < 0.6:
            self._any(".rv-sequence .rv-button", view).focus()
            self.page.keyboard.press("Escape")

    # ---------------------------------------------------------------- timeline

    def point_at_the_timeline(self) -> None:
        """Move the pointer along the timeline."""
        view = self._view()
        for _ in range(self.random.randint(1, 8)):
            self.page.mouse.move(*self._within(".rv-timeline .rv-chart", view))

    def click_the_timeline(self) -> None:
        """Click a step of the timeline, or its peak."""
        if self.random.random() < 0.7:
            self.page.mouse.click(*self._within(".rv-timeline .rv-chart"))
        else:
            self._any(".rv-timeline .rv-peak, .rv-timeline [role=button]").dispatch_event("click")

    def play(self) -> None:
        """Press a button of the player, and sometimes keys on its slider."""
        self._click(".rv-player .rv-button")
        if self.random.random() < 0.3:
            self._any(".rv-scrubber").focus()
            self._press(("ArrowRight", "ArrowLeft", "PageUp", "End", "Home", "Escape", "Space"), 4)

    def filter_the_timeline(self) -> None:
        """Filter the timeline by a category, or remove a filter."""
        self._click(self.random.choice((".rv-legend button", ".rv-legend button", ".rv-filter")))

    # ---------------------------------------------------------------- drawer

    def open_a_tab(self) -> None:
        """Open a tab of the drawer."""
        self._click("[role=tab]")

    def click_a_row(self) -> None:
        """Follow a link in the open table, or sort the table."""
        self._click(".rv-drawer .rv-link, .rv-drawer tbody tr, .rv-drawer th")

    def compare(self) -> None:
        """Compare the plan with another one, or end the comparison."""
        view = self._view()
        view.locator("[role=tab]", has_text="Compare").click()
        choice = self._any(".rv-drawer select", view)
        values = choice.locator("option").evaluate_all("all => all.map((each) => each.value)")
        self.detail = self.random.choice(values)
        choice.select_option(self.detail)

    def show_a_run(self) -> None:
        """Show the plan of an earlier run."""
        view = self._view()
        view.locator("[role=tab]", has_text="Runs").click()
        self._click("[aria-label^='Show run']", view)

    def run_the_plan(self) -> None:
        """Run the plan shown."""
        self._click(".rv-run .rv-primary")

    def cancel_the_run(self) -> None:
        """Cancel the run."""
        self._click(".rv-run .rv-button:text('Cancel')")

    def _tab_save(self) -> Any:
        view = self._view()
        view.locator("[role=tab]", has_text="Save and share").click()
        return view

    def save_a_plan(self) -> None:
        """Download the plan and load it again."""
        view = self._tab_save()
        with self.page.expect_download(timeout=15_000) as got:
            view.locator(".rv-save button", has_text="Plan (JSON)").click()
        path = self.lab.folder / "saved.plan.json"
        got.value.save_as(path)
        got.value.delete()
        self._load(view, path.read_text())

    def load_a_plan(self) -> None:
        """Load one of five random plans."""
        number = self.random.randrange(5)
        self.detail = str(number)
        self._load(self._tab_save(), self.kernel.ask(f"soaked.other_plan(explorer, {number}).to_json()"))

    def load_damaged_text(self) -> None:
        """Load a text that is not a plan of this graph."""
        view = self._tab_save()
        plan = json.loads(self.kernel.ask("soaked.other_plan(explorer, 1).to_json()"))
        damaged = self.random.choice(
            ({"keep": "01"}, {"fingerprint": "0"}, {"segment": [1]}, {"format": "?"}, {"keep": 3})
        )
        self.detail = str(damaged)
        self._load(view, self.random.choice((json.dumps({**plan, **damaged}), "{", "3", "null", "[]")))

    def _load(self, view: Any, text: str) -> None:
        content = {"name": "plan.json", "mimeType": "application/json", "buffer": text.encode()}
        view.locator(".rv-save input[type=file]").set_input_files(content)

    def save_a_picture(self) -> None:
        """Download the view as a picture."""
        view, kind = self._tab_save(), self.random.choice(("SVG", "PNG"))
        with self.page.expect_download(timeout=30_000) as got:
            view.locator(".rv-save button", has_text=f"Picture ({kind})").click()
        got.value.delete()

    def save_the_page(self) -> None:
        """Download the Explorer as one page."""
        view = self._tab_save()
        if json.loads(self.kernel.ask("soaked.state(explorer)"))["busy"]:
            raise NotNow("a search is under way")
        self.downloads = 0
        with self.page.expect_download(timeout=60_000) as got:
            view.locator(".rv-save button", has_text="as one page").click()
        got.value.delete()
        self.page.wait_for_timeout(500)
        if self.downloads != 1:
            raise AssertionError(f"the page was downloaded {self.downloads} times")

    # ---------------------------------------------------------------- around the Explorer

    def change_the_theme(self) -> None:
        """Choose the light or the dark theme at random."""
        self.detail = self.random.choice(("JupyterLab Light", "JupyterLab Dark"))
        self._command("apputils:change-theme", {"theme": self.detail})

    def resize_the_window(self) -> None:
        """Give the window a random size."""
        width, height = self.random.choice(SIZES)
        self.detail = f"{width} × {height}"
        self.page.set_viewport_size({"width": width, "height": height})

    def second_view(self) -> None:
        """Show a second view of the Explorer, or remove the second view."""
        self._run_cell(1, "explorer" if self.views == 1 else "None")
        self.views = 3 - self.views
        self.detail = f"{self.views} views"
        for _ in range(25):
            if self.page.locator(".rv-explorer").count() == self.views:
                return
            self.page.wait_for_timeout(200)

    def scroll_the_notebook(self) -> None:
        """Scroll the notebook to a random place."""
        to = self.random.choice((0, 300, 700, 1500, 5000))
        self.page.evaluate("(to) => (document.querySelector('.jp-WindowedPanel-outer').scrollTop = to)", to)

    # ---------------------------------------------------------------- other cells, interrupts

    def set_traits_in_python(self) -> None:
        """Set traits of the Explorer, or call its methods, from a cell that does not wait for the result."""
        v, number = self.random.randrange(80), self.random.randrange(5)
        percent, family = self.random.randint(50, 105), self.random.choice(("auto", "all", "paper", "prefixes"))
        code = self.random.choice(
            (
                f"explorer.budget = '{percent}%'",
                f"explorer.budget = '{percent}%'; explorer.budget = '{percent - 3}%'",
                f"explorer.load(soaked.other_plan(explorer, {number}))",
                f"explorer.pin(keep=[explorer.graph.names[{v}]])",
                f"explorer.pin(recompute=[explorer.graph.names[{v}]])",
                "explorer.pin()",
                f"explorer.use_solver('{family}', 'time')",
                f"explorer.use_solver('{family}', 'memory')",
                "explorer.run()",
                "explorer.cancel()",
                "explorer.to_html()",
            )
        )
        self.detail = code
        self.kernel.run(ALLOWED + code)

    def set_budgets_in_a_thread(self) -> None:
        """Set budgets from another thread of the kernel."""
        seed = self.random.randrange(1000)
        self.kernel.run(f"soaked.set_budgets_in_thread(explorer, {self.random.uniform(0.3, 1.5):.2f}, {seed})")

    def keep_the_kernel_busy(self) -> None:
        """Let a cell run for a few seconds, without waiting for it."""
        self.kernel.run(f"import time\ntime.sleep({self.random.choice((1, 3, 6))})")

    def interrupt_a_loop_of_budgets(self) -> None:
        """Interrupt a cell that sets budgets."""
        seed = self.random.randrange(1000)
        self.kernel.run(f"soaked.set_budgets(explorer, 3, {seed})")
        self.page.wait_for_timeout(self.random.randint(50, 900))
        self.kernel.interrupt()

    def interrupt_a_wait(self) -> None:
        """Interrupt a cell that waits for a solver, a run or the search for plans."""
        waited = self.random.choice(
            ("explorer.wait()", "explorer.wait_for_plans()", "explorer.plan", "explorer.to_html()")
        )
        asked = self.random.choice(
            ("explorer.run()", "explorer.use_solver('paper', 'time')", "explorer.pin(keep=[explorer.graph.names[7]])")
        )
        self.detail = f"{asked}; {waited}"
        self.kernel.run(f"{ALLOWED}{asked}; {waited}")
        self.page.wait_for_timeout(self.random.randint(0, 800))
        self.kernel.interrupt()

    def interrupt(self) -> None:
        """Interrupt the kernel, by a command of JupyterLab or by two requests to the server."""
        if self.random.random() < 0.5:
            self._command("notebook:interrupt-kernel")
        else:
            self.kernel.interrupt()
            self.kernel.interrupt()
