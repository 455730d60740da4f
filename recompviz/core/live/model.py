"""The live model: the simulated peak memory of any keep mask, fast enough for a search.

A keep mask says for each node whether its value is kept for the backward pass. The joint graph is packed into arrays
once. A compiled simulation then takes microseconds, where the simulator (:mod:`recompviz.core.steps.simulation`) takes
milliseconds. The results are equal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from recompviz.core.base.compiled_code import has_compiled_code, has_numba
from recompviz.core.live.archive import Archive, no_archive
from recompviz.core.live.repeated import NO_BLOCKS, Repeated
from recompviz.core.live.step_arrays import ENDLESS, scratch_of, step_arrays
from recompviz.core.steps.schedule import make_schedule
from recompviz.core.steps.simulation import simulate_schedule

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from recompviz.core.graphs.graph import Graph
    from recompviz.core.plans.plan import Plan
    from recompviz.core.steps.joint import JointGraph

# on graphs of at most this many nodes, values that are unlikely to fit are simulated too
FEW = 600


def profile_function(graph: Graph, joint: JointGraph) -> Callable[[Plan], NDArray[np.int64]]:
    """Return a function that computes the profile of a plan.

    The profile is an array of int64 with one number for each step of the simulation: the largest number of bytes alive
    in this step. A step is one operator call of the plan's schedule. The gradients' arrival at the parameters is one
    more step, and so is the optimizer's step if there is one. The bytes include parameters, inputs and optimizer state.

    The function uses the compiled simulation if numba is installed and has compiled it on this machine before.
    Otherwise it uses the slower simulator.
    """
    if not (has_numba() and has_compiled_code("live/kernels")):
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
    """The result of one simulated schedule.

    *Transient* bytes are allocated during the training step. They do not include parameters, buffers, inputs, targets
    and optimizer state.

    Attributes
    ----------
    peak : int
        The largest number of transient bytes alive at one time.
    excess : int
        The transient bytes above the budget, summed over the steps of the schedule; 0 if no budget was given.
    overhead : float
        The sum of T_v over the recomputed nodes, in the unit of ``graph.time``.
    recomputed : numpy.ndarray of bool, shape (#V,)
        For each node, views included, whether the schedule recomputes it.
    alive_at_peak : numpy.ndarray of int
        The numbers of the kept nodes whose values are saved for the backward pass and are alive at the peak. If the
        peak is in the forward pass, all kept nodes with saved values are listed, also those computed after the peak.
    step_peaks : numpy.ndarray of int64, shape (#steps,)
        The largest number of transient bytes alive within each operator call of the schedule, and at last when the
        gradients arrive at the parameters.
    """

    peak: int
    excess: int
    overhead: float
    recomputed: NDArray[np.bool_]
    alive_at_peak: NDArray[np.int64]
    step_peaks: NDArray[np.int64]


class Annealing(NamedTuple):
    """Parameters of simulated annealing over keep masks (for each node, whether its value is kept).

    The energy of a keep mask is the number of bytes by which its peak exceeds the budget, plus ``weight`` for each unit
    of overhead. A proposal changes a few random flags of the keep mask. A proposal that raises the energy by d is
    accepted with probability exp(−d / temperature). Any other proposal is accepted.

    With a ``rate`` above 0, the weight adapts to the budget. After each proposal, the weight is multiplied by 1 − rate
    if the current keep mask exceeds the budget, and by 1 + rate if it fits. The temperature changes by the same factor.

    Attributes
    ----------
    temperature : float
        The temperature at the start, in bytes. It falls to 0.
    weight : float
        The bytes that one unit of overhead adds to the energy at the start.
    tries : int
        The number of proposals.
    rate : float
        The share by which the weight changes after each proposal.
    of_blocks : float
        If there are repeated blocks (:class:`Repeated`): the probability that a proposal changes nodes at the same
        position in several blocks. Other proposals change nodes regardless of blocks.
    """

    temperature: float
    weight: float
    tries: int
    rate: float = 0.0
    of_blocks: float = 1.0


class LiveModel:
    """Simulated memory and overhead of one training step as functions of the keep mask.

    A keep mask is an array of bool, shape (#V,). It says for each node whether its value is kept for the backward pass.
    Peaks and budgets are in transient bytes (see :class:`LiveRun`). Without numba, the methods are slow.

    Parameters
    ----------
    graph : Graph
    joint : JointGraph
        The joint graph of the same training step. The simulation counts the operators' workspace only if the trace was
        calibrated.

    Attributes
    ----------
    is_view : numpy.ndarray of bool, shape (#V,)
        Whether the node is a view, which has no memory of its own.
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
        """Return the simulated peak of a keep mask in transient bytes, which do not include parameters."""
        return self.simulate(keep_mask).peak

    def simulate(self, keep_mask: NDArray[np.bool_], budget: int = ENDLESS) -> LiveRun:
        """Simulate the schedule of a keep mask.

        ``budget`` is in transient bytes (:class:`LiveRun`). Only the ``excess`` of the result depends on the budget.
        """
        from recompviz.core.live.kernels import simulate_fully

        self.simulations += 1
        scratch = self._scratch
        if not keep_mask.flags.writeable:  # to numba another type, for which it would compile the kernel once more
            keep_mask = keep_mask.copy()
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
        """For each node in ``nodes``, change the flag of this node in the keep mask, and simulate the result.

        ``budget`` is in transient bytes (:class:`LiveRun`). ``keep_mask`` is unchanged afterwards.

        Returns
        -------
        numpy.ndarray of float64, shape (len(nodes), 3)
            For each node, peak, excess over the budget, and overhead; see :class:`LiveRun`.
        """
        from recompviz.core.live.search_kernels import flip_each

        results = np.zeros((len(nodes), 3))
        self.simulations += len(nodes)
        flip_each(keep_mask, nodes, *self._fields, budget, results)
        return results

    def keep_more(self, keep_mask: NDArray[np.bool_], nodes: NDArray[np.int64], budget: int) -> None:
        """Add each of the nodes to the keep mask, in place, unless the peak would then exceed the budget.

        The nodes are tried in their order. ``budget`` is in transient bytes (:class:`LiveRun`). On graphs of more than
        600 nodes, some nodes that are unlikely to fit are not tried.
        """
        from recompviz.core.live.search_kernels import keep_more

        skip_unlikely = len(self.graph) > FEW
        self.simulations += keep_more(keep_mask, nodes, skip_unlikely, *self._fields, budget)

    def anneal(
        self,
        keep_mask: NDArray[np.bool_],
        free: NDArray[np.int64],
        budget: int,
        annealing: Annealing,
        seed: int = 0,
        repeated: Repeated = NO_BLOCKS,
        archive: Archive | None = None,
    ) -> NDArray[np.bool_]:
        """Search for a better keep mask by simulated annealing.

        Parameters
        ----------
        keep_mask : numpy.ndarray of bool, shape (#V,)
            The start of the search.
        free : numpy.ndarray of int
            The numbers of the nodes whose flags may change.
        budget : int
            The budget in transient bytes.
        annealing : Annealing
        seed : int
            Seed of the random generator. The same seed gives the same result.
        repeated : Repeated
            The repeated blocks of the graph.
        archive : Archive, optional
            Stores the keep mask of least overhead for each interval of peaks.

        Returns
        -------
        numpy.ndarray of bool, shape (#V,)
            The best of the start and all accepted proposals: the keep mask whose peak exceeds the budget by the fewest
            bytes. Among several such keep masks, or several that fit in the budget, it has the least overhead.
        """
        from recompviz.core.live.search_kernels import anneal

        best = keep_mask.copy()
        if len(free) or len(repeated.start):
            rng = np.array([seed], np.uint64)
            start, stored = keep_mask.copy(), tuple(archive or no_archive(len(self.graph)))
            self.simulations += anneal(
                start, best, free, tuple(repeated), annealing, *self._fields, budget, rng, stored
            )
        return best

    def anneal_excess(
        self,
        keep_mask: NDArray[np.bool_],
        free: NDArray[np.int64],
        budget: int,
        annealing: Annealing,
        seed: int,
        archive: Archive,
    ) -> NDArray[np.bool_]:
        """Search for a keep mask that fits in the budget, by simulated annealing of the excess (see :class:`LiveRun`).

        The parameters are those of :meth:`anneal`. Of ``annealing``, only the temperature and the number of proposals
        are read; the temperature is in bytes summed over steps. The search ends when the budget is reached.

        Returns
        -------
        numpy.ndarray of bool, shape (#V,)
            The keep mask of least peak that the search accepted.
        """
        from recompviz.core.live.search_kernels import anneal_excess

        best = keep_mask.copy()
        if len(free):
            rng, start = np.array([seed], np.uint64), keep_mask.copy()
            self.simulations += anneal_excess(start, best, free, annealing, *self._fields, budget, rng, tuple(archive))
        return best
