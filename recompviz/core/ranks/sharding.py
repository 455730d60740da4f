"""How the parameters of a training step are divided among ranks.

A *unit* is a module that was given to ``fully_shard``. Its parameters are gathered together, and its gradients are
reduced together. The *root* is the unit of the whole model. It has the parameters that are in no other unit.
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
    """A parameter of a unit (a module given to ``fully_shard``).

    Attributes
    ----------
    storage : int
        The index of the parameter's storage in the joint graph.
    gradient : int
        The index of the storage of the parameter's gradient; −1 if it has no gradient.
    rows : int
        The length of the parameter's first dimension, which is divided among the ranks; 1 for a scalar.
    row : int
        The number of elements in one row, which is one index of the first dimension.
    itemsize : int
        Bytes of one element of the gathered parameter, and of its gradient before the reduction.
    stored_itemsize : int
        Bytes of one element of the part that each rank holds. It differs from ``itemsize`` with mixed precision.
    reduced_itemsize : int
        Bytes of one element of the gradient while it is reduced.
    """

    storage: int
    gradient: int
    rows: int
    row: int
    itemsize: int = 4
    stored_itemsize: int = 4
    reduced_itemsize: int = 4

    def padded(self, shards: int) -> int:
        """Return the number of elements of a rank's part with padding. All ranks have equal parts of whole rows.

        Examples
        --------
        >>> ShardedParameter(storage=0, gradient=1, rows=5, row=10).padded(shards=2)
        30
        """
        return -(-self.rows // shards) * self.row

    def local(self, shards: int, rank: int) -> int:
        """Return the number of elements of a rank's part without padding. The last ranks may have fewer rows, or none.

        Examples
        --------
        >>> [ShardedParameter(storage=0, gradient=1, rows=5, row=10).local(4, rank) for rank in range(4)]
        [20, 20, 10, 0]
        """
        rows = -(-self.rows // shards)
        return max(0, min(rows, self.rows - rank * rows)) * self.row


@dataclass(frozen=True)
class ShardedUnit:
    """A unit: a module given to ``fully_shard``, whose parameters are gathered together.

    Attributes
    ----------
    name : str
        Dotted path of the module; empty for the root, the unit of the whole model.
    parameters : tuple of ShardedParameter
        The parameters of the module that belong to no other unit inside the module.
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
        The units in the order in which their forward passes start. The root, the unit of the whole model, is the first.
    shards : int
        The number of ranks among which each parameter is divided.
    replicas : int
        The number of groups of ``shards`` ranks. If it is more than 1, gradients are also reduced over the groups, as
        in HSDP.
    reduce_workspace : float
        Bytes that a reduce-scatter uses while it runs, as a multiple of its input.
    """

    units: tuple[ShardedUnit, ...]
    shards: int
    replicas: int = 1
    reduce_workspace: float = 0.0


def unit_of_calls(joint: JointGraph, names: Sequence[str]) -> list[int]:
    """Return for each call of a joint graph the position of its unit in ``names``; ``OUTSIDE`` if it has no unit.

    A call belongs to the innermost unit that contains its module. Calls of the loss have no unit. A backward call
    without a module, such as the addition of two gradients, belongs to the unit of the backward call before it.

    Parameters
    ----------
    joint : JointGraph
    names : sequence of str
        Dotted paths of the units. The empty path is the root, which contains all modules.

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
    """Return a joint graph in which every plan keeps the values outside the units, and the units' inputs and outputs.

    A unit is a module that runs under a plan. Code outside the units runs as written, so its values cannot be
    recomputed. A unit saves its inputs.

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
