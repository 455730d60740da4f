"""Dropout in eager PyTorch, which may keep a larger mask than dropout in a captured graph.

A trace is a captured graph, in which dropout is ``native_dropout`` with a mask of one byte for each element. Only code
under a plan runs in this way. Everything else runs in eager PyTorch, where dropout is ``native_dropout`` on CUDA and
XPU only. On other devices, eager dropout multiplies by a mask in the dtype of its input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from recompviz.core.ranks.sharding import ROOT, unit_of_calls
from recompviz.core.steps.joint import JointGraph

# devices on which eager PyTorch runs native_dropout
_FUSED = ("cuda", "xpu")


def eager_form(joint: JointGraph, device: str, captured: Sequence[str] = ()) -> JointGraph:
    """Return a joint graph in which dropout takes as much memory as in eager PyTorch.

    Parameters
    ----------
    joint : JointGraph
    device : str
        The device of the training step, for example ``"cuda:0"``.
    captured : sequence of str
        Dotted paths of the modules that run as a captured graph. Their calls are not changed.

    Examples
    --------
    Without dropout, nothing changes:

    >>> from recompviz.core.steps.examples import chain_step
    >>> _, joint = chain_step([4, 4, 4])
    >>> eager_form(joint, "cpu") is joint
    True
    """
    if device.partition(":")[0] in _FUSED:
        return joint
    unit = unit_of_calls(joint, [ROOT, *captured])
    eager = [
        c
        for c, call in enumerate(joint.calls)
        if unit[c] <= 0 and call.info.op in ("aten.native_dropout", "aten.native_dropout_backward")
    ]
    if not eager:
        return joint
    storages = list(joint.storages)
    workspace = list(joint.workspace)
    for c in eager:
        call = joint.calls[c]
        if not call.backward and len(call.makes) == 2:
            result, mask = call.makes
            storages[mask] = replace(storages[mask], size=storages[result].size)
        if workspace:  # that of the kernel, which converts its mask to the dtype of the input
            workspace[c] = 0
    return replace(joint, storages=tuple(storages), workspace=tuple(workspace))
