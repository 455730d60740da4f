"""The Explorer: graph, budget, trade-off curve and memory timeline of one training step, as one widget.

Each plan table is sent to the page once. While the user drags the budget, the page repaints from the table. The kernel
then confirms the selected plan and sends the plan's simulated timeline. ``wire.md`` lists every field that is sent.

The class :class:`Explorer` has four parts: the selection, the search for better plans, the questions (pins, other
solvers) and the runs. When a part changes, the class sets the traits that the page reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import traitlets

from recompviz.core.base.files import write_file
from recompviz.core.base.units import format_bytes, format_cost
from recompviz.core.exact.solver import Family
from recompviz.core.graphs.bitsets import bits
from recompviz.core.graphs.graph import Graph, Name
from recompviz.core.graphs.pins import check_opposite_pins
from recompviz.core.planning.planner import Planner
from recompviz.core.plans.plan import Plan
from recompviz.core.plans.plan_table import PlanObjective, PlanTable
from recompviz.core.reports.run_report import RunReport
from recompviz.core.steps.timeline import Timeline
from recompviz.widgets.base import assets
from recompviz.widgets.base.interactive import is_exported
from recompviz.widgets.base.job import explain
from recompviz.widgets.base.page_widget import PageWidget, amount, whole_number
from recompviz.widgets.base.static_output import SavedPicture, display_with_picture, image
from recompviz.widgets.explorer import wire
from recompviz.widgets.explorer.background_search import Awaited, Chosen, PlanSearch, search_tables
from recompviz.widgets.explorer.bound import NO_BOUND, TableBounds
from recompviz.widgets.explorer.budgets import affordable_row, budget_bytes, first_choice
from recompviz.widgets.explorer.carried_pins import NO_PINS, carried_pins
from recompviz.widgets.explorer.explorer_arguments import BASELINES, OBJECTIVES, ExplorerArguments
from recompviz.widgets.explorer.joint_wire import packed_joint
from recompviz.widgets.explorer.known_plans import KnownPlans
from recompviz.widgets.explorer.landscape_picture import dark_mixtures
from recompviz.widgets.explorer.page_choices import choice_of_page, numbers_asked
from recompviz.widgets.explorer.picture import picture
from recompviz.widgets.explorer.questions import Questions, check_solver, solving_state
from recompviz.widgets.explorer.resizing import Resizer, Resizing, Subject
from recompviz.widgets.explorer.runs import WHOLE, RunHistory, Runner, RunRequest, Runs, Undisturbed, run_state
from recompviz.widgets.explorer.selection import Selection
from recompviz.widgets.explorer.shown_values import ShownValues
from recompviz.widgets.explorer.standalone import standalone_page
from recompviz.widgets.explorer.tables import FAMILIES
from recompviz.widgets.explorer.time_base import TimeBase, step_time, time_base
from recompviz.widgets.layout.layout import MODES, Layout, lay_out
from recompviz.widgets.layout.step_nodes import LabelNumbers

# Below the picture in a saved notebook.
CAPTION = "Saved picture of the selected plan; run the cell to explore"
# The trait ``_opening`` of an Explorer whose training step is known.
DRAWN: dict[str, Any] = {"state": "done", "fraction": 1.0, "text": "", "title": "", "begun": 0.0}


class Explorer(PageWidget):
    """A widget that shows one training step, and selects which values the step keeps and which it recomputes.

    Parameters
    ----------
    planner : Planner
        Plans and simulates the training step.
    runner : Runner, optional
        An object with a method ``run(plan, progress) → RunReport`` that runs training steps under a plan. The method
        should often call ``progress(done, total, text)``. This call raises :class:`recompviz.Cancelled` after the user
        has cancelled the run. If ``runner`` is None, there is no Run button.
    objectives : sequence of "live", "time" or "memory"
        The plan tables to search for, as for :meth:`recompviz.Planner.plans`; the first one is shown first. If empty,
        nothing is searched, and only plans that need no search are shown.
    baselines : sequence of str
        Baselines (plans of other methods) that are shown as points beside the trade-off curve. The names are those of
        :meth:`recompviz.Planner.baseline`. A baseline that does not exist for the graph is left out.
    background : bool, optional
        Whether the search for plans runs in the background. Until it ends, plans that need no search are shown. If
        False, the constructor searches. If None, the constructor searches if the graph is small (about a second of
        search). The constructor always searches if ``budget`` is too small for every plan that needs no search.
    budget : int, float or str, optional
        The first budget in total bytes: a number, a string such as ``"10 GiB"``, or a percentage such as ``"60%"``. The
        percentage is of the total peak of keep-all, the plan that recomputes nothing. If None, the plan is selected
        that is best for a budget halfway between the least total peak and the total peak of keep-all. The budget is
        then the total peak of this plan.
    capacity : int, float or str, optional
        Memory of the device, as a number of bytes or a string such as ``"24 GiB"``. It is marked on the budget slider.
        If None, nothing is marked.
    title : str
        The title of the view.
    device : str, optional
        The name of the device to show. If None, ``planner.device`` in capital letters.
    cost_unit : str
        The unit of ``planner.graph.time`` to show, for example ``"ms"``.
    theory : bool
        Whether the view opens with the paper's view: lower sets, boundaries, segments, the peak formula, and the
        paper's objectives. A button in the view switches the paper's view on and off.
    resizer : Resizer, optional
        An object with the attribute ``axes`` and a method ``at(sizes, progress)`` that gives the training step another
        batch size or sequence length; see :mod:`recompviz.widgets.explorer.resizing`. If None, :meth:`resize` is not
        possible.

    Attributes
    ----------
    plan : Plan
        The selected plan; read-only.
    budget : int
        The budget in total bytes: parameters, gradients and inputs are included. It can be set to a number, to a
        string such as ``"10 GiB"``, or to a percentage of the total peak of keep-all such as ``"60%"``. A new budget
        selects the plan for this budget from the table shown; see :meth:`recompviz.PlanTable.row`.
    timeline : Timeline
        The simulated memory of one training step under the selected plan; read-only.
    runs : tuple of RunReport
        The reports of the newest 20 completed runs, oldest first; read-only. The page lists the figures of 200 runs. A
        report that is dropped here stays valid where the user keeps it.

    Raises
    ------
    InfeasibleBudget
        If the first budget, or a budget that is set later, is less than the total peak of every plan in the table
        shown.
    ValueError
        If a budget or ``capacity`` is not a size, or an objective or the name of a baseline is unknown.
    TypeError
        If ``planner`` is not a Planner, a budget or ``capacity`` is neither a number nor a string, ``baselines`` is
        neither a tuple nor a list, or ``theory`` is neither True nor False.

    Notes
    -----
    The four attributes are traits: ``explorer.observe(function, "plan")`` calls a function when the plan changes.

    Python code waits for a background search when it reads ``plan``, ``timeline`` or ``tables``, sets ``budget``, or
    calls :meth:`pin`, :meth:`use_solver`, :meth:`run` or :meth:`to_html`. The page does not wait. An observer function
    does not wait either while it is called because of a new selection.

    Examples
    --------
    A graph that does not come from a network, planned in the paper's memory model:

    >>> import recompviz as rv
    >>> graph = rv.Graph.from_edges([(i, i + 1) for i in range(7)], memory=[4] * 8)
    >>> explorer = rv.Explorer(rv.Planner(graph), objectives=["time"], background=False)
    >>> explorer.budget = "100%"
    >>> explorer.plan.recompute
    frozenset()
    """

    _esm = assets.esm()
    _css = assets.css()
    page_traits = ("_asked", "_pins", "_mode", "_theory")
    _saved: tuple[SavedPicture, ...] = ()  # the pictures in the outputs of cells

    plan = Awaited(Plan, read_only=True, help="The plan shown.")
    budget = Chosen(help='Total bytes; accepts "10 GiB" and "60%".')
    timeline = Awaited(Timeline, read_only=True, help="The simulated timeline of the plan.")
    runs = traitlets.Tuple(default_value=(), read_only=True, help="The newest run reports, oldest first.")

    _graph = traitlets.Dict().tag(sync=True)
    _layout = traitlets.Dict().tag(sync=True)
    _modules = traitlets.Dict().tag(sync=True)
    _tables: Any = traitlets.List().tag(sync=True)
    _edition = traitlets.Int().tag(sync=True)
    _more: Any = traitlets.List().tag(sync=True)
    _joint = traitlets.Bytes().tag(sync=True)
    _labels: Any = traitlets.List().tag(sync=True)
    _waiting = traitlets.Unicode().tag(sync=True)
    _searching = traitlets.Bool().tag(sync=True)
    _mode = traitlets.Unicode().tag(sync=True)
    _theory: Any = traitlets.Bool().tag(sync=True)
    _pins = traitlets.Dict().tag(sync=True)
    _solving = traitlets.Dict().tag(sync=True)
    _asked = traitlets.Dict().tag(sync=True, echo_update=False)
    _reply = traitlets.Dict().tag(sync=True)
    _run = traitlets.Dict().tag(sync=True)
    _runs: Any = traitlets.List().tag(sync=True)
    _sizes = traitlets.Dict().tag(sync=True)
    _opening = traitlets.Dict(DRAWN).tag(sync=True)
    _bound = traitlets.Dict(NO_BOUND).tag(sync=True)

    def __init__(
        self,
        planner: Planner,
        runner: Runner | None = None,
        *,
        objectives: Sequence[PlanObjective] = OBJECTIVES,
        baselines: Sequence[str] = BASELINES,
        background: bool | None = None,
        budget: int | float | str | None = None,
        capacity: int | float | str | None = None,
        title: str = "training step",
        device: str | None = None,
        cost_unit: str = "time units",
        theory: bool = False,
        resizer: Resizer | None = None,
    ) -> None:
        given = ExplorerArguments(
            planner=planner,
            runner=runner,
            objectives=objectives,
            baselines=baselines,
            background=background,
            budget=budget,
            capacity=capacity,
            title=title,
            device=device,
            cost_unit=cost_unit,
            theory=theory,
            resizer=resizer,
        )
        self._start(given)

    @classmethod
    def from_arguments(cls, given: ExplorerArguments) -> Explorer:
        """Return the Explorer with arguments that are checked already."""
        made = cls.__new__(cls)
        made._start(given)
        return made

    def _start(self, given: ExplorerArguments) -> None:
        super().__init__(**self._prepare(given))
        self.on_msg(self._on_message)
        self._begin()

    def _prepare(self, given: ExplorerArguments) -> dict[str, Any]:
        """Make the parts of the Explorer, and return the first traits."""
        self._given, self.planner, self.cost_unit = given, given.planner, given.cost_unit
        self.title, self.device = given.title, given.device_name
        search_now = given.searches_now
        self._known = KnownPlans(given.baselines)
        if search_now:
            self._known.add(self.planner, search_tables(self.planner, given.objectives))
        shown = self._known.shown(self.planner)
        self._first_choice = first_choice(shown.first[0].table, given.budget)
        self._selection = Selection(self.planner, shown, self._on_selection)
        self._resizing = Resizing(given.resizer, self._selection, self._tell_sizes, self._show_resized)
        self._search: PlanSearch | None = None
        self._bounds = TableBounds(self._tell_bound)
        self._settling = False
        self._history = RunHistory()
        self._make_parts(given.runner)
        self._search_later = given.searches and not search_now
        return {**self._first_messages(given.runner is not None), "_theory": given.theory}

    def _begin(self) -> None:
        """Select the first plan, and start the search for better ones."""
        self._selection.choose(0, *self._first_choice, request=0)
        if self._search_later:
            self._start_search()
        else:
            self._start_bounds()

    def _make_parts(self, runner: Runner | None) -> None:
        """Make the parts that belong to one planner."""
        selection = self._selection
        self._questions = Questions(self.planner, selection, self._tell_solving, self._send_more)
        told = (self._tell_run, self._on_run, self._history.last)
        self._run_jobs = None if runner is None else Runs(Undisturbed(runner, self._bounds), selection, *told)
        self._numbers = LabelNumbers(self.graph)

    def _start_bounds(self, after_run: bool = False) -> None:
        """Compute how close the plans of the first table are to the best possible ones, if a search found them."""
        self._bound = NO_BOUND
        if not after_run and self._run_jobs is not None and self._run_jobs.running:
            return  # it would disturb the measured times; it is computed after the run
        table = self._selection.tables.first[0].table
        if table.objective == "live" and self._selection.tables.searched:
            self._bounds.start(self.planner, table)

    def _tell_bound(self, message: dict[str, Any]) -> None:
        self._bound = message

    def _start_search(self) -> None:
        self._searching = True
        self._waiting = "first plans; searching for better ones"
        self._search = PlanSearch(
            self.planner,
            self._given.objectives,
            self._selection,
            self._tell_search,
            self._replace_tables,
            self._keep_first_plans,
        )
        self._search.start()

    def _own_plans(self) -> list[tuple[str, Plan]]:
        """Return the plans that were loaded or run at this size, with names.

        They can be shown also when no table has them any more.
        """
        ran = [(f"run {number}", report.plan) for number, report in self._history.reports(self.planner)]
        return [*self._known.loaded(self.planner), *ran]

    def _first_messages(self, can_run: bool) -> dict[str, Any]:
        layout, tables = lay_out(self.graph), self._selection.tables
        return {
            "_graph": wire.graph_message(
                self.graph,
                self.title,
                self.device,
                self._given.capacity_bytes,
                self.cost_unit,
                self._step_time(),
                self._given.names,
            ),
            "_layout": wire.layout_message(layout),
            "_mode": layout.mode,
            "_modules": wire.modules_message(self.graph),
            "_joint": packed_joint(self.graph, self.planner.joint),
            "_tables": [wire.table_message(shown) for shown in tables.first],
            "_more": [wire.table_message(shown) for shown in tables.more],
            "_pins": {**NO_PINS, "edition": self._selection.edition},
            "_edition": self._selection.edition,
            "_solving": solving_state(FAMILIES),
            "_run": run_state(0, "idle", 0.0, "", can=can_run),
            "_sizes": self._resizing.message(),
        }

    # ---------------------------------------------------------------- other sizes

    def resize(self, *, batch: int | None = None, length: int | None = None) -> None:
        """Show the same training step with another batch size or sequence length.

        The step is not run. If necessary, it is traced again in the background, at most once for each changed size. One
        trace is enough for all batch sizes. Each length needs a trace of its own, with one exception: once the step was
        traced at a half and at a quarter of the traced length, no shorter length needs a trace. The bytes follow from
        the traces, and times are scaled. The plans found so far are shown first; a search for better ones follows.
        :meth:`wait` waits until the step is shown, and reading ``plan`` waits for the search.

        The budget stays. If no plan fits it at the new size, the plan of least total peak is shown. The budget is
        remembered, and used again when a plan fits it: when the search has found one, or at another size.

        Parameters
        ----------
        batch : int, optional
            Number of examples. If left out, the batch size stays.
        length : int, optional
            Length of the token sequences. Some models cannot run at a longer length than the traced one; the page then
            says so. If left out, the length stays.

        Raises
        ------
        ValueError
            If the size cannot be changed for this training step, or is not a whole number in its range.
        """
        sizes = {name: size for name, size in (("batch", batch), ("length", length)) if size is not None}
        if sizes:
            self._resizing.ask(sizes, self._selection.wanted)

    def _tell_sizes(self, message: dict[str, Any]) -> None:
        self._sizes = message

    def _show_resized(self, subject: Subject, budget: int | None) -> None:
        """Show another training step with the plans of the present one, and search for better plans."""
        selection, planner = self._selection, subject.planner
        self._known.carry(selection.tables.first[0].table, planner)
        pins = carried_pins(self._pins, self.graph, planner.graph)
        for work in (self._search, self._questions):
            if work is not None:
                work.stop()
        if self._run_jobs is not None:
            self._run_jobs.retire()
        tables = self._known.shown(planner)
        first = tables.first[0].table
        with self.hold_sync():
            self.planner, self.cost_unit = planner, subject.cost_unit
            selection.begin(planner, tables)
            self._make_parts(subject.runner)
            selection.give_missing(self._own_plans())
            self._labels = []
            for name, value in self._first_messages(subject.runner is not None).items():
                setattr(self, name, value)
            self._runs = self._history.of(self.planner)
            self._searching = False
            self._waiting = ""
            choice = first_choice(first, None) if budget is None else affordable_row(first, budget)
            selection.choose(0, *choice, wanted=budget)
            self._pins = {**pins, "edition": selection.edition}  # what they ask for is solved again
            self._bounds.stop()
            self._bound = NO_BOUND
            if self._given.objectives and not self._known.searched(planner):
                self._start_search()
            else:
                self._start_bounds()

    @property
    def graph(self) -> Graph:
        """The graph of the forward values of the training step."""
        return self.planner.graph

    @property
    def tables(self) -> tuple[PlanTable, ...]:
        """The plan tables, one for each objective, in the order given to the constructor.

        Reading this attribute waits for the search for better plans. If there was no search, or the search failed or
        was stopped, there is one table. It has plans that need no search, or the plans found at another size before.
        Tables of baselines, pins and other solvers are not included.
        """
        self.wait_for_plans()
        return tuple(shown.table for shown in self._selection.tables.first)

    # ---------------------------------------------------------------- the search for better plans

    def wait_for_plans(self, seconds: float | None = None) -> None:
        """Wait until the background search for better plans has ended or was stopped.

        If a change of the batch size or the sequence length is under way, the method first waits for this change. It
        returns immediately if there is nothing to wait for, or if it is called by a function that observes a trait.

        Parameters
        ----------
        seconds : float, optional
            Time limit for each of the two waits. The method takes at most twice this time. If None, there is no limit.
        """
        self._resizing.wait(seconds)
        while (search := self._search) is not None:
            search.wait(seconds)
            if seconds is not None or search is self._search:
                return

    def _tell_search(self, fraction: float) -> None:
        if not self._questions.running:  # The user's own question has the only line of text.
            self._tell_solving("solving", fraction, "searching for better plans")

    def _keep_first_plans(self, why: str) -> None:
        if not self._questions.running:
            self._tell_solving("idle", 0.0, "")
        self._searching = False
        self._waiting = f"first plans; {why}"

    def _replace_tables(self, tables: Sequence[PlanTable]) -> None:
        """Replace the tables by better ones at the same budget. The page gets all changes as one message.

        Pins are solved again, because the table that they started from is gone.
        """
        tables = self._known.add(self.planner, tables)
        with self.hold_sync():
            choice, renumbered = self._selection.replace_tables(tables, self._own_plans())
            self._questions.renumber(renumbered)
            self._edition = self._selection.edition
            self._tables = [wire.table_message(shown) for shown in self._selection.tables.first]
            self._send_more()
            self._searching = False
            self._waiting = ""
            self._selection.choose(*choice, wanted=self._selection.wanted)
            pins = self._pins
            if pins["keep"] or pins["recompute"]:
                numbers = {"base": renumbered(pins["base"]), "edition": self._edition}
                self._pins = {**pins, **numbers, "request": pins["request"] + 1}
            elif not self._questions.running:
                self._tell_solving("idle", 0.0, "")
            self._start_bounds()

    def _show_plans_found_under_pins(self) -> None:
        """Replace the tables of the objectives if a search under pins has found better plans than they have."""
        with self._selection.changing():
            if tables := self._selection.tables.improved():
                self._replace_tables(tables)

    # ---------------------------------------------------------------- choices

    @traitlets.validate("budget")
    def _valid_budget(self, proposal: Any) -> int:
        keep_all = int(self._selection.tables.first[0].table.total_peaks[0])  # a table with pins may not have this plan
        budget = budget_bytes(proposal["value"], keep_all)
        self._selection.current.row(budget)  # raises InfeasibleBudget
        return budget

    @traitlets.observe("budget")
    def _on_budget(self, change: Any) -> None:
        with self._selection.changing():
            if not self._settling:
                self._selection.choose_budget(change["new"])

    def from_page(self, name: str, value: Any, _state: Mapping[str, Any]) -> Any:
        """Return a checked value of a trait that the page may set; see :class:`PageWidget`."""
        return choice_of_page(name, value, int(self._graph.get("count", 0)))  # 0 before the step is traced

    def take_state(self, state: dict[str, Any]) -> None:
        """Set traits to the checked values that the page sent.

        The lock of the selection is held while the traits are set. Before that, the request number of a new choice is
        recorded, so that an older choice that is still being simulated is dropped.
        """
        if "_asked" in state:
            self._selection.announce(state["_asked"]["request"])
        with self._selection.changing():
            super().take_state(state)

    @traitlets.observe("_asked")
    def _on_asked(self, change: Any) -> None:
        """Select what the page asked for. If that is not possible, the answer is the current selection."""
        if (asked := numbers_asked(change["new"])) is None:
            return
        request, table, row, budget = asked
        selection = self._selection
        is_old = change["new"].get("edition", selection.edition) != selection.edition
        selection.announce(request)
        with selection.changing():
            if request < selection.request or request <= self._reply["request"]:
                return  # a newer choice was made
            try:
                if is_old:  # the numbers mean another plan now, so only the budget counts
                    row, affordable = affordable_row(selection.tables.table(0), budget)
                    selection.choose(0, row, affordable, request, budget)
                elif selection.tables.has(table, row):
                    total = int(selection.tables.table(table).total_peaks[row])
                    selection.choose(table, row, max(budget, total), request, budget or None)
            finally:
                if self._reply["request"] < request == selection.request:
                    self._on_selection(selection)

    def _on_selection(self, selection: Selection) -> None:
        """Send the selected row with its timeline to the page, and set ``plan``, ``timeline`` and ``budget``."""
        message = wire.timeline_message(selection.timeline, self._numbers)
        if len(self._numbers) > len(self._labels):
            self._labels = self._numbers.labels
        self._reply = {
            "request": selection.request,
            "fingerprint": self.graph.fingerprint,
            "table": selection.table,
            "row": selection.row,
            "budget": float(selection.budget),
            "wanted": float(selection.wanted),
            **message,
        }
        plan, timeline, budget = selection.plan, selection.timeline, selection.budget
        self._settling = True
        try:
            with self.hold_trait_notifications():  # an observer of one of them finds all three changed
                self.set_trait("plan", plan)
                self.set_trait("timeline", timeline)
                self.budget = budget
        finally:
            self._settling = False
        self._picture_changed()

    @traitlets.observe("_theory", "_layout", "_runs")
    def _picture_changed(self, _change: Any = None) -> None:
        """The pictures in the outputs of cells are old."""
        for saved in self._saved:
            saved.changed()

    @traitlets.observe("_mode")
    def _on_mode(self, change: Any) -> None:
        if change["new"] in MODES and self._layout and change["new"] != self._layout["mode"]:
            self._layout = wire.layout_message(lay_out(self.graph, change["new"]))

    @property
    def layout_shown(self) -> Layout:
        """The layout of the graph that the page shows."""
        return lay_out(self.graph, self._layout["mode"])

    # ---------------------------------------------------------------- questions

    def pin(self, keep: Iterable[Name] = (), recompute: Iterable[Name] = ()) -> None:
        """Pin values: show plans that keep all values in ``keep`` and recompute all values in ``recompute``.

        The pins replace earlier ones.

        The plan table that is shown is solved again in the background, and the result is shown at the current budget.
        While given plans (baselines, loaded plans) are shown, the first table is solved again. If no plan fits the
        budget, the budget is raised. If no plan obeys the pins, the page says so and shows the same plans as before.

        This method first waits for the search for better plans. It does not wait for the result; :meth:`wait` does.

        Parameters
        ----------
        keep, recompute : iterable of node names
            Values that every plan must keep, and values that every plan must recompute. If both are empty, all pins are
            removed.

        Raises
        ------
        GraphError
            If a name is not the name of a node.
        ImpossiblePin
            If a value is pinned both to be kept and to be recomputed.
        """
        kept, again = self.graph.mask(keep), self.graph.mask(recompute)
        check_opposite_pins(self.graph, kept, again)
        self.wait_for_plans()
        with self._selection.changing():
            request = int(self._pins["request"]) + 1
            pins = {"keep": list(bits(kept)), "recompute": list(bits(again)), "lost": ""}
            numbers = {"request": request, "base": self._questions.base, "edition": self._selection.edition}
            self._pins = {**numbers, **pins}

    @traitlets.observe("_pins")
    def _on_pins(self, change: Any) -> None:
        pins, names = change["new"], self.graph.names
        is_old = pins.get("edition", self._selection.edition) != self._selection.edition
        keep, recompute = ([names[v] for v in pins[kind]] for kind in ("keep", "recompute"))
        self._questions.pin(0 if is_old else pins["base"], keep, recompute)
        if not pins["keep"] and not pins["recompute"]:
            self._show_plans_found_under_pins()

    def use_solver(self, family: str, objective: PlanObjective | None = None) -> None:
        """Show the plans that another solver finds for an objective.

        This method first waits for the search for better plans. The solver then runs in the background; :meth:`wait`
        waits for it. If the solver has found plans for this objective before, they are shown at once.

        Parameters
        ----------
        family : "auto", "all", "paper" or "prefixes"
            The lower sets that the solver may use, as for :func:`recompviz.solve`.
        objective : "time", "memory" or "live", optional
            If None: ``"memory"`` if the table shown has this objective, otherwise ``"time"``. ``"live"`` is possible
            only with the family ``"auto"``.

        Raises
        ------
        ValueError
            If ``family`` or ``objective`` is unknown, or if the objective is ``"live"`` with another family than
            ``"auto"``.
        """
        check_solver(family, objective)
        self.wait_for_plans()
        self._questions.use_solver(cast(Family, family), objective)

    def load(self, plan: Plan | str | Path) -> None:
        """Select a plan that was made elsewhere. Its total peak becomes the budget.

        Parameters
        ----------
        plan : Plan, str or Path
            A plan of this graph, its JSON text, or the path of a file with its JSON text.

        Raises
        ------
        PlanMismatch
            If the plan was made for another graph, or the text is not a plan.
        FileError
            If the file cannot be read. It is also an OSError.
        TypeError
            If ``plan`` is neither a Plan, a str nor a path.
        """
        planner, questions = self.planner, self._questions
        self._known.keep(planner, questions.load(plan))

    def _tell_solving(
        self, state: str, fraction: float, text: str, interim: bool = False, loaded: bool = False
    ) -> None:
        self._solving = solving_state(FAMILIES, state, fraction, text, interim, loaded)

    def _send_more(self) -> None:
        self._selection.give_missing(self._own_plans())
        self._more = [wire.table_message(shown) for shown in self._selection.tables.more]

    # ---------------------------------------------------------------- runs

    def run(self) -> None:
        """Run training steps under the selected plan in the background.

        This method first waits for the search for better plans, so that the plan it runs is the one that ``plan``
        returns. The Run button of the page does not wait: it runs the plan that the page shows.

        The report is added to ``runs`` when the run ends; ``runs`` keeps the newest 20. :meth:`wait` waits until then.
        If a run is under way, this method does nothing.

        Other cells may run in the meantime. Memory that their threads allocate is not counted. If a cell trains the
        same model or draws random numbers, the run fails, or a note of its report starts with "contaminated".

        Raises
        ------
        RuntimeError
            If the Explorer has no runner.
        """
        jobs = self._run_jobs
        if jobs is not None and not jobs.running:
            self.wait_for_plans()
            jobs = self._run_jobs  # another batch size that was asked for is shown now
        if jobs is None:
            raise RuntimeError(
                "this Explorer has no runner, so it cannot run a plan; pass runner=, or use rv.explore(…)"
            )
        jobs.start()

    def cancel(self) -> None:
        """Ask the run under way to stop. The run stops at its next report of progress."""
        if self._run_jobs is not None:
            self._run_jobs.cancel()

    def wait(self, seconds: float | None = None) -> None:
        """Wait until the work of :meth:`resize`, of :meth:`pin` or :meth:`use_solver`, and of :meth:`run` has ended.

        This method is for scripts. It does not wait for the search for better plans; see :meth:`wait_for_plans`.

        Parameters
        ----------
        seconds : float, optional
            Time limit for each of these three kinds of work. When a limit is reached, the method stops waiting for that
            work. If None, there is no limit.
        """
        self._resizing.wait(seconds)
        self._questions.wait(seconds)
        if self._run_jobs is not None:
            self._run_jobs.wait(seconds)

    def close(self) -> None:
        """Close the widget. Its views disappear, and the search, the solver and the run under way stop."""
        # ipywidgets also closes a widget whose constructor failed before it made these parts
        parts = vars(self)
        if parts.get("_run_jobs") is not None:
            self.cancel()
        for work in (parts.get(name) for name in ("_resizing", "_search", "_questions", "_bounds")):
            if work is not None:
                work.stop()
        for saved in self._saved:
            saved.stop()
        super().close()

    def _tell_run(self, message: dict[str, Any]) -> None:
        self._run = message
        if message["state"] != "running" and not self._bound["rows"]:
            self._start_bounds(after_run=True)

    def _on_run(self, run: RunRequest, report: RunReport) -> None:
        self.set_trait("runs", (*self.runs, report)[-WHOLE:])
        message = wire.run_message(report, run)
        self._history = self._history.with_run(self.planner, report, message)
        with self.hold_sync():
            self._send_more()  # the search may have replaced the plan during its run
            self._runs = self._history.of(self.planner)

    # ---------------------------------------------------------------- messages from the page

    def _on_message(self, _widget: Any, content: Any, _buffers: Any) -> None:
        kind = content.get("type") if isinstance(content, dict) else None
        if not isinstance(kind, str):
            return
        if kind == "run" and self._run_jobs is not None:
            self._run_jobs.start()  # without waiting for the search for better plans
        elif kind == "cancel":
            self.cancel()
        elif kind == "stop":
            self._stop()
        elif kind == "resize":
            self._resize(content)
        elif kind == "keep-sizes":
            self._resizing.stop()
        elif kind == "solve" and content.get("family") in tuple(FAMILIES):  # a tuple: the value may be unhashable
            objective = content.get("objective")
            self._questions.use_solver(  # without waiting for the search for better plans
                content["family"], cast(PlanObjective, objective) if objective in ("time", "memory") else None
            )
        elif kind == "load":
            self._load_text(content.get("text"))
        elif kind == "page":
            self._send_page()

    def _stop(self) -> None:
        """Stop the question (pins or another solver) under way, or else the search for better plans."""
        if self._questions.running:
            self._questions.stop()
        elif self._search is not None:
            self._search.stop()

    def _resize(self, content: Mapping[str, Any]) -> None:
        """Take new sizes from the page: one for each axis, and the budget that the user wants; 0 if there is none."""
        try:
            sizes = [whole_number(size, 1) for size in content["sizes"]]
            budget = int(amount(content["budget"]))
            self._resizing.ask(dict(zip(self._resizing.sizes, sizes, strict=True)), budget or None)
        except (LookupError, TypeError, ValueError):
            self._tell_sizes(self._resizing.message())

    def _load_text(self, text: Any) -> None:
        """Load a plan from a text of the page, which is never the path of a file."""
        with self._selection.changing():
            self._tell_solving("idle", 0.0, "")  # so that the page is notified even if the answer is the same as before
            try:
                self.load(Plan.from_json(self.graph, text))
            except Exception as error:  # whatever fails, also an observer of the user: the page gets an answer
                self._tell_solving("failed", 0.0, explain(error))
            else:
                self._tell_solving("done", 1.0, "plan loaded", loaded=True)

    def _send_page(self) -> None:
        if self._search is not None and self._search.running:  # An exported page holds the final plans.
            with self._selection.changing():
                text = "still searching for better plans: export the page after the search"
                self._tell_solving("failed", 0.0, text)
        else:
            self.send({"type": "page"}, [self.to_html().encode()])

    # ---------------------------------------------------------------- static forms

    def _step_time(self) -> float | None:
        return step_time(self.planner, self.cost_unit, self._given.planner)

    def _time_base(self) -> TimeBase:
        """What extra time is a share of, the same as in the page."""
        return time_base(self.planner, self._step_time())

    def to_svg(self) -> str:
        """Return a static SVG picture of the graph, the trade-off curve and the timeline of the selected plan.

        If the paper's view is shown, the picture also has the segments and the peak by the paper's formula.
        """
        return self._picture()

    def _picture(self, caption: str = "") -> str:
        shown = self._selection
        with shown.changing():
            plan, timeline, table, budget = shown.plan, shown.timeline, shown.current, shown.budget
            fixed = [one.table for one in shown.tables.first]
            runs = self._history.reports(self.planner)
        report = next((one for _, one in reversed(runs) if np.array_equal(one.plan.keep_mask, plan.keep_mask)), None)
        first = fixed[0]
        keeps_all = bool(first.plans[0].keep_mask.all())
        sizes = [f"{name} {size}" for name, size in self._resizing.sizes.items()]  # the code may have other ones
        return picture(
            self.graph,
            self.layout_shown,
            plan,
            ShownValues.of(self.planner.joint, plan, self._theory),
            timeline,
            table,
            ", ".join([self.title, *sizes]),
            self.device,
            self.cost_unit,
            self._time_base(),
            budget=budget,
            most=max(int(one.total_peaks.max()) for one in fixed),
            keep_all=first.outlines[0] if keeps_all else None,
            report=report,
            theory=self._theory,
            caption=caption,
        )

    def synchronised(self) -> list[str]:
        """Return the sorted names of the traits that the page and the kernel share. ``wire.md`` describes them."""
        widgets_own = {*PageWidget.class_trait_names(), "_esm", "_css", "_anywidget_id"}
        return sorted(set(self.trait_names(sync=True)) - widgets_own)

    def to_html(self, path: str | Path | None = None) -> str:
        """Return the Explorer as one HTML page that needs neither a kernel nor a network.

        In the page, the budget selects among all plans of the tables, and the graph and the timeline follow. The page
        cannot run a plan or search for one. This method waits for the search for better plans.

        Parameters
        ----------
        path : str or Path, optional
            A file to which the page is also written. If writing fails, an old file stays as it was.

        Returns
        -------
        str
            The text of the page, in HTML.

        Raises
        ------
        FileError
            If the file cannot be written. The error is also an OSError.
        """
        self.wait_for_plans()
        with self._selection.changing():  # all of one selection
            traits = {name: getattr(self, name) for name in self.synchronised()}
            svg = self.to_svg()
        text = standalone_page(self.graph, self.planner.joint, traits, self.title, svg)
        if path is not None:
            write_file(path, text)
        return text

    def __repr__(self) -> str:
        plan, timeline = self._selection.plan, self._selection.timeline
        share = f" ({part})" if (part := self._time_base().share(plan.overhead)) else ""
        return (
            f"Explorer({self.title} on {self.device}: {len(self.graph)} nodes, "
            f"{int(np.count_nonzero(plan.keep_mask))} kept, {int(np.count_nonzero(~plan.keep_mask))} recomputed; "
            f"peak {format_bytes(timeline.peak)} total bytes, {format_bytes(plan.peak)} formula bytes; "
            f"overhead {format_cost(plan.overhead)} {self.cost_unit}{share})"
        )

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle or {}, {})
        return {**data, "text/plain": repr(self), "text/html": self._image()}, metadata

    def _image(self) -> str:
        """Return the picture of the selected plan as an HTML image."""
        return image(self._picture(CAPTION), repr(self), mixtures=dark_mixtures())

    def _ipython_display_(self) -> None:
        if is_exported():  # after the last cell, nothing replaces the picture
            self.wait_for_plans()
        data, metadata = self._repr_mimebundle_()
        del data["text/html"]  # the picture has an output of its own, which can be replaced
        searching = self._search is not None and self._search.running
        self._display(data, metadata, self.wait_for_plans if searching else None)

    def _display(self, data: Mapping[str, Any], metadata: Mapping[str, Any], wait: Callable[[], None] | None) -> None:
        saved = display_with_picture(data, metadata, self._image, wait, self._running)
        if saved is not None:
            self._saved = (*self._saved, saved)

    def _running(self) -> bool:
        """Whether a run is measured, which the drawing of a picture would disturb."""
        return bool(self._run.get("state") == "running")
