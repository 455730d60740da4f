"""The searches of a planner: the plans from which each search starts, and the table of the plans that it finds.

The tables of ``"time"`` and ``"memory"`` are the optima of the paper's formula. The table ``"live"`` comes from a
search that simulates the whole training step. The search starts from the optima of the two other tables, from
baselines, from minimum cuts and from plans that need no search. Baselines that are made later, and plans that are found
under pins, are added to the table ``"live"`` if they are better than its plans. Curves, tables and baselines are
cached. Several threads may search.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from itertools import chain, count
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from recompviz.core.base.compiled_code import has_numba
from recompviz.core.base.progress import Progress, partial_progress
from recompviz.core.bounds.step_bounds import StepBounds
from recompviz.core.exact.lazy_front import LazyParetoFront
from recompviz.core.exact.solver import Family, solve
from recompviz.core.graphs.graph import Graph, Name
from recompviz.core.live.live_search import live_plans, pinned_plans
from recompviz.core.live.minimum_cut import minimum_cut_plans
from recompviz.core.live.model import profile_function
from recompviz.core.planning.cache import Cache
from recompviz.core.planning.first_plans import first_plans
from recompviz.core.plans.baselines import METHODS, SEED_METHODS, baseline, chen_plans, existing_baselines
from recompviz.core.plans.curve import Objective, Tradeoff
from recompviz.core.plans.plan import Plan
from recompviz.core.plans.plan_table import PlanObjective, PlanTable, TableObjective
from recompviz.core.steps.joint import JointGraph
from recompviz.core.steps.places import shared_steps
from recompviz.core.steps.schedule import make_schedule

if TYPE_CHECKING:
    from numpy.typing import NDArray

T = TypeVar("T")

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


class PlanSearches:
    """The searches for plans of one training step, and what they found so far.

    :class:`~recompviz.core.planning.planner.Planner` checks the arguments of its methods and calls the methods with the
    same names here. ``Planner.check`` calls :meth:`adapted`, which checks that a plan is for this graph.

    Parameters
    ----------
    graph : Graph
    joint : JointGraph
    bounds : StepBounds
        Computes :attr:`Plan.bound`, a lower bound on the overhead, for each returned plan that has no bounds yet.
    baselines : mapping of str to callable (str) → Plan
        Further baselines by name.
    most_rows : int
        The largest number of optimal plans in a table of the objective ``"time"`` or ``"memory"``.
    """

    def __init__(
        self,
        graph: Graph,
        joint: JointGraph,
        bounds: StepBounds,
        baselines: Mapping[str, MakeBaseline],
        most_rows: int,
    ) -> None:
        self.graph, self.joint, self.bounds = graph, joint, bounds
        self._more_baselines = dict(baselines)
        self._most_rows = most_rows
        self._cache = Cache()
        self._remembering = threading.RLock()

    def reuse_curves(self, other: PlanSearches) -> None:
        """Take over the cached curves of ``other``, which are of the same graph, and drop everything cached before."""
        self._cache = other._cache.copy_of("tradeoff")

    @cached_property
    def _shared(self) -> NDArray[np.bool_]:
        return shared_steps(self.joint)

    # ---------------------------------------------------------------- searches

    def tradeoff(self, family: Family, progress: Progress | None) -> Tradeoff:
        """Return the trade-off curve of the graph, cached."""
        return self._cached(f"tradeoff {family}", lambda: solve(self.graph, family, progress=progress), progress)

    def plans(self, objective: PlanObjective, progress: Progress | None = None) -> PlanTable:
        """Return the table of an objective, cached."""
        search = self._live_table if objective == "live" else partial(self._formula_table, objective)
        table = self._cached(f"plans {objective}", lambda: search(progress), progress)
        return self._with_better_plans(table) if objective == "live" else table

    def what_if(
        self,
        objective: PlanObjective,
        family: Family,
        keep: Sequence[Name],
        recompute: Sequence[Name],
        progress: Progress | None,
        first: Callable[[PlanTable], None] | None = None,
    ) -> PlanTable:
        """Return the table of an objective under pins. It is not cached.

        If the objective is ``"live"``, found plans that are better than the plans of the table ``plans("live")`` are
        added to that table, too. ``first`` is called with a table that needs no search, if a search follows.
        """
        if objective == "live" and has_numba():
            free = self.plans("live", partial_progress(progress, 0, 0.5))
            known = pinned_plans(self.graph, self.joint, free.plans, keep=keep, recompute=recompute)
            under_pins = self.table(known, "live", with_keep_all=not recompute)
            if not under_pins.improved_by(free):
                return under_pins  # the pins take nothing from the best plans that are known
            if first is not None:
                first(under_pins)
            seeds = [*free.plans, *self._seeds()]
            searching = partial_progress(progress, 0.5, 0.95)
            plans = live_plans(self.graph, self.joint, seeds, searching, keep=keep, recompute=recompute)
        else:
            solving = partial_progress(progress, 0, 0.5)
            curve = (
                solve(self.graph, family, keep=keep, recompute=recompute, progress=solving)
                if keep or recompute
                else self.tradeoff(family, solving)
            )
            plans = self._optima(
                curve, "time" if objective == "live" else objective, partial_progress(progress, 0.5, 0.9)
            )
        table = self.table(plans, objective, partial_progress(progress, 0.95, 1), with_keep_all=not recompute)
        if objective == "live":
            self._remember_better(table)
        return table

    def _formula_table(self, objective: Objective, progress: Progress | None) -> PlanTable:
        curve = self.tradeoff("auto", partial_progress(progress, 0, 0.5))
        optima = self._optima(curve, objective, partial_progress(progress, 0.5, 0.9))
        return self.table(optima, objective, partial_progress(progress, 0.9, 1))

    def _live_table(self, progress: Progress | None) -> PlanTable:
        existing_baselines(SEED_METHODS, self.baseline)
        baselines = self._cache.with_prefix(BASELINE).values()
        plans = [*self._seeds(progress), *chen_plans(self.graph), *self.first_plans().plans, *baselines]
        if has_numba():
            plans.append(Plan.from_keep_mask(self.graph, [], "keep-nothing"))
            plans += minimum_cut_plans(self.graph, self.joint)
            plans = live_plans(self.graph, self.joint, plans, partial_progress(progress, SEEDING, 0.95))
        return self.table(plans, "live", partial_progress(progress, 0.95, 1))

    def _seeds(self, progress: Progress | None = None) -> list[Plan]:
        """Return the formula's optimal plans for both objectives. On large graphs, return those that are cached."""
        if len(self.graph) > LARGE:
            found = [table.plans for table in map(self._cache.peek, ("plans time", "plans memory")) if table]
            return [plan for plans in found for plan in plans]
        time = self.plans("time", partial_progress(progress, 0, SEEDING / 2))
        return [*time.plans, *self.plans("memory", partial_progress(progress, SEEDING / 2, SEEDING)).plans]

    def _optima(self, curve: Tradeoff, objective: Objective, progress: Progress | None) -> list[Plan]:
        front = curve.front(objective)
        if isinstance(front, LazyParetoFront):
            front.solve(progress)
        return curve.plans(objective, self._most_rows)

    # ---------------------------------------------------------------- plans without a search

    def first_plans(self) -> PlanTable:
        """Return a table of plans that need no search, cached."""
        return self._cached(
            "first plans",
            lambda: self._with_bounds(first_plans(self.graph, profile_function(self.graph, self.joint), self._shared)),
        )

    def use_plans(self, plans: Sequence[Plan]) -> None:
        """Use given plans as the table of the objective ``"live"``. If it is cached already, nothing changes."""
        table = self.table(plans, "live")
        self._cache.get("plans live", lambda: table)

    @property
    def baseline_names(self) -> tuple[str, ...]:
        """The names that :meth:`baseline` accepts, without the argument that may follow a name."""
        return (*METHODS, *self._more_baselines)

    def baseline(self, name: str) -> Plan:
        """Return the baseline with a name, cached. An argument may follow the name after a space."""
        kind, _, argument = name.partition(" ")
        if make := self._more_baselines.get(kind):
            return self._cached(f"{BASELINE}{name}", lambda: make(argument).use_bounds(self.bounds))
        if name not in METHODS:
            raise ValueError(f"no baseline is called {name!r}; choose {', '.join(map(repr, self.baseline_names))}")
        return self._cached(f"{BASELINE}{name}", lambda: baseline(self.graph, name).use_bounds(self.bounds))

    # ---------------------------------------------------------------- tables

    def adapted(self, plan: Plan) -> Plan:
        """Return a plan with the overhead for the costs of this graph, and with lower bounds (:attr:`Plan.bound`).

        Raises
        ------
        PlanMismatch
            If the graph of the plan has another fingerprint.
        """
        if not plan.graph.same_as(self.graph):
            plan = Plan.from_json(self.graph, plan.to_json())
        return plan.use_bounds(self.bounds)

    def table(
        self,
        plans: Sequence[Plan],
        objective: TableObjective,
        progress: Progress | None = None,
        *,
        with_keep_all: bool = True,
    ) -> PlanTable:
        """Simulate plans and return their table."""
        profile, simulated = profile_function(self.graph, self.joint), count()

        def counted(plan: Plan) -> NDArray[np.int64]:
            if progress is not None:
                progress(min(next(simulated), len(plans)), len(plans))
            return profile(plan)

        return self._with_bounds(
            PlanTable.of(self.graph, objective, plans, counted, with_keep_all=with_keep_all, shared=self._shared)
        )

    def _with_bounds(self, table: PlanTable) -> PlanTable:
        for plan in table.plans:
            plan.use_bounds(self.bounds)
        return table

    # ---------------------------------------------------------------- plans that are found later

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
        schedule = make_schedule(self.joint, self.adapted(plan).keep_mask.tolist())
        keep_mask = np.ones(len(self.graph), np.bool_)
        for call in (self.joint.calls[c] for c in schedule.recomputed):
            keep_mask[[v for v in (call.node, *call.views) if v >= 0]] = False
        if np.array_equal(keep_mask, plan.keep_mask):
            return plan
        return plan.with_keep_mask(self.graph, keep_mask)

    def _cached(self, key: str, compute: Callable[[], T], progress: Progress | None = None) -> T:
        if progress is None:
            return self._cache.get(key, compute)

        def begin() -> T:
            progress(0, 1)  # A search may be stopped before its first step too, which may take long.
            return compute()

        return self._cache.get(key, begin, waiting=lambda: progress(0, 1))
