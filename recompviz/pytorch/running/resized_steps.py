"""The plans of a recorded step for a step of other sizes.

Every storage whose size depends on the sizes of the inputs grows, at most, by one factor; storages of fixed size
(gradients of parameters) do not. Factors are rounded up to a few per doubling, so that few tables are made.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from recompviz.core.planning.step_plans import Outside

if TYPE_CHECKING:
    from recompviz.core.steps.joint import JointGraph
    from recompviz.pytorch.running.region import Region

# Factors between 1 and 2 for which tables are made.
FACTORS_PER_DOUBLING = 8


def growth(region: Region, sizes: tuple[Any, ...], recorded: tuple[Any, ...]) -> float:
    """The largest ratio of a storage's bytes to its bytes in the recorded step; 1.0 if sizes are fixed."""
    symbolic = region.folded.symbolic_sizes
    if sizes == recorded or not symbolic:
        return 1.0
    before, now = symbolic.at(recorded), symbolic.at(sizes)
    return max((now[s] / size for s, size in before.items() if size and s in now), default=1.0)


def rounded_up(factor: float) -> float:
    """The next larger factor for which a table is made."""
    if factor <= 1.0:
        return 1.0
    steps = math.ceil(math.log2(factor) * FACTORS_PER_DOUBLING - 1e-9)
    return float(2.0 ** (steps / FACTORS_PER_DOUBLING))


def at_sizes(region: Region, joint: JointGraph, sizes: tuple[Any, ...]) -> JointGraph:
    """The joint graph with the bytes that its storages have for given sizes of the inputs."""
    if not region.folded.symbolic_sizes:
        return joint
    return _with_sizes(joint, region.folded.symbolic_sizes.at(sizes))


def grown(region: Region, joint: JointGraph, factor: float) -> JointGraph:
    """The joint graph with storages of symbolic size, and the workspace of the kernels, larger by a factor."""
    symbolic = region.folded.symbolic_sizes
    if not symbolic or factor == 1.0:
        return joint
    larger = {s: math.ceil(joint.storages[s].size * factor) for s in symbolic.storages}
    workspace = tuple(math.ceil(size * factor) for size in joint.workspace)
    return replace(_with_sizes(joint, larger), workspace=workspace)


def grown_outside(outside: Outside, factor: float) -> Outside:
    """What code outside the regions holds, larger by a factor."""
    held = (outside.forward, outside.after_forward, outside.backward, outside.after_backward)
    return Outside(*(math.ceil(size * factor) for size in held))


def _with_sizes(joint: JointGraph, sizes: dict[int, int]) -> JointGraph:
    storages = tuple(
        replace(storage, size=sizes[s]) if s in sizes else storage for s, storage in enumerate(joint.storages)
    )
    return replace(joint, storages=storages)
