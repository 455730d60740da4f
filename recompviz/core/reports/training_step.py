"""A recorded training step of a compiled model: its planned regions, and the eager code between them.

The compiler may capture a model as several graphs. Each graph is a *region*, which runs under a plan. The eager code
between two regions is an *island*. No plan controls the memory that an island holds. One Pareto front of peak memory
and recomputation covers the whole training step.
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

PassKind = Literal["forward", "backward"]


@dataclass(frozen=True)
class GraphBreak:
    """A place where the compiler (Dynamo) ended a graph, because it could not capture the code there.

    Attributes
    ----------
    line : SourceLine or None
        The line of the user's code; None if it is not known.
    reason : str
        The compiler's reason, in one sentence.
    hints : tuple of str
        The compiler's suggestions for removing the graph break.
    """

    line: SourceLine | None
    reason: str
    hints: tuple[str, ...] = field(default=(), compare=False)

    @property
    def text(self) -> str:
        """Place and reason, for example ``model.py:17 (print is not traced)``."""
        return f"{self.line.place if self.line else 'unknown line'} ({self.reason})"


@dataclass(frozen=True, eq=False)
class StepRegion:
    """One run of a region. A region is a graph that the compiler captured and that runs under a plan.

    A region that runs twice in a training step appears twice.

    Attributes
    ----------
    name : str
        The modules or operators that the region runs, or the name of the model.
    line : SourceLine or None
        The line of the user's code where the region starts; None if it is not known.
    graph : Graph
        The forward values of the region. Times are in milliseconds.
    joint : JointGraph
        The operator calls of its forward and backward passes.
    masks : list of numpy.ndarray of bool
        For each plan, one bool for each node of ``graph``: whether the plan keeps the value for the backward pass. The
        first plan keeps every value.
    plans : RegionPlans
        Bytes and recomputation of the same plans, in the same order.
    outside : Outside
        Bytes that code outside the region holds during and after the passes of the region.
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
    """Eager code after the forward pass of a region (a captured graph), or before the first region.

    Attributes
    ----------
    held : int
        Bytes that this code adds and that are still alive when the next pass of a region starts. Outputs of the
        preceding region are included.
    most : int
        The largest number of bytes that this code adds to the memory while it runs; at least ``held``.
    line : SourceLine or None
        The line that runs the code outside the compiled model; None if ``breaks`` is not empty or the line is unknown.
    breaks : tuple of GraphBreak
        The graph breaks that make this code eager; empty for code outside the compiled model.
    """

    held: int
    most: int
    line: SourceLine | None
    breaks: tuple[GraphBreak, ...] = ()

    @property
    def where(self) -> str:
        """Where this code is, as text: the line and reason of each graph break.

        If there are no graph breaks, the text is the line of the code and ``outside the compiled model``.
        """
        if self.breaks:
            return "; ".join(found.text for found in self.breaks)
        place = f"{self.line.place}, " if self.line else ""
        return f"{place}outside the compiled model"


@dataclass(frozen=True)
class StepMoment:
    """The bytes alive in one part of a training step: a pass of a region, or the eager code after that pass.

    Memory in use before the training step is not counted.

    Attributes
    ----------
    region : int
        Position of the region in ``StepReport.regions``; −1 for the eager code before the first region.
    of : "forward" or "backward"
        The pass of the region.
    eager : bool
        False for the pass itself, True for the eager code after it.
    saved : int
        Bytes that completed forward passes have saved for backward passes that are not completed.
    outside : int
        The largest number of bytes that eager code holds during this part. For the eager code before the first region,
        it is the bytes that this code holds when the first region starts.
    own : int
        The largest number of bytes that the pass takes besides ``saved`` and ``outside``; 0 for eager code.
    """

    region: int
    of: PassKind
    eager: bool
    saved: int
    outside: int
    own: int

    @property
    def bytes(self) -> int:
        """The peak of this part of the training step: ``saved + outside + own``.

        Memory in use before the training step is not counted.
        """
        return self.saved + self.outside + self.own


@dataclass(frozen=True, eq=False)
class StepReport:
    """The recorded training step of a compiled model, with its plans for every memory budget.

    :func:`recompviz.step_report` returns it. A *region* is a graph that the compiler captured. A *point* is a position
    in ``front``, and gives each region one of its plans. Points are ordered by rising recomputation and falling peak.

    Attributes
    ----------
    title : str
        Name of the model's class or of the function.
    device : str
        For example ``"CUDA:0"`` or ``"CPU"``.
    total : int
        The memory that the whole training step may take, in bytes, as given to :func:`recompviz.compile`.
    resident : int
        Bytes in use before the training step: parameters, accumulated gradients, optimizer state and inputs.
    regions : tuple of StepRegion
        The regions in the order of their forward passes. Their backward passes run in reverse order.
    islands : tuple of Island
        The eager code before the first region, and after the forward pass of each region.
    front : StepPlans
        The Pareto front: for each point its recomputation in milliseconds, its peak in bytes above ``resident``, and
        the plan of each region.
    point : int
        The point of least recomputation whose peak fits ``total``. If none fits, it is the point of least peak, and a
        note says so.
    forward_time : float
        Time of the forward passes of all regions without recomputation, in milliseconds.
    step_time : float
        Time of the forward and backward passes of all regions without recomputation, in milliseconds.
    notes : tuple of str
        Limits of the report, for example that the sizes of the last training step were not as predicted.
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
    step_time: float
    notes: tuple[str, ...] = ()

    @property
    def breaks(self) -> tuple[GraphBreak, ...]:
        """The graph breaks of the training step, without repetitions, in order of execution."""
        return tuple(dict.fromkeys(found for island in self.islands for found in island.breaks))

    @property
    def least_total(self) -> int:
        """The smallest total for which a plan exists, in bytes."""
        return self.resident + self.front.least

    def point_for(self, total: int) -> int | None:
        """Return the point of least recomputation whose peak is at most ``total``.

        Parameters
        ----------
        total : int
            Bytes for the whole training step, ``resident`` included.

        Returns
        -------
        int or None
            None if no plan fits; see ``least_total``.
        """
        return self.front.fitting(total - self.resident)

    def row(self, region: int, point: int | None = None) -> int:
        """Return the position of the plan that a region has at a point of the front.

        Parameters
        ----------
        region : int
            Position in ``regions``.
        point : int, optional
            Position in ``front``. Default: ``self.point``.

        Returns
        -------
        int
            Position in the ``masks`` and ``plans`` of the region.
        """
        return self.front.choices[self.point if point is None else point][region]

    def peak(self, point: int | None = None) -> int:
        """Return the planned peak of the training step at a point of the front.

        Parameters
        ----------
        point : int, optional
            Position in ``front``. Default: ``self.point``.

        Returns
        -------
        int
            Bytes, ``resident`` included.
        """
        return self.resident + self.front.peak[self.point if point is None else point]

    def moments(self, point: int | None = None) -> list[StepMoment]:
        """Return the bytes alive in each part of the training step under the plans of a point of the front.

        Parameters
        ----------
        point : int, optional
            Position in ``front``. Default: ``self.point``.

        Returns
        -------
        list of StepMoment
            In order of execution: the eager code before the first region, the forward passes, and the backward passes
            in reverse order. The eager code after a pass follows the pass. The largest ``bytes`` plus ``resident`` is
            ``self.peak(point)``.
        """
        rows = [self.row(i, point) for i in range(len(self.regions))]
        saved = [0]
        found = [StepMoment(-1, "forward", True, 0, self.regions[0].outside.forward, 0)]
        for i, region in enumerate(self.regions):
            around, row = region.outside, rows[i]
            found.append(StepMoment(i, "forward", False, saved[i], around.forward, int(region.plans.forward_peak[row])))
            saved.append(saved[i] + int(region.plans.saved[row]))
            found.append(StepMoment(i, "forward", True, saved[i + 1], around.after_forward, 0))
        for i, region in reversed(list(enumerate(self.regions))):
            around, row = region.outside, rows[i]
            own = int(region.plans.saved[row])
            more = int(region.plans.backward_peak[row]) - own
            found.append(StepMoment(i, "backward", False, saved[i] + own, around.backward, more))
            found.append(StepMoment(i, "backward", True, saved[i], around.after_backward, 0))
        return found

    @property
    def text(self) -> str:
        """A table of the regions and the eager code between them: bytes, source lines and reasons of graph breaks."""
        return str(render("step_text", self))

    def __repr__(self) -> str:
        return self.text

    @property
    def summary(self) -> str:
        """A short text with the numbers of regions and graph breaks."""
        regions, breaks = len(self.regions), len(self.breaks)
        if not breaks and regions == 1:
            return "one region: the compiler captured the whole model, without a graph break"
        count = "no graph break" if not breaks else f"{breaks} graph break{'s' if breaks > 1 else ''}"
        return f"{regions} region{'s' if regions > 1 else ''}, {count}"

    def kept(self, region: int, point: int | None = None) -> str:
        """Return as text the bytes that a region saves for its backward pass, with and without recomputation.

        Parameters
        ----------
        region : int
            Position in ``regions``.
        point : int, optional
            Position in ``front``. Default: ``self.point``.

        Returns
        -------
        str
            For example ``"12.0 MiB of 48.0 MiB"``: 12 MiB under the plan of the point, 48 MiB without recomputation.
        """
        plans = self.regions[region].plans
        now, everything = int(plans.saved[self.row(region, point)]), int(plans.saved[0])
        return f"{format_bytes(now)} of {format_bytes(everything)}"
