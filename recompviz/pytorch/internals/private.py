"""Every private part of PyTorch that recompviz touches, in one place.

Tried on torch 2.10.0, 2.11.0, 2.12.1, 2.13.0 and 2.14.1, all on the CPU. When a release moves something, this is the
only file to mend. Before 2.13 the error checks of torch.linalg are left out of a trace; 2.10 cannot trace a gradient
taken within the forward pass, and says so.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import warnings
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch._dynamo import config as dynamo_config
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.backends.debugging import boxed_nop
from torch._dynamo.functional_export import dynamo_graph_capture_for_export
from torch._functorch import config as functorch_config
from torch._functorch.aot_autograd import aot_export_joint_with_descriptors
from torch._functorch.partitioners import min_cut_rematerialization_partition
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, fake_tensor_tls
from torch.fx import Graph, GraphModule, Node
from torch.utils import _pytree as pytree

__all__ = [
    "BufferSet",
    "FakeTensor",
    "FakeTensorMode",
    "autocast_off",
    "compiled_in_memory_budget",
    "dispatch_modes_off",
    "is_forward_output",
    "joint_graph",
    "keeps_graph",
    "lstm_in_single_operators",
    "memory_events",
    "min_cut_saved",
    "named_range",
    "next_sequence_number",
    "operator_ranges",
    "placeholder_role",
    "profiler_runs",
    "quiet_profiler",
    "running_node",
    "storage_key",
    "without_storage",
]


def joint_graph(step: torch.nn.Module, arguments: tuple[Any, ...]) -> GraphModule:
    """The joint forward+backward ATen graph of ``step(*arguments)``, functionalised, never compiled.

    Raises
    ------
    BufferSet
        If the step gives a buffer a new tensor.
    """
    try:
        return _joint_graph(step, arguments, _buffers_stay())
    except UserWarning as warning:
        if names := new_buffers(step, arguments):
            raise BufferSet(", ".join(names)) from warning
        return _joint_graph(step, arguments, _buffers_may_be_set())


class BufferSet(Exception):
    """A step gives buffers, which it names, new tensors; a trace would leave that out."""


def _joint_graph(
    step: torch.nn.Module, arguments: tuple[Any, ...], buffers: contextlib.AbstractContextManager[None]
) -> GraphModule:
    with (
        _dynamo_settings(),
        buffers,
        _as_eager_runs_them(),
        lstm_in_single_operators(),
        _tensors_put_back(step),
        contextlib.ExitStack() as stack,
    ):
        captured = dynamo_graph_capture_for_export(step)(*arguments)
        stack.enter_context(_constants_as_they_are())
        joint = aot_export_joint_with_descriptors(stack, captured, arguments, keep_inference_input_mutations=True)
        return joint.graph_module


@contextlib.contextmanager
def _constants_as_they_are() -> Iterator[None]:
    """Let a tensor that is no parameter, buffer or input be a constant of the trace, as releases from 2.13 on do."""
    before = fake_tensor_tls.allow_non_fake_inputs_override
    if torch.__version__ < "2.13":
        fake_tensor_tls.allow_non_fake_inputs_override = True
    try:
        yield
    finally:
        fake_tensor_tls.allow_non_fake_inputs_override = before


@contextlib.contextmanager
def _tensors_put_back(step: torch.nn.Module) -> Iterator[None]:
    """Give every module its own tensors back.

    AOTAutograd swaps them for its own while it traces, and puts them back name by name: where one module has two
    names (a layer used in two blocks), what it puts back last is what it had put in itself.
    """
    kept: list[tuple[Any, dict[str, Any]]] = [
        (held, dict(held)) for module in step.modules() for held in (module._parameters, module._buffers)
    ]
    try:
        yield
    finally:
        for held, tensors in kept:
            held.update(tensors)


@contextlib.contextmanager
def _buffers_stay() -> Iterator[None]:
    """Make an error of Dynamo's warning that it leaves out a tensor set as a buffer."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=_BUFFER_SET)
        _ignore_own_doings()
        yield


@contextlib.contextmanager
def _buffers_may_be_set() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=_BUFFER_SET)
        _ignore_own_doings()
        yield


_BUFFER_SET = r".*certain side effects.*_buffers"


def _ignore_own_doings() -> None:
    """Of its own way to trace Dynamo warns the user, who could do nothing about it."""
    for message in (
        r".*autograd\.function\.Function.* should not be instantiated",
        r"The \.grad attribute of a Tensor that is not a leaf Tensor is being accessed",  # torch 2.10, of fake tensors
    ):
        warnings.filterwarnings("ignore", message=message)


def without_storage(step: torch.nn.Module, arguments: Any) -> tuple[torch.nn.Module, Any]:
    """Copies of a step and its arguments on the CPU that have shapes and no memory; fake tensors stay as they are."""
    leaves, spec = pytree.tree_flatten(arguments)
    given = [value for value in (*step.parameters(), *step.buffers(), *leaves) if isinstance(value, torch.Tensor)]
    mode = next((value.fake_mode for value in given if isinstance(value, FakeTensor)), FakeTensorMode())
    memo: dict[int, Any] = {}
    for value in given:
        if id(value) not in memo:
            memo[id(value)] = value if isinstance(value, FakeTensor) else _without_storage(value, mode)
    copied = copy.deepcopy(step, memo)
    return copied, pytree.tree_unflatten([memo.get(id(leaf), leaf) for leaf in leaves], spec)


def _without_storage(value: torch.Tensor, mode: FakeTensorMode) -> torch.Tensor:
    with mode:
        fake = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="cpu")
        if isinstance(value, torch.nn.Parameter):
            return torch.nn.Parameter(fake, value.requires_grad)
        return fake.requires_grad_(value.requires_grad)


def new_buffers(step: torch.nn.Module, arguments: tuple[Any, ...]) -> list[str]:
    """The buffers that a step gives a new tensor, instead of overwriting the one they have; runs on shapes only."""
    step, arguments = without_storage(step, arguments)
    before = dict(step.named_buffers())
    mode = next((v.fake_mode for v in before.values() if isinstance(v, FakeTensor)), contextlib.nullcontext())
    with mode, torch.no_grad():
        step(*arguments)
    return [name for name, buffer in step.named_buffers() if before.get(name) is not buffer]


def _dynamo_settings() -> contextlib.AbstractContextManager[None]:
    """Every size a number; and through with what Dynamo would refuse: recurrent networks, inner gradients, logging.

    Left to itself it makes symbols of the sizes that differ from those of a step traced before.
    """
    wanted: dict[str, Any] = {"automatic_dynamic_shapes": False, "allow_rnn": True, "trace_autograd_ops": True}
    messages = {value for name, value in vars(logging.Logger).items() if callable(value) and not name.startswith("_")}
    wanted |= {"ignore_logging_functions": messages}
    patch: contextlib.AbstractContextManager[None] = dynamo_config.patch(
        {name: value for name, value in wanted.items() if hasattr(dynamo_config, name)}
    )
    return patch


# operators that the dispatcher of AOTAutograd takes apart by recipes of its own
_TAKEN_APART = ("upsample_", "_upsample_", "lstm", "gru", "rnn_tanh", "rnn_relu")


@contextlib.contextmanager
def _as_eager_runs_them() -> Iterator[None]:
    """Trace resizes and recurrent layers as the operators that eager runs.

    AOTAutograd's dispatcher takes a resize apart into some thirty indexing calls and an LSTM in another order than
    eager does, so that sums differ in the last bits; the dropout between the layers of an LSTM it forgets.
    """
    keys = (torch._C.DispatchKey.Autograd, torch._C.DispatchKey.CompositeImplicitAutograd)
    removed: list[tuple[torch._ops.OpOverload[..., Any], Any, Any]] = []
    for packet in (getattr(torch.ops.aten, name) for name in dir(torch.ops.aten) if name.startswith(_TAKEN_APART)):
        for overload in (getattr(packet, name) for name in packet.overloads()):
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


def compiled_in_memory_budget(module: torch.nn.Module, ratio: float) -> torch.nn.Module:
    """``torch.compile`` of a module under PyTorch's own memory budget, each operator run as it is, without Inductor.

    Parameters
    ----------
    module : torch.nn.Module
        Its output is differentiated; compiled when it is first called.
    ratio : float
        ``torch._functorch.config.activation_memory_budget``, 0 to 1.
    """
    compiler = aot_autograd(
        # boxed: what is not needed any more is freed while the step runs
        fw_compiler=boxed_nop,
        bw_compiler=boxed_nop,
        partition_fn=min_cut_rematerialization_partition,
        keep_inference_input_mutations=True,
    )

    def backend(graph: GraphModule, inputs: list[torch.Tensor]) -> Any:
        with functorch_config.patch(activation_memory_budget=ratio):
            return compiler(graph, inputs)

    compiled: Any = torch.compile(module, backend=backend, fullgraph=True, dynamic=False)
    return cast(torch.nn.Module, compiled)


@contextlib.contextmanager
def lstm_in_single_operators() -> Iterator[None]:
    """Run an LSTM on the CPU operator by operator, not in the fused kernel, whose workspace no trace can see."""
    enabled = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(enabled)


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


def quiet_profiler() -> None:
    """Keep the profiler's library from writing its stages to stderr; it reads the level when it is first used."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")


def profiler_runs() -> bool:
    """Whether a profiler records in this process, in whichever thread."""
    return bool(torch.autograd.profiler._is_profiler_enabled)


def memory_events(profile: torch.profiler.profile, device_type: str) -> Iterator[tuple[int, int, str]]:
    """Allocations and frees of a finished profile in the order they happened.

    Yields
    ------
    (address, bytes, range)
        Bytes are negative for a free; ``range`` is the innermost enclosing name that starts with
        ``"rv:"``, or the outermost operator's name, or empty.
    """
    return _memory_rows(profile, device_type, outermost=("rv:", "aten::"), starts=False)


def operator_ranges(profile: torch.profiler.profile, device_type: str) -> Iterator[tuple[int, int, str]]:
    """As :func:`memory_events`, by ranges named ``"rv:…"`` alone, and a row (0, 0, range) wherever one starts."""
    return _memory_rows(profile, device_type, outermost=("rv:",), starts=True)


def _memory_rows(
    profile: torch.profiler.profile, device_type: str, outermost: tuple[str, ...], starts: bool
) -> Iterator[tuple[int, int, str]]:
    """Allocations and frees by the range they lie in; outside of any, ``outermost`` is how one may begin."""
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
        elif tag == kinds.TorchOp and event.name.startswith(("rv:",) if inside else outermost):
            inside = event.name
            if starts:
                found.append((event.start_time_ns, -1, 0, 0, inside))
        stack.extend((child, inside) for child in reversed(event.children))
    found.sort(key=lambda row: row[:2])
    return ((address, size, inside) for _, _, address, size, inside in found)


def next_sequence_number() -> int:
    """The number that the next autograd node made by this thread will have."""
    return int(torch._C._autograd._get_sequence_nr())


def running_node() -> Any:
    """The autograd node whose backward is running on this thread, or None."""
    return torch._C._current_autograd_node()


def dispatch_modes_off() -> contextlib.AbstractContextManager[None]:
    """Run operators past every dispatch mode."""
    guard: contextlib.AbstractContextManager[None] = torch._C._DisableTorchDispatch()
    return guard
