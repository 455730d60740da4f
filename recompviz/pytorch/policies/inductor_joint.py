"""A joint graph that Inductor compiles, prepared for planning, and the bytes that a split of this graph takes.

A split divides the joint graph into a forward and a backward graph.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.fx import GraphModule, Node

from recompviz.core.steps.joint import Category
from recompviz.pytorch.internals.devices.runtimes import device_of
from recompviz.pytorch.internals.fake_tensors import example_sizes, real_storages
from recompviz.pytorch.internals.inductor_code import InductorMemory, inductor_memory
from recompviz.pytorch.internals.operators import is_pointwise
from recompviz.pytorch.internals.partitioner import Split, gets_gradient, must_run_once, saved_bytes
from recompviz.pytorch.internals.tensors import storage_key
from recompviz.pytorch.tracing.costs import bytes_moved, flops, measure_roofline, node_times
from recompviz.pytorch.tracing.folding import Folded, fold

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recompviz.pytorch.internals.export import Role

# Share of the time of a pointwise operator that is left when Inductor fuses it into another kernel.
FUSED_SHARE = 0.1


@dataclass(frozen=True, eq=False)
class OutsideBytes:
    """The bytes of a graph's parameters, buffers, inputs and gradients; frozen.

    Several graphs may share a parameter. A shared parameter has the same key in each graph, so that
    :func:`resident_bytes` and :func:`gradient_bytes` count it once.

    Attributes
    ----------
    resident : dict
        Bytes of parameters, buffers and inputs, by a key of the storage.
    gradients : dict
        Bytes of the gradients of parameters, by a key of the parameter.
    """

    resident: dict[Hashable, int]
    gradients: dict[Hashable, int]

    @classmethod
    def of(cls, folded: Folded) -> OutsideBytes:
        """Count the bytes of the parameters, buffers, inputs and gradients of a graph.

        A tensor whose real storage is not known counts as a tensor that no other graph has.
        """
        joint = folded.joint
        values = {node: node.meta.get("val") for node, _ in folded.placeholders}
        real = real_storages(values.values())
        keys: dict[int, Hashable] = {}
        gradients: dict[int, tuple[Hashable, int]] = {}
        for i, (node, value) in enumerate(values.items()):
            storage = folded.storage_of.get(node)
            if storage is None or not isinstance(value, torch.Tensor):
                continue
            keys[storage] = real.get(storage_key(value)) or object()
            made = folded.gradients[i] if i < len(folded.gradients) else None
            gradient = None if made is None else folded.storage_of.get(made)
            if gradient is not None and joint.storages[gradient].category is Category.PARAMETER_GRADIENT:
                parameter = keys[storage], str(value.storage_offset()), str(value.shape)
                gradients[gradient] = parameter, joint.sizes[gradient]
        resident = {
            keys.get(s, object()): joint.sizes[s]
            for s, storage in enumerate(joint.storages)
            if storage.maker < 0 and storage.category.static
        }
        return cls(resident, dict(gradients.values()))


def resident_bytes(graphs: Iterable[OutsideBytes]) -> int:
    """Return the bytes of the parameters, buffers and inputs of several graphs. A shared storage counts once."""
    return sum(dict(entry for graph in graphs for entry in graph.resident.items()).values())


def gradient_bytes(graphs: Iterable[OutsideBytes]) -> int:
    """Return the bytes of the gradients of several graphs. The gradient of a shared parameter counts once."""
    return sum(dict(entry for graph in graphs for entry in graph.gradients.items()).values())


@dataclass(frozen=True, eq=False)
class PlannedGraph:
    """How one joint graph was split; frozen.

    Attributes
    ----------
    kind : str
        ``"plan"``, or ``"PyTorch"`` if PyTorch's own split is used.
    memory : InductorMemory
        Bytes of the buffers of the forward and the backward graph.
    exact : bool
        Whether ``memory`` was counted in the code that Inductor generates. If False, it was simulated operator by
        operator, without fusion.
    outside : OutsideBytes
        Bytes of the graph's parameters, buffers, inputs and gradients.
    recomputed : float
        The estimated time of recomputation in milliseconds. For PyTorch's own split it is 0, because the recomputation
        of this split is not counted.
    """

    kind: str
    memory: InductorMemory
    exact: bool
    outside: OutsideBytes
    recomputed: float

    @property
    def resident(self) -> int:
        """Bytes of the graph's parameters, buffers and inputs."""
        return resident_bytes([self.outside])

    @property
    def gradients(self) -> int:
        """Bytes of the gradients of the graph's parameters."""
        return gradient_bytes([self.outside])

    @property
    def saved(self) -> int:
        """Bytes of the values that the forward graph saves for the backward graph, without inputs and outputs."""
        return self.memory.saved


class InductorJoint:
    """A joint graph that Inductor compiles, prepared for planning.

    Parameters
    ----------
    folded : Folded
        The joint graph as calls and storages; see :mod:`recompviz.pytorch.tracing.folding`.
    output_count : int
        The number of outputs of the forward graph, without saved values.
    static : sequence of int
        Positions of the inputs that have the same address in every step, such as parameters.

    Attributes
    ----------
    outside : OutsideBytes
        Bytes of the graph's parameters, buffers, inputs and gradients.
    """

    def __init__(self, folded: Folded, output_count: int, static: Sequence[int]) -> None:
        self.folded, self.output_count, self.static = folded, output_count, static
        self.outside = OutsideBytes.of(folded)

    @classmethod
    def of(cls, joint: GraphModule, output_count: int, static: Sequence[int]) -> InductorJoint:
        """Prepare a joint graph for planning. The joint graph is rewritten in place.

        Parameters
        ----------
        joint : torch.fx.GraphModule
        output_count : int
            The number of outputs of the forward pass. The other outputs of ``joint`` are gradients.
        static : sequence of int
            Positions of the inputs that have the same address in every step, such as parameters.
        """
        with example_sizes(node.meta.get("val") for node in joint.graph.nodes):
            folded = fold(joint, frozenset(), output_count=output_count, role_of=_roles(joint, static))
            folded = _runs_random_once(folded)
            graph = replace(folded.graph, time=_times(folded))
        return cls(replace(folded, graph=graph), output_count, static)

    def planned(self, kind: str, memory: InductorMemory, exact: bool, recomputed: float) -> PlannedGraph:
        """Return the :class:`PlannedGraph` of a split of this graph. The parameters are attributes of that class."""
        return PlannedGraph(kind, memory, exact, self.outside, recomputed)

    def saved_by(self, split: Split) -> int:
        """Count the bytes of the values that a split saves for the backward graph. Inputs of the graph do not count."""
        return saved_bytes(split[0], self.output_count)

    def computes_right(self, split: Split) -> bool:
        """Return whether a split computes the right gradients.

        The backward graph of the split must not repeat a call that may run only once, and must not read an input that
        the forward pass overwrites. PyTorch's own partitioner checks neither (torch 2.13, 2.14). It may for example
        draw the seed of a dropout again.
        """
        joint = self.folded.joint
        calls = zip(joint.calls, self.folded.call_node, strict=True)
        once = {node.name for call, node in calls if call.pinned}
        overwritten = {node.name for node in self.folded.mutated}
        read = {node.name for node in split[1].graph.find_nodes(op="placeholder") if node.users}
        computed = {node.name for node in split[1].graph.nodes if node.op == "call_function"}
        return not (once & computed or overwritten & read)

    def counted(self, split: Split) -> InductorMemory | None:
        """Count the bytes of a split in the code that Inductor generates.

        If they cannot be counted, a warning is logged and None is returned.
        """
        try:
            return inductor_memory(*split, self.output_count, self.static, self.folded.joint.rounded)
        except Exception as error:  # generated code may call anything
            logging.getLogger(__name__).warning("buffers of Inductor's code cannot be counted: %r", error)
            return None


def _roles(joint: GraphModule, static: Sequence[int]) -> Any:
    """Return a function that gives the role of a placeholder.

    Inductor gives the positions of parameters and buffers; a parameter gets a gradient.
    """
    inputs = [node for node in joint.graph.find_nodes(op="placeholder") if "tangents" not in str(node.target)]
    fixed = {inputs[i].name for i in static}
    trained = gets_gradient(joint)

    def role_of(node: Node) -> Role:
        if "tangents" in str(node.target):
            return "tangent", 0
        if node.name in fixed:
            return ("parameter" if node.name in trained else "buffer"), node.name
        return "input", inputs.index(node)

    return role_of


def _runs_random_once(folded: Folded) -> Folded:
    """Pin the forward calls that must not run again."""
    calls = tuple(
        replace(call, random=False, pinned=call.pinned or (not call.backward and must_run_once(node)))
        for call, node in zip(folded.joint.calls, folded.call_node, strict=True)
    )
    return replace(folded, joint=replace(folded.joint, calls=calls))


def _times(folded: Folded) -> NDArray[np.float64]:
    """Estimate the milliseconds of each node by a roofline.

    A pointwise operator counts only in part, because Inductor fuses it into another kernel.
    """
    nodes = folded.call_node[: folded.joint.forward_count]
    made = [n.meta["val"] for n in nodes if isinstance(n.meta.get("val"), torch.Tensor)]
    types = [value.dtype for value in made if value.dtype.is_floating_point]
    roofline = measure_roofline(device_of(made), max(set(types), key=types.count) if types else torch.float32)
    costs = []
    for node in nodes:
        share = FUSED_SHARE if is_pointwise(node.target) else 1.0
        costs.append(1000 * share * roofline.seconds(flops(node), bytes_moved(node)))
    return node_times(folded, costs)
