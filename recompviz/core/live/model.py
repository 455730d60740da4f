"""The live model: the simulated peak of any set of kept values, fast enough to search with.

Packs a joint graph into arrays once; a plan's transient peak then takes microseconds. Where numba is
missing the simulator itself answers, with the same figures, in milliseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.base.compiled import has_numba, is_compiled
from recompviz.core.steps.joint import packed_rows
from recompviz.core.steps.schedule import make_schedule
from recompviz.core.steps.simulation import simulate_schedule

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from recompviz.core.graphs.graph import Graph
    from recompviz.core.plans.plan import Plan
    from recompviz.core.steps.joint import JointGraph

# no budget at all
ENDLESS = 2**62
# up to so many nodes every value is tried, however unlikely it is to fit
FEW = 600


def profile_function(graph: Graph, joint: JointGraph) -> Callable[[Plan], NDArray[np.int64]]:
    """A function from a plan to its total bytes at the fullest moment of each step.

    Compiled where that has been compiled before; else by the simulator, with the same figures.
    """
    if not (has_numba() and is_compiled("live/kernels")):
        return lambda plan: simulate_schedule(make_schedule(joint, plan.keep_mask.tolist())).profile
    model = LiveModel(graph, joint)
    static = sum(joint.static.values())
    # the optimiser's step, if there is one: the same under every plan
    steps_after = int(joint.optimizer_scratch > 0)
    after = simulate_schedule(make_schedule(joint, [True] * len(graph))).profile[-steps_after:] if steps_after else ()

    def profile(plan: Plan) -> NDArray[np.int64]:
        model.peak(plan.keep_mask)
        return np.append(model.profile + static, np.array(after, np.int64))

    return profile


class LiveModel:
    """Simulated memory of one step as a function of what is kept.

    Parameters
    ----------
    graph : Graph
        For T_v.
    joint : JointGraph
        Calibrated or not: workspace counts where it is known.
    """

    def __init__(self, graph: Graph, joint: JointGraph) -> None:
        from recompviz.core.live import kernels as live_kernels

        self.graph, self.joint, self.kernels = graph, joint, live_kernels
        calls, storages = joint.calls, joint.storages
        read_start, reads = packed_rows([call.reads for call in calls])
        make_start, makes = joint.made
        view_start, views = packed_rows([call.views for call in calls])
        self.calls = (
            read_start,
            reads,
            make_start,
            makes,
            np.array([call.node for call in calls], np.int64),
            np.array([call.pinned for call in calls], np.bool_),
            joint.random,
            joint.scratch,
            view_start,
            views,
            *packed_rows([call.follows for call in calls]),
        )
        self.storages = (
            joint.allocated,
            np.array([storage.maker for storage in storages], np.int64),
            np.array([s in joint.results for s in range(len(storages))], np.bool_),
            np.array([s for s, _ in joint.clones], np.int64),
            np.array([joint.forward_count], np.int64),
            np.array([joint.rounded(size) for _, size in joint.clones], np.int64),
        )
        self.extras = np.array([joint.rounded(joint.tangent_bytes), joint.rounded(joint.rng_bytes)], np.int64)
        most = len(calls) + joint.forward_count + 1
        self.work = (
            (np.zeros(most, np.int64), np.zeros(most, np.int64)),
            np.zeros(most, np.int64),
            np.zeros(len(storages), np.bool_),
            np.zeros(len(calls), np.bool_),
            np.zeros((2, len(storages)), np.int64),
            np.zeros(len(storages), np.bool_),
        )
        self.step_peaks = np.zeros(most + 1, np.int64)
        self.out = np.zeros(4, np.int64)
        self.seen = np.zeros(len(graph), np.bool_)
        self.is_view = np.zeros(len(graph), np.bool_)
        self.is_view[views] = True
        self.absent = np.zeros((len(graph), 2), np.int64)
        self.simulations = 0  # so far, for a search that counts its effort

    def peak(self, kept: NDArray[np.bool_], budget: int = ENDLESS) -> int:
        """The transient peak, bytes, of keeping these values; fills what the other properties tell of."""
        self.kernels.simulate(
            kept, self.calls, self.storages, self.extras, self.work, budget, self.step_peaks, self.out
        )
        self.simulations += 1
        return int(self.out[self.kernels.PEAK])

    @property
    def excess(self) -> int:
        """By how much the steps of the schedule last simulated exceed its budget, added up."""
        return int(self.out[self.kernels.EXCESS])

    @property
    def overhead(self) -> float:
        """T of what the schedule last simulated really computes twice."""
        return float(self.kernels.overhead_of(self.work[3], self.calls, self.graph.time, self.seen))

    @property
    def recomputed(self) -> NDArray[np.bool_]:
        """The nodes that the schedule last simulated computes twice, shape (#V,)."""
        _ = self.overhead
        return self.seen.copy()

    def recomputed_by(self, kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The nodes, views among them, that are computed twice if these are kept."""
        self.peak(kept)
        return self.recomputed

    @property
    def profile(self) -> NDArray[np.int64]:
        """The most transient bytes within each step of the schedule last simulated, the gradients' arrival last."""
        return self.step_peaks[: int(self.out[self.kernels.STEPS])].copy()

    def alive_at_peak(self, kept: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The kept nodes with a value that is saved and alive at the peak of the schedule last simulated."""
        step, forward = int(self.out[self.kernels.PEAK_STEP]), self.joint.forward_count
        saved, last = self.work[2], self.work[4]
        alive = saved & (last[1] >= step) if step >= forward else saved
        makers = self.storages[1][alive]
        nodes = self.calls[4][makers[makers >= 0]]
        nodes = np.unique(nodes[nodes >= 0])
        return nodes[kept[nodes]]

    def flip_each(self, kept: NDArray[np.bool_], candidates: NDArray[np.int64], budget: int) -> NDArray[np.float64]:
        """Rows (peak, excess over the budget summed over the steps, overhead) of flipping each candidate alone."""
        results = np.zeros((len(candidates), 3))
        self.simulations += len(candidates)
        self.kernels.flip_each(
            kept, candidates, self.calls, self.storages, self.extras, self.graph.time, self.work, budget,
            self.step_peaks, self.out, self.seen, results,
        )  # fmt: skip
        return results

    def keep_more(self, kept: NDArray[np.bool_], candidates: NDArray[np.int64], budget: int) -> None:
        """Keep each candidate in turn, in place, if the peak then stays within the budget."""
        self.simulations += self.kernels.keep_more(
            kept, candidates, self.graph.memory, len(self.graph) > FEW, self.calls, self.storages, self.extras,
            self.work, budget, self.step_peaks, self.out, self.absent,
        )  # fmt: skip

    def walk(
        self,
        kept: NDArray[np.bool_],
        free: NDArray[np.int64],
        budget: int,
        heat: float,
        weight: float,
        tries: int,
        seed: int = 0,
    ) -> NDArray[np.bool_]:
        """The best plan met on a random walk from this one: it exceeds the budget least, then recomputes least.

        Parameters
        ----------
        kept : numpy.ndarray of bool, shape (#V,)
        free : numpy.ndarray of int
            The nodes whose value the walk may keep or drop.
        budget : int
            Transient bytes.
        heat : float
            How many bytes a step may climb at first.
        weight : float
            Bytes that count as much as one unit of overhead.
        tries, seed : int
        """
        best = kept.copy()
        if len(free):
            dice = np.random.default_rng(seed)
            self.simulations += self.kernels.anneal(
                kept.copy(), best, free, budget, heat, weight, tries, dice, self.calls, self.storages, self.extras,
                self.graph.time, self.work, self.step_peaks, self.out, self.seen,
            )  # fmt: skip
        return best
