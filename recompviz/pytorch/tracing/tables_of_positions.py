"""Whether a step that was traced with a longer sequence can run at this length: lookup tables must have enough rows.

A table of positions (``nn.Embedding`` over ``torch.arange``) has a fixed number of rows. Looking up a missing row is an
error only when the step runs, because shapes do not show it. The indices are therefore computed here. They are known
only if they follow from integers alone: ``torch.arange``, buffers of positions, and the tokens of the batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Node
from torch.utils import _pytree as pytree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from recompviz.pytorch.tracing.traced_step import Trace

aten = torch.ops.aten
# indices that depend on more nodes are not computed
MOST_NODES = 500


def short_table(trace: Trace) -> str:
    """Return a sentence about a table without a row that the step looks up; an empty string if no such table is found.

    Parameters
    ----------
    trace : Trace
        The step, traced with sequences of the length that is checked.
    """
    known = _Numbers(trace)
    for node in trace.folded.fx.graph.nodes:
        for table, dimension, index in _look_ups(node):
            rows = int(table.meta["val"].shape[dimension])
            numbers = known.of(index)
            if numbers is not None and numbers.numel() and int(numbers.max()) >= rows:
                return (
                    f"a table has {rows:,} rows{_name(trace, table)}, and row {int(numbers.max()) + 1:,} is looked up"
                )
    return ""


def _name(trace: Trace, table: Node) -> str:
    found = next((which for node, (_, which) in trace.folded.placeholders if node is table), None)
    return f" ({found.removeprefix('model.')})" if isinstance(found, str) else ""


def _look_ups(node: Node) -> Iterator[tuple[Node, int, Node]]:
    """Yield the look-ups of a node: the table, the dimension, and the node of the indices."""
    arguments: Any = node.args  # their types follow from the operator
    if node.target is aten.embedding.default:
        yield arguments[0], 0, arguments[1]
    elif node.target is aten.index_select.default:
        yield arguments[0], arguments[1], arguments[2]
    elif node.target is aten.index.Tensor:
        for dimension, index in enumerate(arguments[1]):
            if isinstance(index, Node) and index.meta["val"].dtype != torch.bool:
                yield arguments[0], dimension, index


class _Numbers:
    """The values of nodes that follow from whole numbers alone; None for all others."""

    def __init__(self, trace: Trace) -> None:
        inputs, kwargs, targets = trace.arguments
        given = [*pytree.tree_leaves((inputs, kwargs)), *pytree.tree_leaves(targets)]
        buffers = dict(trace.step.named_buffers())
        self._known: dict[Node, torch.Tensor | None] = {}
        for node, (role, which) in trace.folded.placeholders:
            value: Any = None
            if role in ("input", "target") and isinstance(which, int) and 0 <= which < len(given):
                value = given[which]
            elif role == "buffer":
                value = buffers.get(str(which))
            whole = isinstance(value, torch.Tensor) and _is_whole(value.dtype) and value.device.type != "meta"
            self._known[node] = value.detach().cpu() if whole else None

    def of(self, node: Node) -> torch.Tensor | None:
        """Return the value of a node, or None if it is not known."""
        order: list[Node] = []
        waiting = [node]
        seen: set[Node] = set()
        while waiting:
            one = waiting.pop()
            if one in seen or one in self._known:
                continue
            seen.add(one)
            order.append(one)
            value = one.meta.get("val")
            if one.op != "call_function" or not isinstance(value, torch.Tensor) or not _is_whole(value.dtype):
                return None
            waiting += one.all_input_nodes
            if len(order) > MOST_NODES:
                return None
        for one in sorted(order):
            self._known[one] = self._run(one)
        return self._known[node]

    def _run(self, node: Node) -> torch.Tensor | None:
        if any(self._known.get(one) is None for one in node.all_input_nodes):
            return None
        arguments, options = torch.fx.map_arg((node.args, node.kwargs), lambda one: self._known[one])
        operator: Any = node.target
        options = {name: "cpu" if name == "device" else value for name, value in options.items()}
        with torch.no_grad():
            value = operator(*arguments, **options)
        return value if isinstance(value, torch.Tensor) else None


def _is_whole(dtype: torch.dtype) -> bool:
    return not dtype.is_floating_point and not dtype.is_complex
