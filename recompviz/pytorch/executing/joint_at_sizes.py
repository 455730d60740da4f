"""The joint graph of a region (a captured graph) with its bytes at other dynamic sizes of the inputs."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recompviz.core.steps.joint import JointGraph
    from recompviz.pytorch.executing.region import Region


def at_sizes(region: Region, joint: JointGraph, sizes: tuple[Any, ...]) -> JointGraph:
    """Return a joint graph in which storages of dynamic size have their bytes at the given sizes.

    The result is a copy; it is ``joint`` itself if no storage of the region has a dynamic size.
    """
    if not region.folded.symbolic_sizes:
        return joint
    now = region.folded.symbolic_sizes.at(sizes)
    storages = tuple(replace(storage, size=now[s]) if s in now else storage for s, storage in enumerate(joint.storages))
    return replace(joint, storages=storages)


def resized_joint(region: Region, joint: JointGraph, recorded: tuple[Any, ...], sizes: tuple[Any, ...]) -> JointGraph:
    """Return a calibrated joint graph for other sizes of the inputs; ``joint`` itself if all sizes are fixed.

    The workspace of every call is multiplied by one factor: the largest by which the bytes of a storage of dynamic size
    grow from ``recorded`` to ``sizes``, and at least 1.

    Parameters
    ----------
    region : Region
    joint : JointGraph
        The calibrated joint graph, with its bytes at the sizes ``recorded``.
    recorded : tuple
        The dynamic sizes of the inputs in the calibrating run.
    sizes : tuple
        The dynamic sizes of the inputs for which the bytes of the result are valid.
    """
    symbolic = region.folded.symbolic_sizes
    if not symbolic:
        return joint
    before, now = symbolic.units(recorded), symbolic.units(sizes)
    factor = max([1.0, *(b / a for a, b in zip(before, now, strict=True) if a)])
    workspace = tuple(math.ceil(size * factor) for size in joint.workspace)
    return replace(at_sizes(region, joint, sizes), workspace=workspace)
