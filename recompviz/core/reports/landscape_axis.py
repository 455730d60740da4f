"""The axis of a report's memory landscape: which steps of the timeline each column shows, and names of its stretches.

The timeline of a recording has one step for each operator, over several training steps. The training step with the peak
is drawn wide, the others narrow. Operators that neither allocate nor free memory share columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.steps.timeline import Timeline

if TYPE_CHECKING:
    from numpy.typing import NDArray

# the share of the width for the training step with the peak, and the width of an operator that moves no memory
WIDE, IDLE = 0.72, 0.1
# the least share of the width of a stretch with a name
LEAST_SHARE = 0.03
# the deepest modules that are tried
DEEPEST = 8


def step_widths(timeline: Timeline, focus: tuple[int, int] | None = None) -> NDArray[np.float64]:
    """Return for each step (operator) of a timeline its share of the width of the axis.

    Parameters
    ----------
    timeline : Timeline
    focus : (int, int), optional
        The training step with the peak, as a range of the timeline: the number of its first operator, and the number of
        the operator after its last one. The range gets at least 72 % of the width, and operators that neither allocate
        nor free memory get less width than others. If None, all operators have the same width.
    """
    steps = len(timeline.phases)
    if focus is None:
        return np.full(steps, 1 / max(steps, 1))
    first, stop = focus
    widths = np.full(steps, IDLE)
    widths[timeline.step[timeline.step >= 0]] = 1.0
    inside = np.zeros(steps, np.bool_)
    inside[first:stop] = True
    share = max(WIDE, float(widths[inside].sum() / widths.sum())) if not inside.all() else 1.0
    widths[inside] *= share / widths[inside].sum()
    if not inside.all():
        widths[~inside] *= (1 - share) / widths[~inside].sum()
    return widths


def column_ends(widths: NDArray[np.float64], columns: int) -> list[int]:
    """Divide an axis into columns of about equal width. A column shows one or more steps of the timeline.

    ``widths`` is the result of :func:`step_widths`, and ``columns`` the largest number of columns. The result has for
    each column the number of the step after its last one.

    Examples
    --------
    >>> column_ends(np.array([0.25, 0.25, 0.25, 0.25]), 2), column_ends(np.array([0.1, 0.1, 0.4, 0.4]), 3)
    ([2, 4], [2, 3, 4])
    """
    steps = len(widths)
    count = min(columns, steps)
    wanted = (np.arange(count) + 1) / max(count, 1) * widths.sum()
    places = np.arange(count)
    ends = np.maximum(np.searchsorted(np.cumsum(widths), wanted * (1 + 1e-9), side="right"), places + 1)
    ends = np.maximum.accumulate(ends - places) + places  # each column begins after the one before
    return [int(end) for end in np.minimum(ends, steps - (count - 1 - places))]


def module_of(label: str, depth: int) -> str:
    """Return the first ``depth`` parts of the module path in the label of a step; "" if the label has no module.

    Examples
    --------
    >>> module_of("backward: layer4.0.conv2/convolution_backward", 1), module_of("detach", 1)
    ('layer4', '')
    """
    path = label.rsplit(": ", 1)[-1]
    return ".".join(path.split("/")[0].split(".")[:depth]) if "/" in path else ""


def last_parts(name: str) -> str:
    """Return the last part of a module's path, or the last two parts if the last one is a number.

    Examples
    --------
    >>> last_parts("transformer.h.11"), last_parts("model.layer1"), last_parts("steps after")
    ('h.11', 'layer1', 'steps after')
    """
    parts = name.split(".")
    return ".".join(parts[-2:] if parts[-1].isdigit() else parts[-1:])


def stretches(labels: Sequence[str], widths: NDArray[np.float64], first: int, stop: int) -> list[tuple[str, float]]:
    """Divide a part of the axis into stretches, one for each module that runs. Return pairs (name, share of the width).

    The name is the beginning of the module's path, with the same number of path parts for all stretches. This number is
    chosen so that the most stretches have a name. A stretch with less than 3 % of the width of the axis has the name
    "", and neighbouring stretches with the name "" are joined. A step without a module belongs to the stretch before.

    Parameters
    ----------
    labels : sequence of str
        The labels of all steps of the timeline.
    widths : numpy.ndarray
        The result of :func:`step_widths`.
    first, stop : int
        The part of the axis: steps ``first`` to ``stop − 1``.
    """
    found: list[tuple[str, float]] = []
    for depth in range(1, DEEPEST + 1):
        each = [module_of(label, depth) for label in labels[first:stop]]
        names = [next((name for name in each if name), "")]  # of a step before the first module
        for name in each:
            names.append(name or names[-1])
        del names[0]
        pairs = zip(names, range(first, stop), strict=True)
        runs = [(name, [i for _, i in run]) for name, run in groupby(pairs, key=itemgetter(0))]
        deeper = [(name if (share := float(widths[steps].sum())) >= LEAST_SHARE else "", share) for name, steps in runs]
        if sum(name != "" for name, _ in deeper) > sum(name != "" for name, _ in found) or not found:
            found = deeper
    joined: list[tuple[str, float]] = []
    for name, share in found:
        if joined and not name and not joined[-1][0]:
            joined[-1] = "", joined[-1][1] + share
        else:
            joined.append((name, share))
    return joined
