"""The planner finds, simulates and bounds the plans of one training step.

A planner needs a graph and the joint graph of the same training step, but neither torch nor Jupyter. Its searches, and
what it caches, are in :mod:`~recompviz.core.planning.plan_searches`. Several threads may use one planner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.base.arguments import expect
from recompviz.core.base.compiled_code import has_compiled_code, has_numba
from recompviz.core.base.progress import Progress
from recompviz.core.bounds.bound_curve import BoundCurve
from recompviz.core.bounds.step_bounds import StepBounds
from recompviz.core.exact.solver import Family
from recompviz.core.graphs.graph import Graph, Name
from recompviz.core.live.model import profile_function
from recompviz.core.planning.plan_searches import MakeBaseline, PlanSearches
from recompviz.core.plans.curve import Tradeoff
from recompviz.core.plans.plan import Plan, expect_plan
from recompviz.core.plans.plan_table import PlanObjective, PlanTable, TableObjective, check_objective
from recompviz.core.steps.joint import JointGraph
from recompviz.core.steps.little_to_save import little_to_save
from recompviz.core.steps.paper_model import paper_step
from recompviz.core.steps.schedule import Schedule, make_schedule
from recompviz.core.steps.simulation import simulate_schedule
from recompviz.core.steps.timeline import Timeline

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The most plans of one table. A slider has no more positions, and large graphs have thousands of optima.
MOST_ROWS = 512
# Up to this many nodes, searching all tables takes less than a second once the kernels are compiled.
SMALL = 40


class Planner:
    """Find the plans of one training step for every memory budget. Results are computed when first needed, and cached.

    A plan says which intermediate values are kept for the backward pass. The other values are recomputed.

    Parameters
    ----------
    graph : Graph
        The intermediate values of the forward pass.
    joint : JointGraph, optional
        The operator calls of the same training step, forward and backward, on which memory is simulated. Whether it
        belongs to ``graph`` is not checked. If left out, the paper's memory model is used: every value has a gradient
        of the same size, and nothing else takes memory.
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

    Raises
    ------
    TypeError
        If ``graph`` is not a Graph.

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
        self._bounds = StepBounds(self.graph, self.joint)
        self._searches = PlanSearches(self.graph, self.joint, self._bounds, baselines or {}, most_rows)

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
            self._searches.reuse_curves(other._searches)

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
        return self._searches.adapted(plan)

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

    def profile_function(self) -> Callable[[Plan], NDArray[np.int64]]:
        """Return a fast function from a plan to the largest number of bytes alive in each step of its simulation.

        A step is one operator call, the arrival of the gradients, or the optimizer's step. The bytes include parameters
        and other static memory.

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
        return self._searches.tradeoff(family, progress)

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
            :mod:`recompviz.core.live.live_search`. The search starts from the plans of the two other tables, from
            baselines and from minimum cuts. It usually finds plans that recompute less than the plans of these two
            tables under the same budget on the simulated peak. Plans that are found later, by :meth:`baseline` or under
            pins by :meth:`what_if`, are added to the table if they recompute less than every plan of it whose peak is
            not larger. Without numba, the ``"live"`` table has only the plans from which the search starts.
        progress : callable (done, total), optional
            Called during the search. Raise :class:`recompviz.Cancelled` in it to stop the search.

        Raises
        ------
        ValueError
            If the objective is unknown.
        """
        check_objective(objective)
        return self._searches.plans(objective, progress)

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
        TypeError
            If ``total`` is neither a number nor a string.
        ValueError
            If the objective is unknown, or ``total`` is not a size.
        """
        return self.plans(objective).plan(total)

    def limits(self) -> str:
        """Return a text: why recomputation saves little memory in this step, and what else would save memory.

        The text is empty if the plan of least peak lowers the peak by 1 % or more.

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
        """Return lower bounds on recomputation for all budgets, and a lower bound on the least peak, cached.

        The bounds are proven. ``bounds().overhead("10 GiB")`` is the bound for one budget. With scipy, they come from
        linear programs, which take from a second to a few minutes. Near the least peak, an integer program gives a much
        larger bound: ``bounds().tighten("10 GiB")`` takes up to 10 seconds. Without scipy, the bounds are weaker.

        Parameters
        ----------
        once : bool
            If False, the bounds are for all strategies that keep the traced order of the calls, and may run forward
            calls again in the backward pass. If True, they are for plans, which run each forward call at most once
            more, just in time. The bounds are then usually larger.
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
        """Return an upper bound on how far a plan's overhead exceeds the optimum, as a share of a forward pass's cost.

        The budget is the plan's simulated peak. A result of 0.04 means: within this budget, no strategy recomputes less
        than the plan by more than 4 % of the cost of a forward pass.

        Parameters
        ----------
        plan : Plan
        once : bool
            Whether the plan is compared only with other plans, which run each forward call at most once more, just in
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

    def _checked(self, plans: Sequence[Plan]) -> list[Plan]:
        for plan in plans:
            expect_plan(plan)
        return [self._searches.adapted(plan) for plan in plans]

    def use_plans(self, plans: Sequence[Plan]) -> None:
        """Use given plans as the table of the objective ``"live"``, instead of searching for plans.

        If the planner already has this table, nothing changes.

        Parameters
        ----------
        plans : sequence of Plan
            Plans of this graph, for example from an earlier search.

        Raises
        ------
        PlanMismatch
            If a plan is for a graph with another fingerprint.
        TypeError
            If one of the plans is not a Plan.
        """
        self._searches.use_plans(self._checked(plans))

    def first_plans(self) -> PlanTable:
        """Return a table of plans that need no search, cached.

        One plan keeps every value. One puts a checkpoint around each repeated block; it is missing if the nodes of the
        graph do not say to which module they belong. One recomputes what the user's own checkpoints recompute, if the
        model has any. Each of the others divides the graph into up to 128 consecutive segments with about equal bytes,
        and keeps only the values that later segments read.
        """
        return self._searches.first_plans()

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

        Raises
        ------
        ValueError
            If ``plans`` is empty and ``with_keep_all`` is False.
        PlanMismatch
            If a plan is for a graph with another fingerprint.
        TypeError
            If one of the plans is not a Plan.
        """
        return self._searches.table(self._checked(plans), objective, progress, with_keep_all=with_keep_all)

    def what_if(
        self,
        objective: PlanObjective = "live",
        family: Family = "auto",
        *,
        keep: Iterable[Name] = (),
        recompute: Iterable[Name] = (),
        progress: Progress | None = None,
        first: Callable[[PlanTable], None] | None = None,
    ) -> PlanTable:
        """Return the plan table of an objective under pins, or for another family of lower sets. It is not cached.

        If the objective is ``"live"``, the plans of the table ``plans("live")`` are first changed so that they obey the
        pins. If they are as good as before at every budget, they are the result. Otherwise a search follows. Found
        plans that are better than the plans of the table ``plans("live")`` are added to that table, too.

        Parameters
        ----------
        objective : "time", "memory" or "live"
            As for :meth:`plans`. Without numba, ``"live"`` gives the same plans as ``"time"``.
        family : "auto", "all", "paper" or "prefixes"
            The lower sets that the plans of ``"time"`` and ``"memory"`` may use; see :func:`recompviz.solve`. The
            search for ``"live"`` does not use it.
        keep, recompute : iterable of node names
            Pins: values that every plan must keep, and values that every plan must recompute.
        progress : callable (done, total), optional
            Called during the search. Raise :class:`recompviz.Cancelled` in it to stop the search.
        first : callable (PlanTable), optional
            Called before a search for the objective ``"live"``, with the table of the changed plans. The result of the
            search is at least as good at every budget.

        Raises
        ------
        ImpossiblePin
            If no plan obeys the pins.
        GraphError
            If a pin names no node of the graph.
        ValueError
            If the objective is unknown, or a family that is used is unknown.
        TooManyLowerSets
            If ``family`` is ``"all"``, it is used, and the graph has too many lower sets.
        TypeError
            If ``keep`` or ``recompute`` is not iterable.

        Examples
        --------
        >>> import recompviz as rv
        >>> graph = rv.Graph.from_edges([("a", "b"), ("b", "c"), ("c", "d")], memory=dict.fromkeys("abcd", 4))
        >>> table = rv.Planner(graph).what_if("time", recompute=["a"])
        >>> all("a" in plan.recompute for plan in table.plans)
        True
        """
        check_objective(objective)
        return self._searches.what_if(objective, family, list(keep), list(recompute), progress, first)

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
        return self._searches.baseline_names

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
        return self._searches.baseline(name)
