"""Candidate splits of a joint graph into a forward and a backward graph, one for each plan.

The memory of each split is simulated. For a few splits, Inductor also generates code, and the bytes that this code
allocates are counted. The plans of a graph and their bytes are cached, and equal graphs share them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from torch.fx import Node

from recompviz.core.live.model import LiveModel
from recompviz.core.planning.region_tables import region_masks
from recompviz.core.planning.step_plans import RegionPlans
from recompviz.core.steps.schedule import make_schedule
from recompviz.pytorch.internals.inductor_code import InductorMemory
from recompviz.pytorch.internals.partitioner import Split, copied_joint, split_joint
from recompviz.pytorch.policies.inductor_joint import InductorJoint, PlannedGraph
from recompviz.pytorch.tracing.folding import Folded

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Processor time for the search of one graph's plans, seconds.
SEARCH_SECONDS = 20.0
# The most plans that are lowered in one choice, besides the leanest one.
MOST_LOWERED = 7
# The number of graphs whose plans are remembered.
MOST_REMEMBERED = 64

_remembered: dict[str, SimulatedPlans] = {}


@dataclass(eq=False)
class SimulatedPlans:
    """The plans of one joint graph, with their simulated and counted bytes.

    Attributes
    ----------
    masks : list of numpy.ndarray of bool
        The plans: for each node, whether its value is kept.
    overhead : list of float
        Estimated milliseconds that each plan recomputes.
    simulated : list of int
        The simulated peak of each plan, in bytes without parameters, buffers and inputs.
    lowered : dict of int to InductorMemory
        Index of a plan → the bytes counted in the code that Inductor generates for this plan, or simulated bytes if
        they cannot be counted. Plans whose bytes were not needed yet are missing.
    exact : bool
        Whether the bytes of lowered plans are counted in Inductor's code. It becomes False when the bytes of a plan
        cannot be counted in this way.
    """

    masks: list[NDArray[np.bool_]]
    overhead: list[float]
    simulated: list[int]
    lowered: dict[int, InductorMemory] = field(default_factory=dict)
    exact: bool = True

    @classmethod
    def of(cls, graph: InductorJoint, key: str) -> SimulatedPlans:
        """Search for plans of a graph and simulate them, or return those of an equal graph.

        Parameters
        ----------
        graph : InductorJoint
        key : str
            Equal graphs have equal keys.
        """
        found = _remembered.pop(key, None)
        if found is None:
            folded = graph.folded
            masks = region_masks(folded.graph, folded.joint, SEARCH_SECONDS)
            model = LiveModel(folded.graph, folded.joint)
            runs = [model.simulate(np.ascontiguousarray(mask)) for mask in masks]
            found = cls(masks, [run.overhead for run in runs], [run.peak for run in runs])
        _remembered[key] = found  # the last one is the one that was used last
        if len(_remembered) > MOST_REMEMBERED:
            del _remembered[next(iter(_remembered))]
        return found


class SplitCandidates:
    """Candidate plans for the split of one joint graph.

    Each plan is simulated operator by operator. Some plans are also *lowered*. For a lowered plan, Inductor generates
    code, and the buffers in this code are counted. Because Inductor fuses operators, the code usually takes fewer bytes
    than the simulation.

    Parameters
    ----------
    graph : InductorJoint
    plans : SimulatedPlans
        The plans of this graph, or of an equal one.

    Attributes
    ----------
    leanest : int
        The index of the plan of least simulated peak.
    """

    def __init__(self, graph: InductorJoint, plans: SimulatedPlans) -> None:
        self.graph, self.plans = graph, plans
        self.leanest = min(range(len(plans.masks)), key=lambda i: plans.simulated[i])

    @property
    def exact(self) -> bool:
        """Whether :meth:`memory` counts bytes in Inductor's code; False after this was not possible for a plan."""
        return self.plans.exact

    def split(self, row: int) -> Split:
        """Return the forward and backward graph of the plan with index ``row``."""
        folded = self.graph.folded
        schedule = make_schedule(folded.joint, self.plans.masks[row].tolist())
        joint = copied_joint(folded.fx)
        named = {node.name: node for node in joint.graph.nodes}
        saved = [named[node.name] for node in saved_nodes(folded, schedule.saved)]
        return split_joint(joint, saved, self.graph.output_count, self.graph.static)

    def memory(self, row: int) -> InductorMemory:
        """Return the memory of the plan with index ``row``.

        The bytes are counted in Inductor's code, or simulated if they cannot be counted.
        """
        plans = self.plans
        if row not in plans.lowered:
            found = self.graph.counted(self.split(row)) if plans.exact else None
            if found is None:
                plans.exact = False
                joint = self.graph.folded.joint
                saved = make_schedule(joint, plans.masks[row].tolist()).saved_bytes
                peak = plans.simulated[row]
                found = InductorMemory(peak, saved, saved, peak)
            plans.lowered[row] = found
        return plans.lowered[row]

    def planned(self, row: int) -> PlannedGraph:
        """Return the :class:`PlannedGraph` for the plan with index ``row``."""
        return self.graph.planned("plan", self.memory(row), self.exact, self.plans.overhead[row])

    def options(self) -> RegionPlans:
        """Return all plans with estimated bytes, for a combination with the plans of other graphs.

        The estimated peak of a plan is its simulated peak, minus the difference between the simulated and the counted
        peak of the last plan for which Inductor generated code.
        """
        folded, plans = self.graph.folded, self.plans
        count = folded.joint.forward_count
        last = next(reversed(plans.lowered), None)
        less = 0 if last is None else plans.simulated[last] - plans.lowered[last].peak
        model = LiveModel(folded.graph, folded.joint)
        profiles = [model.simulate(np.ascontiguousarray(mask)).step_peaks for mask in plans.masks]
        return RegionPlans(
            np.array(plans.overhead),
            np.array([profile[:count].max(initial=0) - less for profile in profiles], np.int64),
            np.array([make_schedule(folded.joint, mask.tolist()).saved_bytes for mask in plans.masks], np.int64),
            np.array([profile[count:].max(initial=0) - less for profile in profiles], np.int64),
        )

    def least_recomputation(self, room: int) -> int | None:
        """Return the index of the plan that recomputes least, among the lowered plans that fit into ``room`` bytes.

        A plan is lowered when Inductor generates code for it. If no lowered plan fits, return None.

        Notes
        -----
        The plan of least simulated peak is always lowered. If it fits, a bisection lowers at most seven other plans.
        The bisection is over the plans that no other plan beats in both simulated peak and recomputation. Plans that
        were lowered in earlier calls are candidates, too.
        """
        lowered = self.plans.lowered
        if self.memory(self.leanest).peak <= room:
            front = self._front()
            low, high = 0, len(front) - 1
            for _ in range(MOST_LOWERED):
                if low >= high:
                    break
                middle = (low + high) // 2
                if self.memory(front[middle]).peak <= room:
                    high = middle
                else:
                    low = middle + 1
        fitting = [row for row, memory in lowered.items() if memory.peak <= room]
        return min(fitting, key=lambda row: (self.plans.overhead[row], lowered[row].peak), default=None)

    def _front(self) -> list[int]:
        """Return the plans of the Pareto front of simulated peak and overhead, by rising overhead; the leanest last."""
        overhead, simulated = self.plans.overhead, self.plans.simulated
        front: list[int] = []
        for row in sorted(range(len(simulated)), key=lambda i: (overhead[i], simulated[i])):
            if not front or simulated[row] < simulated[front[-1]]:
                front.append(row)
        return front


def saved_nodes(folded: Folded, storages: frozenset[int]) -> list[Node]:
    """Return the first fx node that computes a value in each given storage of a forward call."""
    first: dict[int, Node] = {}
    for node, s in folded.storage_of.items():
        if s in storages and node.op == "call_function":
            first.setdefault(s, node)
    return list(first.values())
