"""The training step as one module: ``loss(model(*inputs, **kwargs), *targets)``.

A step with a loss returns the scalar loss. Without a loss function, the loss is the model's output if that is one
number, or the ``loss`` in the model's output; the other outputs are dropped. Any other model is traced without its
loss: the step returns the model's outputs, and the code that calls the step computes the gradients of the outputs.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from recompviz.core.base.errors import RecompvizError

Loss = Callable[..., Any]


class TraceError(RecompvizError, RuntimeError):
    """The model, its inputs or its loss cannot be traced.

    The message gives the reason and, where it is known, the line of the user's code.
    """


def as_targets(targets: Any) -> tuple[Any, ...]:
    """Return the targets as a tuple. A single tensor is one target, not one target for each example."""
    return (targets,) if isinstance(targets, torch.Tensor) else tuple(targets)


class Step(nn.Module):
    """A model and its loss function as one module, called with the inputs, keyword arguments and targets.

    Parameters
    ----------
    model : torch.nn.Module
    loss : callable (output, *targets) → torch.Tensor, or None
        None if the model computes its own loss, or if its loss is computed outside the step.

    Raises
    ------
    TraceError
        If the loss is not callable, or uses a tensor that is not one of its arguments.
    """

    def __init__(self, model: nn.Module, loss: Loss | None) -> None:
        super().__init__()
        refuse_captured_tensors(loss)
        self.model = model
        self.loss = loss

    def forward(self, inputs: tuple[Any, ...], kwargs: dict[str, Any], targets: tuple[Any, ...]) -> Any:
        """Return the scalar loss of one batch.

        Without a loss function, without targets and without one number in the output, return the model's output.
        """
        output = self.model(*inputs, **kwargs)
        if self.loss is None and not targets and not _is_one_number(_loss_in(output)):
            return output
        return scalar(output if self.loss is None else self.loss(output, *targets))


def scalar(output: Any) -> Any:
    """Return the loss in an output, without dimensions: the output itself, its ``.loss``, or its ``["loss"]``.

    Raises
    ------
    TraceError
        If the loss is not one tensor with one element. While PyTorch compiles the step, no error is raised.
    """
    output = _loss_in(output)
    if torch.compiler.is_compiling():
        # an error raised while tracing loses its text; fold() checks the output again
        return _without_dimensions(output) if _is_one_number(output) else output
    refuse_no_scalar([output])
    return _without_dimensions(output)


def _loss_in(output: Any) -> Any:
    if isinstance(output, torch.Tensor):
        return output
    if isinstance(output, Mapping) and "loss" in output:
        return output["loss"]
    return getattr(output, "loss", output)


def _is_one_number(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.numel() == 1


def _without_dimensions(output: torch.Tensor) -> torch.Tensor:
    return output.reshape(()) if output.dim() else output


def refuse_no_scalar(outputs: Sequence[Any]) -> None:
    """Raise TraceError unless the outputs of a training step are exactly one tensor with one element."""
    if len(outputs) != 1 or not isinstance(outputs[0], torch.Tensor):
        what = f"{len(outputs)} tensors" if len(outputs) != 1 else type(outputs[0]).__name__
        raise TraceError(
            f"the step returned {what}, expected one scalar tensor or an output with .loss; "
            "pass loss=…, a function of the model's output and the targets"
        )
    if outputs[0].numel() != 1:
        raise TraceError(
            f"the step returned shape {tuple(outputs[0].shape)}, expected one number; "
            "pass loss=…, for example loss=torch.nn.functional.cross_entropy with targets=(y,)"
        )


def refuse_captured_tensors(loss: Loss | None) -> None:
    """Raise TraceError if the loss is not callable, or uses a tensor from a closure, a global or a default.

    The trace would contain such a tensor as a constant. Every later batch would then train on the old data in it.
    """
    if loss is None or isinstance(loss, nn.Module):
        return
    if not callable(loss):
        raise TraceError(f"loss is {type(loss).__name__}, expected a function of the model's output and the targets")
    for name, value in _captured(loss):
        if isinstance(value, torch.Tensor):
            raise TraceError(
                f"the loss function captures the tensor {name!r}; every batch would train on this tensor's data. "
                f"Take it as an argument and pass it as a target: loss=lambda output, {_identifier(name)}: …, "
                f"targets=({_identifier(name)},)"
            )


def _captured(function: Any) -> list[tuple[str, Any]]:
    """Return (name, value) of each closure variable, global and default that a function uses."""
    if isinstance(function, functools.partial):
        inner = [(f"argument {i}", value) for i, value in enumerate(function.args)]
        return inner + list(function.keywords.items()) + _captured(function.func)
    if inspect.ismethod(function):
        return _captured(function.__func__)
    if not inspect.isfunction(function):
        return []
    found = inspect.getclosurevars(function)
    names = set(function.__code__.co_names) | set(function.__code__.co_freevars)
    outer = {**found.globals, **found.nonlocals}
    defaults = [
        (p.name, p.default)
        for p in inspect.signature(function).parameters.values()
        if p.default is not inspect.Parameter.empty
    ]
    return [(name, value) for name, value in outer.items() if name in names] + defaults


def _identifier(name: str) -> str:
    return name if name.isidentifier() else "target"
