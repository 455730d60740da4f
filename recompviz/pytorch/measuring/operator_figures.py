"""What each operator of a region takes, from one recorded step: workspace, true sizes and time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from recompviz.core.steps.schedule import Phase, Schedule
from recompviz.pytorch.measuring.calibration import calibrated_joint, figures_of_call
from recompviz.pytorch.measuring.calibration_cache import OperatorFigures
from recompviz.pytorch.running.region import Stage
from recompviz.pytorch.tracing.costs import node_times

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from recompviz.core.steps.joint import JointGraph
    from recompviz.pytorch.tracing.folding import Folded


def calibrated_region(
    folded: Folded,
    schedule: Schedule,
    events: Mapping[int, list[tuple[int, int]]],
    seconds: Mapping[tuple[Stage, int], float],
) -> tuple[JointGraph, NDArray[np.float64]]:
    """The joint graph with workspace and times, and the milliseconds of each node.

    Parameters
    ----------
    folded : Folded
    schedule : Schedule
        What ran while it was recorded.
    events : mapping of int to list of (address, bytes)
        Allocations and frees in each step of the schedule.
    seconds : mapping of (stage, int) to float
        Time of each step.
    """
    joint = folded.joint
    times = {step: value for (_stage, step), value in seconds.items()}
    found: dict[int, OperatorFigures] = {}
    for i, (c, phase) in enumerate(zip(schedule.calls, schedule.phases, strict=True)):
        if phase is not Phase.RECOMPUTE:
            replayed = c in schedule.recomputed and phase is Phase.FORWARD
            found[c] = figures_of_call(joint, c, events.get(i, []), times.get(i, 0.0), replayed)
    calibrated = calibrated_joint(joint, [found[c] for c in range(len(joint.calls))])
    milliseconds = [1000 * value for value in calibrated.seconds]
    return calibrated, node_times(folded, milliseconds)
