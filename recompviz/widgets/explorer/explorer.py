"""The Explorer: graph, budget, trade-off curve and memory timeline of one training step, linked.

One anywidget draws all of it. Each table of distinct plans is sent once, so that dragging the budget repaints in the
page without the kernel. The kernel then confirms the row with its stacked timeline. ``wire.md`` lists everything that
is sent. The Explorer itself only turns the changes of its parts into traits: the parts are the selection, the search
for better plans, questions (pins, other solvers) and runs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import anywidget
import numpy as np
import traitlets

from recompviz.core.base.errors import GraphError, PlanMismatch
from recompviz.core.base.units import format_bytes, format_cost, parse_bytes
from recompviz.core.exact.solver import Family
from recompviz.core.graphs.bitsets import bits
from recompviz.core.graphs.graph import Graph, Name
from recompviz.core.planning.planner import Planner
from recompviz.core.plans.plan import Plan
from recompviz.core.plans.plan_table import PlanObjective, PlanTable
from recompviz.core.reports.run_report import RunReport
from recompviz.core.steps.timeline import Timeline
from recompviz.widgets.base import assets
from recompviz.widgets.explorer import wire
from recompviz.widgets.explorer.picture import picture
from recompviz.widgets.explorer.questions import Questions
from recompviz.widgets.explorer.runs import Run, Runner, Runs, run_state
from recompviz.widgets.explorer.search import Awaited, PlanSearch, search_tables
from recompviz.widgets.explorer.selection import Selection
from recompviz.widgets.explorer.standalone import standalone_page
from recompviz.widgets.explorer.tables import FAMILIES, Tables
from recompviz.widgets.layout.layout import MODES, Layout, lay_out
from recompviz.widgets.layout.step_nodes import LabelNumbers

OBJECTIVES: tuple[PlanObjective, ...] = ("live", "time", "memory")
BASELINES = ("per-module", "chen", "as-written")


class Explorer(anywidget.AnyWidget):
    """See and choose what one training step keeps and recomputes.

    Parameters
    ----------
    planner : Planner
        Plans and simulates the step.
    runner : Runner, optional
        Anything with ``run(plan, progress) → RunReport`` that runs a plan for real. It should call
        ``progress(done, total, text)`` now and then, which raises :class:`recompviz.Cancelled` after the user has
        cancelled the run. If left out, there is no Run button.
    objectives : sequence of "live", "time" or "memory"
        The tables to search for; the first is shown first. If empty, only plans that need no search are shown.
    baselines : sequence of str
        Baselines shown as points of the curve; names as for :meth:`recompviz.Planner.baseline`. A baseline that the
        graph does not have is left out.
    background : bool, optional
        Whether to search in the background and to show plans that need no search in the meantime. If left out, only if
        the search may take longer than a second.
    budget : int or str, optional
        Total bytes to begin with. If left out, half-way between the least feasible total and keep-all.
    capacity : int or str, optional
        Bytes that the device has, marked on the budget.
    title : str
    device : str, optional
        The name of the device, for people.
    cost_unit : str
        The unit of ``planner.graph.time``, for people.

    Attributes
    ----------
    plan : Plan
        The plan shown (observable, read-only). During the first search, Python code that reads ``plan``, ``timeline``
        or ``tables``, sets ``budget`` or exports a page waits for the search. The page does not wait, and neither does
        an observer that is called because of a choice.
    budget : int
        Total bytes; settable, also as ``"10 GiB"`` or ``"60%"`` of the total of keep-all.
    timeline : Timeline
        Simulated, of that plan (observable, read-only).
    runs : tuple of RunReport
        The reports of all runs so far (observable, read-only).

    Raises
    ------
    InfeasibleBudget
        If a budget is set that no plan of the table fits.

    Examples
    --------
    A graph without a network, planned in the paper's memory model:

    >>> import recompviz as rv
    >>> graph = rv.Graph.from_edges([(i, i + 1) for i in range(7)], memory=[4] * 8)
    >>> explorer = rv.Explorer(rv.Planner(graph), objectives=["time"], background=False)
    >>> explorer.budget = "100%"
    >>> explorer.plan.recompute
    frozenset()
    """

    _esm = assets.esm()
    _css = assets.css()

    plan = Awaited(Plan, read_only=True, help="The plan shown.")
    budget = traitlets.Any(help='Total bytes; accepts "10 GiB" and "60%".')
    timeline = Awaited(Timeline, read_only=True, help="The simulated timeline of the plan.")
    runs = traitlets.Tuple(default_value=(), read_only=True, help="The run reports so far, oldest first.")

    _graph = traitlets.Dict().tag(sync=True)
    _layout = traitlets.Dict().tag(sync=True)
    _modules = traitlets.Dict().tag(sync=True)
    _tables: Any = traitlets.List().tag(sync=True)
    _more: Any = traitlets.List().tag(sync=True)
    _labels: Any = traitlets.List().tag(sync=True)
    _waiting = traitlets.Unicode().tag(sync=True)
    _mode = traitlets.Unicode().tag(sync=True)
    _pins = traitlets.Dict().tag(sync=True)
    _solving = traitlets.Dict().tag(sync=True)
    _asked = traitlets.Dict().tag(sync=True, echo_update=False)
    _reply = traitlets.Dict().tag(sync=True)
    _run = traitlets.Dict().tag(sync=True)
    _runs: Any = traitlets.List().tag(sync=True)

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
    ) -> None:
        if isinstance(planner, Graph):
            raise TypeError("planner is a Graph; expected a Planner: Explorer(rv.Planner(graph, joint))")
        self.planner = planner
        self.title = title
        self.cost_unit = cost_unit
        self.device = planner.device.upper() if device is None else device
        background = not planner.is_quick if background is None else background
        search_now = bool(objectives) and not background
        first = search_tables(planner, objectives) if search_now else [planner.first_plans()]
        table = first[0]
        row, budget = _first_choice(table, budget)
        self._selection = Selection(planner, _tables_with(planner, first, baselines), self._on_selection)
        self._questions = Questions(planner, self._selection, self._tell_solving, self._send_more)
        self._run_jobs = None if runner is None else Runs(runner, self._selection, self._tell_run, self._on_run)
        self._search: PlanSearch | None = None
        self._settling = False
        self._numbers = LabelNumbers(self.graph)
        super().__init__(**self._first_messages(capacity, runner is not None))
        self._selection.choose(0, row, budget, request=0)
        self.on_msg(self._on_message)
        if objectives and background:
            self._waiting = "first plans; searching for better ones"
            self._search = PlanSearch(
                planner, objectives, self._selection, self._tell_search, self._replace_tables, self._keep_first_plans
            )
            self._search.start()

    def _first_messages(self, capacity: int | float | str | None, can_run: bool) -> dict[str, Any]:
        layout, tables = lay_out(self.graph), self._selection.tables
        return {
            "_graph": wire.graph_message(
                self.graph,
                self.title,
                self.device,
                None if capacity is None else parse_bytes(capacity),
                self.cost_unit,
            ),
            "_layout": wire.layout_message(layout),
            "_mode": layout.mode,
            "_modules": wire.modules_message(self.graph),
            "_tables": [wire.table_message(shown) for shown in tables.first],
            "_more": [wire.table_message(shown) for shown in tables.more],
            "_pins": {"request": 0, "base": -1, "keep": [], "recompute": []},
            "_solving": {"state": "idle", "fraction": 0.0, "text": "", "families": dict(FAMILIES)},
            "_run": run_state(0, "idle", 0.0, "", can=can_run),
        }

    @property
    def graph(self) -> Graph:
        """The graph of the step."""
        return self.planner.graph

    @property
    def tables(self) -> tuple[PlanTable, ...]:
        """The tables to choose from, one per objective."""
        self.wait_for_plans()
        return tuple(shown.table for shown in self._selection.tables.first)

    # ---------------------------------------------------------------- the search for better plans

    def wait_for_plans(self, seconds: float | None = None) -> None:
        """Wait until the first search has ended. Whatever depends on its plans waits by itself."""
        if self._search is not None:
            self._search.wait(seconds)

    def _tell_search(self, fraction: float) -> None:
        if not self._questions.running:  # The user's own question has the only line of text.
            self._tell_solving("solving", fraction, "searching for better plans")

    def _keep_first_plans(self, why: str) -> None:
        if not self._questions.running:
            self._tell_solving("idle", 0.0, "")
        self._waiting = f"first plans; {why}"

    def _replace_tables(self, tables: Sequence[PlanTable]) -> None:
        """Show better tables at the same budget, sent as one change so that no page sees half of it."""
        with self.hold_sync():
            choice = self._selection.replace_tables(tables)
            self._tables = [wire.table_message(shown) for shown in self._selection.tables.first]
            self._send_more()
            # The tables that pins started from are gone. This also stops a question and clears its text.
            self._pins = {"request": self._pins["request"] + 1, "base": -1, "keep": [], "recompute": []}
            self._waiting = ""
            self._selection.choose(*choice)

    # ---------------------------------------------------------------- choices

    @traitlets.validate("budget")
    def _valid_budget(self, proposal: Any) -> int:
        self.wait_for_plans()
        table = self._selection.current
        budget = _budget_of(proposal["value"], int(table.total_peaks[0]))
        table.row(budget)  # raises InfeasibleBudget
        return budget

    @traitlets.observe("budget")
    def _on_budget(self, change: Any) -> None:
        with self._selection.changing():
            if not self._settling:
                self._selection.choose_budget(change["new"])

    @traitlets.observe("_asked")
    def _on_asked(self, change: Any) -> None:
        asked, tables = change["new"], self._selection.tables
        try:
            request, table, row = int(asked["request"]), int(asked["table"]), int(asked["row"])
            budget = int(asked["budget"])
        except (KeyError, TypeError, ValueError):
            return
        if request > self._selection.request and tables.has(table, row) and self._selection.announce(request):
            self._selection.choose(table, row, max(budget, int(tables.table(table).total_peaks[row])), request)

    def _on_selection(self, selection: Selection) -> None:
        """Send the selected row with its timeline, and set what Python observes."""
        message = wire.timeline_message(selection.timeline, self._numbers)
        if len(self._numbers) > len(self._labels):
            self._labels = self._numbers.labels
        self._reply = {
            "request": selection.request,
            "fingerprint": self.graph.fingerprint,
            "table": selection.table,
            "row": selection.row,
            "budget": float(selection.budget),
            **message,
        }
        plan, timeline, budget = selection.plan, selection.timeline, selection.budget
        self._settling = True
        try:
            self.set_trait("plan", plan)
            self.set_trait("timeline", timeline)
            self.budget = budget
        finally:
            self._settling = False

    @traitlets.observe("_mode")
    def _on_mode(self, change: Any) -> None:
        if change["new"] in MODES and self._layout and change["new"] != self._layout["mode"]:
            self._layout = wire.layout_message(lay_out(self.graph, change["new"]))

    @property
    def layout_shown(self) -> Layout:
        """The layout that the page shows."""
        return lay_out(self.graph, self._layout["mode"])

    # ---------------------------------------------------------------- questions

    def pin(self, keep: Iterable[Name] = (), recompute: Iterable[Name] = ()) -> None:
        """Show what it costs if some values must be kept, or recomputed. Solved in the background.

        Parameters
        ----------
        keep, recompute : iterable of node names
            If both are empty, all pins are removed.
        """
        kept, again = list(bits(self.graph.mask(keep))), list(bits(self.graph.mask(recompute)))
        with self._selection.changing():
            request = int(self._pins["request"]) + 1
            self._pins = {"request": request, "base": self._questions.base, "keep": kept, "recompute": again}

    @traitlets.observe("_pins")
    def _on_pins(self, change: Any) -> None:
        pins = change["new"]
        try:
            base, keep, recompute = int(pins["base"]), self._names(pins["keep"]), self._names(pins["recompute"])
        except (KeyError, TypeError, ValueError, IndexError):
            return
        self._questions.pin(base, keep, recompute)

    def _names(self, nodes: Sequence[int]) -> list[Name]:
        return [self.graph.names[int(v)] for v in nodes if 0 <= int(v) < len(self.graph)]

    def use_solver(self, family: str, objective: PlanObjective | None = None) -> None:
        """Show an objective's plans as another solver finds them. Solved in the background the first time.

        Parameters
        ----------
        family : "auto", "all", "paper" or "prefixes"
            As for :func:`recompviz.solve`.
        objective : "time" or "memory", optional
            If left out, the objective of the table shown, or ``"time"``.
        """
        self._questions.use_solver(cast(Family, family), objective)

    def load(self, plan: Plan | str | Path) -> None:
        """Show a plan that was made elsewhere, for example downloaded from an Explorer.

        Parameters
        ----------
        plan : Plan, str or Path
            A plan of this graph, its JSON, or the path of a file with its JSON.

        Raises
        ------
        PlanMismatch
            If it was made for another graph.
        """
        self._questions.load(plan)

    def _tell_solving(self, state: str, fraction: float, text: str) -> None:
        self._solving = {**self._solving, "state": state, "fraction": fraction, "text": text}

    def _send_more(self) -> None:
        self._more = [wire.table_message(shown) for shown in self._selection.tables.more]

    # ---------------------------------------------------------------- runs

    def run(self) -> None:
        """Run the current plan in the background, as the button does. The report is added to ``runs``.

        Other cells may run in the meantime. What their threads allocate is not counted. If a cell trains the same model
        or draws random numbers, the report says that the run is contaminated.

        Raises
        ------
        RuntimeError
            If the Explorer has no runner.
        """
        if self._run_jobs is None:
            raise RuntimeError(
                "this Explorer has no runner, so it cannot run a plan; pass runner=, or use rv.explore(…)"
            )
        self._run_jobs.start()

    def cancel(self) -> None:
        """Ask the run under way to stop."""
        if self._run_jobs is not None:
            self._run_jobs.cancel()

    def wait(self, seconds: float | None = None) -> None:
        """Wait until the planner's current job and the current run have ended; a notebook does not need it.

        Parameters
        ----------
        seconds : float, optional
            Time limit for each of the two. The method returns when it is reached, even if they still run.
        """
        self._questions.wait(seconds)
        if self._run_jobs is not None:
            self._run_jobs.wait(seconds)

    def _tell_run(self, message: dict[str, Any]) -> None:
        self._run = message

    def _on_run(self, run: Run, report: RunReport) -> None:
        self.set_trait("runs", (*self.runs, report))
        self._runs = [*self._runs, wire.run_message(report, run.number, run.table, run.row, run.predicted)]

    # ---------------------------------------------------------------- messages from the page

    def _on_message(self, _widget: Any, content: Any, _buffers: Any) -> None:
        kind = content.get("type") if isinstance(content, dict) else None
        if kind == "run" and self._run_jobs is not None:
            self.run()
        elif kind == "cancel":
            self.cancel()
        elif kind == "stop":
            self._stop()
        elif kind == "solve" and content.get("family") in FAMILIES:
            objective = content.get("objective")
            self.use_solver(
                content["family"], cast(PlanObjective, objective) if objective in ("time", "memory") else None
            )
        elif kind == "load":
            self._load_text(str(content.get("text", "")).strip() or "{}")
        elif kind == "page":
            self._send_page()

    def _stop(self) -> None:
        """Stop the question under way, or else the first search."""
        if self._questions.running:
            self._questions.cancel()
        elif self._search is not None:
            self._search.stop()

    def _load_text(self, text: str) -> None:
        try:
            self.load(text)
        except (PlanMismatch, OSError) as error:
            self._tell_solving("failed", 0.0, str(error))
        else:
            self._tell_solving("done", 1.0, "plan loaded")

    def _send_page(self) -> None:
        if self._search is not None and self._search.running:  # An exported page holds the final plans.
            self._tell_solving("failed", 0.0, "still searching for better plans: export the page after the search")
        else:
            self.send({"type": "page"}, [self.to_html().encode()])

    # ---------------------------------------------------------------- static forms

    def to_svg(self) -> str:
        """The current choice as one static SVG picture."""
        shown = self._selection
        return picture(
            self.graph,
            self.layout_shown,
            shown.plan,
            shown.timeline,
            shown.current,
            self.title,
            self.device,
            self.cost_unit,
        )

    def synchronised(self) -> list[str]:
        """The names of the traits that are sent to the page, as ``wire.md`` lists them."""
        widgets_own = {*anywidget.AnyWidget.class_trait_names(), "_esm", "_css", "_anywidget_id"}
        return sorted(set(self.trait_names(sync=True)) - widgets_own)

    def to_html(self, path: str | Path | None = None) -> str:
        """One self-contained page: budget, graph, timeline and scrubbing, without a kernel and without a network.

        Parameters
        ----------
        path : str or Path, optional
            The file to write it to.

        Returns
        -------
        str
            The page.
        """
        self.wait_for_plans()
        traits = {name: getattr(self, name) for name in self.synchronised()}
        text = standalone_page(self.graph, self.planner.joint, traits, self.title, self.to_svg())
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text

    def __repr__(self) -> str:
        forward = float(self.graph.time.sum())
        plan, timeline = self._selection.plan, self._selection.timeline
        share = f" ({plan.overhead / forward:.0%} of the forward)" if forward else ""
        return (
            f"Explorer({self.title} on {self.device}: {len(self.graph)} nodes, "
            f"{int(np.count_nonzero(plan.keep_mask))} kept, {int(np.count_nonzero(~plan.keep_mask))} recomputed; "
            f"peak {format_bytes(timeline.peak)} total bytes, {format_bytes(plan.peak)} formula bytes; "
            f"overhead {format_cost(plan.overhead)} {self.cost_unit}{share})"
        )

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle or {}, {})
        return {**data, "text/plain": repr(self), "text/html": self.to_svg()}, metadata


def _first_choice(table: PlanTable, budget: int | float | str | None) -> tuple[int, int]:
    """The row and the budget to begin with: those for a budget, or the row half-way to the least total."""
    if budget is not None:
        return table.row(budget), parse_bytes(budget)
    row = table.row((table.least_total + int(table.total_peaks[0])) // 2)
    return row, int(table.total_peaks[row])


def _tables_with(planner: Planner, tables: Sequence[PlanTable], baselines: Sequence[str]) -> Tables:
    """The tables of the objectives, and the baselines that the graph has."""
    shown = Tables(tables, planner)
    plans = []
    for name in baselines:
        with contextlib.suppress(GraphError):  # for example "per-module" for a graph without repeated blocks
            plan = planner.baseline(name)
            plans.append((plan.kind, plan))
    if plans:
        shown.give(plans)
    return shown


def _budget_of(value: Any, keep_all: int) -> int:
    """Bytes of a budget: as :func:`parse_bytes`, or a percentage of the total of keep-all."""
    if isinstance(value, str) and value.strip().endswith("%"):
        try:
            share = float(value.strip()[:-1]) / 100
        except ValueError:
            raise ValueError(f"budget is {value!r}, expected a size such as '500 MiB' or '60%'") from None
        return int(share * keep_all)
    return parse_bytes(value)
