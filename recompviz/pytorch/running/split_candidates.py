"""Candidate splits of a joint graph into a forward and a backward graph, one for each plan.

The memory of all splits is simulated. For a few of them, it is counted in the code that Inductor generates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch.fx import Node

from recompviz.core.live.model import LiveModel
from recompviz.core.planning.region_tables import region_masks
from recompviz.core.planning.step_plans import RegionPlans
from recompviz.core.steps.schedule import make_schedule
from recompviz.pytorch.internals.inductor_code import InductorMemory
from recompviz.pytorch.internals.partitioner import Split, copied_joint, split_joint
from recompviz.pytorch.running.inductor_joint import InductorJoint, PlannedGraph
from recompviz.pytorch.tracing.folding import Folded

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Processor time for the search of one graph's plans, seconds.
SEARCH_SECONDS = 20.0
# The most plans of one graph that Inductor lowers before one of them is used.
MOST_LOWERED = 4


class SplitCandidates:
    """Candidate plans for the split of one joint graph.

    Each plan is simulated operator by operator. Some plans are also *lowered*. For a lowered plan, Inductor generates
    code, and the buffers in this code are counted. Because Inductor fuses operators, the code usually takes fewer bytes
    than the simulation. This difference is similar for similar plans. Therefore the difference of the last lowered plan
    is subtracted from every simulated peak.

    Parameters
    ----------
    graph : InductorJoint
    masks : list of numpy.ndarray of bool
        The plans: for each node, whether its value is kept.

    Attributes
    ----------
    overhead : list of float
        Estimated milliseconds that each plan recomputes.
    simulated : list of int
        The simulated peak of each plan, in bytes without parameters, buffers and inputs.
    leanest : int
        The index of the plan of least simulated peak.
    exact : bool
        Whether :meth:`memory` counts Inductor's code. False once the code of a plan could not be counted.
    """

    def __init__(self, graph: InductorJoint, masks: list[NDArray[np.bool_]]) -> None:
        self.graph, self.masks = graph, masks
        model = LiveModel(graph.folded.graph, graph.folded.joint)
        runs = [model.simulate(np.ascontiguousarray(mask)) for mask in masks]
        self.overhead = [run.overhead for run in runs]
        self.profiles = [run.step_peaks for run in runs]
        self.simulated = [run.peak for run in runs]
        self.exact = True
        self.leanest = min(range(len(runs)), key=lambda i: self.simulated[i])
        self._memory: dict[int, InductorMemory] = {}
        self._difference = 0  # simulated minus counted peak of the last plan that was lowered

    @classmethod
    def of(cls, graph: InductorJoint) -> SplitCandidates:
        """Search plans for a graph, and return them as candidates."""
        return cls(graph, region_masks(graph.folded.graph, graph.folded.joint, SEARCH_SECONDS))

    def move_to(self, graph: InductorJoint) -> None:
        """Replace the graph by an equal one from another compilation, which has other fake tensors."""
        self.graph = graph
        self._memory.clear()

    def split(self, row: int) -> Split:
        """Return the forward and backward graph of the plan with index ``row``."""
        folded = self.graph.folded
        schedule = make_schedule(folded.joint, self.masks[row].tolist())
        joint = copied_joint(folded.fx)
        named = {node.name: node for node in joint.graph.nodes}
        saved = [named[node.name] for node in saved_nodes(folded, schedule.saved)]
        return split_joint(joint, saved, self.graph.output_count, self.graph.static)

    def memory(self, row: int) -> InductorMemory:
        """Return the memory of the plan with index ``row``.

        The bytes are counted in Inductor's code, or simulated if they cannot be counted.
        """
        if row not in self._memory:
            found = self.graph.counted(self.split(row)) if self.exact else None
            if found is None:
                self.exact = False
                joint = self.graph.folded.joint
                saved = make_schedule(joint, self.masks[row].tolist()).saved_bytes
                peak = self.simulated[row]
                found = InductorMemory(peak, saved, saved, peak)
            self._memory[row] = found
        return self._memory[row]

    def planned(self, row: int) -> PlannedGraph:
        """Return the :class:`PlannedGraph` for the plan with index ``row``."""
        return self.graph.planned("plan", self.memory(row), self.exact, self.overhead[row])

    def options(self) -> RegionPlans:
        """Return all plans with estimated bytes, for a combination with the plans of other graphs.

        The estimated peak of a plan is its simulated peak, minus the difference between the simulated and the counted
        peak of the last plan for which Inductor generated code.
        """
        joint = self.graph.folded.joint
        count, less = joint.forward_count, self._difference
        held = [make_schedule(joint, mask.tolist()).saved_bytes for mask in self.masks]
        return RegionPlans(
            np.array(self.overhead),
            np.array([profile[:count].max(initial=0) - less for profile in self.profiles], np.int64),
            np.array(held, np.int64),
            np.array([profile[count:].max(initial=0) - less for profile in self.profiles], np.int64),
        )

    def least_recomputation(self, room: int) -> int | None:
        """Return the index of the plan that recomputes least, among the lowered plans that fit into ``room`` bytes.

        A plan is lowered when Inductor generates code for it. At most four plans are lowered, in order of rising
        recomputation, if they fit by the estimate. If none of them fits, but the plan of least simulated peak does, a
        bisection lowers up to four plans between them. If the plan of least simulated peak does not fit, None is
        returned.
        """
        best: int | None = None
        for _ in range(MOST_LOWERED):
            fitting = [
                i
                for i in range(len(self.masks))
                if self.simulated[i] - self._difference <= room
                and (i not in self._memory or self._memory[i].peak <= room)
                and (best is None or self.overhead[i] < self.overhead[best])
            ]
            row = min(fitting, key=lambda i: (self.overhead[i], self.simulated[i]), default=None)
            if row is None and best is None and self.leanest not in self._memory:
                row = self.leanest
            if row is None or row in self._memory:
                break
            peak = self.memory(row).peak
            self._difference = self.simulated[row] - peak
            if peak <= room:
                best = row
        if best is None and self.memory(self.leanest).peak <= room:
            best = self._bisected(room)
        return best

    def _bisected(self, room: int) -> int:
        """Return a plan that fits, between the lowered plans that do not fit and the leanest plan, which fits."""
        failed = max((self.overhead[i] for i, found in self._memory.items() if found.peak > room), default=-1.0)
        rows = [row for row in self._front() if self.overhead[row] > failed]
        low, high = 0, len(rows) - 1
        for _ in range(MOST_LOWERED):
            if low >= high:
                break
            middle = (low + high) // 2
            if self.memory(rows[middle]).peak <= room:
                high = middle
            else:
                low = middle + 1
        return rows[high] if rows else self.leanest

    def _front(self) -> list[int]:
        """Return the plans of the Pareto front of simulated peak and overhead, by rising overhead; the leanest last."""
        front: list[int] = []
        for row in sorted(range(len(self.masks)), key=lambda i: (self.overhead[i], self.simulated[i])):
            if not front or self.simulated[row] < self.simulated[front[-1]]:
                front.append(row)
        return front


def saved_nodes(folded: Folded, storages: frozenset[int]) -> list[Node]:
    """Return the first fx node whose value is in each of the given storages."""
    first: dict[int, Node] = {}
    for node, s in folded.storage_of.items():
        if s in storages and node.op == "call_function":
            first.setdefault(s, node)
    return list(first.values())
