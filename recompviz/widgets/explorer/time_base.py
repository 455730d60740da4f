"""The time that is 100 % when extra time is given in percent: the training step, or else the forward pass.

The training step without recomputation is taken if its time is known. After calibration, this time is the sum of the
measured operator calls. At another batch size it is scaled like the forward pass. The measured eager step of a run is
not taken: other programs may use the cores during the run, and a percentage of that time would then be wrong.
``js/data/base_time.js`` computes the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recompviz.core.planning.planner import Planner

MILLISECONDS = {"ns": 1e-6, "µs": 1e-3, "ms": 1.0, "s": 1e3}


@dataclass(frozen=True)
class TimeBase:
    """The time that is 100 %.

    Attributes
    ----------
    time : float
        The time in the unit of the costs.
    name : str
        ``"the step"`` for the training step, or ``"the forward"`` for the forward pass.

    Examples
    --------
    >>> TimeBase(200.0, "the step").share(5.0)
    '+2.5% of the step'
    """

    time: float
    name: str

    def share(self, overhead: float) -> str:
        """Return an extra time as text, in percent of :attr:`time`; "" if ``time`` is 0."""
        return f"+{overhead / self.time:.1%} of {self.name}" if self.time else ""


def milliseconds_of(unit: str) -> float | None:
    """Return the milliseconds of one unit of the costs; None if the costs are not times.

    Examples
    --------
    >>> milliseconds_of("µs (measured)"), milliseconds_of("FLOP")
    (0.001, None)
    """
    found = re.fullmatch(r"(ns|µs|ms|s)(?: \(\w+\))?", unit)
    return MILLISECONDS[found[1]] if found else None


def step_time(planner: Planner, unit: str, traced: Planner | None = None) -> float | None:
    """Return the predicted time of the step without recomputation, in the unit of the costs; None if it is not known.

    Parameters
    ----------
    planner : Planner
    unit : str
        The unit of ``planner.graph.time``.
    traced : Planner, optional
        The planner of the step at its traced sizes. If ``planner`` has other sizes and no measured times, the time of
        the traced step is scaled.
    """
    each = milliseconds_of(unit)
    if each is None or not unit.endswith(("(measured)", "(scaled)")):
        return None
    if planner.joint.seconds:
        return 1000 * sum(planner.joint.seconds) / each
    if traced is None or not traced.joint.seconds or not traced.graph.time.sum():
        return None
    growth = float(planner.graph.time.sum()) / float(traced.graph.time.sum())
    return 1000 * sum(traced.joint.seconds) * growth / each


def time_base(planner: Planner, step: float | None) -> TimeBase:
    """Return the time that is 100 %: the predicted training step, or the forward pass if ``step`` is None.

    Parameters
    ----------
    planner : Planner
    step : float or None
        The result of :func:`step_time`.
    """
    return TimeBase(float(planner.graph.time.sum()), "the forward") if step is None else TimeBase(step, "the step")
