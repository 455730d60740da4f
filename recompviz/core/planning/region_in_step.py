"""A region as its step sees it: a joint graph whose simulated peak is the peak of the whole step.

A region's own joint graph ends its forward pass with the outputs and starts its backward pass with their gradients.
What happens between, the loss for example, is unknown to it, and so is whether the caller holds the outputs. A
recorded step shows both. A search for plans needs them: a plan that saves less lowers the peak between the passes even
where the region's own backward pass takes more.
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
    """The joint graph of a region with the memory of the code around it.

    Parameters
    ----------
    joint : JointGraph
        Of a region: the first call of its backward pass makes the gradients of the outputs.
    outside : Outside
        Bytes that the code outside holds.
    released : iterable of int
        Storages of outputs that the code outside frees before the backward pass.
    later : int
        The most bytes that later regions take between the passes of this one.

    Returns
    -------
    JointGraph
        Its transient peak, plus ``outside.forward``, is the peak of the step.

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
    """The joint graph of a region whose step was not recorded yet.

    The code outside is expected to free the outputs before the backward pass.

    Parameters
    ----------
    joint : JointGraph
    outside : float
        Bytes that the code outside holds between the passes, as a multiple of the outputs. 0 gives a lower bound.
    """
    outputs = [s for s in joint.results if 0 <= joint.storages[s].maker < joint.forward_count]
    held = int(outside * sum(joint.sizes[s] for s in outputs))
    return region_in_step(joint, Outside(after_forward=held), outputs)
