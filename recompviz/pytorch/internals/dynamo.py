"""Dynamo: what it is allowed to capture, and where in the user's code a captured graph comes from.

Private PyTorch used here: ``torch._dynamo`` (``config``, ``exc``, ``utils.counters``, ``reset``, ``register_backend``),
``Module._call_impl``, ``Module._compiled_call_impl`` and the ``meta`` entry ``"stack_trace"`` of fx nodes. Tried on
torch 2.13.0 and 2.14.1, on the CPU.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch._dynamo import config as dynamo_config
from torch._dynamo.exc import TorchDynamoException as DynamoError
from torch._dynamo.utils import counters
from torch.fx import GraphModule

from recompviz.pytorch.internals.user_lines import is_own

__all__ = [
    "DynamoError",
    "allow_more_captures",
    "compile_layers",
    "first_user_line",
    "forget_graphs",
    "graph_breaks",
    "register_name",
]

# Dynamo's default is 8 graphs for one function; then it runs the function eagerly.
GRAPHS_OF_ONE_FUNCTION = 32

_LINE = re.compile(r'File "([^"]+)", line (\d+)')


def allow_more_captures() -> None:
    """Let Dynamo capture recurrent layers and gradients taken inside a model, and see hooks that are added later.

    These settings hold for the process. By default Dynamo runs such code eagerly, and nothing in it can be planned; and
    it does not notice a hook that a layer gets after it was captured.
    """
    wanted = {
        "allow_rnn": True,
        "trace_autograd_ops": True,
        "allow_unspec_int_on_nn_module": True,  # an int that a layer counts with is an input, not a constant
        "skip_nnmodule_hook_guards": False,
    }
    for name, value in wanted.items():
        if hasattr(dynamo_config, name):
            setattr(dynamo_config, name, value)
    if dynamo_config.recompile_limit == 8:
        dynamo_config.recompile_limit = GRAPHS_OF_ONE_FUNCTION


def compile_layers(model: nn.Module, backend: Callable[..., Any], dynamic: bool | None) -> None:
    """Compile the layers below a model that PyTorch defines and that nobody compiled, one by one.

    Where Dynamo cannot capture a function (a loop with a data-dependent branch in it), it goes on with the functions
    that this one calls, but not with those of PyTorch. Inside a function that it captures, this changes nothing.
    """
    for module in model.modules():
        from_torch = type(module).__module__.startswith("torch.nn.modules")
        if module is model or not from_torch or isinstance(module, nn.ModuleList | nn.ModuleDict):
            continue
        if module._compiled_call_impl is None:
            module._compiled_call_impl = torch.compile(_caller(module), backend=backend, dynamic=dynamic)


def _caller(module: nn.Module) -> Callable[..., Any]:
    """A function that calls a module. ``Module.compile`` does nothing for a module of PyTorch's own."""

    def call(*arguments: Any, **named: Any) -> Any:
        return module._call_impl(*arguments, **named)  # type: ignore[no-untyped-call]

    # Dynamo keeps its graphs by code object
    call.__code__ = call.__code__.replace(co_name=type(module).__name__)
    return call


def first_user_line(graph: GraphModule) -> str:
    """``file:line`` of the first call of a captured graph that is in the user's code; empty if there is none."""
    for node in graph.graph.nodes:
        lines = _LINE.findall(node.meta.get("stack_trace") or "")
        own = [f"{file}:{number}" for file, number in lines if is_own(file)]
        if own:
            return own[-1]
    return ""


def register_name(name: str, backend: Callable[..., Any]) -> None:
    """Give a backend its name in this process, where the entry point of the package is not installed."""
    if name not in torch._dynamo.list_backends(exclude_tags=()):
        torch._dynamo.register_backend(backend, name=name)  # type: ignore[no-untyped-call, unused-ignore]


def forget_graphs() -> None:
    """Forget every captured graph of the process, and the count of graph breaks."""
    torch._dynamo.reset()
    counters.clear()


def graph_breaks() -> int:
    """The number of graph breaks since :func:`forget_graphs`."""
    return int(sum(counters["graph_break"].values()))
