"""A recorded training step: the planned regions and the eager code between them, in order of execution.

The model of a training loop may be compiled into several graphs, its *regions*. Code between two regions runs eagerly
and keeps what it needs: an *island*. One Pareto front of total against recomputation holds for the whole step.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from recompviz.core.base.rendering import render
from recompviz.core.base.units import format_bytes
from recompviz.core.planning.step_plans import Outside, RegionPlans, StepPlans
from recompviz.core.reports.source_line import SourceLine

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from recompviz.core.graphs.graph import Graph
    from recompviz.core.steps.joint import JointGraph

Pass = Literal["forward", "backward"]


@dataclass(frozen=True)
class GraphBreak:
    """Why the compiler could not capture a line.

    Attributes
    ----------
    line : SourceLine or None
        The user's line.
    reason : str
        One sentence.
    hints : tuple of str
        What the compiler suggests.
    """

    line: SourceLine | None
    reason: str
    hints: tuple[str, ...] = field(default=(), compare=False)

    @property
    def text(self) -> str:
        """``model.py:17 (reason)``."""
        return f"{self.line.place if self.line else 'unknown line'} ({self.reason})"


@dataclass(frozen=True, eq=False)
class StepRegion:
    """One run of a planned region.

    Attributes
    ----------
    name : str
        The modules that it runs, or the function.
    line : SourceLine or None
        Where it starts in the user's code.
    graph : Graph
        Its forward values; times in milliseconds.
    joint : JointGraph
    masks : list of numpy.ndarray of bool
        The keep masks of its plans.
    plans : RegionPlans
        Bytes and recomputation of its plans, in the same order.
    outside : Outside
        What code outside the region held during and after its passes.
    """

    name: str
    line: SourceLine | None
    graph: Graph
    joint: JointGraph
    masks: list[NDArray[np.bool_]]
    plans: RegionPlans
    outside: Outside


@dataclass(frozen=True)
class Island:
    """Eager code after a region, or before the first one.

    Attributes
    ----------
    held : int
        Bytes that it added and that are still alive when the next pass starts, outputs of the region before included.
    most : int
        The most bytes that it added while it ran.
    line : SourceLine or None
        Where the eager code runs.
    breaks : tuple of GraphBreak
        The graph breaks that opened it; empty for code outside the compiled model.
    """

    held: int
    most: int
    line: SourceLine | None
    breaks: tuple[GraphBreak, ...] = ()

    @property
    def where(self) -> str:
        """The lines and reasons as one text."""
        if self.breaks:
            return "; ".join(found.text for found in self.breaks)
        place = f"{self.line.place}, " if self.line else ""
        return f"{place}outside the compiled model"


@dataclass(frozen=True)
class Moment:
    """The bytes alive in one part of a step.

    Attributes
    ----------
    region : int
        The region whose pass it is, or after whose pass the eager code runs; −1 for code before the first region.
    of : "forward" or "backward"
    eager : bool
        Whether it is the eager code after that pass.
    saved : int
        Bytes saved by regions for their backward passes.
    outside : int
        Bytes held by eager code.
    own : int
        Bytes that the pass takes in addition.
    """

    region: int
    of: Pass
    eager: bool
    saved: int
    outside: int
    own: int

    @property
    def bytes(self) -> int:
        """All of them."""
        return self.saved + self.outside + self.own


@dataclass(frozen=True, eq=False)
class StepReport:
    """The recorded step of a compiled model, and its plans for every total.

    Attributes
    ----------
    title, device : str
    total : int
        The total that the model was compiled for, bytes.
    resident : int
        Bytes in use before the step: parameters, gradients that had accumulated, optimizer state, inputs.
    regions : tuple of StepRegion
        In the order of their forward passes; backward passes run in reverse.
    islands : tuple of Island
        One before the first region, and one after each region.
    front : StepPlans
        Recomputation in milliseconds, and peaks above ``resident``.
    point : int
        The point of the front under which the last step started.
    forward_time : float
        Milliseconds of the forward passes of all regions.
    notes : tuple of str
    """

    title: str
    device: str
    total: int
    resident: int
    regions: tuple[StepRegion, ...]
    islands: tuple[Island, ...]
    front: StepPlans
    point: int
    forward_time: float
    notes: tuple[str, ...] = ()

    @property
    def breaks(self) -> tuple[GraphBreak, ...]:
        """Every graph break, each once, in order of execution."""
        return tuple(dict.fromkeys(found for island in self.islands for found in island.breaks))

    @property
    def least_total(self) -> int:
        """The least total of the step, bytes."""
        return self.resident + self.front.least

    def point_for(self, total: int) -> int | None:
        """The point of least recomputation for a total; None if the step does not fit."""
        return self.front.fitting(total - self.resident)

    def row(self, region: int, point: int | None = None) -> int:
        """The row of a region's plan at a point of the front; if left out, at that of the last step."""
        return self.front.choices[self.point if point is None else point][region]

    def peak(self, point: int | None = None) -> int:
        """Total bytes at the peak."""
        return self.resident + self.front.peak[self.point if point is None else point]

    def moments(self, point: int | None = None) -> list[Moment]:
        """The bytes above ``resident`` in each part of the step, in order of execution.

        The largest is the peak of the point: nothing else was compared when the front was made.
        """
        rows = [self.row(i, point) for i in range(len(self.regions))]
        saved = [0]
        found = [Moment(-1, "forward", True, 0, self.regions[0].outside.forward, 0)]
        for i, region in enumerate(self.regions):
            around, row = region.outside, rows[i]
            found.append(Moment(i, "forward", False, saved[i], around.forward, int(region.plans.forward_peak[row])))
            saved.append(saved[i] + int(region.plans.saved[row]))
            found.append(Moment(i, "forward", True, saved[i + 1], around.after_forward, 0))
        for i, region in reversed(list(enumerate(self.regions))):
            around, row = region.outside, rows[i]
            own = int(region.plans.saved[row])
            more = int(region.plans.backward_peak[row]) - own
            found.append(Moment(i, "backward", False, saved[i] + own, around.backward, more))
            found.append(Moment(i, "backward", True, saved[i], around.after_backward, 0))
        return found

    @property
    def text(self) -> str:
        """Regions and islands with their bytes, lines and reasons."""
        return str(render("step_text", self))

    def __repr__(self) -> str:
        return self.text

    @property
    def summary(self) -> str:
        """One sentence: the number of regions, islands and graph breaks."""
        regions, breaks = len(self.regions), len(self.breaks)
        if not breaks and regions == 1:
            return "one region: the compiler captured the whole model, without a graph break"
        count = "no graph break" if not breaks else f"{breaks} graph break{'s' if breaks > 1 else ''}"
        return f"{regions} region{'s' if regions > 1 else ''}, {count}"

    def kept(self, region: int, point: int | None = None) -> str:
        """Bytes that a region keeps at a point, and that it would keep without recomputation."""
        plans = self.regions[region].plans
        now, everything = int(plans.saved[self.row(region, point)]), int(plans.saved[0])
        return f"{format_bytes(now)} of {format_bytes(everything)}"
