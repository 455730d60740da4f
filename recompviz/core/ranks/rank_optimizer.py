"""Compute the memory of all ranks of a sharded step from one simulation, because ranks differ only in the optimizer.

If the rows of a parameter are not divided evenly, the last ranks have fewer rows of it. All ranks gather and compute
the same tensors. A rank with fewer rows has less optimizer state, and the optimizer's step takes less scratch memory on
this rank. The optimizer state exists during the whole training step. The scratch memory exists only in the last step of
the timeline.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.steps.joint import Category, JointGraph, Storage
from recompviz.core.steps.timeline import Timeline

if TYPE_CHECKING:
    from numpy.typing import NDArray


def with_optimizer_bytes(joint: JointGraph, state: int, scratch: int) -> JointGraph:
    """Return a joint graph in which the optimizer's state and scratch memory have the given bytes.

    Parameters
    ----------
    joint : JointGraph
    state : int
        Bytes of the optimizer's state, which exists during the whole training step.
    scratch : int
        Bytes that the optimizer's step allocates and frees again.

    Examples
    --------
    >>> from recompviz.core.steps.examples import chain_step
    >>> _, joint = chain_step(sizes=[4, 4, 4])
    >>> changed = with_optimizer_bytes(joint, 100, 7)
    >>> sum(changed.static.values()) - sum(joint.static.values()), changed.optimizer_scratch
    (100, 7)
    """
    storages = tuple(
        replace(storage, size=state) if storage.category is Category.OPTIMIZER else storage
        for storage in joint.storages
    )
    if state and not any(s.category is Category.OPTIMIZER for s in storages):
        storages = (*storages, Storage(state, -1, Category.OPTIMIZER, Category.OPTIMIZER.label))
    return replace(joint, storages=storages, optimizer_scratch=scratch)


def same_but_optimizer(first: JointGraph, second: JointGraph) -> bool:
    """Return whether two joint graphs differ at most in the bytes of the optimizer.

    If only one of them has scratch memory of an optimizer, the result is False, because only one of the two timelines
    has a step of the optimizer.

    Examples
    --------
    >>> from recompviz.core.steps.examples import chain_step
    >>> _, joint = chain_step(sizes=[4, 4, 4])
    >>> adam = with_optimizer_bytes(joint, 100, 7)
    >>> same_but_optimizer(adam, with_optimizer_bytes(joint, 90, 5)), same_but_optimizer(adam, joint)
    (True, False)
    """
    if (first.optimizer_scratch > 0) != (second.optimizer_scratch > 0):
        return False
    others = (
        (j.results, j.clones, j.tangent_bytes, j.rng_bytes, j.alignment, j.workspace, j.calls, _storages(j))
        for j in (first, second)
    )
    return next(others) == next(others)


def _storages(joint: JointGraph) -> list[Storage]:
    return [storage for storage in joint.storages if storage.category is not Category.OPTIMIZER]


def timeline_of(timeline: Timeline, joint: JointGraph) -> Timeline:
    """Return the simulated timeline of a joint graph, without a new simulation.

    Parameters
    ----------
    timeline : Timeline
        The simulated timeline of another joint graph, which differs from ``joint`` only in the bytes of the optimizer;
        see :func:`same_but_optimizer`.
    joint : JointGraph
        The joint graph of the result.
    """
    scratch, delta = joint.optimizer_scratch, timeline.delta
    if scratch:
        delta = np.append(delta[:-2], [scratch, -scratch])
    return replace(timeline, delta=delta, static_bytes=joint.static)


def peak_of(profile: NDArray[np.int64], first: JointGraph, joint: JointGraph) -> int:
    """Return the peak of a plan on a joint graph in bytes, parameters included, without a new simulation.

    Parameters
    ----------
    profile : numpy.ndarray of int64
        The profile of the plan on ``first``: the largest number of total bytes within each step of the
        timeline; see :attr:`Timeline.profile`.
    first : JointGraph
        The joint graph for which ``profile`` was simulated.
    joint : JointGraph
        The joint graph of the result. It differs from ``first`` only in the bytes of the optimizer; see
        :func:`same_but_optimizer`.
    """
    shift = sum(joint.static.values()) - sum(first.static.values())
    if not joint.optimizer_scratch:
        return int(profile.max()) + shift
    stepping = int(profile[-1]) - first.optimizer_scratch + joint.optimizer_scratch
    return max(int(profile[:-1].max()), stepping) + shift
