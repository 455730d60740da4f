"""The processor time of operators in an fx graph, measured once per operator and combination of shapes and strides.

With these times, plans of recompviz and of PyTorch can be compared, because the same operator has the same time in
both. Other programs on the machine disturb processor time less than wall-clock time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.fx import Node
from torch.utils import _pytree as pytree

from recompviz.pytorch.internals.operators import allocating_call

# Number of runs of each operator; the least time counts.
REPEATS = 5


class OperatorTimes:
    """The processor times of operator calls. Each is measured once, when it is needed."""

    def __init__(self) -> None:
        self._seconds: dict[Any, float] = {}

    def total(self, nodes: Iterable[Node]) -> float:
        """Return the sum of the processor times of the nodes, in seconds."""
        return sum(self(node) for node in nodes)

    def __call__(self, node: Node) -> float:
        """Return the processor time of one node, in seconds; 0 for views and for functions such as ``getitem``."""
        call = allocating_call(node)
        if call is None:
            return 0.0
        operator, arguments, named = call
        leaves, structure = pytree.tree_flatten((arguments, named))
        key = operator, str(structure), tuple(_described(leaf) for leaf in leaves)
        if key not in self._seconds:
            values, options = pytree.tree_unflatten([filled(leaf) for leaf in leaves], structure)
            self._seconds[key] = _least_seconds(operator, values, options)
        return self._seconds[key]


def _described(leaf: Any) -> Any:
    if isinstance(leaf, torch.Tensor):
        return tuple(leaf.shape), leaf.stride(), leaf.dtype
    return repr(leaf)


def filled(leaf: Any) -> Any:
    """Return a real tensor for a fake one: random if floating point, else zero. Any other value is unchanged."""
    if not isinstance(leaf, torch.Tensor):
        return leaf
    # as_strided: several elements may share memory, as in an expanded tensor
    made = torch.empty(leaf.untyped_storage().nbytes() // leaf.itemsize, dtype=leaf.dtype, device=leaf.device)
    values = made.uniform_() if leaf.dtype.is_floating_point else made.zero_()
    return values.as_strided(leaf.shape, leaf.stride(), leaf.storage_offset())


def _least_seconds(operator: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]) -> float:
    seconds = []
    with torch.no_grad():
        for _ in range(REPEATS):
            start = time.process_time()
            operator(*arguments, **named)
            seconds.append(time.process_time() - start)
    return min(seconds)
