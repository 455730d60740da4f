"""The order in which the gradients of a captured graph reach the parameters, as eager autograd would deliver them.

The backward pass of a captured graph is one node of autograd, which returns all gradients at once. Autograd then hands
them to the parameters in an order of its own. DistributedDataParallel fills its buckets in the order in which gradients
arrive, and with more than two ranks the place in a bucket decides in which order a sum is rounded. Inside
DistributedDataParallel, each parameter therefore enters the graph through an alias. Autograd runs the backward passes
of the newest aliases first, so the aliases are made in the reverse of eager's order.

Private PyTorch used here: ``DistributedDataParallel._active_ddp_module`` and ``Tensor._base``. Tried on torch 2.13.0
and 2.14.1, on the CPU.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.nn.parallel import DistributedDataParallel

__all__ = ["GradientOrder", "parameters_of_aliases", "replicated"]


def replicated() -> bool:
    """Return whether the forward pass of a DistributedDataParallel is running."""
    return DistributedDataParallel._active_ddp_module is not None


class GradientOrder:
    """The order in which eager autograd delivers the gradients of a captured graph.

    AOTAutograd traced the joint graph by running eager autograd, so this is the order of the graph's nodes. If one node
    returns three or more gradients, as the node of a recurrent layer does, their order is found by running a small
    backward pass.

    Parameters
    ----------
    joint : torch.fx.GraphModule
        The joint graph as AOTAutograd made it.
    output_count : int
        The number of outputs of the joint graph before the gradients.
    """

    def __init__(self, joint: GraphModule, output_count: int) -> None:
        number = {node: i for i, node in enumerate(joint.graph.nodes)}
        positions: dict[Node, list[int]] = {}  # inputs may share a gradient
        for i, gradient in enumerate(next(iter(reversed(joint.graph.nodes))).args[0][output_count:]):
            if isinstance(gradient, Node):
                positions.setdefault(gradient, []).append(i)
        found: dict[Node, list[int]] = {}
        for gradient in sorted(positions, key=number.__getitem__):
            together = _returned_together(gradient)
            if sum(len(positions.get(value, ())) for value in together) < 3:
                together = [gradient]
            found[together[0]] = [i for value in together for i in positions.get(value, [-1])]
        # for each node of autograd, the inputs of the graph whose gradients it returns; −1 for another value
        self._returned = [tuple(returned) for returned in found.values()]
        self._order: tuple[int, ...] | None = None

    def keep(self, positions: Collection[int]) -> None:
        """Let :meth:`applied` make aliases only for the inputs at these positions.

        Call this before the first call of :meth:`applied`.
        """
        self._allowed = frozenset(positions)

    def applied(self, arguments: Sequence[Any]) -> tuple[Any, ...]:
        """Return the graph's arguments with aliases in place of parameters, for gradients in eager's order."""
        if self._order is None:
            order = [i for returned in self._returned for i in _arrival(returned)]
            self._order = tuple(i for i in order if i in self._allowed)
        given = list(arguments)
        for i in reversed(self._order):
            if isinstance(given[i], torch.nn.Parameter):
                given[i] = torch.ops.aten.alias.default(given[i])
        return tuple(given)


def _returned_together(gradient: Node) -> list[Node]:
    """Return those results of the call behind a gradient that are read, in the order in which the call returns them."""
    if getattr(gradient.target, "__name__", "") != "getitem":
        return [gradient]
    call: Any = gradient.args[0]
    parts: list[Any] = [user for user in call.users if user.users]
    return sorted(parts, key=lambda part: part.args[1])


def _arrival(returned: tuple[int, ...]) -> list[int]:
    """Return the positions that one node returns gradients for, in the order in which the gradients arrive."""
    positions = [i for i in returned if i >= 0]
    if len(positions) < 3:
        return positions
    return [positions[k] for k in _measured_arrival(tuple(i >= 0 for i in returned))]


@functools.cache
def _measured_arrival(leaves: tuple[bool, ...]) -> list[int]:
    """Return the order in which the leaves among the inputs of one node get their gradients."""

    class Together(torch.autograd.Function):
        @staticmethod
        def forward(_context: Any, *inputs: torch.Tensor) -> torch.Tensor:
            return inputs[0].clone()

        @staticmethod
        def backward(_context: Any, *gradients: torch.Tensor) -> Any:
            return tuple(gradients[0].clone() for _ in leaves)

    arrived: list[int] = []
    with torch.enable_grad():
        inputs = [torch.zeros((), requires_grad=True) for _ in leaves]
        for number, leaf in enumerate([value for value, is_leaf in zip(inputs, leaves, strict=True) if is_leaf]):
            note = functools.partial(_note, arrived, number)
            leaf.register_post_accumulate_grad_hook(note)
        given = [value if is_leaf else value.view(()) for value, is_leaf in zip(inputs, leaves, strict=True)]
        Together.apply(*given).backward()  # type: ignore[no-untyped-call]  # not annotated
    return arrived


def _note(arrived: list[int], number: int, _leaf: torch.Tensor) -> None:
    arrived.append(number)


def parameters_of_aliases(arguments: Sequence[Any], positions: Iterable[int]) -> list[Any]:
    """Return the arguments with parameters in place of the aliases that :meth:`GradientOrder.applied` has made.

    ``positions`` are the positions of the parameters in ``arguments``. A leaf tensor at such a position is no alias
    and stays as it is.
    """
    given = list(arguments)
    for i in positions:
        if not given[i].is_leaf:
            given[i] = given[i]._base
    return given
