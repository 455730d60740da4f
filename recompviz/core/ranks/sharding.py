"""How the parameters of a training step are divided among ranks.

A *unit* is a module whose parameters are gathered together, and whose gradients are reduced together: a module that was
given to ``fully_shard``. The rest of the model is the *root* unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from recompviz.core.steps.joint import JointGraph

# the name of the root unit
ROOT = ""
# the number of calls outside the model, for example those of the loss
OUTSIDE = -1


@dataclass(frozen=True)
class ShardedParameter:
    """A parameter of a unit.

    Attributes
    ----------
    storage : int
        Its storage in the joint graph.
    gradient : int
        The storage of its gradient; −1 if it has none.
    rows : int
        Its size in the first dimension, which is divided among the ranks; 1 for a scalar.
    row : int
        The number of elements of one row.
    itemsize : int
        Bytes of an element in the training step, and so of the gathered parameter and its gradient.
    stored_itemsize : int
        Bytes of an element of the part that each rank holds. It differs from ``itemsize`` with mixed precision.
    reduced_itemsize : int
        Bytes of an element of the gradient while it is reduced.
    """

    storage: int
    gradient: int
    rows: int
    row: int
    itemsize: int = 4
    stored_itemsize: int = 4
    reduced_itemsize: int = 4

    def padded(self, shards: int) -> int:
        """Return the number of elements of the part that each rank holds, padded to whole rows.

        Examples
        --------
        >>> ShardedParameter(storage=0, gradient=1, rows=5, row=10).padded(shards=2)
        30
        """
        return -(-self.rows // shards) * self.row

    def local(self, shards: int, rank: int) -> int:
        """Return the number of elements of a rank's part without padding. The last ranks may have fewer, or none.

        Examples
        --------
        >>> [ShardedParameter(storage=0, gradient=1, rows=5, row=10).local(4, rank) for rank in range(4)]
        [20, 20, 10, 0]
        """
        rows = -(-self.rows // shards)
        return max(0, min(rows, self.rows - rank * rows)) * self.row


@dataclass(frozen=True)
class ShardedUnit:
    """A unit: a module whose parameters are gathered together.

    Attributes
    ----------
    name : str
        Dotted path of the module; empty for the root.
    parameters : tuple of ShardedParameter
        Those of the module that belong to no unit inside it.
    reshard : bool
        Whether the gathered parameters are freed after the forward pass of the unit, and gathered again for its
        backward pass. PyTorch's default is True for each unit except the root.
    """

    name: str
    parameters: tuple[ShardedParameter, ...]
    reshard: bool = True


@dataclass(frozen=True)
class Sharding:
    """A division of parameters among ranks.

    Attributes
    ----------
    units : tuple of ShardedUnit
        In the order in which their forward passes start. The root is the first.
    shards : int
        The number of ranks among which each parameter is divided.
    replicas : int
        The number of groups of ``shards`` ranks. With more than one, gradients are also reduced over the groups (HSDP).
    reduce_workspace : float
        Bytes that a reduce-scatter uses while it runs, as a multiple of its input.
    """

    units: tuple[ShardedUnit, ...]
    shards: int
    replicas: int = 1
    reduce_workspace: float = 0.0


def unit_of_calls(joint: JointGraph, names: Sequence[str]) -> list[int]:
    """Return for each call of a joint graph the position of its unit in ``names``; ``OUTSIDE`` for calls of the loss.

    A call belongs to the innermost unit that has its module. A backward call without a module, such as the addition of
    two gradients, belongs to the unit of the backward call before it.

    Parameters
    ----------
    joint : JointGraph
    names : sequence of str
        Dotted paths of the units. The empty path is the root.

    Examples
    --------
    >>> from recompviz.core.steps.examples import residual_step
    >>> _, joint = residual_step(blocks=(2,))
    >>> units = unit_of_calls(joint, ["", "layer1.0", "layer1.1"])
    >>> sorted(set(units))
    [0, 1, 2]
    """
    position = {name: i for i, name in enumerate(names)}
    found: list[int] = []
    for call in joint.calls:
        module = call.info.module
        if module == "loss":
            found.append(OUTSIDE)
        elif call.backward and module == "backward":
            found.append(found[-1])
        else:
            parts = module.split(".") if module else []
            paths = (".".join(parts[:k]) for k in range(len(parts), -1, -1))
            found.append(next((position[path] for path in paths if path in position), OUTSIDE))
    return found


def pin_outside(joint: JointGraph, names: Sequence[str]) -> JointGraph:
    """Return a joint graph in which every plan keeps the values outside the units, and those that cross their borders.

    Code outside the units runs as written, and units save what they are given.

    Parameters
    ----------
    joint : JointGraph
    names : sequence of str
        Dotted paths of the units.
    """
    count = joint.forward_count
    unit = unit_of_calls(joint, [ROOT, *names])
    pinned = {c for c in range(count) if unit[c] in (0, OUTSIDE)}
    run = [0] * count
    for c in range(1, count):
        run[c] = run[c - 1] + (unit[c] != unit[c - 1])
    for c in range(count):
        makers = (joint.storages[s].maker for s in joint.calls[c].reads)
        pinned.update(maker for maker in makers if maker >= 0 and run[maker] != run[c])
    calls = (replace(call, pinned=call.pinned or c in pinned) for c, call in enumerate(joint.calls))
    return replace(joint, calls=tuple(calls))
