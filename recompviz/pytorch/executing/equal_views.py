"""Replace views of a joint graph by equal earlier values, so that a program makes fewer views.

A joint graph contains views of views. Often two of them together have no effect, for example two transpositions. A view
is replaced if an earlier value surely has the same storage, shape and strides. Strides in the joint graph are those of
fake tensors and may differ from the real ones, so they are used only for values whose real strides are certain.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any, cast

import torch
from torch.fx import Node

aten = torch.ops.aten

VIEWS = (aten.view.default, aten._unsafe_view.default)
_PERMUTATIONS = (aten.t.default, aten.transpose.int, aten.permute.default)
# Operators whose result is always contiguous.
_CONTIGUOUS = (aten.mm.default, aten.addmm.default, aten.bmm.default)


class EqualViews:
    """Finds, for each view in a joint graph, an earlier value that can be read in its place.

    Parameters
    ----------
    calls : container of torch.fx.Node
        The nodes that allocate memory or overwrite an argument. No other value is read in place of their results.
    inputs : container of torch.fx.Node
        The placeholders whose real tensors surely have the strides of their fake tensors.
    """

    def __init__(self, calls: Container[Node], inputs: Container[Node]) -> None:
        self.calls, self.inputs = calls, inputs
        self._equal: dict[Node, Node] = {}

    def equal(self, node: Node) -> Node:
        """Return the earliest node that can be read in place of a view, because storage, shape and strides are equal.

        Without an earlier one, or if ``node`` is not a view, the result is ``node`` itself. A view of a sum over one
        dimension is replaced by the sum if :meth:`without_dimension` holds.
        """
        if node not in self._equal:
            self._equal[node] = self._find(node)
        return self._equal[node]

    def argument(self, node: Node) -> Node:
        """Return the earliest node that can replace the first argument of a view without changing the view's value."""
        source = self.equal(cast(Node, node.args[0]))
        while node.target in VIEWS and source.target in VIEWS and source not in self.calls:
            earlier = self.equal(cast(Node, source.args[0]))
            if not self._contiguous(earlier):
                break
            source = earlier
        return source

    def without_dimension(self, node: Node) -> bool:
        """Return whether all readers of a two-dimensional sum remove its dimension of length 1 (``keepdim``).

        False for a node that is no such sum.

        The sum is contiguous with and without the dimension of length 1, because it has only one other dimension.
        """
        if node.target is not aten.sum.dim_IntList or len(node.args) != 3 or node.args[2] is not True or node.kwargs:
            return False
        shape = _shape(node)
        if shape is None or len(shape) != 2 or len(cast("list[int]", node.args[1])) != 1:
            return False
        left = [shape[1 - cast("list[int]", node.args[1])[0] % 2]]
        return all(user.target in VIEWS and user not in self.calls and _shape(user) == left for user in node.users)

    def _find(self, node: Node) -> Node:
        if node.op != "call_function" or node in self.calls or node.kwargs:
            return node
        if node.target is aten.detach.default:
            return self.equal(cast(Node, node.args[0]))
        if node.target in _PERMUTATIONS:
            return self._find_permuted(node)
        shape = _shape(node)
        if shape is None or node.target not in (*VIEWS, aten.expand.default):
            return node
        source = self.argument(node)
        if self.without_dimension(source):
            return source
        # the strides of dimensions of size 1 may change, unless the strides are known
        same = shape == _shape(source) and (node.target not in VIEWS or 1 not in shape or self._contiguous(source))
        return source if same else node

    def _find_permuted(self, node: Node) -> Node:
        source = self.equal(cast(Node, node.args[0]))
        order = _order(node)
        if order == sorted(order):
            return source
        if source.target in _PERMUTATIONS and source not in self.calls:
            before = _order(source)
            if [before[i] for i in order] == sorted(order):
                return self.equal(cast(Node, source.args[0]))
        return node

    def _contiguous(self, node: Node) -> bool:
        """Whether the real strides of a value are surely those of a contiguous tensor of its shape."""
        if _shape(node) is None:
            return False
        if node.target in VIEWS and node not in self.calls:
            return self._contiguous(self.equal(cast(Node, node.args[0])))
        if node.target is aten.clone.default:
            return node.kwargs.get("memory_format") is torch.contiguous_format
        return node.target in _CONTIGUOUS or (node in self.inputs and bool(node.meta["val"].is_contiguous()))


def _shape(node: Node) -> list[int] | None:
    """The shape of a tensor; None if it has symbolic sizes, or the value is no tensor."""
    value: Any = node.meta.get("val")
    if not isinstance(value, torch.Tensor):
        return None
    shape = list(value.shape)
    return shape if all(type(size) is int for size in shape) else None


def _order(node: Node) -> list[int]:
    """The order of dimensions into which a node permutes its argument."""
    count = node.meta["val"].dim()
    if node.target is aten.permute.default:
        return [dim % count for dim in cast("list[int]", node.args[1])]
    order = list(range(count))
    if node.target is aten.t.default:
        return order[::-1]
    if count:
        a, b = (cast(int, dim) % count for dim in node.args[1:3])
        order[a], order[b] = b, a
    return order
