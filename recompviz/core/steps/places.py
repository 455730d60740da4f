"""The places of steps on the axis of a picture of memory over a training step.

Each step runs one operator call. It has a place of its own, unless it is a step of the forward pass in which nothing is
allocated. If several such steps follow each other, they share one place. Such steps update buffers. PyTorch runs them
at the end of the forward pass, two or three for each batch norm. With a place for each of them, they would take a
quarter of the picture of a U-Net.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.steps.schedule import Phase

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recompviz.core.steps.joint import JointGraph
    from recompviz.core.steps.timeline import Timeline


def shared_steps(joint: JointGraph) -> NDArray[np.bool_]:
    """Return for each step of the forward pass whether it shares the place of the step before; see :func:`places_of`.

    The result is the same for all plans.
    """
    sizes, scratch, forward = joint.sizes, joint.scratch, joint.forward_count
    idle = [not any(sizes[s] for s in joint.calls[c].makes) and not scratch[c] for c in range(forward)]
    return _shared(np.array(idle, np.bool_))


def places_of(timeline: Timeline) -> NDArray[np.int64]:
    """Return the place of each step of a simulated timeline on the axis of a picture, counted from 0.

    Consecutive steps of the forward pass in which nothing is allocated share one place.

    Examples
    --------
    >>> from recompviz.core.steps.examples import chain_step
    >>> from recompviz.core.steps.schedule import make_schedule
    >>> from recompviz.core.steps.simulation import simulate_schedule
    >>> places_of(simulate_schedule(make_schedule(chain_step([4, 4])[1], [True] * 2))).tolist()
    [0, 1, 2, 3, 4]
    """
    forward = int(np.argmax(np.append(timeline.phases, -1) != Phase.FORWARD))
    idle = np.ones(forward, np.bool_)
    made = timeline.step[timeline.delta > 0]
    idle[made[made < forward]] = False
    shared = np.zeros(len(timeline.phases), np.bool_)
    shared[:forward] = _shared(idle)
    return np.cumsum(~shared) - 1


def _shared(idle: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """For each step of the forward pass in which nothing is allocated, whether this is true of the step before, too."""
    idle[-1:] = False  # the gradient of the loss is allocated after the last one
    shared = np.zeros(len(idle), np.bool_)
    shared[1:] = idle[1:] & idle[:-1]
    return shared


def at_places(profile: NDArray[np.int64], shared: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the largest number of bytes at each place; see :func:`places_of`.

    ``profile`` has the largest number of bytes within each step, and ``shared`` is the result of :func:`shared_steps`.

    Examples
    --------
    >>> at_places(np.array([5, 7, 8, 7, 6]), np.array([False, False, True])).tolist()
    [5, 8, 7, 6]
    """
    starts = np.flatnonzero(~np.append(shared, np.zeros(len(profile) - len(shared), np.bool_)))
    merged: NDArray[np.int64] = np.maximum.reduceat(profile, starts)
    return merged
