"""The choice of PyTorch's own partitioner, as a plan of the traced graph.

``torch.compile`` splits the joint graph by a minimum cut. With an activation memory budget below 1 it also solves a
knapsack problem, which selects the values that are most expensive to recompute. The partitioner runs on a copy of the
traced graph. The values that it saves become the kept nodes of a plan, which can be simulated, run and certified like
any other plan.
"""

from __future__ import annotations

import numpy as np
import torch

from recompviz.core.base.errors import RecompvizError
from recompviz.core.plans.plan import Plan
from recompviz.core.steps.schedule import make_schedule
from recompviz.pytorch.internals.partitioner import min_cut_saved
from recompviz.pytorch.internals.tensors import storage_key
from recompviz.pytorch.tracing.folding import Folded


class PartitionerError(RecompvizError, RuntimeError):
    """PyTorch's min-cut partitioner could not split the traced training step."""


def min_cut(folded: Folded, ratio: float) -> Plan:
    """Return the plan that keeps the values that PyTorch's min-cut partitioner saves.

    Parameters
    ----------
    folded : Folded
        The traced training step. It is not changed; the partitioner works on a copy.
    ratio : float
        ``torch._functorch.config.activation_memory_budget``, from 0 to 1. At 1 the partitioner saves what it saves by
        default, and at 0 the least that it can. A ratio between 0 and 1 limits the saved bytes to a value between the
        bytes saved at 0 and at 1. The ratio does not limit the peak memory.

    Raises
    ------
    ValueError
        If the ratio is not from 0 to 1.
    TypeError
        If the ratio is not a number.
    PartitionerError
        If PyTorch's partitioner fails on this step.

    Notes
    -----
    A value that the backward pass does not need is neither saved nor recomputed. It counts as kept. The plan's
    ``overhead`` is therefore the sum of the costs T_v over the values that are computed twice. The plan runs in
    recompviz's own schedule, which recomputes each value as late as possible.

    Examples
    --------
    >>> import torch, recompviz as rv
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.GELU(), torch.nn.Linear(8, 1))
    >>> t = rv.trace(model, torch.zeros(4, 8), targets=(torch.zeros(4, 1),), loss=torch.nn.functional.mse_loss)
    >>> [sorted(min_cut(t.folded, ratio).recompute) for ratio in (1, 0)]
    [[], ['0/addmm', '1/gelu', '2/addmm']]
    """
    if not 0 <= ratio <= 1:
        raise ValueError(f"the min-cut ratio is {ratio!r}, expected a number from 0 to 1")
    try:
        saved = min_cut_saved(folded.fx, float(ratio))
    except Exception as error:  # it is experimental, and raises errors of many types
        reason = next((line for line in str(error).splitlines() if line.strip()), "no reason given")
        raise PartitionerError(
            f"PyTorch's min-cut partitioner failed on this step at ratio {ratio:g}: {type(error).__name__}: {reason}; "
            "the other baselines do not use it"
        ) from error
    graph, joint = folded.graph, folded.joint
    storage_of = {storage_key(n.meta["val"]): s for n, s in folded.storage_of.items()}
    saved_nodes = [False] * len(graph)
    for node in saved:
        value = node.meta.get("val")
        if isinstance(value, torch.Tensor):
            maker = joint.storages[storage_of[storage_key(value)]].maker
            if maker >= 0 and joint.calls[maker].node >= 0:
                saved_nodes[joint.calls[maker].node] = True
    kept = np.ones(len(graph), np.bool_)
    for call in (joint.calls[c] for c in make_schedule(joint, saved_nodes).recomputed):
        kept[[v for v in (call.node, *call.views) if v >= 0]] = False
    return Plan.from_keep_mask(graph, kept, f"min-cut {ratio:g}")
