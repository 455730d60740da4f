"""The processor time of each operator of an fx graph, measured once for each combination of operator, shapes, strides.

Plans of different origin are compared by these times: the same operator has the same time in each of them. Other
programs on the machine change processor time less than they change the time on the clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.fx import Node
from torch.utils import _pytree as pytree

from recompviz.pytorch.internals.operators import allocating_call

# Each operator runs this often; its time is the least.
REPEATS = 5


class OperatorTimes:
    """Measures operators when they are first asked for."""

    def __init__(self) -> None:
        self._seconds: dict[Any, float] = {}

    def total(self, nodes: Iterable[Node]) -> float:
        """Seconds of all nodes together."""
        return sum(self(node) for node in nodes)

    def __call__(self, node: Node) -> float:
        """Seconds of one node; 0 for a view, and for a function such as ``getitem`` that is not an operator."""
        call = allocating_call(node)
        if call is None:
            return 0.0
        operator, arguments, named = call
        leaves, structure = pytree.tree_flatten((arguments, named))
        key = operator, str(structure), tuple(_described(leaf) for leaf in leaves)
        if key not in self._seconds:
            values, options = pytree.tree_unflatten([_filled(leaf) for leaf in leaves], structure)
            self._seconds[key] = _least_seconds(operator, values, options)
        return self._seconds[key]


def _described(leaf: Any) -> Any:
    if isinstance(leaf, torch.Tensor):
        return tuple(leaf.shape), leaf.stride(), leaf.dtype
    return repr(leaf)


def _filled(leaf: Any) -> Any:
    """A real tensor in place of a fake one: ones, or zeros where it may be an index."""
    if not isinstance(leaf, torch.Tensor):
        return leaf
    made = torch.empty_strided(leaf.shape, leaf.stride(), dtype=leaf.dtype, device=leaf.device)
    return made.uniform_() if leaf.dtype.is_floating_point else made.zero_()


def _least_seconds(operator: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]) -> float:
    seconds = []
    with torch.no_grad():
        for _ in range(REPEATS):
            start = time.process_time()
            operator(*arguments, **named)
            seconds.append(time.process_time() - start)
    return min(seconds)
