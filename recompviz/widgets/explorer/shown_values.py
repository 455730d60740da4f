"""What a plan does with each value, as the static picture shows it: its state, and its bytes in memory.

The page computes the same in js/data/value_states.js and js/data/held_bytes.js.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.steps.schedule import make_schedule
from recompviz.core.steps.value_states import ValueState, saved_bytes, value_states

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recompviz.core.plans.plan import Plan
    from recompviz.core.steps.joint import JointGraph


@dataclass(frozen=True, eq=False)
class ShownValues:
    """The values of a graph under a plan; frozen.

    Attributes
    ----------
    states : numpy.ndarray of int8, shape (#V,)
        The :class:`~recompviz.core.steps.value_states.ValueState` of each value.
    kept : numpy.ndarray of int64, shape (#V,)
        The bytes of each value that stay allocated until the backward pass.
    held : numpy.ndarray of int64, shape (#V,)
        The same under the plan that keeps every value. A plan may keep more: values that its recomputations read.
    """

    states: NDArray[np.int8]
    kept: NDArray[np.int64]
    held: NDArray[np.int64]

    @classmethod
    def of(cls, joint: JointGraph, plan: Plan, theory: bool = False) -> ShownValues:
        """Return what a plan does with each value.

        Parameters
        ----------
        joint : JointGraph
            The training step.
        plan : Plan
        theory : bool
            Whether the paper's view is shown. In it every value is kept or recomputed, as the formula counts them.
        """
        mask = plan.keep_mask
        schedule = make_schedule(joint, mask.tolist())
        kept = saved_bytes(schedule, len(mask))
        everything = saved_bytes(make_schedule(joint, [True] * len(mask)), len(mask))
        states = mask.astype(np.int8) if theory else value_states(schedule, mask.tolist())
        return cls(states, kept, everything)

    @property
    def counts(self) -> str:
        """The number of values in each state, in words."""
        recomputed, kept, unneeded = (int((self.states == state).sum()) for state in ValueState)
        rest = f", {kept} kept, {unneeded} {ValueState.UNNEEDED.label}" if unneeded else ""
        return f"{recomputed} of {len(self.states)} values recomputed{rest}"
