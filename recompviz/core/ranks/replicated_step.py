"""The training step of one rank that has all parameters, as PyTorch's ``DistributedDataParallel`` runs it (DDP).

DDP copies gradients into *buckets*, which are reduced over all ranks. The buckets exist before the step and stay. They
have as many bytes as the gradients, whatever their number; the first has about 1 MiB and the others 25 MiB, so that the
reduction begins early. After the reduction, the gradients are copied back, or they are views of the buckets.
"""

from __future__ import annotations

from dataclasses import replace

from recompviz.core.steps.joint import Category, JointGraph, Storage


def replicated_step(joint: JointGraph, bucket_view: bool = False) -> JointGraph:
    """Return the joint graph of one rank of a replicated training step.

    Parameters
    ----------
    joint : JointGraph
        The training step on one device.
    bucket_view : bool
        Whether gradients are views of the buckets. They are then freed when they have been copied into the buckets.

    Returns
    -------
    JointGraph
        It has the nodes of the same graph G.

    Examples
    --------
    >>> from recompviz.core.steps.examples import chain_step
    >>> _, joint = chain_step([4, 4, 4])
    >>> sum(replicated_step(joint).static.values())
    0
    """
    gradients = [
        i
        for i, s in enumerate(joint.storages)
        if s.category is Category.PARAMETER_GRADIENT and s.maker >= 0 and i in joint.results
    ]
    copied = dict(joint.clones)
    size = sum(joint.rounded(copied.get(i, joint.storages[i].size)) for i in gradients)
    buckets = Storage(size, -1, Category.BUFFER, "gradient buckets")
    storages = (*joint.storages, buckets) if size else joint.storages
    if not bucket_view:
        return replace(joint, storages=storages)
    return replace(joint, storages=storages, results=joint.results - set(gradients), clones=())
