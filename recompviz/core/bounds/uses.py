"""When the storages of a training step are needed, and the bytes that every strategy holds at a call.

The strategies considered run the forward calls once in traced order, then the backward calls once in traced order.
Between backward calls, they may run forward calls again, except calls that must not run twice (``Call.pinned``). In the
forward pass, a value stays allocated at least until the last forward call that reads it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.steps.schedule import make_schedule
from recompviz.core.steps.simulation import simulate_schedule

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recompviz.core.graphs.graph import Graph
    from recompviz.core.steps.joint import JointGraph


class Uses:
    """The reads of each storage, and the bytes that no strategy can avoid. All bytes are transient.

    Attributes
    ----------
    readers : list of list of int
        For each storage, the calls that read it, in order.
    optional : numpy.ndarray of bool, shape (#storages,)
        Whether the storage can be absent in the backward pass: it has bytes, a forward call makes it, and the caller
        does not hold it.
    last_need : numpy.ndarray of int64, shape (#storages,)
        The last backward call that reads the storage, or reads a value that is recomputed from it; −1 if there is none.
    fixed : numpy.ndarray of int64, shape (#calls,)
        For each call, a lower bound on the bytes that every strategy holds while the call runs.
    after : int
        The largest number of bytes alive after the last backward call. It is equal under all plans.
    node_calls : list of list of int
        For each node, the forward calls whose second run counts as recomputation of the node.
    """

    def __init__(self, graph: Graph, joint: JointGraph) -> None:
        calls, storages, size = joint.calls, joint.storages, joint.allocated
        forward, last = joint.forward_count, len(calls)
        self.graph, self.joint = graph, joint
        self.readers: list[list[int]] = [[] for _ in storages]
        for c, call in enumerate(calls):
            for s in call.reads:
                self.readers[s].append(c)
        maker = np.array([storage.maker for storage in storages], np.int64)
        held = np.zeros(len(storages), np.bool_)
        held[list(joint.results)] = True
        self.optional: NDArray[np.bool_] = (maker >= 0) & (maker < forward) & (size > 0) & ~held
        self.last_need: NDArray[np.int64] = np.full(len(storages), -1, np.int64)
        for s in sorted(range(len(storages)), key=lambda s: -storages[s].maker):
            for c in self.readers[s]:
                if c >= forward:
                    self.last_need[s] = max(self.last_need[s], c)
                elif not calls[c].pinned:
                    self.last_need[s] = max([self.last_need[s], *(self.last_need[m] for m in calls[c].makes)])
        # storages alive from `first` to `stop` − 1 under every strategy; a storage that a call reads is present
        change = np.zeros(last + 1, np.int64)
        for s in range(len(storages)):
            if maker[s] < 0:
                continue
            in_pass = self.readers[s] if maker[s] >= forward else [c for c in self.readers[s] if c < forward]
            stop = last if held[s] else max([maker[s], *in_pass]) + 1
            change[maker[s]] += size[s]
            change[stop] -= size[s]
        self.fixed: NDArray[np.int64] = change.cumsum()[:last] + joint.scratch
        self.fixed[forward:] += joint.rounded(joint.tangent_bytes)
        for c in range(forward, last):
            self.fixed[c] += sum(int(size[s]) for s in calls[c].reads if self.optional[s])
        timeline = simulate_schedule(make_schedule(joint, [True] * len(graph)))
        self.after = int(timeline.profile[last:].max()) - timeline.static
        self.node_calls: list[list[int]] = [[] for _ in range(len(graph))]
        for c, call in enumerate(calls[:forward]):
            for v in {call.node, *call.views} - {-1} if call.node >= 0 else ():
                self.node_calls[v].append(c)

    @property
    def floor(self) -> int:
        """A lower bound on every strategy's peak, in transient bytes: ``after``, or a larger number in ``fixed``."""
        return max(int(self.fixed.max(initial=0)), self.after)

    @property
    def call_cost(self) -> NDArray[np.float64]:
        """A cost for each call, in the unit of ``graph.time``. T_v is split evenly over the calls of ``node_calls[v]``.

        The costs of the calls that run again add up to at most the costs of their nodes.
        """
        cost = np.zeros(len(self.joint.calls))
        for v, calls in enumerate(self.node_calls):
            for c in calls:
                cost[c] += self.graph.time[v] / len(calls)
        return cost
