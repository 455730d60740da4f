"""``rv.Partitioner``: a plan decides what a graph saves, and Inductor makes the kernels.

Inductor asks its partitioner to split each joint graph into a forward and a backward graph. Every value that the
forward graph does not save is recomputed in the backward graph. The split is made once, when the graph is compiled.
"""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.fx import GraphModule, Node

from recompviz.core.base.errors import RecompvizError
from recompviz.core.base.units import format_bytes, parse_bytes
from recompviz.core.live.model import LiveModel
from recompviz.core.planning.region_tables import region_masks
from recompviz.core.steps.schedule import make_schedule
from recompviz.pytorch.internals.devices import device_of
from recompviz.pytorch.internals.fake_tensors import example_sizes
from recompviz.pytorch.internals.operators import is_pointwise
from recompviz.pytorch.internals.partitioner import (
    CustomPartitionerFn,
    copied_joint,
    default_split,
    gets_gradient,
    is_plain_joint,
    must_run_once,
    split_joint,
)
from recompviz.pytorch.tracing.costs import bytes_moved, flops, measure_roofline, node_times
from recompviz.pytorch.tracing.folding import Folded, fold
from recompviz.pytorch.tracing.optimizer_state import optimizer_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recompviz.pytorch.internals.export import Role

# Processor time for the search of one graph's plans, seconds.
SEARCH_SECONDS = 20.0
# Share of the time of a pointwise operator that is left when Inductor fuses it into another kernel.
FUSED_SHARE = 0.1


class UnplannedPartition(UserWarning):
    """A graph is split by PyTorch's own partitioner, because it cannot be planned."""


@dataclass(frozen=True)
class PlannedGraph:
    """What was decided for one joint graph.

    Attributes
    ----------
    saved : int
        Bytes that the forward graph saves for the backward graph, without inputs.
    resident : int
        Bytes of the parameters, buffers and inputs of the graph.
    peak : int
        The simulated peak of the graph in addition to ``resident``.
    recomputed : float
        Estimated milliseconds of the operators that run again.
    """

    saved: int
    resident: int
    peak: int
    recomputed: float


class Partitioner(CustomPartitionerFn):
    """Splits each joint graph so that the training step fits a total; for ``torch.compile`` with Inductor.

    Parameters
    ----------
    total : int or str
        Total bytes of a whole step, or a string such as ``"10 GiB"``.
    optimizer : torch.optim.Optimizer, optional
        Its state, and the gradients of all its parameters, count. Left out, they count where the graph shows them:
        a graph shows its own parameters and their gradients, and no state.

    Attributes
    ----------
    graphs : list of PlannedGraph
        In the order in which they were compiled.

    Raises
    ------
    ValueError
        If ``total`` is not a size.

    Examples
    --------
    >>> import torch, recompviz as rv
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.GELU(), torch.nn.Linear(8, 1))
    >>> compiled = torch.compile(model, options={"custom_partitioner_fn": rv.Partitioner(total="10 GiB")})
    """

    def __init__(self, total: int | float | str, *, optimizer: torch.optim.Optimizer | None = None) -> None:
        self.total = parse_bytes(total)
        self.optimizer = optimizer
        self.graphs: list[PlannedGraph] = []
        self._identity = uuid.uuid4().hex

    def uuid(self) -> Any:
        """The key under which Inductor caches graphs; never the same twice.

        What a graph may take depends on the graphs before it, and a cached graph would not be counted.
        """
        return f"{self._identity} {len(self.graphs)}"

    def __reduce__(self) -> Any:
        # Inductor pickles its settings to make a key of a cache
        return _restored, (self.total, self.uuid())

    @property
    def predicted(self) -> int | None:
        """The predicted peak of a step, total bytes; None before a graph was compiled."""
        if not self.graphs:
            return None
        saved, most = 0, 0
        for graph in self.graphs:
            most = max(most, saved + graph.peak)
            saved += graph.saved
        return self._resident(0) + most

    def __call__(
        self, gm: GraphModule, joint_inputs: Sequence[object], **options: Any
    ) -> tuple[GraphModule, GraphModule]:
        """Split a joint graph; called by Inductor."""
        if not joint_inputs or not is_plain_joint(gm):
            return self._default(gm, joint_inputs, options, "it contains a subgraph or an operator with side effects")
        joint = copied_joint(gm)
        try:
            return self._planned(joint, options)
        except RecompvizError as error:
            return self._default(gm, joint_inputs, options, str(error))

    def _default(
        self, gm: GraphModule, inputs: Sequence[object], options: dict[str, Any], reason: str
    ) -> tuple[GraphModule, GraphModule]:
        if inputs:  # a subgraph is part of a graph for which the warning was given
            warnings.warn(
                f"a graph of {len(gm.graph.nodes)} nodes is split by PyTorch's own partitioner, without a budget: "
                f"{reason}",
                UnplannedPartition,
                stacklevel=2,
            )
        return default_split(gm, inputs, options)

    def _planned(self, joint: GraphModule, options: dict[str, Any]) -> tuple[GraphModule, GraphModule]:
        count, static = options["num_fwd_outputs"], options.get("static_lifetime_input_indices") or []
        with example_sizes(node.meta.get("val") for node in joint.graph.nodes):
            folded = _runs_random_once(fold(joint, frozenset(), output_count=count, role_of=_roles(joint, static)))
            graph = replace(folded.graph, time=_times(folded))
            folded = replace(folded, graph=graph)
        resident = sum(folded.joint.static.values())
        masks = region_masks(graph, folded.joint, SEARCH_SECONDS)
        model = LiveModel(graph, folded.joint)
        runs = [model.simulate(np.ascontiguousarray(mask)) for mask in masks]
        room = self.total - self._resident(resident) - sum(known.saved for known in self.graphs)
        fitting = [i for i, run in enumerate(runs) if run.peak <= room]
        if fitting:
            best = min(fitting, key=lambda i: (runs[i].overhead, runs[i].peak))
        else:
            best = min(range(len(runs)), key=lambda i: runs[i].peak)
            warnings.warn(
                f"no plan of a graph of {len(joint.graph.nodes)} nodes fits the total {format_bytes(self.total)}; the "
                f"least is {format_bytes(self.total - room + runs[best].peak)}; the step may take more than the total. "
                "Raise the total, or make the batch smaller",
                UnplannedPartition,
                stacklevel=2,
            )
        schedule = make_schedule(folded.joint, masks[best].tolist())
        saved = saved_nodes(folded, schedule.saved)
        bytes_saved = int(sum(folded.joint.sizes[s] for s in schedule.saved))
        self.graphs.append(PlannedGraph(bytes_saved, resident, runs[best].peak, runs[best].overhead))
        return split_joint(joint, saved, count, static)

    def _resident(self, more: int) -> int:
        """Bytes in use before the step, with those of one more graph."""
        resident = sum(known.resident for known in self.graphs) + more
        if self.optimizer is None:
            return resident
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        state = optimizer_bytes(self.optimizer, lambda p: p.requires_grad, device_of(parameters)).state
        return resident + state


def _restored(total: int, _identity: str) -> Partitioner:
    return Partitioner(total)


def _roles(joint: GraphModule, static: Sequence[int]) -> Any:
    """A function from a placeholder to its role: Inductor says which inputs are parameters or buffers."""
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
    """A folded graph in which calls that must not run again are pinned."""
    calls = tuple(
        replace(call, random=False, pinned=call.pinned or (not call.backward and must_run_once(node)))
        for call, node in zip(folded.joint.calls, folded.call_node, strict=True)
    )
    return replace(folded, joint=replace(folded.joint, calls=calls))


def saved_nodes(folded: Folded, storages: frozenset[int]) -> list[Node]:
    """The fx node that makes each of these storages."""
    first: dict[int, Node] = {}
    for node, s in folded.storage_of.items():
        if s in storages and node.op == "call_function":
            first.setdefault(s, node)
    return list(first.values())


def _times(folded: Folded) -> NDArray[np.float64]:
    """Milliseconds of each node by a roofline."""
    nodes = folded.call_node[: folded.joint.forward_count]
    made = [n.meta["val"] for n in nodes if isinstance(n.meta.get("val"), torch.Tensor)]
    types = [value.dtype for value in made if value.dtype.is_floating_point]
    roofline = measure_roofline(device_of(made), max(set(types), key=types.count) if types else torch.float32)
    costs = []
    for node in nodes:
        share = FUSED_SHARE if is_pointwise(node.target) else 1.0
        costs.append(1000 * share * roofline.seconds(flops(node), bytes_moved(node)))
    return node_times(folded, costs)
