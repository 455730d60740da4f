"""The Explorer: graph, budget, trade-off curve and memory timeline of one training step, linked.

One anywidget draws all of it. The table of distinct plans is sent once, so that dragging the budget repaints
in the page without the kernel; the kernel then confirms the row with the stacked timeline. Everything
that crosses is listed in ``wire.md``. What needs torch (simulating, running) is handed in.

Since ipykernel 7 observers may run on another thread than the cell's, and a run has a thread of its own: one
lock surrounds every change of the plan, and each choice has a rising request number; what belongs to
an older one is dropped.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import anywidget
import numpy as np
import traitlets

from recompviz.core.graph import Graph
from recompviz.core.plan import Plan
from recompviz.core.plan_table import PlanTable
from recompviz.core.run_report import RunReport
from recompviz.core.timeline import Timeline
from recompviz.core.units import format_bytes, parse_bytes
from recompviz.widgets import assets, wire
from recompviz.widgets.layout import MODES, Layout, lay_out
from recompviz.widgets.picture import picture
from recompviz.widgets.runner import Runner, Work
from recompviz.widgets.step_nodes import node_numbers, step_nodes


class Explorer(anywidget.AnyWidget):
    """See and choose what one training step keeps and recomputes.

    Parameters
    ----------
    graph : Graph
    table : PlanTable
        The plans to choose from first.
    simulate : callable (Plan) → Timeline
        Milliseconds; called for each confirmed choice.
    more_tables : sequence of PlanTable
        Other objectives' plans; they add a switch of the objective.
    run : callable (plan, progress, cancelled) → RunReport, optional
        Really runs a plan. ``progress(fraction, text)`` is called now and then and raises
        :class:`recompviz.Cancelled` once the user has cancelled. Left out: there is no Run button.
    device : str
        Where ``run`` will run, for people.
    title : str
    budget : int or str, optional
        Total bytes to begin with; left out: half-way between the least feasible total and keep-all.
    later : callable () → sequence of PlanTable, optional
        Better tables, made in a thread of their own once the first picture is there; they replace the first ones.

    Attributes
    ----------
    plan : Plan
        The plan shown (observable, read-only).
    budget : int
        Total bytes; settable, also as ``"10 GiB"``.
    timeline : Timeline
        Simulated, of that plan (observable, read-only).
    runs : tuple of RunReport
        What *Run* has measured so far (observable, read-only).

    Raises
    ------
    InfeasibleBudget
        If a budget is set that no plan of the table fits.
    """

    _esm = assets.esm()
    _css = assets.css()

    plan = traitlets.Instance(Plan, read_only=True, help="The plan shown.")
    budget = traitlets.Any(help='Total bytes; accepts "10 GiB".')
    timeline = traitlets.Instance(Timeline, read_only=True, help="Simulated, of that plan.")
    runs = traitlets.Tuple(default_value=(), read_only=True, help="The run reports so far, oldest first.")

    _graph = traitlets.Dict().tag(sync=True)
    _layout = traitlets.Dict().tag(sync=True)
    _modules = traitlets.Dict().tag(sync=True)
    _tables: Any = traitlets.List().tag(sync=True)
    _labels: Any = traitlets.List().tag(sync=True)
    _waiting = traitlets.Unicode().tag(sync=True)
    _mode = traitlets.Unicode().tag(sync=True)
    _asked = traitlets.Dict().tag(sync=True)
    _reply = traitlets.Dict().tag(sync=True)
    _run = traitlets.Dict().tag(sync=True)
    _runs: Any = traitlets.List().tag(sync=True)

    def __init__(
        self,
        graph: Graph,
        table: PlanTable,
        simulate: Callable[[Plan], Timeline],
        *,
        more_tables: Sequence[PlanTable] = (),
        run: Work | None = None,
        device: str = "cpu",
        title: str = "training step",
        budget: int | float | str | None = None,
        later: Callable[[], Sequence[PlanTable]] | None = None,
    ) -> None:
        self.graph = graph
        self.tables = (table, *more_tables)
        self.title = title
        self.device = device
        self._simulate = simulate
        self._runner = None if run is None else Runner(run)
        self._lock = threading.RLock()
        self._request = 0
        self._choice = (0, 0)  # table, row
        self._label_numbers: dict[str, int] = {}
        self._numbers = node_numbers(graph)
        layout = lay_out(graph)
        middle = (table.least_total + int(table.total_peaks[0])) // 2
        row = table.row(middle if budget is None else budget)
        budget = int(table.total_peaks[row]) if budget is None else budget
        super().__init__(
            _graph=wire.graph_message(graph, title, device),
            _layout=wire.layout_message(layout),
            _modules=wire.modules_message(graph),
            _tables=[wire.table_message(t) for t in self.tables],
            _mode=layout.mode,
            _run={"number": 0, "state": "idle", "fraction": 0.0, "text": "", "can": run is not None},
        )
        self._choose(0, 0, row, parse_bytes(budget))
        self.on_msg(self._on_message)
        self._later: threading.Thread | None = None
        if later is not None:
            self._waiting = "first plans; better ones are being searched for"
            self._later = threading.Thread(target=self._replace_tables, args=(later,), daemon=True)
            self._later.start()

    def _replace_tables(self, later: Callable[[], Sequence[PlanTable]]) -> None:
        """Show better tables when they are there, at the same budget; told as one change, so that no page sees half."""
        try:
            tables = tuple(later())
        except Exception as error:  # the first plans stay, and the page says why
            self._waiting = f"first plans; the search failed: {error}"
            return
        with self._lock, self.hold_sync():
            self.tables = tables
            budget = max(int(self.budget), tables[0].least_total)
            self._tables = [wire.table_message(t) for t in tables]
            self._waiting = ""
            self._choose(self._request + 1, 0, tables[0].row(budget), budget)

    def wait_for_plans(self, seconds: float | None = None) -> None:
        """Wait until the better tables are shown (for scripts; the notebook does not need it)."""
        if self._later is not None:
            self._later.join(seconds)

    # ---------------------------------------------------------------- choices

    @traitlets.validate("budget")
    def _valid_budget(self, proposal: Any) -> int:
        budget = parse_bytes(proposal["value"])
        self.tables[self._choice[0]].row(budget)  # raises InfeasibleBudget
        return budget

    @traitlets.observe("budget")
    def _on_budget(self, change: Any) -> None:
        with self._lock:
            table = self._choice[0]
            if getattr(self, "_settling", False):
                return
            self._choose(self._request + 1, table, self.tables[table].row(change["new"]), change["new"])

    @traitlets.observe("_asked")
    def _on_asked(self, change: Any) -> None:
        asked = change["new"]
        try:
            request, table, row = int(asked["request"]), int(asked["table"]), int(asked["row"])
            budget = int(asked["budget"])
        except (KeyError, TypeError, ValueError):
            return
        if request <= self._request or not 0 <= table < len(self.tables) or not 0 <= row < len(self.tables[table]):
            return
        budget = max(budget, int(self.tables[table].total_peaks[row]))
        self._request = request  # at once: whoever holds the lock for an older one sees that it is superseded
        self._choose(request, table, row, budget)

    def _choose(self, request: int, table: int, row: int, budget: int) -> None:
        """Show a row: simulate it, and tell the page and the observers unless a newer choice has come."""
        with self._lock:
            if request < self._request:
                return
            plan = self.tables[table].plans[row]
            timeline = self._simulate(plan)
            if request < self._request:
                return
            self._request = request
            self._choice = (table, row)
            known = len(self._label_numbers)
            nodes = step_nodes(self.graph, self._numbers, timeline.step_labels)
            message = wire.timeline_message(timeline, self._label_numbers, nodes)
            if len(self._label_numbers) > known:
                self._labels = list(self._label_numbers)
            self._reply = {
                "request": request,
                "fingerprint": self.graph.fingerprint,
                "table": table,
                "row": row,
                "budget": float(budget),
                **message,
            }
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

    # ---------------------------------------------------------------- runs

    def run(self) -> None:
        """Run the current plan in the background, as the button does; the report comes into ``runs``."""
        if self._runner is None:
            raise RuntimeError("there is nothing to run: this Explorer was made without run=")
        with self._lock:
            table, row = self._choice
            plan, predicted = self.plan, self.timeline
            number = int(self._run["number"]) + (0 if self._runner.running else 1)

        def told(state: str, fraction: float, text: str) -> None:
            with self._lock:
                self._run = {"number": number, "state": state, "fraction": fraction, "text": text, "can": True}

        def finished(report: RunReport) -> None:
            with self._lock:
                self.set_trait("runs", (*self.runs, report))
                self._runs = [*self._runs, wire.run_message(report, number, table, row, predicted)]

        self._runner.start(plan, told, finished)

    def cancel(self) -> None:
        """Ask the run under way to stop."""
        if self._runner is not None:
            self._runner.cancel()

    def wait(self, seconds: float | None = None) -> None:
        """Wait until the run under way has ended (for scripts; the notebook does not need it)."""
        if self._runner is not None:
            self._runner.wait(seconds)

    def _on_message(self, _widget: Any, content: Any, _buffers: Any) -> None:
        kind = content.get("type") if isinstance(content, dict) else None
        if kind == "run" and self._runner is not None:
            self.run()
        elif kind == "cancel":
            self.cancel()

    # ---------------------------------------------------------------- where widgets cannot show

    def to_svg(self) -> str:
        """The current choice as one static SVG picture."""
        return picture(
            self.graph,
            self.layout_shown,
            self.plan,
            self.timeline,
            self.tables[self._choice[0]],
            self.title,
            self.device,
        )

    def __repr__(self) -> str:
        forward = float(self.graph.time.sum())
        share = f" ({self.plan.overhead / forward:.0%} of the forward)" if forward else ""
        return (
            f"Explorer({self.title} on {self.device}: {len(self.graph)} nodes, "
            f"{int(np.count_nonzero(self.plan.kept))} kept, {int(np.count_nonzero(~self.plan.kept))} recomputed; "
            f"peak {format_bytes(self.timeline.peak)} total bytes, {format_bytes(self.plan.peak)} formula bytes; "
            f"overhead {self.plan.overhead:g}{share})"
        )

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle or {}, {})
        return {**data, "text/plain": repr(self), "text/html": self.to_svg()}, metadata
