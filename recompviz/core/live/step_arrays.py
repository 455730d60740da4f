"""A joint graph as flat arrays, and the scratch memory of one simulation, as named tuples for compiled code."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from recompviz.core.steps.joint import packed_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recompviz.core.graphs.graph import Graph
    from recompviz.core.steps.joint import JointGraph


class StepArrays(NamedTuple):
    """A graph and the joint graph of its step, sizes in bytes as the allocator hands them out.

    Call c reads ``reads[read_start[c]:read_start[c + 1]]``; ``makes``, ``views`` and ``follows`` alike.
    """

    # per call
    read_start: NDArray[np.int64]
    reads: NDArray[np.int64]
    make_start: NDArray[np.int64]
    makes: NDArray[np.int64]
    view_start: NDArray[np.int64]
    views: NDArray[np.int64]
    follow_start: NDArray[np.int64]
    follows: NDArray[np.int64]
    node: NDArray[np.int64]
    pinned: NDArray[np.bool_]
    random: NDArray[np.bool_]
    workspace: NDArray[np.int64]
    # per storage
    size: NDArray[np.int64]
    maker: NDArray[np.int64]
    is_result: NDArray[np.bool_]
    # gradients that are copied on arrival
    clone_of: NDArray[np.int64]
    clone_size: NDArray[np.int64]
    # per node
    time: NDArray[np.float64]
    memory: NDArray[np.int64]
    # of the step
    forward_count: int
    loss_gradient_bytes: int
    rng_bytes: int


class Scratch(NamedTuple):
    """Arrays that a simulation overwrites; allocated once per model.

    They describe the schedule that was simulated last: ``kept`` and ``recomputed`` per call, ``saved`` per storage,
    ``last_use`` per storage and pass (−1 for never), ``step_peaks`` per step, ``recomputed_nodes``,
    ``alive_at_peak`` and ``absent`` (first and last step) per node.
    """

    stack: NDArray[np.int64]
    pulled: NDArray[np.int64]
    order: NDArray[np.int64]
    kept: NDArray[np.bool_]
    saved: NDArray[np.bool_]
    recomputed: NDArray[np.bool_]
    last_use: NDArray[np.int64]
    allocated: NDArray[np.bool_]
    step_peaks: NDArray[np.int64]
    recomputed_nodes: NDArray[np.bool_]
    alive_at_peak: NDArray[np.bool_]
    absent: NDArray[np.int64]


class Totals(NamedTuple):
    """Results of one simulation: transient peak, the step it is in, number of steps, bytes above the budget.

    ``excess`` is summed over the steps.
    """

    peak: int
    peak_step: int
    steps: int
    excess: int


def step_arrays(graph: Graph, joint: JointGraph) -> StepArrays:
    """A joint graph as arrays."""
    calls, storages = joint.calls, joint.storages
    return StepArrays(
        *packed_rows([call.reads for call in calls]),
        *joint.made,
        *packed_rows([call.views for call in calls]),
        *packed_rows([call.follows for call in calls]),
        np.array([call.node for call in calls], np.int64),
        np.array([call.pinned for call in calls], np.bool_),
        joint.random,
        joint.scratch,
        joint.allocated,
        np.array([storage.maker for storage in storages], np.int64),
        np.array([s in joint.results for s in range(len(storages))], np.bool_),
        np.array([s for s, _ in joint.clones], np.int64),
        np.array([joint.rounded(size) for _, size in joint.clones], np.int64),
        graph.time,
        graph.memory,
        joint.forward_count,
        joint.rounded(joint.tangent_bytes),
        joint.rounded(joint.rng_bytes),
    )


def scratch_of(graph: Graph, joint: JointGraph) -> Scratch:
    """Scratch memory for the simulations of a joint graph."""
    most_steps = len(joint.calls) + joint.forward_count + 1
    calls, storages, nodes = len(joint.calls), len(joint.storages), len(graph)
    return Scratch(
        np.zeros(most_steps, np.int64),
        np.zeros(most_steps, np.int64),
        np.zeros(most_steps, np.int64),
        np.zeros(calls, np.bool_),
        np.zeros(storages, np.bool_),
        np.zeros(calls, np.bool_),
        np.zeros((2, storages), np.int64),
        np.zeros(storages, np.bool_),
        np.zeros(most_steps + 1, np.int64),
        np.zeros(nodes, np.bool_),
        np.zeros(nodes, np.bool_),
        np.zeros((nodes, 2), np.int64),
    )
