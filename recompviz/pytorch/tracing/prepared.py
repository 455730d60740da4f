"""Preparation of the joint fx graph, so that any forward call may run a second time or be left out.

A training step overwrites some of its inputs (running statistics, counters). If the backward pass reads such an input,
the read is removed where its value does not matter, and otherwise the input is copied before it is overwritten. A
forward call that reads an overwritten input is marked, so that it is not run again.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.fx import GraphModule, Node

from recompviz.pytorch.internals.export import overwritten_input
from recompviz.pytorch.internals.operators import is_in_place
from recompviz.pytorch.internals.tensors import storage_key
from recompviz.pytorch.tracing.step import TraceError

aten = torch.ops.aten


@dataclass(frozen=True, eq=False)
class Prepared:
    """What a prepared joint graph overwrites, and which of its nodes are the forward pass.

    Attributes
    ----------
    mutated : frozenset of torch.fx.Node
        The placeholders that the step overwrites.
    forward : set of torch.fx.Node
        The forward pass.
    passed : dict of int to int
        The storage of each copy that was left out, and the storage of the source that replaces it.
    """

    mutated: frozenset[Node]
    forward: set[Node]
    passed: dict[int, int]


def prepare(fx: GraphModule, output_count: int) -> Prepared:
    """Rewrite a joint graph in place where a mutation demands it, and drop what nothing uses.

    Parameters
    ----------
    fx : torch.fx.GraphModule
    output_count : int
        The number of leading graph outputs that belong to the forward pass.
    """
    mutated = _mutated_placeholders(fx, output_count)
    _release_running_statistics(fx)
    _copy_what_is_overwritten(fx, mutated, output_count)
    copies = _let_copies_pass(fx)
    passed = {storage_key(copy): storage_key(source) for copy, source in copies}
    fx.graph.eliminate_dead_code(lambda node: node.op in ("placeholder", "output") or is_mutation(node))
    return Prepared(mutated, _forward_nodes(fx, output_count), passed)


def is_mutation(node: Node) -> bool:
    """Whether an fx node overwrites one of its arguments."""
    return node.op == "call_function" and is_in_place(node.target)


def reads_overwritten(node: Node, mutated: frozenset[Node]) -> bool:
    """Whether a call reads an overwritten input, and would give another result after the write."""
    return any(p in mutated and not _indifferent(node, p) for p in node.all_input_nodes)


def _let_copies_pass(fx: GraphModule) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Replace a copy by its source where functionalisation copied a value over another one of the same layout.

    Returns the fake tensors of each copy and of its source; views of the copy still look at the copy's storage.
    """
    stands_for: dict[Node, Node] = {}
    given = {storage_key(v) for n in fx.graph.nodes if n.op == "placeholder"
             if isinstance(v := n.meta.get("val"), torch.Tensor)}  # fmt: skip
    for node in fx.graph.nodes:
        source = node.args[1] if node.target is aten.copy.default else None
        if isinstance(source, Node) and _layout(node) == _layout(source):
            source = stands_for.get(source, source)
            if storage_key(source.meta["val"]) not in given:  # an input may be overwritten later
                stands_for[node] = source
    for node, source in stands_for.items():
        node.replace_all_uses_with(source)
    return [(node.meta["val"], source.meta["val"]) for node, source in stands_for.items()]


def _layout(node: Node) -> tuple[object, ...]:
    value = node.meta["val"]
    return value.shape, value.stride(), value.storage_offset(), value.dtype, value.device


def _mutated_placeholders(fx: GraphModule, output_count: int) -> frozenset[Node]:
    """The inputs that the step overwrites: inside the graph, or right after it, with a value that the graph returns."""
    descriptors = next(iter(reversed(fx.graph.nodes))).meta["desc"][:output_count]
    overwritten = [target for desc in descriptors if (target := overwritten_input(desc)) is not None]
    mutated = {node for node in fx.graph.nodes if node.op == "placeholder" and node.meta["desc"] in overwritten}
    for node in fx.graph.nodes:
        if is_mutation(node):
            if node.target is not aten.copy_.default or node.args[0].op != "placeholder":
                raise TraceError(f"{node.target} overwrites a tensor inside the step; write it out of place")
            mutated.add(node.args[0])
    return frozenset(mutated)


_BATCH_NORM_BACKWARD = {
    # operator → positions of (running mean, running variance, train)
    aten.native_batch_norm_backward.default: (3, 4, 7),
    aten.cudnn_batch_norm_backward.default: (3, 4, None),
    aten.miopen_batch_norm_backward.default: (3, 4, None),
}
_BATCH_NORM_FORWARD = {
    aten._native_batch_norm_legit_functional.default: (3, 4, 5),
    aten._batch_norm_with_update_functional.default: (3, 4, None),
}


def _release_running_statistics(fx: GraphModule) -> None:
    """Let BatchNorm's backward read the buffers instead of the updated statistics.

    In training it ignores their values, so the updated copies need not be kept.
    """
    source = {node.args[1]: node.args[0] for node in fx.graph.nodes if is_mutation(node)}
    for node in fx.graph.nodes:
        if node.target in _BATCH_NORM_BACKWARD:
            mean, variance, train = _BATCH_NORM_BACKWARD[node.target]
            if train is None or node.args[train] is True:
                for position in (mean, variance):
                    buffer = source.get(node.args[position])
                    if buffer is not None:
                        node.update_arg(position, buffer)


def _indifferent(node: Node, placeholder: Node) -> bool:
    """Whether a call gives the same result before and after the placeholder is overwritten."""
    if is_mutation(node):
        return True
    table = _BATCH_NORM_FORWARD | _BATCH_NORM_BACKWARD
    if node.target not in table:
        return False
    mean, variance, train = table[node.target]
    if train is not None and node.args[train] is not True:
        return False
    return placeholder not in [arg for i, arg in enumerate(node.args) if i not in (mean, variance)]


def _copy_what_is_overwritten(fx: GraphModule, mutated: frozenset[Node], output_count: int) -> None:
    """Where the backward pass reads an overwritten input, let it read a copy made before the write."""
    forward = _forward_nodes(fx, output_count)
    for placeholder in mutated:
        readers = [n for n in placeholder.users if n not in forward and not _indifferent(n, placeholder)]
        if readers:
            first = next(n for n in fx.graph.nodes if n.op == "call_function")
            with fx.graph.inserting_before(first):
                copy = fx.graph.call_function(aten.clone.default, (placeholder,))
                value = placeholder.meta["val"]
                with value.fake_mode:
                    copy.meta["val"] = value.clone()
            for reader in readers:
                reader.replace_input_with(placeholder, copy)


def _forward_nodes(fx: GraphModule, output_count: int) -> set[Node]:
    """What the outputs and the buffers' updates are computed from, by ancestry, and clones of inputs."""
    output = next(iter(reversed(fx.graph.nodes)))
    outputs = [value for value in output.args[0][:output_count] if isinstance(value, Node)]
    stack = [*outputs, *(node for node in fx.graph.nodes if is_mutation(node))]
    found: set[Node] = set()
    while stack:
        node = stack.pop()
        if node not in found:
            found.add(node)
            stack.extend(node.all_input_nodes)
    # a copy of an overwritten input must be made before it is overwritten
    found.update(n for n in fx.graph.nodes if n.target is aten.clone.default and n.args[0].op == "placeholder")
    return found
