"""The bound for all budgets: a curve of lower bounds on recomputation, and the least peak.

With scipy, the curve is the maximum of a few lines, each from one linear program: for all strategies
(:mod:`recompviz.core.bounds.relaxation`), or for plans (:mod:`recompviz.core.bounds.plan_program`). An integer program
raises the bound of one budget, and of all smaller ones; :meth:`BoundCurve.tighten` solves one. Without scipy, a simple
bound is computed at each backward call, and the largest of these bounds counts. Of the values that are needed later,
those that do not fit in the budget must be recomputed. The bound assumes that they are the values with the least cost
per byte.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from recompviz.core.base.units import format_bytes, parse_bytes
from recompviz.core.bounds.memory_program import LinearBound, MemoryProgram
from recompviz.core.bounds.plan_program import PlanProgram
from recompviz.core.bounds.relaxation import Relaxation
from recompviz.core.bounds.uses import Uses

if TYPE_CHECKING:
    from recompviz.core.base.progress import Progress
    from recompviz.core.graphs.graph import Graph
    from recompviz.core.steps.joint import JointGraph

# the most points of a linear program; more points give a larger bound and take longer
POINTS = 40
# the linear programs of one curve
SOLVES = 12
# the time limit of one integer program, in seconds
SECONDS = 10.0
# the most points of an integer program if the step has more than MANY calls, so that it ends within the time limit
INTEGER_POINTS, MANY = 20, 400


@dataclass(frozen=True, eq=False)
class BoundCurve:
    """Lower bounds on recomputation for every memory budget. :meth:`tighten` raises them.

    No strategy of the family recomputes less than ``curve.overhead(budget)`` within the budget.

    Attributes
    ----------
    once : bool
        Which family of strategies the bounds are for. In both families, the forward calls run once in traced order,
        then the backward calls once in traced order. If False, forward calls may run again at any time in the backward
        pass, any number of times. If True, the family is that of plans: a value is kept until its last use, or it is
        freed in the forward pass, computed again once just before the backward call that needs it first, and then held
        until its last use.
    method : "linear program" or "one call at a time"
        How the bounds were computed: with scipy, or without.
    least_total : int
        A lower bound on the peak of every strategy, in total bytes (parameters included).
    forward : float
        The cost of a forward pass, the sum of ``graph.time``.
    lines : tuple of LinearBound
        Each line is a lower bound on recomputation for every budget in transient bytes. Empty without scipy, or if no
        call can run again.
    """

    once: bool
    method: str
    least_total: int
    forward: float
    lines: tuple[LinearBound, ...]
    _static: int
    _uses: Uses
    # the integer program
    _program: MemoryProgram | None = field(default=None, repr=False)
    # bounds from integer programs, by budget in transient bytes
    _steps: dict[int, float] = field(default_factory=dict, repr=False)

    def overhead(self, total: int | float | str) -> float:
        """Return a lower bound on the overhead within a budget, in the unit of ``graph.time``.

        It is infinite if it is proven that no strategy fits in the budget.

        Parameters
        ----------
        total : int, float or str
            The budget for the whole training step in bytes, or a string such as ``"10 GiB"``.

        Raises
        ------
        TypeError
            If ``total`` is neither a number nor a string.
        ValueError
            If ``total`` is not a size.
        """
        budget = parse_bytes(total)
        if budget < self.least_total:
            return math.inf
        budget -= self._static
        if self.method == "linear program":
            steps = [value for at, value in list(self._steps.items()) if at >= budget]
            return max([0.0, *steps, *(line.value + line.slope * budget for line in self.lines)])
        return dropped_cost(self._uses, budget)

    def tighten(self, total: int | float | str, seconds: float = SECONDS, known: float | None = None) -> float:
        """Raise the bounds for a budget and all smaller ones by an integer program, and return the bound of the budget.

        The bound of a budget that was tightened before is not computed again, even with another time limit. Without
        scipy, nothing changes.

        Parameters
        ----------
        total : int, float or str
            The budget for the whole training step in bytes, or a string such as ``"10 GiB"``.
        seconds : float
            The time limit. A program usually takes less than a second for a hundred values, and a few seconds for
            several hundred values. When the time is up, the bound proven so far is used.
        known : float, optional
            The overhead of a plan that fits in the budget, in the unit of ``graph.time``. If ``once`` is True, the
            solver then searches only for plans with less overhead, and more often proves a bound within the time limit.
            If ``once`` is False, ``known`` has no effect.

        Raises
        ------
        TypeError
            If ``total`` is neither a number nor a string.
        ValueError
            If ``total`` is not a size.
        """
        budget = parse_bytes(total) - self._static
        if self._program is not None and budget not in self._steps and self.overhead(total) < math.inf:
            least = known if self.once else None
            self._steps[budget] = self._program.integer_bound(budget, seconds, least)
        return self.overhead(total)

    def gap(self, overhead: float, total: int | float | str) -> float:
        """Return an upper bound on how far an overhead exceeds the optimum, as a share of the cost of a forward pass.

        The optimum is the least overhead of the family's strategies within the budget.

        Parameters
        ----------
        overhead : float
            The overhead of a strategy that fits in the budget, in the unit of ``graph.time``.
        total : int, float or str
            The budget for the whole training step in bytes, or a string such as ``"10 GiB"``.

        Raises
        ------
        TypeError
            If ``total`` is neither a number nor a string.
        ValueError
            If ``total`` is not a size.
        """
        return max(0.0, overhead - self.overhead(total)) / self.forward if self.forward else 0.0

    def __repr__(self) -> str:
        family = "plans: each call at most once more" if self.once else "any recomputation in the backward pass"
        return f"BoundCurve({family}; {self.method}; least peak at least {format_bytes(self.least_total)})"


def bound_curve(
    graph: Graph,
    joint: JointGraph,
    *,
    once: bool = False,
    points: int = POINTS,
    solves: int = SOLVES,
    progress: Progress | None = None,
) -> BoundCurve:
    """Return lower bounds on recomputation for all budgets, and a lower bound on the least peak.

    Parameters
    ----------
    graph : Graph
    joint : JointGraph
        The joint graph of the same training step.
    once : bool
        Whether the bounds are only for plans. They are usually larger than the bounds for all strategies.
        :class:`BoundCurve` has the details.
    points, solves : int
        ``points`` is the largest number of calls of each pass at which a linear program counts memory, and ``solves``
        the largest number of linear programs. An integer program of a step of more than 400 calls counts memory at up
        to 20 calls of each pass. Without scipy, both parameters have no effect.
    progress : callable (done, total), optional
        Called before each linear program. Raise :class:`recompviz.Cancelled` in it to stop.

    Examples
    --------
    >>> from recompviz.core.steps.examples import chain_step
    >>> graph, joint = chain_step([4] * 6)
    >>> curve = bound_curve(graph, joint)
    >>> curve.overhead(28), curve.overhead(12) > 0, curve.overhead(4)
    (0.0, True, inf)
    """
    uses = Uses(graph, joint)
    static = sum(joint.static.values())
    forward = float(graph.time.sum())
    if not has_scipy():
        return BoundCurve(once, "one call at a time", static + uses.floor, forward, (), static, uses)
    report = progress or (lambda _done, _total: None)
    report(0, solves + 1)
    most = int(max(uses.fixed.max(initial=0) + joint.allocated[uses.optional].sum(), uses.after))
    make: type[Relaxation] | type[PlanProgram] = PlanProgram if once else Relaxation
    relaxation = make(uses, points)
    if not len(relaxation.upper):
        return BoundCurve(once, "linear program", static + uses.floor, forward, (), static, uses)
    least = max(uses.floor, relaxation.least_peak(most))
    lines = _lines(relaxation, least, most, solves, report)
    coarse = len(joint.calls) > MANY and points > INTEGER_POINTS
    program = make(uses, INTEGER_POINTS) if coarse else relaxation
    return BoundCurve(once, "linear program", static + least, forward, lines, static, uses, program)


def has_scipy() -> bool:
    """Return whether scipy is installed."""
    try:
        import scipy.optimize  # noqa: F401 (only tried)
    except ImportError:
        return False
    return True


def _lines(relaxation: MemoryProgram, least: int, most: int, solves: int, report: Progress) -> tuple[LinearBound, ...]:
    """Return lines at budgets from least to most, more of them where the bound is large and curved."""
    lines: dict[int, LinearBound] = {}
    for i in range(solves):
        budget = int(least + (most - least) * (i / max(1, solves)) ** 2)
        if budget in lines:
            continue
        report(i + 1, solves + 1)
        line = relaxation.line(budget)
        if line is not None:
            lines[budget] = line
            if line.value + line.slope * budget <= 0:
                break  # larger budgets need no recomputation either
    return tuple(lines.values())


def dropped_cost(uses: Uses, budget: int) -> float:
    """Return a lower bound on recomputation, in the unit of ``graph.time``, that needs no linear program.

    While a backward call runs, each value that a later backward call reads is in memory, or it is recomputed later. So
    the values that do not fit in the budget cost at least one recomputation. The bound is the largest such cost over
    all backward calls, for the cheapest choice of values. ``budget`` is in transient bytes.
    """
    joint, forward = uses.joint, uses.joint.forward_count
    cost, size = uses.call_cost, joint.allocated
    rows = []  # bytes, cost and last direct reader of each call that can run again
    for c, call in enumerate(joint.calls[:forward]):
        for s in call.makes:
            direct = [r for r in uses.readers[s] if r >= forward]
            if uses.optional[s] and direct:
                # outputs of one call share its cost
                share = math.inf if call.pinned else cost[c] / len(call.makes)
                rows.append((int(size[s]), share, direct[-1], frozenset(direct)))
    best = 0.0
    for at in range(forward, len(joint.calls)):
        needed = [row for row in rows if row[2] > at and at not in row[3]]
        excess = int(uses.fixed[at]) + sum(row[0] for row in needed) - budget
        total = 0.0
        for bytes_, share, *_ in sorted(needed, key=lambda row: row[1] / row[0]):
            if excess <= 0 or share == math.inf:
                break
            total += share * min(1.0, excess / bytes_)
            excess -= bytes_
        best = max(best, total)
    return best * (1 - 1e-9)
