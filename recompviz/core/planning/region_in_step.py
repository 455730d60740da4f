"""The joint graph of a region, together with the memory of the code around the region.

A *region* is a part of a model that runs under its own plan, for example one graph that ``torch.compile`` captured. The
region's own joint graph lacks the memory of code that runs between the forward and the backward pass of the region,
such as the loss. It also does not show whether the caller keeps the region's outputs. A recorded training step shows
both. The search for plans needs both: if the peak of the training step lies between the two passes of the region, only
plans that save less in the region lower it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from recompviz.core.graphs.node_info import NodeInfo
from recompviz.core.planning.step_plans import Outside
from recompviz.core.steps.joint import Call

if TYPE_CHECKING:
    from recompviz.core.steps.joint import JointGraph

RETURN = "outputs are returned"
# Bytes that the code between the passes holds, as a multiple of the outputs: a cross entropy holds the logarithms of
# its probabilities, their gradients, and the outputs or their gradients.
EXPECTED_OUTSIDE = 3.0


def region_in_step(joint: JointGraph, outside: Outside, released: Iterable[int], later: int = 0) -> JointGraph:
    """Return a region's joint graph, extended by the memory of the code around the region.

    Parameters
    ----------
    joint : JointGraph
        The region's own joint graph. Its first backward call must allocate the gradients of the outputs.
    outside : Outside
        Bytes that the code outside the region holds.
    released : iterable of int
        The numbers of the storages of those outputs that the code outside frees before the region's backward pass.
    later : int
        The largest number of bytes alive while later regions run, between the two passes of this region. Bytes that
        were alive before the training step, and bytes that this region saves, are not counted.

    Returns
    -------
    JointGraph
        Its simulated transient peak plus ``outside.forward`` is the peak from the start of the region's forward pass to
        the end of its backward pass, in bytes above the memory in use before the training step. This sum may be too
        high if ``outside.backward`` is less than ``outside.forward`` plus the outputs that are not in ``released``.

    Examples
    --------
    A region of three values of 4 bytes. Its loss takes 100 bytes between the passes:

    >>> from recompviz.core.steps.examples import chain_step
    >>> from recompviz.core.steps.schedule import make_schedule
    >>> from recompviz.core.steps.simulation import simulate_schedule
    >>> _, joint = chain_step([4, 4, 4])
    >>> in_step = region_in_step(joint, Outside(after_forward=100), released=[])
    >>> [simulate_schedule(make_schedule(each, [True] * 3)).transient_peak for each in (joint, in_step)]
    [16, 108]
    """
    forward, sizes = joint.forward_count, joint.sizes
    makers = [storage.maker for storage in joint.storages]
    outputs = {s for s in joint.results if 0 <= makers[s] < forward}
    freed = outputs & set(released)
    held = sum(sizes[s] for s in outputs - freed)
    tangents = sum(sizes[s] for s in joint.calls[forward].makes)
    backward = max(0, outside.backward - held - outside.forward)
    between = max(outside.after_forward, later) - held - tangents - outside.forward - backward
    workspace = list(joint.workspace or [0] * len(joint.calls))
    workspace[forward] = max(workspace[forward], between)
    returned = Call(NodeInfo(key=RETURN, op=RETURN), False, -1, tuple(sorted(freed)), ())
    return replace(
        joint,
        calls=(*joint.calls[:forward], returned, *joint.calls[forward:]),
        storages=tuple(
            replace(storage, maker=storage.maker + 1) if storage.maker >= forward else storage
            for storage in joint.storages
        ),
        results=joint.results - freed,
        tangent_bytes=joint.tangent_bytes + backward,
        workspace=(*workspace[:forward], 0, *workspace[forward:]),
        seconds=(*joint.seconds[:forward], 0.0, *joint.seconds[forward:]) if joint.seconds else (),
    )


def unmeasured_region(joint: JointGraph, outside: float = EXPECTED_OUTSIDE) -> JointGraph:
    """Return a region's joint graph, extended by the memory that the code around the region is expected to take.

    Plans are made with this graph until a training step is recorded. The code outside is expected to free the region's
    outputs before the region's backward pass.

    Parameters
    ----------
    joint : JointGraph
        The region's own joint graph, as for :func:`region_in_step`.
    outside : float
        Bytes that the code outside holds between the two passes, as a multiple of the bytes of the outputs. With 0, the
        simulated peak is a lower bound of the peak in the training step.
    """
    outputs = [s for s in joint.results if 0 <= joint.storages[s].maker < joint.forward_count]
    held = int(outside * sum(joint.sizes[s] for s in outputs))
    return region_in_step(joint, Outside(after_forward=held), outputs)


def expected_region(joint: JointGraph) -> JointGraph:
    """Return a region's joint graph, extended by the most memory that the code around the region is expected to take.

    Like the result of :func:`unmeasured_region`, it is used until a training step is recorded, but it counts more
    memory. It assumes that the caller keeps the outputs until the training step ends, that the loss and its gradient
    take memory, and that each convolution needs a workspace as large as the storages that it reads and allocates.

    Parameters
    ----------
    joint : JointGraph
        The region's own joint graph, as for :func:`region_in_step`.
    """
    outputs = [s for s in joint.results if 0 <= joint.storages[s].maker < joint.forward_count]
    loss = 2 * joint.rounded(8)
    workspace = list(joint.workspace or [0] * len(joint.calls))
    for c, call in enumerate(joint.calls):
        if "convolution" in call.info.op:
            workspace[c] = max(workspace[c], sum(joint.sizes[s] for s in {*call.reads, *call.makes}))
    held = sum(joint.sizes[s] for s in outputs)
    outside = Outside(after_forward=int(EXPECTED_OUTSIDE * held) + loss, backward=held + loss)
    return region_in_step(replace(joint, workspace=tuple(workspace)), outside, released=[])
