"""The joint forward and backward graph of a training step, made by PyTorch's own exporter.

Private PyTorch used here: ``torch._dynamo.config``, ``dynamo_graph_capture_for_export`` of
``torch._dynamo.functional_export``, ``aot_export_joint_with_descriptors`` of ``torch._functorch.aot_autograd`` and the
class names of its descriptors, ``Module._parameters`` and ``Module._buffers``. Tried on torch 2.11.0, 2.12.1,
2.13.0 and 2.14.1, on the CPU. Before 2.13 a trace omits the error checks of ``torch.linalg``.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Iterator
from typing import Any

import torch
from torch._dynamo import config as dynamo_config
from torch._dynamo.functional_export import dynamo_graph_capture_for_export
from torch._functorch.aot_autograd import aot_export_joint_with_descriptors
from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree

from recompviz.pytorch.internals.fake_tensors import (
    fake_mode_of,
    real_constants_allowed,
    without_storage,
)
from recompviz.pytorch.internals.operators import lstm_in_single_operators, operators_kept_whole
from recompviz.pytorch.internals.undone import undone
from recompviz.pytorch.internals.warning_filters import Action, warnings_filtered

__all__ = [
    "BufferSet",
    "Role",
    "capture_settings",
    "is_forward_output",
    "is_gradient",
    "joint_graph",
    "module_methods_put_back",
    "new_buffers",
    "overwritten_input",
    "placeholder_role",
    "quiet_capture",
    "result_on_shapes",
]


# the value that a placeholder stands for: (role, which); see placeholder_role
Role = tuple[str, str | int]


# Versions of one step that are captured, for example one for each batch shape, before it runs eagerly.
MOST_VERSIONS = 256


class BufferSet(Exception):
    """A training step assigns a new tensor to a buffer, which a trace would lose. The message names the buffers."""


def joint_graph(step: torch.nn.Module, arguments: tuple[Any, ...]) -> GraphModule:
    """Return the joint forward and backward ATen graph of ``step(*arguments)``, without in-place operators.

    Raises
    ------
    BufferSet
        If the step assigns a new tensor to a buffer.
    torch._dynamo.exc.TorchDynamoException
        If Dynamo cannot capture the step as one graph.
    """
    try:
        return _joint_graph(step, arguments, _buffer_warning("error"))
    except UserWarning as warning:
        if names := new_buffers(step, arguments):
            raise BufferSet(", ".join(names)) from warning
        return _joint_graph(step, arguments, _buffer_warning("ignore"))


def new_buffers(step: torch.nn.Module, arguments: tuple[Any, ...]) -> list[str]:
    """Return the names of the buffers that the step replaces by new tensors. The step runs on fake tensors."""
    return _run_on_shapes(step, arguments)[1]


def result_on_shapes(step: torch.nn.Module, arguments: tuple[Any, ...]) -> Any:
    """Return the result of ``step(*arguments)`` as fake tensors."""
    return _run_on_shapes(step, arguments)[0]


def _run_on_shapes(step: torch.nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, list[str]]:
    """Run the step on fake tensors, and return its result and the names of the buffers that it replaces."""
    step, arguments = without_storage(step, arguments)
    before = dict(step.named_buffers())
    tensors = [*step.parameters(), *before.values(), *pytree.tree_leaves(arguments)]
    with _quiet_loggers(), fake_mode_of(tensors), torch.no_grad():
        result = step(*arguments)
    return result, [name for name, buffer in step.named_buffers() if before.get(name) is not buffer]


def placeholder_role(node: Node) -> Role:
    """Return what the value of a placeholder of the joint graph is in the training step.

    Returns
    -------
    (role, which)
        ``("parameter", name)``, ``("buffer", name)``, ``("input", flat position)``, ``("tangent", 0)`` for the gradient
        of an output, or ``("unknown", description)`` for anything else.
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
    """Return whether the descriptor of a joint graph's output belongs to an output of the forward pass.

    AOTAutograd's descriptors are in ``meta["desc"]`` of the graph's output node, one for each output.
    """
    return type(desc).__name__ == "PlainAOTOutput"


def is_gradient(desc: object) -> bool:
    """Return whether the descriptor of a joint graph's output belongs to a gradient."""
    return type(desc).__name__ == "GradAOTOutput"


def overwritten_input(desc: object) -> object | None:
    """Return the descriptor of the input into which an output is copied after the graph runs; None if there is none."""
    return getattr(desc, "mutated_input", None)


def _joint_graph(
    step: torch.nn.Module, arguments: tuple[Any, ...], buffer_warning: contextlib.AbstractContextManager[None]
) -> GraphModule:
    with (
        capture_settings(),
        buffer_warning,
        operators_kept_whole(),
        lstm_in_single_operators(),
        _tensors_put_back(step),
        module_methods_put_back(),
        contextlib.ExitStack() as stack,
    ):
        captured = dynamo_graph_capture_for_export(step)(*arguments)
        stack.enter_context(real_constants_allowed())
        joint = aot_export_joint_with_descriptors(stack, captured, arguments, keep_inference_input_mutations=True)
        return joint.graph_module


@contextlib.contextmanager
def capture_settings(varying_sizes: bool = False) -> Iterator[None]:
    """In a ``with`` block, let Dynamo capture more kinds of code.

    These are recurrent layers, gradients that the forward pass computes, and methods of ``logging.Logger``, which are
    not called while Dynamo captures. Functions such as ``logging.info`` still end a graph. Dynamo also notices hooks
    that are added later, and captures up to 256 versions of a function.

    Parameters
    ----------
    varying_sizes : bool
        Whether Dynamo replaces a size by a symbol if the size differs from an earlier capture. If False, every size is
        a number.
    """
    with dynamo_config.patch(_settings(varying_sizes)), _quiet_loggers():
        yield


@contextlib.contextmanager
def _quiet_loggers() -> Iterator[None]:
    """In a ``with`` block, PyTorch logs no errors that are of no use; see :func:`_is_of_use`."""
    loggers = [logging.getLogger(f"torch.{name}") for name in ("_dynamo.metrics_context", "_subclasses.fake_tensor")]
    for logger in loggers:
        logger.addFilter(_is_of_use)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(_is_of_use)


@functools.cache
def _settings(varying_sizes: bool) -> dict[str, Any]:
    """Return Dynamo's settings for a capture; cached, because a planned module needs them at each call."""
    wanted: dict[str, Any] = {
        "automatic_dynamic_shapes": varying_sizes,
        "allow_rnn": True,
        "trace_autograd_ops": True,
        "allow_unspec_int_on_nn_module": True,  # an int that a layer counts with may be an input, not a constant
        "skip_nnmodule_hook_guards": False,  # otherwise a hook that is added later is not seen
        "recompile_limit": MOST_VERSIONS,
        "accumulated_recompile_limit": 16 * MOST_VERSIONS,
    }
    messages = {value for name, value in vars(logging.Logger).items() if callable(value) and not name.startswith("_")}
    wanted |= {"ignore_logging_functions": messages}
    return {name: value for name, value in wanted.items() if hasattr(dynamo_config, name)}


def _is_of_use(record: logging.LogRecord) -> bool:
    """Return False for two kinds of errors in the log of PyTorch.

    An operator that raises an error on a tensor without memory is logged with a stack trace, and then raises the error.
    Version 2.11 cannot write its own settings, which contain functions, as JSON.
    """
    useless = ("logging compilation metrics", "failed while attempting to run meta for")
    return not record.getMessage().startswith(useless)


def _buffer_warning(action: Action) -> contextlib.AbstractContextManager[None]:
    """Raise ("error") or suppress ("ignore") Dynamo's warning that it omits a tensor assigned to a buffer.

    Warnings about Dynamo's own tracing, on which a user cannot act, are also suppressed.
    """
    return warnings_filtered(
        ("ignore", r".*certain side effects"),  # the graph does not run
        (action, r".*certain side effects.*_buffers"),
        ("ignore", r".*autograd\.function\.Function.* should not be instantiated"),
        # old versions read .grad of fake tensors
        ("ignore", r"The \.grad attribute of a Tensor that is not a leaf Tensor is being accessed"),
        # the error itself follows
        ("ignore", r"Error detected in \w+Backward"),
    )


def quiet_capture() -> contextlib.AbstractContextManager[None]:
    """In a ``with`` block, suppress warnings that Dynamo causes while it captures and that a user cannot avoid."""
    return _buffer_warning("ignore")


@contextlib.contextmanager
def module_methods_put_back() -> Iterator[None]:
    """Restore ``torch.nn.Module.__call__`` and ``__getattr__`` after a ``with`` block.

    ``torch.fx`` replaces these methods while it traces, and restores them itself, unless an interrupt arrives while it
    does so.
    """
    before = {name: vars(torch.nn.Module)[name] for name in ("__call__", "__getattr__")}

    def restore() -> None:
        for name, method in before.items():
            if vars(torch.nn.Module)[name] is not method:
                setattr(torch.nn.Module, name, method)

    with undone(restore):
        yield


@contextlib.contextmanager
def _tensors_put_back(step: torch.nn.Module) -> Iterator[None]:
    """Restore the parameters and buffers of every module after a ``with`` block.

    AOTAutograd replaces them while it traces, and restores them name by name. If one module has two names (a layer
    used in two blocks), AOTAutograd restores a wrong tensor for the second name.
    """
    before: list[tuple[Any, dict[str, Any]]] = [
        (tensors, dict(tensors)) for module in step.modules() for tensors in (module._parameters, module._buffers)
    ]

    def restore() -> None:
        for tensors, old in before:
            tensors.update(old)

    with undone(restore):
        yield
