"""What a plan does with each value of the graph.

A plan keeps a value for the backward pass, or recomputes it. A third state follows from the schedule: no later call
reads the value after the forward pass, so it is freed there and never computed again, whatever the plan says of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.steps.joint import Category
from recompviz.core.steps.schedule import Schedule

if TYPE_CHECKING:
    from numpy.typing import NDArray


class ValueState(IntEnum):
    """What happens to a value after its last use in the forward pass.

    Attributes
    ----------
    RECOMPUTED
        It is freed, and computed again in the backward pass.
    KEPT
        It stays allocated: the backward pass or a recomputation reads it, or it is a result of the step.
    UNNEEDED
        It is freed, and nothing reads it later.
    """

    RECOMPUTED = 0
    KEPT = 1
    UNNEEDED = 2

    @property
    def label(self) -> str:
        """The state in figures and texts, for example ``"not needed later"``."""
        return "not needed later" if self is ValueState.UNNEEDED else self.name.lower()


def value_states(schedule: Schedule, keep_mask: Sequence[bool]) -> NDArray[np.int8]:
    """Return the :class:`ValueState` of each value under a plan.

    A value that several calls compute is recomputed if one of them runs again. A view has the state of the memory that
    it shows. A value without a call, for example a view of a parameter, is kept or recomputed as the mask says.

    Parameters
    ----------
    schedule : Schedule
        The order of the calls under the plan.
    keep_mask : sequence of bool, length #V
        For each node of the graph of intermediate values, whether the plan keeps its value.

    Returns
    -------
    numpy.ndarray of int8, shape (#V,)

    Examples
    --------
    No backward call reads the output of a batch normalization that a ReLU follows, so it is not kept:

    >>> from recompviz.core.steps.examples import residual_step
    >>> from recompviz.core.steps.schedule import make_schedule
    >>> graph, joint = residual_step((1,))
    >>> keep_all = [True] * len(graph)
    >>> states = value_states(make_schedule(joint, keep_all), keep_all)
    >>> [ValueState(state).label for state in states[:3]]
    ['kept', 'not needed later', 'kept']
    """
    joint = schedule.joint
    states = np.array(keep_mask, np.int8)
    seen: dict[int, ValueState] = {}
    for c, call in enumerate(joint.calls[: joint.forward_count]):
        stays = any(s in schedule.saved or s in joint.results for s in call.makes)
        state = ValueState.RECOMPUTED if c in schedule.recomputed else ValueState.KEPT if stays else ValueState.UNNEEDED
        for v in (call.node, *call.views):
            # recomputed goes before kept, kept before unneeded
            if v >= 0:
                seen[v] = min(seen.get(v, state), state)
    for v, state in seen.items():
        states[v] = state
    return states


def saved_bytes(schedule: Schedule, count: int) -> NDArray[np.int64]:
    """Return the bytes of each value that stay allocated from the forward to the backward pass.

    Memory that several values share belongs to the value whose call allocates it.

    Parameters
    ----------
    schedule : Schedule
        The order of the calls under a plan.
    count : int
        #V, the number of values.

    Returns
    -------
    numpy.ndarray of int64, shape (#V,)

    Examples
    --------
    >>> from recompviz.core.steps.examples import chain_step
    >>> from recompviz.core.steps.schedule import make_schedule
    >>> _, joint = chain_step(sizes=[4, 2, 4])
    >>> saved_bytes(make_schedule(joint, [True, False, True]), 3).tolist()
    [4, 0, 0]
    """
    joint = schedule.joint
    found = np.zeros(count, np.int64)
    for s in schedule.saved:
        node = joint.calls[joint.storages[s].maker].node
        if node >= 0 and joint.storages[s].category is Category.KEPT:
            found[node] += joint.sizes[s]
    return found
