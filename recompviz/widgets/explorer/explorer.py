"""The Explorer: graph, budget, trade-off curve and memory timeline of one training step, linked.

One anywidget draws all of it. The table of distinct plans is sent once, so that dragging the budget repaints
in the page without the kernel; the kernel then confirms the row with the stacked timeline. Everything
that crosses is listed in ``wire.md``. What needs torch (simulating, running) is handed in.

Since ipykernel 7 observers may run on another thread than the cell's, and runs and solves have threads of their
own: one lock surrounds every change of the plan, and each choice has a rising request number; what
belongs to an older one is dropped.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import anywidget
import numpy as np
import traitlets

from recompviz.core.base.errors import PlanMismatch
from recompviz.core.base.units import format_bytes, parse_bytes
from recompviz.core.graphs.graph import Graph
from recompviz.core.plans.plan import Plan
from recompviz.core.plans.plan_table import PlanObjective, PlanTable
from recompviz.core.reports.run_report import RunReport
from recompviz.core.steps.joint import JointGraph
from recompviz.core.steps.timeline import Timeline
from recompviz.widgets.base import assets
from recompviz.widgets.explorer import wire
from recompviz.widgets.explorer.background import Background, Progress
from recompviz.widgets.explorer.later_plans import Awaited, LaterPlans
from recompviz.widgets.explorer.picture import picture
from recompviz.widgets.explorer.questions import Questions, Solve
from recompviz.widgets.explorer.runner import Runner, Work
from recompviz.widgets.explorer.standalone import standalone_page
from recompviz.widgets.explorer.tables import FAMILIES, Tables
from recompviz.widgets.layout.layout import MODES, Layout, lay_out
from recompviz.widgets.layout.step_nodes import LabelNumbers

# after running out of memory a plan of at most this share of the one that failed is offered
SMALLER = 0.9


class Explorer(Questions):
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
    baselines : sequence of Plan
        Shown as points of the curve, to be chosen and compared.
    solve : callable (objective, family, keep, recompute, progress) → PlanTable, optional
        Solves again, for pins and for other solvers; works in a thread of its own. Left out: neither is offered.
    run : callable (plan, progress, cancelled) → RunReport, optional
        Really runs a plan. ``progress(fraction, text)`` is called now and then and raises
        :class:`recompviz.Cancelled` once the user has cancelled. Left out: there is no Run button.
    device : str
        Where ``run`` will run, for people.
    title : str
    budget : int or str, optional
        Total bytes to begin with; left out: half-way between the least feasible total and keep-all.
    capacity : int or str, optional
        Bytes the device has, marked on the budget.
    joint : JointGraph, optional
        What ``simulate`` simulates; :meth:`to_html` needs it.
    later : callable (progress) → sequence of PlanTable, optional
        Better tables, made in a thread of their own once the first picture is there; they replace the first ones.
        ``progress(done, total)`` raises :class:`recompviz.Cancelled` once the user has stopped the search.

    Attributes
    ----------
    plan : Plan
        The plan shown (observable, read-only). While better plans are still searched for, who reads ``plan``,
        ``timeline`` or ``tables``, sets ``budget`` or exports a page in Python waits for these; the picture does not.
    budget : int
        Total bytes; settable, also as ``"10 GiB"`` or ``"60%"`` of what keeping everything takes.
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

    plan = Awaited(Plan, read_only=True, help="The plan shown.")
    budget = traitlets.Any(help='Total bytes; accepts "10 GiB" and "60%".')
    timeline = Awaited(Timeline, read_only=True, help="Simulated, of that plan.")
    runs = traitlets.Tuple(default_value=(), read_only=True, help="The run reports so far, oldest first.")

    _graph = traitlets.Dict().tag(sync=True)
    _layout = traitlets.Dict().tag(sync=True)
    _modules = traitlets.Dict().tag(sync=True)
    _tables: Any = traitlets.List().tag(sync=True)
    _labels: Any = traitlets.List().tag(sync=True)
    _waiting = traitlets.Unicode().tag(sync=True)
    _mode = traitlets.Unicode().tag(sync=True)
    _asked = traitlets.Dict().tag(sync=True, echo_update=False)
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
        baselines: Sequence[Plan] = (),
        solve: Solve | None = None,
        run: Work | None = None,
        device: str = "cpu",
        title: str = "training step",
        budget: int | float | str | None = None,
        capacity: int | float | str | None = None,
        joint: JointGraph | None = None,
        later: Callable[[Progress], Sequence[PlanTable]] | None = None,
    ) -> None:
        self._later = LaterPlans(self._tell_search, self._replace_tables, self._stay)
        self.graph = graph
        self.title = title
        self.device = device
        self.joint = joint
        self._simulate = simulate
        self._tabled = Tables((table, *more_tables), lambda plan: self._simulate(plan))
        if baselines:
            self._tabled.give(graph, [(plan.kind, plan) for plan in baselines])
        self._solve = solve
        self._runner = None if run is None else Runner(run)
        self._lock = threading.RLock()
        self._background = Background(self._tell_solving, self._lock)
        self._request = 0
        self._choice = (0, 0)  # table, row
        self._numbers = LabelNumbers(graph)
        layout = lay_out(graph)
        middle = (table.least_total + int(table.total_peaks[0])) // 2
        row = table.row(middle if budget is None else budget)
        budget = int(table.total_peaks[row]) if budget is None else budget
        super().__init__(
            _graph=wire.graph_message(graph, title, device, None if capacity is None else parse_bytes(capacity)),
            _layout=wire.layout_message(layout),
            _tables=[wire.table_message(shown) for shown in self._tabled.first],
            _more=[wire.table_message(shown) for shown in self._tabled.more],
            _pins={"request": 0, "base": -1, "keep": [], "recompute": []},
            _solving={"state": "idle", "fraction": 0.0, "text": "", "families": dict(FAMILIES) if solve else {}},
            _modules=wire.modules_message(graph),
            _mode=layout.mode,
            _run={"number": 0, "state": "idle", "fraction": 0.0, "text": "", "can": run is not None, "offer": None},
        )
        self._choose(0, 0, row, parse_bytes(budget))
        self.on_msg(self._on_message)
        if later is not None:
            self._waiting = "first plans; better ones are being searched for"
            self._later.start(later)

    def _tell_search(self, fraction: float, state: str = "solving") -> None:
        with self._lock:
            if not self._background.busy:  # what the user asked for since is told instead
                text = "better plans are being searched for" if state == "solving" else ""
                self._tell_solving(state, fraction, text)

    def _stay(self, why: str) -> None:
        """No better tables come: the first plans stay, and the page says why."""
        self._tell_search(0.0, "idle")
        self._waiting = f"first plans; {why}"

    def _replace_tables(self, tables: Sequence[PlanTable]) -> None:
        """Show better tables at the same budget; told as one change, so that no page sees half."""
        with self._lock, self.hold_sync():
            self._tell_search(0.0, "idle")
            table, row = self._choice
            elsewhere = table >= self._tabled.given and table != self._tabled.pinned  # given, loaded, another solver's
            table += len(tables) - self._tabled.given
            self._tabled.replace(tables)
            budget = max(int(self.budget), tables[0].least_total)
            self._tables = [wire.table_message(shown) for shown in self._tabled.first]
            self._more = [wire.table_message(shown) for shown in self._tabled.more]
            self._pins = {"request": self._pins["request"] + 1, "base": -1, "keep": [], "recompute": []}
            self._waiting = ""
            if elsewhere:
                self._choose(self._request + 1, table, row, int(self.budget))
            else:
                self._choose(self._request + 1, 0, tables[0].row(budget), budget)

    def wait_for_plans(self, seconds: float | None = None) -> None:
        """Wait until the better tables are shown; what depends on them waits by itself."""
        self._later.wait(seconds)

    @property
    def tables(self) -> tuple[PlanTable, ...]:
        """The tables to choose from, one an objective."""
        self.wait_for_plans()
        return tuple(shown.table for shown in self._tabled.first)

    # ---------------------------------------------------------------- choices

    @traitlets.validate("budget")
    def _valid_budget(self, proposal: Any) -> int:
        self.wait_for_plans()
        table = self._tabled.table(self._choice[0])
        budget = _budget_of(proposal["value"], int(table.total_peaks[0]))
        table.row(budget)  # raises InfeasibleBudget
        return budget

    @traitlets.observe("budget")
    def _on_budget(self, change: Any) -> None:
        with self._lock:
            table = self._choice[0]
            if getattr(self, "_settling", False):
                return
            self._choose(self._request + 1, table, self._tabled.table(table).row(change["new"]), change["new"])

    @traitlets.observe("_asked")
    def _on_asked(self, change: Any) -> None:
        asked = change["new"]
        try:
            request, table, row = int(asked["request"]), int(asked["table"]), int(asked["row"])
            budget = int(asked["budget"])
        except (KeyError, TypeError, ValueError):
            return
        if request <= self._request or not self._tabled.has(table, row):
            return
        budget = max(budget, int(self._tabled.table(table).total_peaks[row]))
        self._request = request  # at once: whoever holds the lock for an older one sees that it is superseded
        self._choose(request, table, row, budget)

    def _choose(self, request: int, table: int, row: int, budget: int) -> None:
        """Show a row: simulate it, and tell the page and the observers unless a newer choice has come."""
        with self._lock:
            if request < self._request:
                return
            if not self._tabled.has(table, row):
                return  # the table was replaced meanwhile
            plan = self._tabled.table(table).plans[row]
            timeline = self._simulate(plan)
            if request < self._request:
                return
            self._request = request
            self._choice = (table, row)
            message = wire.timeline_message(timeline, self._numbers)
            if len(self._numbers) > len(self._labels):
                self._labels = self._numbers.labels
            self._reply = {
                "request": request,
                "fingerprint": self.graph.fingerprint,
                "table": table,
                "row": row,
                "budget": float(budget),
                **message,
            }
            self._settling = True
            self._shown = plan, timeline
            try:
                with self._later.not_awaited():
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
        """Run the current plan in the background, as the button does; the report comes into ``runs``.

        A cell may go on meanwhile: what its threads allocate is not counted, and where it trains the same model or
        draws random numbers, the report says that it is contaminated.
        """
        if self._runner is None:
            raise RuntimeError("there is nothing to run: this Explorer was made without run=")
        with self._lock:
            table, row = self._choice
            plan, predicted = self._shown
            number = int(self._run["number"]) + (0 if self._runner.running else 1)

        def told(state: str, fraction: float, text: str) -> None:
            with self._lock:
                offer = self._smaller(table, predicted.peak) if text.startswith("out of memory") else None
                message = {"number": number, "state": state, "fraction": fraction, "text": text, "can": True}
                self._run = {**message, "offer": offer}

        def finished(report: RunReport) -> None:
            with self._lock:
                self.set_trait("runs", (*self.runs, report))
                self._runs = [*self._runs, wire.run_message(report, number, table, row, predicted)]

        self._runner.start(plan, told, finished)

    def _smaller(self, table: int, peak: int) -> float | None:
        """The largest total of a table that is clearly below a peak, or at least below it."""
        totals = self._tabled.table(table).total_peaks
        for most in (SMALLER * peak, peak - 1):
            if (totals <= most).any():
                return float(totals[totals <= most].max())
        return None

    def cancel(self) -> None:
        """Ask the run under way to stop."""
        if self._runner is not None:
            self._runner.cancel()

    def wait(self, seconds: float | None = None) -> None:
        """Wait until the run and the solve under way have ended (for scripts; the notebook does not need it)."""
        self._background.wait(seconds)
        if self._runner is not None:
            self._runner.wait(seconds)

    def _on_message(self, _widget: Any, content: Any, _buffers: Any) -> None:
        kind = content.get("type") if isinstance(content, dict) else None
        if kind == "run" and self._runner is not None:
            self.run()
        elif kind == "cancel":
            self.cancel()
        elif kind == "stop":
            if not self._background.busy:
                self._later.stop()
            self._background.cancel()
        elif kind == "solve" and content.get("family") in FAMILIES:
            objective = content.get("objective")
            self.use_solver(
                content["family"], cast(PlanObjective, objective) if objective in ("time", "memory") else None
            )
        elif kind == "load":
            try:
                self.load(str(content.get("text", "")).strip() or "{}")
            except (PlanMismatch, OSError) as error:
                self._tell_solving("failed", 0.0, str(error))
            else:
                self._tell_solving("done", 1.0, "plan loaded")
        elif kind == "page":
            try:
                if self._later.searching:  # an exported page holds the final plans
                    raise ValueError("better plans are being searched for: export the page when they are here")
                text = self.to_html()
            except ValueError as error:
                self._tell_solving("failed", 0.0, str(error))
            else:
                self.send({"type": "page"}, [text.encode()])

    # ---------------------------------------------------------------- where widgets cannot show

    def to_svg(self) -> str:
        """The current choice as one static SVG picture."""
        return picture(
            self.graph,
            self.layout_shown,
            *self._shown,
            self._tabled.table(self._choice[0]),
            self.title,
            self.device,
        )

    def synchronised(self) -> list[str]:
        """The names of the traits that cross the wire, as ``wire.md`` lists them."""
        widgets_own = {*anywidget.AnyWidget.class_trait_names(), "_esm", "_css", "_anywidget_id"}
        return sorted(set(self.trait_names(sync=True)) - widgets_own)

    def to_html(self, path: str | Path | None = None) -> str:
        """One self-contained page: budget, graph, timeline and scrubbing, without a kernel and without a network.

        Parameters
        ----------
        path : str or Path, optional
            Where to write it.

        Returns
        -------
        str
            The page.

        Raises
        ------
        ValueError
            If the Explorer was made without ``joint``, from which the page simulates its plans.
        """
        self.wait_for_plans()
        traits = {name: getattr(self, name) for name in self.synchronised()}
        text = standalone_page(self.graph, self.joint, traits, self.title, self.to_svg())
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text

    def __repr__(self) -> str:
        forward = float(self.graph.time.sum())
        plan, timeline = self._shown
        share = f" ({plan.overhead / forward:.0%} of the forward)" if forward else ""
        return (
            f"Explorer({self.title} on {self.device}: {len(self.graph)} nodes, "
            f"{int(np.count_nonzero(plan.keep_mask))} kept, {int(np.count_nonzero(~plan.keep_mask))} recomputed; "
            f"peak {format_bytes(timeline.peak)} total bytes, {format_bytes(plan.peak)} formula bytes; "
            f"overhead {plan.overhead:g}{share})"
        )

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle or {}, {})
        return {**data, "text/plain": repr(self), "text/html": self.to_svg()}, metadata


def _budget_of(value: Any, keep_all: int) -> int:
    """Bytes of a budget: as :func:`parse_bytes`, or per cent of what keeping everything takes."""
    if isinstance(value, str) and value.strip().endswith("%"):
        try:
            share = float(value.strip()[:-1]) / 100
        except ValueError:
            raise ValueError(f"budget is {value!r}, expected a size such as '500 MiB' or '60%'") from None
        return int(share * keep_all)
    return parse_bytes(value)
