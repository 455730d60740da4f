"""The planner of one training step: trade-off curves, plan tables, what-if tables and baselines.

A planner needs a graph and the joint graph of the same training step, but neither torch nor Jupyter. It caches curves,
tables and baselines. Several threads may use one planner.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, partial
from itertools import chain, count
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from recompviz.core.base.arguments import expect
from recompviz.core.base.compiled import has_compiled_code, has_numba
from recompviz.core.base.progress import Progress
from recompviz.core.bounds.curve import BoundCurve
from recompviz.core.bounds.step_bounds import StepBounds
from recompviz.core.exact.lazy_front import LazyParetoFront
from recompviz.core.exact.solver import Family, solve
from recompviz.core.graphs.graph import Graph, Name
from recompviz.core.live.minimum_cut import minimum_cut_plans
from recompviz.core.live.model import profile_function
from recompviz.core.live.search import live_plans
from recompviz.core.planning.cache import Cache
from recompviz.core.planning.first_plans import first_plans
from recompviz.core.plans.baselines import METHODS, SEED_METHODS, baseline, chen_plans, existing_baselines
from recompviz.core.plans.curve import Objective, Tradeoff
from recompviz.core.plans.plan import Plan, expect_plan
from recompviz.core.plans.plan_table import PlanObjective, PlanTable, TableObjective
from recompviz.core.steps.joint import JointGraph
from recompviz.core.steps.little_to_save import little_to_save
from recompviz.core.steps.paper_model import paper_step
from recompviz.core.steps.places import shared_steps
from recompviz.core.steps.schedule import Schedule, make_schedule
from recompviz.core.steps.simulation import simulate_schedule
from recompviz.core.steps.timeline import Timeline

if TYPE_CHECKING:
    from numpy.typing import NDArray

T = TypeVar("T")

# The most plans of one table. A slider has no more positions, and large graphs have thousands of optima.
MOST_ROWS = 512
# Up to this many nodes, searching all tables takes less than a second once the kernels are compiled.
SMALL = 40
# From this many nodes on, the formula's curves take longer than the search in simulated bytes and are no seeds of it.
LARGE = 2500
# The share of a search in simulated bytes that its seeds take, for progress.
SEEDING = 0.2

# The keys of baselines in the cache start with this.
BASELINE = "baseline "
# The keys of plans that were found under pins, and are better than those found before, start with this.
PINNED = "pinned "
# The key of the table "live" with plans that were found later starts with this. The names of these plans follow.
BETTER = "plans live and "

# Makes a baseline plan from the text after the baseline's name, for example from "0.5" of "min-cut 0.5".
MakeBaseline = Callable[[str], Plan]


class Planner:
    """Find the plans of one training step for every memory budget. Results are computed when first needed, and cached.

    A plan says which intermediate values are kept for the backward pass. The other values are recomputed.

    Parameters
    ----------
    graph : Graph
        The intermediate values of the forward pass.
    joint : JointGraph, optional
        The operator calls of the same training step, forward and backward, on which memory is simulated. If left out,
        the paper's memory model is used: every value has a gradient of the same size, and nothing else takes memory.
    baselines : mapping of str to callable (str) → Plan, optional
        Further baselines by name. The callable gets the text after the name, for example ``"0.5"`` for ``"min-cut
        0.5"``.
    device : str
        The name of the device for ``Timeline.device``. It does not change the plans.
    most_rows : int
        The largest number of optimal plans in a table of the objective ``"time"`` or ``"memory"``; see :meth:`plans`.

    Attributes
    ----------
    graph : Graph
    joint : JointGraph
    device : str

    Examples
    --------
    >>> import recompviz as rv
    >>> graph = rv.Graph.from_edges([("a", "b"), ("b", "c"), ("c", "d")], memory={"a": 4, "b": 8, "c": 2, "d": 1})
    >>> planner = rv.Planner(graph)
    >>> table = planner.plans("live")
    >>> table.total_peaks.tolist(), [sorted(plan.recompute) for plan in table.plans]
    ([22, 18], [[], ['a']])
    >>> planner.plan(20)
    Plan(live, segments=3, kept=3/4, overhead=1, peak=26 formula bytes)
    """

    def __init__(
        self,
        graph: Graph,
        joint: JointGraph | None = None,
        *,
        baselines: Mapping[str, MakeBaseline] | None = None,
        device: str = "cpu",
        most_rows: int = MOST_ROWS,
    ) -> None:
        if not isinstance(graph, Graph):
            raise TypeError(f"graph is {type(graph).__name__}, expected a Graph; a trace has a planner: trace.planner")
        self.graph = graph
        self.joint = paper_step(graph) if joint is None else joint
        self.device = device
        self._more_baselines = dict(baselines or {})
        self._most_rows = most_rows
        self._cache = Cache()
        self._remembering = threading.RLock()
        self._bounds = StepBounds(self.graph, self.joint)

    def __repr__(self) -> str:
        return f"Planner(#V={len(self.graph)}, #E={len(self.graph.edges)}, {len(self.joint.calls)} calls)"

    def reuse_curves(self, other: Planner) -> None:
        """Take over the cached trade-off curves of another planner.

        The curves depend only on the graph, not on the joint graph. The curves, tables and baselines that this planner
        has cached are dropped.

        Parameters
        ----------
        other : Planner
            The planner that has the curves. If its graph and the graph of this planner differ in fingerprint or costs
            ``graph.time`` (:meth:`Graph.same_as`), nothing happens.
        """
        if other.graph.same_as(self.graph):
            self._cache = other._cache.copy_of("tradeoff")

    # ---------------------------------------------------------------- one plan

    def check(self, plan: Plan | None) -> Plan:
        """Check that a plan is for the planner's graph, and return it.

        Parameters
        ----------
        plan : Plan or None
            None stands for the plan that keeps every value.

        Returns
        -------
        Plan
            ``plan`` itself, if it was made for this graph with the same costs ``graph.time``. If these costs differ, a
            plan that keeps the same values, with the overhead for the costs of this graph. If the plan has no bounds
            (:attr:`Plan.bound`), it gets those of this planner.

        Raises
        ------
        PlanMismatch
            If the plan is for a graph with another fingerprint.
        TypeError
            If ``plan`` is not a Plan.
        """
        if plan is None:
            return Plan.keep_all(self.graph).use_bounds(self._bounds)
        expect_plan(plan)
        if not plan.graph.same_as(self.graph):
            plan = Plan.from_json(self.graph, plan.to_json())
        return plan.use_bounds(self._bounds)

    def schedule(self, plan: Plan | None = None) -> Schedule:
        """Return the operator calls of the training step under a plan, and the storages that are freed after each call.

        Parameters
        ----------
        plan : Plan, optional
            If left out, every value is kept.

        Returns
        -------
        Schedule

        Raises
        ------
        PlanMismatch
            If the plan is for another graph.
        TypeError
            If ``plan`` is not a Plan.
        """
        return make_schedule(self.joint, self.check(plan).keep_mask.tolist())

    def simulate(self, plan: Plan | None = None) -> Timeline:
        """Return the simulated memory of the training step under a plan: all bytes, parameters included.

        Parameters
        ----------
        plan : Plan, optional
            If left out, every value is kept.

        Returns
        -------
        Timeline

        Raises
        ------
        PlanMismatch
            If the plan is for another graph.
        TypeError
            If ``plan`` is not a Plan.
        """
        return simulate_schedule(self.schedule(plan), self.device)

    @cached_property
    def _shared(self) -> NDArray[np.bool_]:
        return shared_steps(self.joint)

    def profile_function(self) -> Callable[[Plan], NDArray[np.int64]]:
        """Return a fast function from a plan to the most bytes alive within each step of its schedule.

        A step of the schedule is one operator call. The bytes include parameters and other static memory.

        The function returns the same values as ``self.simulate(plan).profile``. Call it in one thread only.
        """
        return profile_function(self.graph, self.joint)

    # ---------------------------------------------------------------- curves and tables

    def tradeoff(self, family: Family = "auto", progress: Progress | None = None) -> Tradeoff:
        """Return the trade-off curve of the graph: its optimal plans for all budgets. It is cached.

        Budgets count *formula bytes*: intermediate values and their gradients, as in the paper's peak formula.

        Parameters
        ----------
        family : "auto", "all", "paper" or "prefixes"
            The lower sets that plans may use; see :func:`recompviz.solve`.
        progress : callable (done, total), optional
            Called during the search. Raise :class:`recompviz.Cancelled` in it to stop the search.

        Raises
        ------
        ValueError
            If the family is unknown.
        TooManyLowerSets
            If ``family`` is ``"all"`` and the graph has too many lower sets.
        """
        return self._cached(f"tradeoff {family}", lambda: solve(self.graph, family, progress=progress), progress)

    def plans(self, objective: PlanObjective = "time", progress: Progress | None = None) -> PlanTable:
        """Return the table of the plans found for an objective, cached.

        The table has two peaks of each plan: the peak by the paper's formula, and the simulated peak of the whole
        training step. If there are more than ``most_rows`` optimal plans (512 by default), the tables ``"time"`` and
        ``"memory"`` have the optimal plans for ``most_rows`` evenly spaced budgets.

        Parameters
        ----------
        objective : "time", "memory" or "live"
            ``"time"`` and ``"memory"``: the plans of least and of largest recomputation under each budget on the
            formula peak. ``"live"``: the plans found by a search that simulates the whole training step; see
            :mod:`recompviz.core.live.search`. The search starts from the plans of the two other tables, from baselines
            and from minimum cuts. It usually finds plans that recompute less under the same budget on the simulated
            peak. Plans that are found later, by :meth:`baseline` or under pins by :meth:`what_if`, are added to the
            table if they recompute less than every plan of it whose peak is not larger. Without numba, the ``"live"``
            table has only the plans from which the search starts.
        progress : callable (done, total), optional
            Called during the search. Raise :class:`recompviz.Cancelled` in it to stop the search.

        Raises
        ------
        ValueError
            If the objective is unknown.
        """
        check_objective(objective)

        search = self._live_table if objective == "live" else partial(self._formula_table, objective)
        table = self._cached(f"plans {objective}", lambda: search(progress), progress)
        return self._with_better_plans(table) if objective == "live" else table

    def plan(self, total: int | float | str, objective: PlanObjective = "live") -> Plan:
        """Return the best plan whose simulated total peak fits a budget.

        It is the plan of least recomputation, or of largest recomputation for the objective ``"memory"``.

        Parameters
        ----------
        total : int, float or str
            The budget in bytes, or a string such as ``"10 GiB"``. It covers parameters, gradients, inputs, intermediate
            values and, if the training step has an optimizer, the optimizer's state.
        objective : "time", "memory" or "live"
            The table from which the plan is taken; see :meth:`plans`.

        Raises
        ------
        InfeasibleBudget
            If no plan fits. Its attribute ``least`` is the least budget for which there is a plan.
        ValueError
            If the objective is unknown, or ``total`` is not a size.
        """
        return self.plans(objective).plan(total)

    def limits(self) -> str:
        """Return why recomputation saves little memory in this step, and what would; empty if it saves more than 1 %.

        Examples
        --------
        >>> import recompviz as rv
        >>> rv.Planner(rv.Graph.from_edges([("a", "b")], memory={"a": 4, "b": 4})).limits()[:35]
        'Recomputation saves no memory here.'
        """
        table = self.plans("live")
        leanest = table.plans[int(table.total_peaks.argmin())]
        return little_to_save(self.simulate(leanest), int(table.total_peaks[0]))

    def bounds(self, once: bool = False, progress: Progress | None = None) -> BoundCurve:
        """Return lower bounds on recomputation for all budgets, and on the least peak, cached.

        The bounds are proven. ``bounds().overhead("10 GiB")`` is the bound for one budget. With scipy, they come from
        linear programs, which take from a second to a few minutes. Near the least peak, an integer program gives a much
        larger bound: ``bounds().tighten("10 GiB")`` takes up to 10 seconds. Without scipy, the bounds are weaker.

        Parameters
        ----------
        once : bool
            If False, the bounds are for all strategies that keep the traced order of the calls, and may run forward
            calls again in the backward pass. If True, they are for strategies that run each forward call at most once
            more, just in time, as the schedule of a plan does. The bounds are then never lower.
        progress : callable (done, total), optional
            Called before each linear program. Raise :class:`recompviz.Cancelled` in it to stop.

        Examples
        --------
        >>> import recompviz as rv
        >>> graph = rv.Graph.from_edges([("a", "b"), ("b", "c"), ("c", "d")], memory={"a": 4, "b": 8, "c": 2, "d": 1})
        >>> planner = rv.Planner(graph)
        >>> planner.bounds().overhead(22), planner.bounds().overhead(10)
        (0.0, inf)
        """
        return self._bounds.curve(once, progress)

    def optimality_gap(self, plan: Plan, once: bool = False) -> float:
        """Return an upper bound on a plan's overhead beyond the optimum, as a share of the cost of a forward pass.

        The budget is the plan's simulated peak. A result of 0.04 means: within this budget, no strategy recomputes less
        than the plan by more than 4 % of the cost of a forward pass.

        Parameters
        ----------
        plan : Plan
        once : bool
            Whether the plan is compared only with strategies that run each forward call at most once more, just in
            time. If False, it is compared with all strategies that may run forward calls again.

        Raises
        ------
        PlanMismatch
            If the plan is for another graph.
        TypeError
            If ``plan`` is not a Plan.
        """
        plan = self.check(plan)
        forward = float(self.graph.time.sum())
        return (plan.overhead - self._bounds.bound_within(plan, once)) / forward if forward else 0.0

    def use_plans(self, plans: Sequence[Plan]) -> None:
        """Use given plans as the table of the objective ``"live"``, instead of searching for plans.

        If the planner already has this table, nothing changes.

        Parameters
        ----------
        plans : sequence of Plan
            Plans of this graph, for example from an earlier search.
        """
        table = self.table(plans, "live")
        self._cache.get("plans live", lambda: table)

    def first_plans(self) -> PlanTable:
        """Return a table of plans that need no search, cached.

        One plan keeps every value. One puts a checkpoint around each repeated block; it is missing if the nodes of the
        graph do not say to which module they belong. One recomputes what the user's own checkpoints recompute, if the
        model has any. Each of the others divides the graph into up to 128 consecutive segments with about equal bytes,
        and keeps only the values that later segments read.
        """
        return self._cached(
            "first plans", lambda: self._with_bounds(first_plans(self.graph, self.profile_function(), self._shared))
        )

    def table(
        self,
        plans: Sequence[Plan],
        objective: TableObjective = "given",
        progress: Progress | None = None,
        *,
        with_keep_all: bool = True,
    ) -> PlanTable:
        """Simulate given plans of this graph and return their table.

        Parameters
        ----------
        plans : sequence of Plan
        objective : "time", "memory", "live" or "given"
            The ``objective`` of the table. With ``"memory"``, the table chooses the plan of largest overhead that fits
            a budget, otherwise the plan of least overhead.
        progress : callable (done, total), optional
            Called before each simulation. Raise :class:`recompviz.Cancelled` in it to stop.
        with_keep_all : bool
            Whether to add the plan that keeps every value.
        """
        profile, simulated = self.profile_function(), count()

        def counted(plan: Plan) -> NDArray[np.int64]:
            if progress is not None:
                progress(min(next(simulated), len(plans)), len(plans))
            return profile(plan)

        return self._with_bounds(
            PlanTable.of(self.graph, objective, plans, counted, with_keep_all=with_keep_all, shared=self._shared)
        )

    def what_if(
        self,
        objective: PlanObjective = "live",
        family: Family = "auto",
        *,
        keep: Iterable[Name] = (),
        recompute: Iterable[Name] = (),
        progress: Progress | None = None,
    ) -> PlanTable:
        """Return the plan table of an objective under pins, or for another family of lower sets. It is not cached.

        If the search under pins finds better plans than ``plans("live")`` has, that table gets them too.

        Parameters
        ----------
        objective : "time", "memory" or "live"
            As for :meth:`plans`. Without numba, ``"live"`` gives the same plans as ``"time"``.
        family : "auto", "all", "paper" or "prefixes"
            The lower sets that the plans of ``"time"`` and ``"memory"`` may use; see :func:`recompviz.solve`. It has
            no effect on the search for ``"live"``.
        keep, recompute : iterable of node names
            Pins: values that every plan must keep, and values that every plan must recompute.
        progress : callable (done, total), optional
            Called during the search. Raise :class:`recompviz.Cancelled` in it to stop the search.

        Raises
        ------
        ImpossiblePin
            If no plan obeys the pins.
        GraphError
            If a pin names no node of the graph.
        ValueError
            If the objective or the family is unknown.
        TooManyLowerSets
            If ``family`` is ``"all"`` and the graph has too many lower sets.

        Examples
        --------
        >>> import recompviz as rv
        >>> graph = rv.Graph.from_edges([("a", "b"), ("b", "c"), ("c", "d")], memory=dict.fromkeys("abcd", 4))
        >>> table = rv.Planner(graph).what_if("time", recompute=["a"])
        >>> all("a" in plan.recompute for plan in table.plans)
        True
        """
        check_objective(objective)
        keep, recompute = list(keep), list(recompute)
        if objective == "live" and has_numba():
            seeds = [*self.plans("live", part(progress, 0, 0.5)).plans, *self._seeds()]
            searching = part(progress, 0.5, 0.95)
            plans = live_plans(self.graph, self.joint, seeds, searching, keep=keep, recompute=recompute)
        else:
            solving = part(progress, 0, 0.5)
            curve = (
                solve(self.graph, family, keep=keep, recompute=recompute, progress=solving)
                if keep or recompute
                else self.tradeoff(family, solving)
            )
            plans = self._optima(curve, "time" if objective == "live" else objective, part(progress, 0.5, 0.9))
        table = self.table(plans, objective, part(progress, 0.95, 1), with_keep_all=not recompute)
        if objective == "live":
            self._remember_better(table)
        return table

    @property
    def is_quick(self) -> bool:
        """Whether finding all tables takes about a second.

        True if the graph has at most 40 nodes, and no numba kernel must be compiled first.
        """
        return len(self.graph) <= SMALL and (has_compiled_code("live/kernels") or not has_numba())

    # ---------------------------------------------------------------- baselines

    @property
    def baseline_names(self) -> tuple[str, ...]:
        """The names that :meth:`baseline` accepts, without the argument that may follow a name."""
        return (*METHODS, *self._more_baselines)

    def baseline(self, name: str) -> Plan:
        """Return a baseline: a plan made by a common method, without a search. It is cached.

        Parameters
        ----------
        name : str
            A name that :func:`recompviz.baseline` accepts, such as ``"chen"``, or the name of a baseline that this
            planner was given. Such a name may have an argument after a space: ``"min-cut 0.5"``.

        Raises
        ------
        ValueError
            If no baseline has this name.
        GraphError
            If the graph has no such plan, for example ``"per-module"`` if its nodes do not say to which module they
            belong.
        TypeError
            If ``name`` is not a str.

        Examples
        --------
        >>> import recompviz as rv
        >>> graph = rv.Graph.from_edges([(i, i + 1) for i in range(8)], memory=[1] * 9)
        >>> def first(count):
        ...     return rv.Plan.from_keep_mask(graph, range(int(count)), "first")
        >>> planner = rv.Planner(graph, baselines={"first": first})
        >>> sorted(planner.baseline("chen").keep), sorted(planner.baseline("first 3").keep)
        ([1, 3, 5, 7], [0, 1, 2])
        """
        expect(name, str, "the name of a baseline", "a str", f"choose {', '.join(map(repr, self.baseline_names))}")
        kind, _, argument = name.partition(" ")
        if make := self._more_baselines.get(kind):
            return self._cached(f"{BASELINE}{name}", lambda: make(argument).use_bounds(self._bounds))
        if name not in METHODS:
            raise ValueError(f"no baseline is called {name!r}; choose {', '.join(map(repr, self.baseline_names))}")
        return self._cached(f"{BASELINE}{name}", lambda: baseline(self.graph, name).use_bounds(self._bounds))

    # ---------------------------------------------------------------- internals

    def _with_bounds(self, table: PlanTable) -> PlanTable:
        """Give the plans of a table the bounds of this planner."""
        for plan in table.plans:
            plan.use_bounds(self._bounds)
        return table

    def _formula_table(self, objective: Objective, progress: Progress | None) -> PlanTable:
        curve = self.tradeoff("auto", part(progress, 0, 0.5))
        optima = self._optima(curve, objective, part(progress, 0.5, 0.9))
        return self.table(optima, objective, part(progress, 0.9, 1))

    def _live_table(self, progress: Progress | None) -> PlanTable:
        existing_baselines(SEED_METHODS, self.baseline)
        baselines = self._cache.with_prefix(BASELINE).values()
        plans = [*self._seeds(progress), *chen_plans(self.graph), *self.first_plans().plans, *baselines]
        if has_numba():
            plans.append(Plan.from_keep_mask(self.graph, [], "keep-nothing"))
            plans += minimum_cut_plans(self.graph, self.joint)
            plans = live_plans(self.graph, self.joint, plans, part(progress, SEEDING, 0.95))
        return self.table(plans, "live", part(progress, 0.95, 1))

    def _with_better_plans(self, table: PlanTable) -> PlanTable:
        """Return the table with those plans found later that recompute less than its plans at the same peak.

        These are baselines, and plans found under pins. If there are none, return ``table`` itself. The result is
        cached until more plans are found.
        """
        baselines: dict[str, Plan] = self._cache.with_prefix(BASELINE)
        pinned: dict[str, Sequence[Plan]] = self._cache.with_prefix(PINNED)
        if not baselines and not pinned:
            return table

        def compute() -> PlanTable:
            later = [self._as_run(plan) for plan in baselines.values()]
            better = table.improved_by(self.table([*later, *chain.from_iterable(pinned.values())], "live"))
            return self.table([*table.plans, *better], "live", with_keep_all=False) if better else table

        return self._cache.replace(BETTER, f"{BETTER}{', '.join(sorted([*baselines, *pinned]))}", compute)

    def _remember_better(self, found: PlanTable) -> None:
        """Remember those plans found under pins that are better than all plans of the objective ``"live"``."""
        with self._remembering:  # two threads would use the same key
            if better := self.plans("live").improved_by(found):
                self._cache.get(f"{PINNED}{len(self._cache.with_prefix(PINNED))}", lambda: tuple(better))
                self.plans("live")  # later calls find it in the cache

    def _as_run(self, plan: Plan) -> Plan:
        """Return the plan that keeps each value that the schedule of a plan does not recompute."""
        keep_mask = np.ones(len(self.graph), np.bool_)
        for call in (self.joint.calls[c] for c in self.schedule(plan).recomputed):
            keep_mask[[v for v in (call.node, *call.views) if v >= 0]] = False
        if np.array_equal(keep_mask, plan.keep_mask):
            return plan
        return Plan.from_keep_mask(self.graph, keep_mask, "live" if plan.kind == "canonical" else plan.kind)

    def _seeds(self, progress: Progress | None = None) -> list[Plan]:
        """Return the formula's optimal plans for both objectives. On large graphs, return those that are cached."""
        if len(self.graph) > LARGE:
            found = [table.plans for table in map(self._cache.peek, ("plans time", "plans memory")) if table]
            return [plan for plans in found for plan in plans]
        time = self.plans("time", part(progress, 0, SEEDING / 2))
        return [*time.plans, *self.plans("memory", part(progress, SEEDING / 2, SEEDING)).plans]

    def _optima(self, curve: Tradeoff, objective: Objective, progress: Progress | None) -> list[Plan]:
        front = curve.front(objective)
        if isinstance(front, LazyParetoFront):
            front.solve(progress)
        return curve.plans(objective, self._most_rows)

    def _cached(self, key: str, compute: Callable[[], T], progress: Progress | None = None) -> T:
        if progress is None:
            return self._cache.get(key, compute)

        def begin() -> T:
            progress(0, 1)  # A search may be stopped before its first step too, which may take long.
            return compute()

        return self._cache.get(key, begin, waiting=lambda: progress(0, 1))


def part(progress: Progress | None, start: float, stop: float) -> Progress | None:
    """Return a callback that reports the progress of a part of the work as progress of the whole work.

    Parameters
    ----------
    progress : callable (done, total) or None
        The callback for the whole work; it is called with ``total`` = 1000. If it is None, the result is None.
    start, stop : float
        Where the part begins and ends, as fractions of the whole work.

    Examples
    --------
    >>> part(lambda done, total: print(done, "of", total), 0.5, 1)(1, 4)
    625 of 1000
    """
    if progress is None:
        return None
    return lambda done, total: progress(round(1000 * (start + (stop - start) * done / max(total, 1))), 1000)


def check_objective(objective: str) -> None:
    """Raise ValueError unless the text is ``"time"``, ``"memory"`` or ``"live"``."""
    if objective not in ("time", "memory", "live"):
        raise ValueError(f'objective {objective!r} is unknown; choose "time", "memory" or "live"')
