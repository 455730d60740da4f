"""Measurements of operator calls, read from a recorded training step.

The *figures* of a call are its workspace, the sizes of the storages that it allocates, and its time.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from recompviz.core.steps.joint import JointGraph
from recompviz.core.steps.schedule import Phase, Schedule
from recompviz.pytorch.executing.region import Stage
from recompviz.pytorch.tracing.costs import node_times

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch.fx import Node

    from recompviz.pytorch.tracing.folding import Folded


@dataclass(frozen=True)
class OperatorFigures:
    """Measured figures of one operator call.

    Attributes
    ----------
    workspace : int
        The largest number of bytes that the call allocated at one time, without its outputs.
    sizes : tuple of int
        For each storage that the call allocates, its bytes.
    seconds : float
        Wall-clock time of the call until the device has finished it, in seconds.
    """

    workspace: int
    sizes: tuple[int, ...]
    seconds: float


def as_traced(joint: JointGraph, c: int) -> OperatorFigures:
    """Return figures for call ``c``, which was not measured: its traced sizes, no workspace, and zero seconds."""
    return OperatorFigures(0, tuple(joint.storages[s].size for s in joint.calls[c].makes), 0.0)


def calibrated_joint(joint: JointGraph, figures: list[OperatorFigures]) -> JointGraph:
    """Return a joint graph with measured workspace, seconds and sizes.

    Parameters
    ----------
    joint : JointGraph
    figures : list of OperatorFigures
        The measured figures of each call, in the order of ``joint.calls``.
    """
    storages = list(joint.storages)
    for call, found in zip(joint.calls, figures, strict=True):
        for s, size in zip(call.makes, found.sizes, strict=True):
            storages[s] = replace(storages[s], size=size)
    return replace(
        joint,
        storages=tuple(storages),
        workspace=tuple(found.workspace for found in figures),
        seconds=tuple(found.seconds for found in figures),
    )


def calibrated_region(
    folded: Folded,
    schedule: Schedule,
    events: Mapping[int, list[tuple[int, int]]],
    seconds: Mapping[tuple[Stage, int], float],
    known: Sequence[float] | None = None,
) -> tuple[JointGraph, NDArray[np.float64]]:
    """Put the measured figures of one recorded run into the joint graph of a region (a captured graph).

    Without ``known``, the time of a call is the median over equal calls; see :func:`equal_calls_alike`.

    Parameters
    ----------
    folded : Folded
    schedule : Schedule
        The schedule of the recorded run.
    events : mapping of int to list of (address, bytes)
        Allocations (positive bytes) and frees (negative) in each step of the schedule.
    seconds : mapping of (stage, int) to float
        Seconds that each step of the schedule took.
    known : sequence of float, optional
        Better measurements of the time of each call, in seconds. They replace those of the run.

    Returns
    -------
    (JointGraph, numpy.ndarray of float)
        The joint graph with workspace, sizes and seconds, and the milliseconds of each node.
    """
    joint = folded.joint
    times = {step: value for (_stage, step), value in seconds.items()}
    found: dict[int, OperatorFigures] = {}
    for i, (c, phase) in enumerate(zip(schedule.calls, schedule.phases, strict=True)):
        if phase is not Phase.RECOMPUTE:
            replayed = c in schedule.recomputed and phase is Phase.FORWARD
            found[c] = figures_of_call(joint, c, events.get(i, []), times.get(i, 0.0), replayed)
    taken = known or equal_calls_alike(folded, [found[c].seconds for c in range(len(joint.calls))])
    figures = [replace(found[c], seconds=taken[c]) for c in range(len(joint.calls))]
    calibrated = calibrated_joint(joint, figures)
    milliseconds = [1000 * value for value in calibrated.seconds]
    return calibrated, node_times(folded, milliseconds)


def equal_calls_alike(folded: Folded, seconds: Sequence[float]) -> list[float]:
    """Replace the time of each call by the median over equal calls.

    Calls are equal if they run the same operator on input tensors of the same shapes and dtypes. A recorded step runs
    each call only once, and the measured time is too long if another process interrupts the call. The median is right
    if at most half of the equal calls were interrupted. For an even number of calls, it is the shorter of the two
    middle times.

    Parameters
    ----------
    folded : Folded
    seconds : sequence of float
        The time of each call.

    Returns
    -------
    list of float
        Seconds for each call.
    """
    kinds = [_kind(node) for node in folded.call_node]
    times: defaultdict[Hashable, list[float]] = defaultdict(list)
    for kind, value in zip(kinds, seconds, strict=True):
        times[kind].append(value)
    # of an even number the lower one: disturbances only add time
    medians = {kind: sorted(values)[(len(values) - 1) // 2] for kind, values in times.items()}
    return [medians[kind] for kind in kinds]


def _kind(node: Node) -> Hashable:
    """The operator, and the shapes and dtypes of its inputs."""
    inputs = [source.meta.get("val") for source in node.all_input_nodes]
    return node.target, tuple((tuple(map(str, x.shape)), x.dtype) for x in inputs if isinstance(x, torch.Tensor))


def figures_of_call(
    joint: JointGraph, c: int, events: list[tuple[int, int]], seconds: float, replayed: bool = False
) -> OperatorFigures:
    """Return the figures of one call from its allocator events.

    Parameters
    ----------
    joint : JointGraph
    c : int
        The index of the call.
    events : list of (address, bytes)
        Allocations (positive bytes) and frees (negative) during the call, in order.
    seconds : float
        Wall-clock time of the call, in seconds.
    replayed : bool
        Whether the call runs again later in the step. If the call is also random, the state of the random generator is
        saved before it. The allocation for this state is left out, because the simulation counts it separately.
    """
    call = joint.calls[c]
    if call.random and replayed:
        events = _without(events, joint.rng_bytes)
    sizes = _allocated_sizes(joint, events, [joint.storages[s].size for s in call.makes])
    most = max(itertools.accumulate((size for _, size in events), initial=0))
    workspace = max(0, most - sum(joint.rounded(size) for size in sizes))
    return OperatorFigures(workspace, tuple(sizes), seconds)


def _allocated_sizes(joint: JointGraph, allocations: list[tuple[int, int]], expected: list[int]) -> list[int]:
    """Bytes allocated for each output.

    If no block has the expected size, the kernel allocated more, and the smallest larger block that stays is taken.
    Larger outputs are matched first. Where the allocator rounds sizes, the expected size is kept instead.
    """
    left = [size for address, size in allocations if size > 0 and (address, -size) not in allocations]
    sizes = list(expected)
    unmatched = []
    for k, size in enumerate(expected):
        if joint.rounded(size) in left:
            left.remove(joint.rounded(size))
        else:
            unmatched.append(k)
    for k in sorted(unmatched, key=lambda k: expected[k], reverse=True):
        larger = sorted(size for size in left if size >= expected[k])
        if larger and joint.alignment == 1:
            sizes[k] = larger[0]
            left.remove(larger[0])
    return sizes


def _without(allocations: list[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    """The events except the first allocation of a size."""
    at = next((k for k, event in enumerate(allocations) if event[1] == size), None)
    return allocations if at is None else allocations[:at] + allocations[at + 1 :]
