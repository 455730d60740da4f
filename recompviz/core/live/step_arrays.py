"""Named tuples of arrays for the compiled simulation: a joint graph, and the scratch memory of one simulation."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from recompviz.core.steps.joint import packed_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recompviz.core.graphs.graph import Graph
    from recompviz.core.steps.joint import JointGraph

# transient bytes that no plan exceeds
ENDLESS = 2**62


class StepArrays(NamedTuple):
    """A graph and the joint graph of the same training step, as arrays.

    ``reads[read_start[c]:read_start[c + 1]]`` are the storages that call c reads and that a forward call makes; other
    storages are not listed. The arrays ``makes``, ``views`` and ``follows`` are indexed in the same way. The fields
    have the names of attributes of the classes ``Call``, ``Storage`` and ``JointGraph`` in
    :mod:`recompviz.core.steps.joint`, which are explained there. The fields for each node are explained in
    :class:`Graph`. Sizes of storages and workspace are in bytes, rounded as the allocator rounds them.

    ``made_bytes[c]`` is the size of what call c makes. ``freed_bytes[c]`` is the size of the storages that backward
    calls make and that are freed after call c, which is the same under every plan.
    ``frees[free_start[c]:free_start[c + 1]]`` are the storages that the forward pass frees after call c unless they are
    saved. ``dependent`` has the forward calls whose outputs may be kept because of the flags of other nodes; see
    :meth:`JointGraph.kept_calls`.
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
    made_bytes: NDArray[np.int64]
    freed_bytes: NDArray[np.int64]
    free_start: NDArray[np.int64]
    frees: NDArray[np.int64]
    dependent: NDArray[np.int64]
    # per storage
    size: NDArray[np.int64]
    maker: NDArray[np.int64]
    is_result: NDArray[np.bool_]
    results: NDArray[np.int64]
    last_forward_use: NDArray[np.int64]
    # the forward pass, divided at the places where its memory depends on the plan
    points: NDArray[np.int64]
    point_peaks: NDArray[np.int64]
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
    forward_end_peak: int
    backward_end: int
    last_peak: int


class Scratch(NamedTuple):
    """Arrays that simulations overwrite. They describe the schedule that was simulated last.

    - For each step of the schedule: ``order`` is the call that runs, and ``step_peaks`` the largest number of transient
      bytes alive.
    - For each call: ``kept`` says whether its outputs are kept for the backward pass, and ``recomputed`` whether it
      runs a second time.
    - For each storage: ``saved`` says whether it stays allocated from the forward to the backward pass. For
      ``last_use``, see :func:`recompviz.core.live.kernels.find_last_uses`.
    - For each node: ``recomputed_nodes`` says whether it is recomputed; only
      :func:`recompviz.core.live.kernels.overhead_of` fills this array. For ``alive_at_peak``, see
      :func:`recompviz.core.live.kernels.find_alive_at_peak`, and for ``absent``,
      :func:`recompviz.core.live.search_kernels.find_absences`.

    ``stack``, ``pulled`` and ``allocated`` are used only during a simulation.
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
    """Results of one simulation.

    ``peak`` is the largest number of transient bytes alive (parameters are not counted), and ``peak_step`` is the step
    of the schedule in which they are alive. ``steps`` is the number of steps. In the last step, the gradients arrive at
    the parameters. ``excess`` is the number of bytes above the budget, summed over the steps.
    """

    peak: int
    peak_step: int
    steps: int
    excess: int


def step_arrays(graph: Graph, joint: JointGraph) -> StepArrays:
    """Return a graph and the joint graph of the same training step as arrays."""
    calls, storages, forward = joint.calls, joint.storages, joint.forward_count
    last_forward_use = np.full(len(storages), -1, np.int64)
    made_bytes, freed_bytes = np.zeros((2, len(calls)), np.int64)
    last_use = [-1] * len(storages)
    for c, call in enumerate(calls):
        made_bytes[c] = sum(joint.allocated[s] for s in call.makes)
        for s in (*call.makes, *call.reads):
            last_use[s] = c
        if c < forward:
            last_forward_use[[s for s in (*call.makes, *call.reads) if storages[s].maker >= 0]] = c
    frees: list[list[int]] = [[] for _ in calls]
    for s, c in enumerate(last_forward_use.tolist()):
        if c >= 0 and s not in joint.results:
            frees[c].append(s)
    for s, storage in enumerate(storages):
        if storage.maker >= forward and s not in joint.results:
            freed_bytes[last_use[s]] += joint.allocated[s]
    forward_pass = _forward_points(joint, made_bytes, frees, is_read=_read_storages(joint))
    backward_end = forward_pass.end + int((made_bytes - freed_bytes)[forward:].sum())
    return StepArrays(
        *packed_rows([[s for s in call.reads if 0 <= storages[s].maker < forward] for call in calls]),
        *joint.made,
        *packed_rows([call.views for call in calls]),
        *packed_rows([call.follows for call in calls]),
        np.array([call.node for call in calls], np.int64),
        np.array([call.pinned for call in calls], np.bool_),
        joint.random,
        joint.scratch,
        made_bytes,
        freed_bytes,
        *packed_rows(frees),
        np.array([c for c, call in enumerate(calls[:forward]) if call.views or call.node < 0], np.int64),
        joint.allocated,
        np.array([storage.maker for storage in storages], np.int64),
        np.array([s in joint.results for s in range(len(storages))], np.bool_),
        np.array([s for s in sorted(joint.results) if storages[s].maker >= 0], np.int64),
        last_forward_use,
        np.array(forward_pass.points, np.int64),
        np.array(forward_pass.peaks, np.int64),
        np.array([s for s, _ in joint.clones], np.int64),
        np.array([joint.rounded(size) for _, size in joint.clones], np.int64),
        graph.time,
        graph.memory,
        joint.forward_count,
        joint.rounded(joint.tangent_bytes),
        joint.rounded(joint.rng_bytes),
        forward_pass.end_peak,
        backward_end,
        _last_peak(joint, backward_end),
    )


class _ForwardPoints(NamedTuple):
    """The points of the forward pass and its memory if nothing is saved; see :class:`StepArrays`."""

    points: list[int]
    peaks: list[int]
    end_peak: int
    end: int


def _read_storages(joint: JointGraph) -> set[int]:
    """Return the storages that some call reads. Only these can be saved."""
    return {s for call in joint.calls for s in call.reads}


def _forward_points(
    joint: JointGraph, made_bytes: NDArray[np.int64], frees: list[list[int]], is_read: set[int]
) -> _ForwardPoints:
    live, most = 0, 0
    points: list[int] = []
    peaks: list[int] = []

    def end_stretch(point: int) -> None:
        nonlocal most
        points.append(point)
        peaks.append(most)
        most = 0

    for c in range(joint.forward_count):
        if joint.random[c] and joint.rng_bytes:
            end_stretch(-1 - c)
        live += int(made_bytes[c])
        most = max(most, live + int(joint.scratch[c]))
        live -= sum(int(joint.allocated[s]) for s in frees[c])
        for s in frees[c]:
            if s in is_read:
                end_stretch(s)
    live += joint.rounded(joint.tangent_bytes)
    return _ForwardPoints(points, peaks, max(most, live), live)


def _last_peak(joint: JointGraph, live: int) -> int:
    """Return the largest number of transient bytes in the last step; ``live`` bytes are alive before it."""
    most, copied = live, set()
    for s, size in joint.clones:
        most = max(most, live + joint.rounded(size))
        live += joint.rounded(size) - (0 if s in copied else int(joint.allocated[s]))
        copied.add(s)
    return most


def scratch_of(graph: Graph, joint: JointGraph) -> Scratch:
    """Return scratch memory for simulating a joint graph. ``order`` begins with the forward calls; the rest is 0."""
    most_steps = len(joint.calls) + joint.forward_count + 1
    order = np.zeros(most_steps, np.int64)
    order[: joint.forward_count] = np.arange(joint.forward_count)  # the same under every plan
    calls, storages, nodes = len(joint.calls), len(joint.storages), len(graph)
    return Scratch(
        np.zeros(most_steps, np.int64),
        np.zeros(most_steps, np.int64),
        order,
        np.zeros(calls, np.bool_),
        np.zeros(storages, np.bool_),
        np.zeros(calls, np.bool_),
        np.zeros(storages, np.int64),
        np.zeros(storages, np.bool_),
        np.zeros(most_steps + 1, np.int64),
        np.zeros(nodes, np.bool_),
        np.zeros(nodes, np.bool_),
        np.zeros((nodes, 2), np.int64),
    )
