"""The live model: the simulated peak of any keep mask, fast enough for a search.

The joint graph is packed into arrays once; a simulation then takes microseconds. Where numba is not
installed, :func:`profile_function` uses the simulator, with the same results, in milliseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from recompviz.core.base.compiled import has_numba, is_compiled
from recompviz.core.live.step_arrays import scratch_of, step_arrays
from recompviz.core.steps.schedule import make_schedule
from recompviz.core.steps.simulation import simulate_schedule

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from recompviz.core.graphs.graph import Graph
    from recompviz.core.plans.plan import Plan
    from recompviz.core.steps.joint import JointGraph

# a budget that every plan fits
ENDLESS = 2**62
# on graphs of at most this many nodes, values that are unlikely to fit are simulated too
FEW = 600


def profile_function(graph: Graph, joint: JointGraph) -> Callable[[Plan], NDArray[np.int64]]:
    """A function from a plan to its profile: the most total bytes alive within each step of its schedule.

    It is compiled if the kernels were compiled on this machine before; otherwise it calls the simulator.
    """
    if not (has_numba() and is_compiled("live/kernels")):
        return lambda plan: simulate_schedule(make_schedule(joint, plan.keep_mask.tolist())).profile
    model = LiveModel(graph, joint)
    static = sum(joint.static.values())
    # the optimizer's step, if there is one, is the same under every plan
    steps_after = int(joint.optimizer_scratch > 0)
    after = simulate_schedule(make_schedule(joint, [True] * len(graph))).profile[-steps_after:] if steps_after else ()

    def profile(plan: Plan) -> NDArray[np.int64]:
        return np.append(model.simulate(plan.keep_mask).step_peaks + static, np.array(after, np.int64))

    return profile


class LiveRun(NamedTuple):
    """One simulated schedule.

    Attributes
    ----------
    peak : int
        Transient peak, bytes.
    excess : int
        Bytes above the budget, summed over the steps.
    overhead : float
        T of the nodes that the schedule recomputes.
    recomputed : numpy.ndarray of bool, shape (#V,)
        The nodes that the schedule recomputes, views among them.
    alive_at_peak : numpy.ndarray of int
        The kept nodes with a saved value that is alive at the peak.
    step_peaks : numpy.ndarray of int64, shape (#steps,)
        The most transient bytes alive within each step; the last step is the arrival of the gradients.
    """

    peak: int
    excess: int
    overhead: float
    recomputed: NDArray[np.bool_]
    alive_at_peak: NDArray[np.int64]
    step_peaks: NDArray[np.int64]


class Walk(NamedTuple):
    """Parameters of simulated annealing.

    Attributes
    ----------
    temperature : float
        By how many bytes a proposal may raise the energy at first.
    weight : float
        Bytes that count as much as one unit of overhead.
    tries : int
        Number of proposals.
    """

    temperature: float
    weight: float
    tries: int


class LiveModel:
    """Simulated memory of one step as a function of the keep mask.

    Parameters
    ----------
    graph : Graph
        For T_v and M_v.
    joint : JointGraph
        Calibrated if workspace is to count.

    Attributes
    ----------
    simulations : int
        The number of simulations so far.
    """

    def __init__(self, graph: Graph, joint: JointGraph) -> None:
        self.graph, self.joint = graph, joint
        arrays, scratch = step_arrays(graph, joint), scratch_of(graph, joint)
        self._scratch, self._fields = scratch, (tuple(arrays), tuple(scratch))
        self.is_view = np.zeros(len(graph), np.bool_)
        self.is_view[arrays.views] = True
        self.simulations = 0

    def peak(self, keep_mask: NDArray[np.bool_]) -> int:
        """The transient peak of a keep mask, bytes."""
        return self.simulate(keep_mask).peak

    def simulate(self, keep_mask: NDArray[np.bool_], budget: int = ENDLESS) -> LiveRun:
        """The schedule of a keep mask; ``budget`` in transient bytes."""
        from recompviz.core.live.kernels import simulate_fully

        self.simulations += 1
        scratch = self._scratch
        peak, steps, excess, overhead = simulate_fully(keep_mask, *self._fields, budget)
        return LiveRun(
            peak,
            excess,
            overhead,
            scratch.recomputed_nodes.copy(),
            scratch.alive_at_peak.nonzero()[0],
            scratch.step_peaks[:steps].copy(),
        )

    def flip_each(self, keep_mask: NDArray[np.bool_], nodes: NDArray[np.int64], budget: int) -> NDArray[np.float64]:
        """Rows (peak, excess, overhead) of flipping each node alone, see :class:`LiveRun`."""
        from recompviz.core.live.search_kernels import flip_each

        results = np.zeros((len(nodes), 3))
        self.simulations += len(nodes)
        flip_each(keep_mask, nodes, *self._fields, budget, results)
        return results

    def keep_more(self, keep_mask: NDArray[np.bool_], nodes: NDArray[np.int64], budget: int) -> None:
        """Keep each node in turn, in place, if the peak then stays within the budget."""
        from recompviz.core.live.search_kernels import keep_more

        skip_unlikely = len(self.graph) > FEW
        self.simulations += keep_more(keep_mask, nodes, skip_unlikely, *self._fields, budget)

    def anneal(
        self, keep_mask: NDArray[np.bool_], free: NDArray[np.int64], budget: int, walk: Walk, seed: int = 0
    ) -> NDArray[np.bool_]:
        """The best keep mask met in simulated annealing: the least excess at the peak, then the least overhead.

        Parameters
        ----------
        keep_mask : numpy.ndarray of bool, shape (#V,)
            Where the walk starts.
        free : numpy.ndarray of int
            The nodes whose value the walk may keep or drop.
        budget : int
            Transient bytes.
        walk : Walk
        seed : int
            Of the random generator; the same seed gives the same result.
        """
        from recompviz.core.live.search_kernels import anneal

        best = keep_mask.copy()
        if len(free):
            rng = np.random.default_rng(seed)
            self.simulations += anneal(keep_mask.copy(), best, free, walk, *self._fields, budget, rng)
        return best
