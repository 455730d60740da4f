"""Plans by minimum cuts: the fewest saved bytes for the recomputation that they cost.

PyTorch's partitioner chooses the values that it saves by a minimum cut of the forward graph, for one set of operators
that it does not recompute. Here the recomputation has a price λ in bytes per unit of cost, and a plan minimizes saved
bytes + λ · recomputation. Each price gives one minimum cut. All prices together give the plans on the lower convex hull
of (saved bytes, recomputation). A minimum cut minimizes saved bytes, which are not the peak. These plans are therefore
used only as seeds of the search and as baselines.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from recompviz.core.plans.plan import Plan
from recompviz.core.steps.joint import packed_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recompviz.core.graphs.graph import Graph
    from recompviz.core.steps.joint import JointGraph

# the kind of these plans
KIND = "minimum cut"
# the largest number of plans
MOST = 32
# capacities are integers with a sum below this number
LIMIT = 2**58
# a cut is a new point of the hull if it is better than the line through its neighbours by this share
SHARE = 1e-9


def minimum_cut_plans(graph: Graph, joint: JointGraph, most: int = MOST) -> list[Plan]:
    """Return plans that minimize saved bytes + λ · recomputation for some prices λ, sorted by falling recomputation.

    A value that the backward pass reads is saved, or recomputed from values that are saved or recomputed, and from
    parameters and inputs.

    Parameters
    ----------
    graph : Graph
    joint : JointGraph
        The joint graph of the same training step.
    most : int
        The largest number of plans.

    Examples
    --------
    >>> from recompviz.core.steps.examples import chain_step
    >>> plans = minimum_cut_plans(*chain_step([4, 4, 4]))
    >>> [sorted(plan.recompute) for plan in plans]
    [[0, 1], []]
    """
    network = _Network(graph, joint)
    if not network.unit:
        return [Plan.keep_all(graph)]
    # nearly free recomputation, and no recomputation
    points = [network.cut(network.least_price), network.kept]
    gaps = [(-(points[1].bytes - points[0].bytes), 0, 1)]
    while gaps and len(points) < most:
        _, i, j = heapq.heappop(gaps)
        low, high = points[i], points[j]
        if low.cost <= high.cost or low.bytes >= high.bytes:
            continue
        price = (high.bytes - low.bytes) / (low.cost - high.cost)
        found = network.cut(price)
        line = low.bytes + price * low.cost
        if found.bytes + price * found.cost < line * (1 - SHARE):
            points.append(found)
            for a, b in ((i, len(points) - 1), (len(points) - 1, j)):
                heapq.heappush(gaps, (-(points[b].bytes - points[a].bytes), a, b))
    distinct = {point.keep_mask.tobytes(): point for point in points}
    ordered = sorted(distinct.values(), key=lambda point: -point.cost)
    return [Plan.from_keep_mask(graph, point.keep_mask, KIND) for point in ordered]


class _Cut(NamedTuple):
    """One cut: the saved bytes, the cost of the recomputation, and the values that are kept."""

    bytes: int
    cost: float
    keep_mask: NDArray[np.bool_]


class _Network:
    """The flow network of a training step.

    Besides source and sink, there is a vertex for each forward call and one for each storage that a forward call makes.
    The vertex of a call is on the side of the source if the call runs again. The vertex of a storage is there if the
    backward pass needs the storage. A storage that is needed although its call does not run again is saved, which costs
    its bytes.
    """

    def __init__(self, graph: Graph, joint: JointGraph) -> None:
        self._graph, self._joint = graph, joint
        calls, storages, forward = joint.calls, joint.storages, joint.forward_count
        size = np.where([s in joint.results for s in range(len(storages))], 0, joint.allocated)
        made = [s for s, storage in enumerate(storages) if 0 <= storage.maker < forward]
        vertex = {s: 2 + forward + i for i, s in enumerate(made)}
        ends: list[tuple[int, int]] = []
        saving, running, endless = (list[int]() for _ in range(3))  # numbers of edges
        for s in made:
            saving.append(len(ends))
            ends.append((vertex[s], 2 + storages[s].maker))
        for c, call in enumerate(calls[:forward]):
            (endless if call.pinned else running).append(len(ends))
            ends.append((2 + c, 1))
            for s in call.reads:
                if s in vertex:
                    endless.append(len(ends))
                    ends.append((2 + c, vertex[s]))
        for s in sorted({s for call in calls[forward:] for s in call.reads if s in vertex}):
            endless.append(len(ends))
            ends.append((0, vertex[s]))
        self._ends = np.array(ends, np.int64).reshape(-1, 2)
        self._saving, self._running, self._endless = (np.array(e, np.int64) for e in (saving, running, endless))
        self._saved_size = size[made]
        self._runs = self._ends[self._running, 0] - 2
        self._cost = np.zeros(forward)
        count = np.bincount([call.node for call in calls[:forward] if call.node >= 0], minlength=len(graph))
        for c, call in enumerate(calls[:forward]):
            if call.node >= 0:
                self._cost[c] = graph.time[call.node] / count[call.node]
        self.unit = float(self._cost[self._runs].sum())
        sides: list[list[int]] = [[] for _ in range(2 + forward + len(made))]
        for e, (tail, head) in enumerate(ends):
            sides[tail].append(2 * e)
            sides[head].append(2 * e + 1)
        self._start, self._edges = packed_rows(sides)
        self._head = self._ends[:, ::-1].ravel().copy()

    @property
    def least_price(self) -> float:
        """A price at which all recomputation costs as much as one byte."""
        return 1 / self.unit

    @property
    def kept(self) -> _Cut:
        """The cut without recomputation."""
        needed = np.zeros(len(self._start) - 1, np.bool_)
        needed[self._ends[self._ends[:, 0] == 0, 1]] = True
        return self._cut_of(needed)

    def cut(self, price: float) -> _Cut:
        """Return the cut of least saved bytes + price · recomputation."""
        from recompviz.core.live.flow_kernels import minimum_cut

        costs = price * self._cost[self._runs]
        scale = LIMIT / max(1.0, float(self._saved_size.sum() + costs.sum()))
        capacity = np.zeros(2 * len(self._ends), np.int64)
        capacity[2 * self._saving] = (self._saved_size * scale).astype(np.int64)
        capacity[2 * self._running] = (costs * scale).astype(np.int64)
        capacity[2 * self._endless] = LIMIT
        return self._cut_of(minimum_cut(self._start, self._edges, self._head, capacity))

    def _cut_of(self, source_side: NDArray[np.bool_]) -> _Cut:
        """Return the cut whose source side is given."""
        storages, calls = self._ends[self._saving].T
        saved = int(self._saved_size[source_side[storages] & ~source_side[calls]].sum())
        keep_mask = np.ones(len(self._graph), np.bool_)
        again = np.flatnonzero(source_side[2 : 2 + len(self._cost)])
        for call in (self._joint.calls[c] for c in again.tolist()):
            keep_mask[[v for v in (call.node, *call.views) if v >= 0]] = False
        return _Cut(saved, float(self._cost[again].sum()), keep_mask)
