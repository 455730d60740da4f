"""Granularity: which operator calls and views are one node of the graph G of intermediate values.

With granularity ``"operators"``, every call is a node. In the paper, a node is a function of Chainer. In ATen such a
function may be several calls (local response normalisation, softmax cross entropy) or only a view (a reshape, a crop).
With granularity ``"paper"``, the calls of one layer of ``torch.nn`` are therefore one node, and softmax and cross
entropy are one node. A view, or an unbranched chain of views, is a node too.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch.fx import Node

aten = torch.ops.aten

Granularity = Literal["operators", "paper"]

# files of torch.nn in which every module is one function; containers, recurrent networks, transformers and Flatten are
# in other files
_LAYERS = frozenset(
    f"torch.nn.modules.{file}"
    for file in (
        "activation", "batchnorm", "channelshuffle", "conv", "distance", "dropout", "fold", "instancenorm", "linear",
        "loss", "normalization", "padding", "pixelshuffle", "pooling", "sparse", "upsampling",
    )
)  # fmt: skip
# several functions
_NO_LAYERS = frozenset({"MultiheadAttention"})
# aliases with the same shape and strides as their input
_PLAIN = (operator.getitem, aten.detach.default, aten.alias.default)


@dataclass(frozen=True)
class NodeContents:
    """The operator calls, or the views, that are one node of the graph G of intermediate values; frozen.

    Attributes
    ----------
    calls : tuple of int
        The calls in traced order; empty for a node of views.
    views : tuple of torch.fx.Node
        The chain of views, first to last; empty for a node of calls.
    name : str
        The function that the calls make up, for example ``"LocalResponseNorm"``; empty for a single call and for views.
    """

    calls: tuple[int, ...]
    views: tuple[Node, ...] = ()
    name: str = ""


def check_granularity(granularity: str) -> None:
    """Raise ValueError if a granularity is neither ``"operators"`` nor ``"paper"``."""
    if granularity not in get_args(Granularity):
        choices = " or ".join(map(repr, get_args(Granularity)))
        raise ValueError(f"granularity {granularity!r} is unknown; choose {choices}")


def contents_of(
    granularity: Granularity,
    members: Sequence[int],
    call_node: Sequence[Node],
    forward: set[Node],
    makers: Callable[[Node], list[int]],
) -> list[NodeContents]:
    """Return the operator calls, or the views, of each node of the graph G of intermediate values.

    Parameters
    ----------
    granularity : "operators" or "paper"
        Whether a node is one operator call, or one function as the paper counts them.
    members : sequence of int
        The calls that belong to G, in traced order.
    call_node : sequence of torch.fx.Node
        The fx node of each call.
    forward : set of torch.fx.Node
        The fx nodes of the forward pass.
    makers : callable (torch.fx.Node) → list of int
        Returns the calls that allocate the storages of an fx node's value; none for an input or a parameter.

    Returns
    -------
    list of NodeContents
        One item for each node, in traced order.
    """
    if granularity == "operators":
        return [NodeContents((c,)) for c in members]
    contents = _functions(members, call_node)
    contents += _view_nodes(contents, call_node, forward, makers)
    position = {node: i for i, node in enumerate(call_node[0].graph.nodes)} if call_node else {}
    return sorted(contents, key=lambda one: position[one.views[-1] if one.views else call_node[one.calls[-1]]])


def parent_of(alias: Node, storages: Callable[[Node], list[int]]) -> Node | None:
    """Return the first input of an fx node that shares a storage with the node's value; None if no input does."""
    mine = set(storages(alias))
    return next((source for source in alias.all_input_nodes if mine & set(storages(source))), None)


# -------------------------------------------------------------------- several calls, one function


def _functions(members: Sequence[int], call_node: Sequence[Node]) -> list[NodeContents]:
    """Group consecutive calls that belong to one function.

    Only consecutive calls are merged, because merging neighbours in a topological order never makes a cycle.
    """
    runs: list[list[int]] = []
    for c in members:
        if runs and _belong_together(call_node[runs[-1][-1]], call_node[c]):
            runs[-1].append(c)
        else:
            runs.append([c])
    return [NodeContents(tuple(run), name=_name_of([call_node[c] for c in run])) for run in runs]


def _belong_together(previous: Node, node: Node) -> bool:
    layer = layer_call(node)
    return (layer is not None and layer == layer_call(previous)) or _is_cross_entropy(previous, node)


def _is_cross_entropy(softmax: Node, loss: Node) -> bool:
    if softmax.target is not aten._log_softmax.default:
        return False
    if loss.target not in (aten.nll_loss_forward.default, aten.nll_loss2d_forward.default):
        return False
    logits = loss.args[0]
    while isinstance(logits, Node) and logits is not softmax and len(logits.all_input_nodes) == 1:
        logits = logits.all_input_nodes[0]  # logits with more than two dimensions are viewed as four-dimensional
    return logits is softmax


def _name_of(nodes: Sequence[Node]) -> str:
    if len(nodes) == 1:
        return ""
    layer = layer_call(nodes[-1])
    return layer[1] if layer is not None else "cross_entropy"


def layer_call(node: Node) -> tuple[str, str] | None:
    """Return the call of a ``torch.nn`` layer in which an fx node was traced, as (key of the call, name of the class).

    Two calls of the same layer have different keys.

    The result is None if the innermost module of the node does not count as one function: a container, a recurrent
    network, attention, ``Flatten``, or the user's own module. It is also None if the node was traced outside every
    module.
    """
    stack: dict[str, tuple[str, Any]] = node.meta.get("nn_module_stack") or {}
    if not stack:
        return None
    identity, (_, layer) = next(reversed(stack.items()))  # a second call of the same module has another identity
    home, _, name = (layer if isinstance(layer, str) else f"{layer.__module__}.{layer.__qualname__}").rpartition(".")
    return (identity, name) if home in _LAYERS and name not in _NO_LAYERS else None


# -------------------------------------------------------------------- views that are nodes


def _view_nodes(
    functions: Sequence[NodeContents],
    call_node: Sequence[Node],
    forward: set[Node],
    makers: Callable[[Node], list[int]],
) -> list[NodeContents]:
    """Return the longest unbranched chains of views that a call of G reads.

    Views that only the backward pass reads, views inside a layer, and views of inputs and parameters are not nodes.
    """
    function_of = {call_node[c]: i for i, function in enumerate(functions) for c in function.calls}
    calls = set(call_node)
    uses: dict[Node, set[Node]] = {}  # alias → the calls of G, and the first views of chains, that read it
    chains: dict[Node, tuple[Node, ...]] = {}
    for node in reversed(call_node[0].graph.nodes) if call_node else ():
        if node.op != "call_function" or node not in forward or node in calls:
            continue
        used: set[Node] = set()
        for user in node.users:
            if user in function_of or user in chains:
                used.add(user)
            else:
                used |= uses.get(user, set())
        uses[node] = used
        made_in = {function_of.get(call_node[c]) for c in makers(node)}
        within = made_in & {function_of[user] for user in used if user in function_of}
        if not used or not made_in or None in made_in or within or _is_plain(node) or layer_call(node):
            continue
        only = next(iter(used)) if len(used) == 1 else None
        chains[node] = (node, *chains.pop(only)) if only in chains else (node,)
    return [NodeContents((), chain) for chain in chains.values()]


def _is_plain(node: Node) -> bool:
    """Return whether an alias has the shape, strides, offset and dtype of its input."""
    if node.target in _PLAIN:
        return True
    value, source = node.meta.get("val"), node.all_input_nodes[0].meta.get("val")
    return (
        isinstance(value, torch.Tensor)
        and isinstance(source, torch.Tensor)
        and (value.shape, value.stride(), value.storage_offset(), value.dtype)
        == (source.shape, source.stride(), source.storage_offset(), source.dtype)
    )
