"""The bounds of one training step, computed when first needed, and a text on how far a plan is above its bound."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING

from recompviz.core.bounds.bound_curve import BoundCurve, bound_curve
from recompviz.core.steps.schedule import make_schedule
from recompviz.core.steps.simulation import simulate_schedule

if TYPE_CHECKING:
    from recompviz.core.base.progress import Progress
    from recompviz.core.graphs.graph import Graph
    from recompviz.core.plans.plan import Plan
    from recompviz.core.steps.joint import JointGraph

# gaps below this share of the forward pass are given as 0.1 %
SMALLEST = 0.001


class StepBounds:
    """The bounds of one training step. Several threads may use it.

    Parameters
    ----------
    graph : Graph
    joint : JointGraph
        The joint graph of the same training step.
    """

    def __init__(self, graph: Graph, joint: JointGraph) -> None:
        self._graph, self._joint = graph, joint
        self._curves: dict[bool, BoundCurve] = {}
        self._locks = {once: threading.Lock() for once in (False, True)}

    def curve(self, once: bool = False, progress: Progress | None = None) -> BoundCurve:
        """Return the result of :func:`bound_curve`, which explains the parameters; cached for each ``once``."""
        with self._locks[once]:
            if once not in self._curves:
                self._curves[once] = bound_curve(self._graph, self._joint, once=once, progress=progress)
            return self._curves[once]

    def bound(self, plan: Plan) -> float:
        """Return a lower bound on the overhead of every strategy whose peak is at most the simulated peak of a plan.

        The strategies are those of :class:`BoundCurve` with ``once=False``. The bound is in the unit of ``graph.time``.
        If it would be larger than the plan's overhead, the plan's overhead is returned.
        """
        return self.bound_within(plan, once=False)

    def bound_within(self, plan: Plan, once: bool) -> float:
        """Return a bound as :meth:`bound` does, but for the strategies that ``once`` selects.

        :func:`bound_curve` explains ``once``.
        """
        peak = simulate_schedule(make_schedule(self._joint, plan.keep_mask.tolist())).peak
        if not plan.overhead:
            return 0.0
        return min(plan.overhead, self.curve(once).tighten(peak, known=plan.overhead))


def gap_text(gap: float | None) -> str:
    """Return a gap as text, for example for a figure.

    Parameters
    ----------
    gap : float or None
        An upper bound on how far the overhead of a plan exceeds the optimum, as a share of the cost of a forward pass;
        see :attr:`recompviz.Plan.gap`. If it is None, the text is empty.

    Returns
    -------
    str
        Percentages are rounded up, so that the text is true.

    Examples
    --------
    >>> gap_text(0.0361)
    'at most 3.7% of the forward above the best possible'
    >>> gap_text(0.0)
    'the best possible'
    """
    if gap is None:
        return ""
    if gap <= 0:
        return "the best possible"
    percent = 100 * max(gap, SMALLEST) * (1 - 1e-12)  # without the rounding error of a product
    rounded = f"{math.ceil(10 * percent) / 10:.1f}" if percent < 10 else f"{math.ceil(percent)}"
    return f"at most {rounded}% of the forward above the best possible"
