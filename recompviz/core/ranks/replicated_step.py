"""The training step of one rank that has all parameters, as PyTorch's ``DistributedDataParallel`` runs it (DDP).

DDP copies gradients into *buckets*. The buckets are reduced over all ranks. They exist before, during and after the
step. Together they have as many bytes as all trained parameters, including parameters that the step does not use. The
first bucket has about 1 MiB and the others 25 MiB, so that the reduction begins early. After the reduction, the
gradients are copied back, unless they are views of the buckets.
"""

from __future__ import annotations

from dataclasses import replace

from recompviz.core.steps.joint import Category, JointGraph, Storage


def replicated_step(joint: JointGraph, bucket_view: bool = False, buckets: int | None = None) -> JointGraph:
    """Return the joint graph of one rank of a replicated training step (PyTorch's ``DistributedDataParallel``).

    Parameters
    ----------
    joint : JointGraph
        The training step on one device.
    bucket_view : bool
        Whether the gradients of the parameters are views of the buckets (``gradient_as_bucket_view``). A gradient that
        the backward pass computes is then freed when it has been copied into its bucket.
    buckets : int, optional
        The bytes of all buckets together; by default the bytes of the parameter gradients in ``joint``.

    Returns
    -------
    JointGraph
        The joint graph of the rank. It has the same nodes as ``joint``, so the plans stay valid.

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
    size = sum(copied.get(i, joint.storages[i].size) for i in gradients) if buckets is None else buckets
    held = Storage(size, -1, Category.BUFFER, "gradient buckets")
    storages = (*joint.storages, held) if size else joint.storages
    if not bucket_view:
        return replace(joint, storages=storages)
    return replace(joint, storages=storages, results=joint.results - set(gradients), clones=())
