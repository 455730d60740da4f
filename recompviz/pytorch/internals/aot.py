"""Compilation of a graph that Dynamo captured, by AOTAutograd, with forward and backward functions of recompviz.

Private PyTorch used here: ``aot_autograd`` and ``boxed_nop`` of ``torch._dynamo.backends``,
``torch._functorch.config``, ``TracingContext.fw_metadata`` of ``torch._guards``, the source of ``runtime_wrappers`` of
``torch._functorch._aot_autograd``, the ``meta`` entries ``"desc"``, ``"grapharg"`` and
``"saved_tensor_with_no_vc_check"`` of fx nodes, and ``_double_backward`` and ``metadata`` of the autograd function that
AOTAutograd makes. Tried on torch 2.11.0, 2.13.0 and 2.14.1, on the CPU.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.backends.debugging import boxed_nop
from torch._functorch import config as functorch_config
from torch._functorch._aot_autograd import runtime_wrappers
from torch._guards import TracingContext
from torch.fx import Graph, GraphModule, Node

from recompviz.core.base.errors import RecompvizError
from recompviz.pytorch.internals.devices.runtimes import device_of, runtime
from recompviz.pytorch.internals.dynamo import assigns_state, trim_metrics
from recompviz.pytorch.internals.export import (
    capture_settings,
    module_methods_put_back,
    placeholder_role,
    quiet_capture,
)
from recompviz.pytorch.internals.fake_tensors import FakeTensor
from recompviz.pytorch.internals.gradient_order import GradientOrder, replicated
from recompviz.pytorch.internals.memory_window import compiled_call
from recompviz.pytorch.internals.operators import operators_kept_whole
from recompviz.pytorch.internals.tensors import has_lazy_parameters

__all__ = [
    "CaptureOff",
    "CapturedStep",
    "DoubleBackward",
    "EndOfCapture",
    "captured_joint",
    "compile_joint",
    "gradients_are_boxed",
    "input_sources",
    "make_lazy_parameters",
    "own_code",
]


def compile_joint(
    graph: GraphModule,
    inputs: Sequence[Any],
    partition: Callable[[GraphModule, int], tuple[int, int]],
    forward: Callable[[], Callable[[list[Any]], list[Any]]],
    backward: Callable[[], Callable[[list[Any]], list[Any]]],
    inference: Callable[[GraphModule], Callable[[list[Any]], Any] | None] = lambda _graph: None,
    before_backward: Callable[[], None] = lambda: None,
) -> Callable[..., Any]:
    """Compile a graph that Dynamo captured, with given functions for its forward and backward pass.

    AOTAutograd makes the joint graph, and an autograd function that calls the given functions.

    Parameters
    ----------
    graph : torch.fx.GraphModule
    inputs : sequence
        Example inputs of the graph.
    partition : callable (joint graph, number of forward outputs) → (int, int)
        Called once with the joint graph, if the graph has a backward pass. Returns two numbers of tensors that the
        forward pass saves: those that autograd checks for in-place writes before the backward pass reads them, and
        those that it does not check. Each saved tensor is a *slot*.
    forward, backward : callable () → callable
        Each is called when its pass is compiled, and returns the function of the pass. Both functions take one list and
        empty it. The forward function gets the inputs, and returns outputs, slots and the symbolic sizes among the
        inputs. The backward function gets sizes, slots and the gradients of the outputs, and returns the gradients of
        the inputs.
    inference : callable (graph) → callable or None
        Called with the graph if the graph has no backward pass; ``partition``, ``forward`` and ``backward`` are then
        not called. Returns the function that runs the graph: this function takes one list, empties it, and returns the
        outputs. If ``inference`` returns None, as it does by default, the operators of the graph are called one by one.
    before_backward : callable () → None
        Called when a backward pass starts, before AOTAutograd disables autocast.

    Returns
    -------
    callable (*inputs) → outputs
    """

    def infer(graph: GraphModule, inputs: Sequence[Any]) -> Any:
        function = inference(graph)
        return boxed_nop(graph, list(inputs)) if function is None else _boxed(function)

    def split(
        joint: GraphModule, _inputs: Sequence[Any], *, num_fwd_outputs: int, **_options: Any
    ) -> tuple[GraphModule, GraphModule]:
        orders.append(GradientOrder(joint, num_fwd_outputs))
        checked, unchecked = partition(joint, num_fwd_outputs)
        gradients = next(iter(reversed(joint.graph.nodes))).args[0][num_fwd_outputs:]
        no_gradient.extend(i for i, gradient in enumerate(gradients) if gradient is None)
        return _signatures(joint, num_fwd_outputs, checked, unchecked)

    def compile_forward(_graph: GraphModule, _inputs: Sequence[Any]) -> Any:
        no_gradient[:] = _used_only_inside(no_gradient, len(inputs))
        orders[-1].keep(_used_only_inside(range(len(inputs)), len(inputs)))
        return _boxed(forward())

    no_gradient: list[int] = []  # positions of inputs
    orders: list[GradientOrder] = []  # one if the graph has a backward pass
    settings: dict[str, Any] = {"donated_buffer": False, "functionalize_rng_ops": False}
    if hasattr(functorch_config, "backward_pass_autocast"):
        settings["backward_pass_autocast"] = "off"  # as for a loss.backward() outside the autocast block
    compiler = aot_autograd(
        fw_compiler=compile_forward,
        bw_compiler=lambda _graph, _inputs: _boxed(backward()),
        inference_compiler=infer,
        partition_fn=split,
        keep_inference_input_mutations=True,
    )
    with (
        functorch_config.patch(settings),
        operators_kept_whole(),
        module_methods_put_back(),
    ):
        return _AsEager(compiler(graph, inputs), before_backward, tuple(no_gradient), *orders[-1:])


def _used_only_inside(positions: Sequence[int], count: int) -> list[int]:
    """Return the positions of the inputs that the graph neither overwrites nor returns, as a view or as they are."""
    metadata = getattr(TracingContext.try_get(), "fw_metadata", None)
    if metadata is None or len(metadata.input_info) != count:  # views of one tensor became one input
        return []
    returned = {info.base_idx for info in metadata.output_info if "input" in info.output_type.name}
    changed = {i for i, info in enumerate(metadata.input_info) if info.mutates_data or info.mutates_metadata}
    return [i for i in positions if i not in returned | changed]


class DoubleBackward(RecompvizError, RuntimeError):
    """The gradients of a graph that recompviz compiled were differentiated a second time."""

    def __init__(self) -> None:
        super().__init__(
            "a gradient that a planned region computed with create_graph=True is differentiated again, and a plan has "
            "no second derivative; compute the term with the second derivative with the model that is not compiled, "
            "or take its gradient inside the compiled function, where torch.autograd.grad is captured"
        )


class _AsEager:
    """Calls a compiled graph so that autograd behaves as in eager PyTorch.

    An input that gets no gradient in the graph is detached if it has hooks. AOTAutograd would call the hooks with None,
    and eager PyTorch does not call them. Inside DistributedDataParallel, gradients arrive in eager's order.

    The autograd function of AOTAutograd is changed in four ways. It calls ``before_backward`` first. A second
    derivative raises :class:`DoubleBackward`, whose message says what to do; AOTAutograd's own error does not.
    Gradients of outputs keep their strides. ``backward(retain_graph=True)`` is allowed in every step. The changes are
    made after the first call, because the autograd function can only be reached from an output.
    """

    def __init__(
        self,
        compiled: Callable[..., Any],
        before_backward: Callable[[], None],
        no_gradient: tuple[int, ...] = (),
        order: GradientOrder | None = None,
    ) -> None:
        self.compiled, self.before_backward, self.order = compiled, before_backward, order
        self.no_gradient = no_gradient  # positions of inputs
        self.seen = False

    def __call__(self, *arguments: Any) -> Any:
        if self.no_gradient:
            arguments = self._without_unused_hooks(arguments)
        if replicated() and self.order is not None:
            arguments = self.order.applied(arguments)
        with compiled_call():
            outputs = self.compiled(*arguments)
        if not self.seen:
            self._see(outputs)
        return outputs

    def _without_unused_hooks(self, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        hooked = [
            i for i in self.no_gradient if isinstance(arguments[i], torch.Tensor) and arguments[i]._backward_hooks
        ]
        if not hooked:
            return arguments
        given = list(arguments)
        for i in hooked:
            given[i] = given[i].detach()
        return tuple(given)

    def _see(self, outputs: Any) -> None:
        nodes = [output.grad_fn for output in outputs if isinstance(output, torch.Tensor) and output.grad_fn]
        while nodes:
            node = nodes.pop()
            function = getattr(node, "_forward_cls", None)
            if function is not None and hasattr(function, "_double_backward"):
                function._double_backward = staticmethod(_refused)
                _keep_strides(function)
                _donate_nothing(function)
                function.backward = staticmethod(_after(self.before_backward, function.backward))
                self.seen = True
                return
            if function is None:  # a view of an output
                nodes += [previous for previous, _ in node.next_functions if previous is not None]


def _after(first: Callable[[], None], function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that calls ``first`` and then ``function``."""

    def both(*arguments: Any) -> Any:
        first()
        return function(*arguments)

    return both


def _keep_strides(function: Any) -> None:
    """Keep the strides of the gradients of outputs, as eager PyTorch does.

    AOTAutograd copies these gradients to the strides of the outputs. Sums over a copy are taken in another order.
    """
    for tangent in getattr(getattr(function, "metadata", None), "subclass_tangent_meta", ()):
        if type(tangent).__name__ == "PlainTensorMeta":
            tangent.memory_format = types.SimpleNamespace(memory_format=None, size=_EqualsAll(), stride=_EqualsAll())


def _donate_nothing(function: Any) -> None:
    """Say that the backward function takes no saved tensor for its own use.

    A list that was never filled in counts as "some tensors" in AOTAutograd, which then refuses ``retain_graph=True``
    after a step without it.
    """
    metadata = getattr(function, "metadata", None)
    if metadata is not None and getattr(metadata, "bw_donated_idxs", None) is None:
        metadata.bw_donated_idxs = []


class _EqualsAll:
    """Takes the place of the size or strides that AOTAutograd expects of a gradient, and accepts any."""

    def __eq__(self, _other: object) -> bool:
        return True


def _refused(_context: Any, compute: Callable[[Any], Any], arguments: list[Any]) -> Any:
    """Compute gradients with a ``grad_fn`` that raises :class:`DoubleBackward`."""

    class Refused(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, *_unused: Any) -> Any:
            return compute(context)

        @staticmethod
        def backward(_context: Any, *_gradients: Any) -> Any:
            raise DoubleBackward

    return Refused.apply(torch.empty(0, requires_grad=True), *arguments)  # type: ignore[no-untyped-call]  # not annotated


def own_code(kind: type[torch.nn.Module]) -> types.FunctionType:
    """Return a copy of a class's ``forward`` function. The copy has a code object of its own.

    Dynamo stores and counts compiled versions by code object. The copy therefore has versions of its own.
    """
    return _own_function(kind.forward)


def _own_function(function: Any) -> types.FunctionType:
    own = types.FunctionType(
        function.__code__.replace(),
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    own.__kwdefaults__ = function.__kwdefaults__
    return own


class EndOfCapture(BaseException):
    """Ends a capture before the captured code runs. Dynamo neither wraps nor suppresses it: it is a BaseException."""


class CaptureOff(RecompvizError, RuntimeError):
    """PyTorch's compiler is off: it would run a function instead of capturing it."""

    def __init__(self) -> None:
        super().__init__(
            "PyTorch's compiler is off here, so the step cannot be captured; leave blocks of a TorchDispatchMode such "
            "as FlopCounterMode, unset TORCHDYNAMO_DISABLE and TORCH_COMPILE_DISABLE, and set "
            'torch.compiler.set_stance("default")'
        )


@dataclass(frozen=True, eq=False)
class CapturedStep:
    """The joint graph of a captured training step; frozen.

    Attributes
    ----------
    joint : torch.fx.GraphModule
        The forward and backward pass.
    sources : list of str
        The Python expression by which Dynamo found each input of the graph; see :func:`input_sources`.
    inputs : list of torch.Tensor
        The inputs of the graph, parameters included.
    assigns_state : bool
        Whether the step assigns to attributes of its modules, or changes a container such as a list. The next call of
        the step may then have another graph.
    """

    joint: GraphModule
    sources: list[str]
    inputs: list[torch.Tensor]
    assigns_state: bool


def captured_joint(step: torch.nn.Module, arguments: tuple[Any, ...]) -> CapturedStep | None:
    """Capture the joint graph of ``step(*arguments)`` with ``torch.compile``. The step does not run.

    Return None if the step computes no gradient.

    Raises
    ------
    CaptureOff
        If PyTorch's compiler is off.
    torch._dynamo.exc.TorchDynamoException
        If Dynamo cannot capture the step as one graph.
    """
    compiled = _capturing(type(step))  # type: ignore[arg-type]  # mypy looks at the hash of an instance
    try:
        found: list[CapturedStep] = _captured(compiled, step, arguments)
    except CaptureOff:
        _capturing.cache_clear()  # Dynamo never compiles a code object again that it did not compile once
        raise
    return found[-1] if found else None


def make_lazy_parameters(
    step: torch.nn.Module, arguments: tuple[Any, ...], named: Mapping[str, Any] | None = None
) -> bool:
    """Make the parameters of lazy layers (``torch.nn.LazyLinear``), as the first forward pass would make them.

    The forward pass does not run. The parameters are initialised with random numbers from PyTorch's generators, as in a
    forward pass.

    Parameters
    ----------
    step : torch.nn.Module
        A module that is not a lazy layer itself.
    arguments, named
        The arguments of the first forward pass.

    Returns
    -------
    bool
        Whether all parameters and buffers have a shape now. False if Dynamo cannot capture the code before a lazy
        layer.
    """
    if not has_lazy_parameters([*step.parameters(), *step.buffers()]):
        return True
    compiled = _lazily(type(step))  # type: ignore[arg-type]  # mypy looks at the hash of an instance
    for generator, state in _captured(compiled, step, arguments, named):  # Dynamo puts the generators back
        generator.set_state(state)
    return not has_lazy_parameters([*step.parameters(), *step.buffers()])


# what the backend of the current capture found
_found: ContextVar[list[Any]] = ContextVar("recompviz_found")


def _captured(
    compiled: Callable[..., Any],
    step: torch.nn.Module,
    arguments: tuple[Any, ...],
    named: Mapping[str, Any] | None = None,
) -> list[Any]:
    """Call a compiled step whose backend ends the capture, and return what the backend appended to ``_found``."""
    found: list[Any] = []
    token = _found.set(found)
    try:
        # the backend raises EndOfCapture when it has what is wanted
        with capture_settings(), quiet_capture(), contextlib.suppress(EndOfCapture):
            compiled(step, *arguments, **(named or {}))
    finally:
        _found.reset(token)
    trim_metrics()
    return found


def _note_generators(_graph: GraphModule, inputs: Sequence[Any]) -> Callable[..., Any]:
    """A backend that notes the states of the random generators, and then ends the capture.

    When Dynamo calls a backend, Dynamo has made the parameters already.
    """
    for device in {torch.device("cpu"), device_of(inputs)}:
        generator = runtime(device).generator()
        _found.get().append((generator, generator.get_state()))
    raise EndOfCapture


@functools.cache
def _lazily(kind: type[torch.nn.Module]) -> Callable[..., Any]:
    return torch.compile(own_code(kind), backend=_note_generators, dynamic=False)


@functools.cache
def _capturing(kind: type[torch.nn.Module]) -> Callable[..., Any]:
    """Return the compiled ``forward`` of a class, which ends with :class:`EndOfCapture`.

    There is one for each class, because Dynamo keeps memory for each function that it compiles.
    """
    forward = own_code(kind)

    def captured(self: Any, inputs: Any, kwargs: Any, targets: Any) -> Any:
        if not torch.compiler.is_compiling():  # otherwise the user's model would run, and change its buffers
            raise CaptureOff
        return forward(self, inputs, kwargs, targets)

    return torch.compile(_own_function(captured), backend=_capture, fullgraph=True, dynamic=False)


def _capture(graph: GraphModule, inputs: Sequence[Any]) -> Callable[..., Any]:
    """A backend that records the joint graph in ``_found``. It holds no state, because Dynamo keeps backends."""

    def partition(joint: GraphModule, _output_count: int) -> tuple[int, int]:
        _found.get().append(CapturedStep(joint, input_sources(graph), list(inputs), assigns_state()))
        raise EndOfCapture

    compile_joint(graph, inputs, partition, lambda: list, lambda: list)
    raise EndOfCapture  # a graph without a backward pass


@functools.cache
def gradients_are_boxed() -> bool:
    """Return whether AOTAutograd drops its references to the outputs' gradients when the backward pass starts.

    It does so since torch 2.13. Earlier versions keep the references until the backward pass ends.
    """
    return "boxed_grads_call" in inspect.getsource(runtime_wrappers)


def _boxed(function: Callable[[list[Any]], list[Any]]) -> Callable[[list[Any]], list[Any]]:
    """Mark a function as boxed, so that AOTAutograd passes its arguments as one list."""

    def boxed(arguments: list[Any]) -> list[Any]:
        return function(arguments)

    boxed._boxed_call = True  # type: ignore[attr-defined]  # the mark that AOTAutograd reads
    return boxed


def _signatures(joint: GraphModule, output_count: int, checked: int, unchecked: int) -> tuple[GraphModule, GraphModule]:
    """Return a forward and a backward graph that never run: AOTAutograd reads only their inputs and outputs."""
    placeholders = [node for node in joint.graph.nodes if node.op == "placeholder"]
    primals = [node for node in placeholders if placeholder_role(node)[0] != "tangent"]
    tangents = [node for node in placeholders if placeholder_role(node)[0] == "tangent"]
    output = next(iter(reversed(joint.graph.nodes)))
    values, descriptors = output.args[0], output.meta["desc"]
    mode = next(v.fake_mode for n in placeholders if isinstance(v := n.meta.get("val"), FakeTensor))
    with mode:
        empty = torch.empty(0)

    ahead = Graph()
    for node in primals:
        ahead.placeholder(node.name).meta = dict(node.meta)
    by_name = {node.name: node for node in ahead.nodes}

    def stand_in(meta: dict[str, Any]) -> Node:
        node = ahead.call_function(torch.empty, ([0],))
        node.meta = meta
        return node

    outputs: list[Any] = []
    for value in values[:output_count]:
        if not isinstance(value, Node):
            outputs.append(value)
        else:
            outputs.append(by_name.get(value.name) or stand_in(dict(value.meta)))
    slots = [stand_in({"val": empty}) for _ in range(checked)]
    slots += [stand_in({"val": empty, "saved_tensor_with_no_vc_check": True}) for _ in range(unchecked)]
    sizes = [by_name[node.name] for node in primals if not isinstance(node.meta["val"], torch.Tensor)]
    ahead.output((*outputs, *slots, *sizes)).meta["desc"] = [
        *descriptors[:output_count], *(None for _ in (*slots, *sizes)),
    ]  # fmt: skip

    behind = Graph()
    for node in sizes:
        behind.placeholder(node.name).meta = dict(node.meta)
    for number in range(checked + unchecked):
        behind.placeholder(f"slot_{number}").meta = {"val": empty}
    for node in tangents:
        behind.placeholder(node.name).meta = dict(node.meta)
    some = next(iter(reversed(behind.nodes)), None)
    gradients = tuple(some if isinstance(value, Node) else value for value in values[output_count:])
    behind.output(gradients).meta["desc"] = list(descriptors[output_count:])
    return GraphModule(torch.nn.Module(), ahead), GraphModule(torch.nn.Module(), behind)


def input_sources(graph: GraphModule) -> list[str]:
    """Return the Python expression by which Dynamo found each input of a graph; an unknown expression is empty.

    An example is ``"L['self']._modules['fc']._parameters['weight']"``.
    """
    found = []
    for node in graph.graph.nodes:
        if node.op == "placeholder":
            argument = node.meta.get("grapharg")
            source = getattr(argument, "source", None)
            name = getattr(source, "name", "")
            found.append(name() if callable(name) else str(name))
    return found
