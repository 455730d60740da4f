"""The calls of a joint graph (forward and backward pass): the operators that allocate memory or overwrite an argument.

Any other operator is an alias, such as a view. The value of an alias is in a storage that exists already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch.fx import Node
from torch.utils import _pytree as pytree

from recompviz.core.graphs.node_info import NodeInfo
from recompviz.core.steps.joint import Call, Category, JointGraph
from recompviz.pytorch.internals.node_origin import InfoMaker
from recompviz.pytorch.internals.operators import may_be_random
from recompviz.pytorch.tracing.prepared import is_mutation, reads_overwritten
from recompviz.pytorch.tracing.step import TraceError
from recompviz.pytorch.tracing.storage_table import StorageTable

# the first call of a region's backward pass
ARRIVE = "gradients of the outputs arrive"


def has_arrival(joint: JointGraph) -> bool:
    """Return whether the backward pass of a joint graph starts with gradients that come from outside the graph.

    They are gradients of outputs, or of tensors that a whole training step assigns to attributes of modules.
    """
    return joint.forward_count < len(joint.calls) and joint.calls[joint.forward_count].info.op == ARRIVE


class CallList:
    """The calls of a joint graph, numbered in the order in which they are added. Forward calls must be added first.

    Parameters
    ----------
    table : StorageTable
        The storages that the calls allocate are added to this table.
    mutated : frozenset of torch.fx.Node
        The placeholders that the training step overwrites.

    Attributes
    ----------
    calls : list of Call
    nodes : list of torch.fx.Node
        The fx node of each call.
    info : InfoMaker
        Makes the descriptions of the calls, and of the nodes of the graph G that stand for views or for several calls.
    """

    def __init__(self, table: StorageTable, mutated: frozenset[Node]) -> None:
        self.calls: list[Call] = []
        self.nodes: list[Node] = []
        self.info = InfoMaker()
        self._table, self._mutated = table, mutated

    def add(self, node: Node, backward: bool) -> None:
        """Add the call of an fx node. An alias (a view, getitem or detach) is no call; only its storage is recorded.

        Parameters
        ----------
        node : torch.fx.Node
        backward : bool
            Whether the node belongs to the backward pass.

        Raises
        ------
        TraceError
            If the result of the node is a sparse tensor.
        """
        value, table = node.meta.get("val"), self._table
        tensors = [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)]
        if any(tensor.layout is not torch.strided for tensor in tensors):
            raise TraceError(f"{node.target} makes a sparse tensor, expected dense ones; use sparse=False")
        fresh = [tensor for tensor in tensors if not table.knows(tensor)]
        mutation = is_mutation(node)
        if isinstance(value, torch.Tensor) and not fresh:
            table.storage_of[node] = table.look_up(value)
        if not fresh and not mutation:
            return
        info = self.info(node, value, backward, mutation=mutation)
        reads = dict.fromkeys(s for source in node.all_input_nodes for s in table.behind(source))
        category = Category.GRADIENT if backward else Category.KEPT
        makes = dict.fromkeys(table.add(node, tensor, len(self.calls), category, info.key) for tensor in fresh)
        if not isinstance(value, torch.Tensor):
            table.storage_of.pop(node, None)  # a tuple looks at several storages; its getitems at one each
        pinned = not backward and reads_overwritten(node, self._mutated)
        random = may_be_random(node.target)
        self._append(node, Call(info, backward, -1, tuple(reads), tuple(makes), pinned=pinned, random=random))

    def add_arrival(self, tangents: Sequence[Node], fallback: Node) -> None:
        """Add a first call of the backward pass for the gradients that arrive from outside the graph.

        The call allocates these gradients. Each gradient is freed after its last use.

        Parameters
        ----------
        tangents : sequence of torch.fx.Node
            The placeholders of these gradients.
        fallback : torch.fx.Node
            The fx node to record for the call if there are no tangents.
        """
        table = self._table
        for node in tangents:
            if isinstance(value := node.meta.get("val"), torch.Tensor):
                table.add(node, value, len(self.calls), Category.GRADIENT, "gradient of an output")
        makes = dict.fromkeys(table.storage_of[node] for node in tangents if node in table.storage_of)
        call = Call(NodeInfo(key=ARRIVE, op=ARRIVE), True, -1, (), tuple(makes))
        self._append(tangents[0] if tangents else fallback, call)

    def hold(self, tangents: Sequence[Node]) -> None:
        """Keep gradients of outputs alive until the backward pass ends, by adding them to the reads of the last call.

        Parameters
        ----------
        tangents : sequence of torch.fx.Node
            The placeholders of these gradients.
        """
        last = self.calls[-1]
        held = (self._table.storage_of[node] for node in tangents if node in self._table.storage_of)
        self.calls[-1] = replace(last, reads=tuple(dict.fromkeys((*last.reads, *held))))

    def _append(self, node: Node, call: Call) -> None:
        self.calls.append(call)
        self.nodes.append(node)
