"""Every private part of PyTorch that recompviz touches, in one place.

Tried on torch 2.13.0 (CPU). When a release moves something, this is the only file to mend.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch._dynamo import config as dynamo_config
from torch._dynamo.functional_export import dynamo_graph_capture_for_export
from torch._functorch import config as functorch_config
from torch._functorch.aot_autograd import aot_export_joint_with_descriptors
from torch._functorch.partitioners import min_cut_rematerialization_partition
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx import Graph, GraphModule, Node

__all__ = [
    "FakeTensor",
    "FakeTensorMode",
    "autocast_off",
    "is_forward_output",
    "joint_graph",
    "keeps_graph",
    "memory_events",
    "min_cut_saved",
    "named_range",
    "placeholder_role",
    "storage_key",
]


def joint_graph(step: torch.nn.Module, arguments: tuple[Any, ...]) -> GraphModule:
    """The joint forward+backward ATen graph of ``step(*arguments)``, functionalised, never compiled."""
    # a trace is for one shape; left to itself, Dynamo makes symbols of the sizes in which a second trace differs
    fixed = dynamo_config.patch(allow_rnn=True, automatic_dynamic_shapes=False, assume_static_by_default=True)
    with fixed, _resizes_whole(), contextlib.ExitStack() as stack:
        captured = dynamo_graph_capture_for_export(step)(*arguments)
        joint = aot_export_joint_with_descriptors(stack, captured, arguments, keep_inference_input_mutations=True)
        return joint.graph_module


@contextlib.contextmanager
def _resizes_whole() -> Iterator[None]:
    """Trace a resize as the one operator that eager runs.

    AOTAutograd's dispatcher takes bilinear and nearest resizes apart into some thirty indexing calls, whose sums
    differ from eager's in the last bits.
    """
    keys = (torch._C.DispatchKey.Autograd, torch._C.DispatchKey.CompositeImplicitAutograd)
    removed: list[tuple[torch._ops.OpOverload[..., Any], Any, Any]] = []
    for packet in (torch.ops.aten.upsample_bilinear2d, torch.ops.aten.upsample_nearest2d):
        for overload in (packet.vec, packet.default):
            for key in keys:
                if key in overload.py_kernels:
                    removed.append((overload, key, overload.py_kernels.pop(key)))
            overload._dispatch_cache.clear()
    try:
        yield
    finally:
        for overload, key, kernel in removed:
            overload.py_kernels[key] = kernel
            overload._dispatch_cache.clear()


def min_cut_saved(fx: GraphModule, ratio: float) -> list[Node]:
    """What PyTorch's min-cut partitioner carries from the forward to the backward pass of a joint graph.

    The partitioner works on a copy and keeps its own defaults: operators it calls compute-intensive are not
    recomputed while the ratio allows, the knapsack is solved by ``dp`` over counted flops. Only its merging of
    equal subexpressions is off, which would answer for another graph than the one traced.

    Returns
    -------
    list of torch.fx.Node
        Outputs of the forward graph it made; they share their fake tensors with the nodes of ``fx``.
    """
    outputs = next(iter(reversed(fx.graph.nodes)))
    graph = Graph()
    # shallow: nodes and their meta dicts are new, the fake tensors in them are the same
    copied_output = graph.output(graph.graph_copy(fx.graph, {}))
    copied_output.meta = dict(outputs.meta)
    count = sum(map(is_forward_output, outputs.meta["desc"]))
    with functorch_config.patch(activation_memory_budget=ratio, cse=False):
        forward, _ = min_cut_rematerialization_partition(GraphModule(fx, graph), (), num_fwd_outputs=count)
    made = next(iter(reversed(forward.graph.nodes)))
    return [node for node in made.args[0][count:] if isinstance(node, Node)]


def placeholder_role(node: Node) -> tuple[str, str | int]:
    """What a placeholder of the joint graph stands for.

    Returns
    -------
    (role, which)
        ``("parameter", name)``, ``("buffer", name)``, ``("input", flat position)`` or ``("tangent", 0)``.
    """
    desc = node.meta["desc"]
    kind = type(desc).__name__
    if kind == "ParamAOTInput":
        return "parameter", desc.target
    if kind == "BufferAOTInput":
        return "buffer", desc.target
    if kind == "PlainAOTInput":
        return "input", desc.idx
    if kind == "TangentAOTInput":
        return "tangent", 0
    return "unknown", repr(desc)


def is_forward_output(desc: object) -> bool:
    """Whether the descriptor of a joint graph's output names a value of the forward pass."""
    return type(desc).__name__ == "PlainAOTOutput"


def storage_key(tensor: torch.Tensor) -> int:
    """An identity of the tensor's storage, valid while the tensor lives."""
    return int(tensor.untyped_storage()._cdata)


def autocast_off() -> contextlib.AbstractContextManager[None]:
    """Run operators exactly as traced, whatever autocast the caller is under."""
    return torch._C._DisableAutocast()


def keeps_graph() -> bool:
    """Whether the backward pass now running was asked to ``retain_graph``."""
    return bool(torch._C._autograd._get_current_graph_task_keep_graph())


def named_range(name: str) -> contextlib.AbstractContextManager[None]:
    """A range that the profiler records under a name, at a few hundred nanoseconds."""
    return torch._C._profiler._RecordFunctionFast(name)


def memory_events(profile: torch.profiler.profile, device_type: str) -> Iterator[tuple[int, int, str]]:
    """Allocations and frees of a finished profile in the order they happened.

    Yields
    ------
    (address, bytes, range)
        Bytes are negative for a free; ``range`` is the innermost enclosing name that starts with
        ``"rv:"``, or the outermost operator's name, or empty.
    """
    kinds = torch._C._profiler._EventType
    profiler = profile.profiler
    assert profiler is not None
    assert profiler.kineto_results is not None
    found: list[tuple[int, int, int, int, str]] = []
    stack: list[tuple[Any, str]] = [(root, "") for root in profiler.kineto_results.experimental_event_tree()]
    while stack:
        event, inside = stack.pop()
        tag = event.tag
        if tag == kinds.Allocation:
            fields = event.extra_fields
            if str(fields.device).split(":")[0] == device_type:
                found.append((event.start_time_ns, len(found), fields.ptr, fields.alloc_size, inside))
        elif tag == kinds.TorchOp and event.name.startswith(("rv:",) if inside else ("rv:", "aten::")):
            inside = event.name
        stack.extend((child, inside) for child in reversed(event.children))
    found.sort(key=lambda row: row[:2])
    yield from ((address, size, inside) for _, _, address, size, inside in found)
