"""The training step as one module: ``loss(model(*inputs, **kwargs), *targets)``.

A step with a loss returns the scalar loss. Without a loss function, the loss is the model's output if that is one
number, or the ``loss`` in the model's output. Other outputs of the model are then dropped. Any other model is traced
without a loss. The step then returns the model's outputs, and the caller of the step computes their gradients.
"""

from __future__ import annotations

import dis
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from recompviz.core.base.arguments import expect, shown
from recompviz.core.base.errors import RecompvizError
from recompviz.pytorch.internals.tensors import changes_arguments

Loss = Callable[..., Any]


class TraceError(RecompvizError, RuntimeError):
    """The model, its inputs or its loss cannot be traced.

    The message gives the reason and, where it is known, the line of the user's code.
    """


Arguments = tuple[tuple[Any, ...], dict[str, Any], tuple[Any, ...]]


def step_arguments(
    inputs: Sequence[Any],
    kwargs: Mapping[str, Any] | None,
    targets: Any,
    optimizer: Any = None,
    closures: bool = False,
) -> Arguments:
    """Check the types of the arguments of a training step, and return them as (inputs, kwargs, targets).

    Parameters
    ----------
    inputs : sequence
        The positional arguments of the model.
    kwargs : mapping, optional
        The keyword arguments of the model.
    targets : tuple, list or torch.Tensor
        The arguments of the loss after the model's output. A single tensor is one target.
    optimizer : torch.optim.Optimizer, optional
    closures : bool
        Whether an optimizer is allowed whose ``step`` calls a closure with the whole training step (LBFGS).

    Returns
    -------
    (inputs, kwargs, targets)

    Raises
    ------
    TypeError
        If an argument has the wrong type, or if the optimizer needs a closure and ``closures`` is False.
    """
    named = {} if kwargs is None else kwargs
    expect(named, Mapping, "kwargs", "a dict of the model's keyword arguments", 'write kwargs={"mask": mask}')
    for name in named:
        expect(name, str, "a name in kwargs", "a str")
    if isinstance(targets, torch.Tensor):
        targets = (targets,)
    expect(targets, (tuple, list), "targets", "a tuple of the loss's arguments after the output", "write targets=(y,)")
    expect_optimizer(optimizer)
    if not closures:
        _refuse_closure(optimizer)
    return tuple(inputs), dict(named), tuple(targets)


def expect_optimizer(optimizer: Any) -> None:
    """Raise TypeError unless an argument is an optimizer or None."""
    if optimizer is not None:
        then = "make it over the model's parameters, for example torch.optim.Adam(model.parameters())"
        expect(optimizer, torch.optim.Optimizer, "optimizer", "a torch.optim.Optimizer", then)


def _refuse_closure(optimizer: torch.optim.Optimizer | None) -> None:
    """Raise TypeError if an optimizer calls the step several times (LBFGS): its ``step`` cannot be measured alone."""
    if optimizer is not None and needs_closure(optimizer):
        raise TypeError(
            f"optimizer is {shown(optimizer)}, whose step() calls a closure with the whole training step, expected one "
            "that steps after the backward pass; leave it out"
        )


def needs_closure(optimizer: torch.optim.Optimizer) -> bool:
    """Return whether ``optimizer.step`` cannot be called without a closure that computes the loss (LBFGS)."""
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    return closure is not None and closure.default is closure.empty


def refuse_foreign(optimizer: torch.optim.Optimizer | None, model: nn.Module, arguments: Any = ()) -> None:
    """Raise ValueError if an optimizer trains neither a parameter of a model nor a tensor in ``arguments``.

    If no parameter of the model requires a gradient, nothing is checked.
    """
    own = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    if optimizer is None or not own:
        return
    own.update(id(leaf) for leaf in pytree.tree_leaves(arguments) if isinstance(leaf, torch.Tensor))
    if not any(id(parameter) in own for group in optimizer.param_groups for parameter in group["params"]):
        raise ValueError(
            f"optimizer is {shown(optimizer)} over other parameters, expected one over the parameters of the "
            "model; make it from model.parameters(), or leave it out (rv.compile counts optimizers of copies with "
            "holds=)"
        )


def refuse_call(model: nn.Module, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raise TypeError if ``forward`` of a model cannot be called with these arguments.

    Hooks may change the arguments, so a model with hooks is not checked. Neither is a scripted module.
    """
    if changes_arguments(model) or isinstance(model, torch.jit.ScriptModule):
        return
    try:
        signature = inspect.signature(model.forward)
    except (TypeError, ValueError):  # written in C
        return
    try:
        signature.bind(*inputs, **kwargs)
    except TypeError as error:
        given = f"{len(inputs)} inputs" + (f" and kwargs {', '.join(kwargs)}" if kwargs else "")
        raise TypeError(
            f"{type(model).__name__}.forward({_names(signature)}) cannot be called with {given}: {error}; give one "
            "batch after the model, as in rv.trace(model, x, targets=(y,), loss=…)"
        ) from None


def _names(signature: inspect.Signature) -> str:
    return ", ".join(str(p) if p.kind is p.VAR_POSITIONAL else p.name for p in signature.parameters.values())


def refuse_loss_call(loss: Loss | None, targets: tuple[Any, ...]) -> None:
    """Raise TypeError if a loss cannot be called with the model's output and these targets.

    A loss module with hooks is not checked, because hooks may change the arguments. A loss written in C is not checked
    if it has no signature.
    """
    if loss is None or (isinstance(loss, nn.Module) and changes_arguments(loss)):
        return
    function = loss.forward if isinstance(loss, nn.Module) else loss
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # written in C
        return
    try:
        signature.bind(None, *targets)
    except TypeError as error:
        called = f"{getattr(loss, '__name__', type(loss).__name__)}({_names(signature)})"
        raise TypeError(
            f"the loss {called} cannot be called with the model's output and {len(targets)} "
            f"target{'s' * (len(targets) != 1)}: {error}; give one target for each argument after the output, as in "
            "rv.trace(model, x, targets=(y,), loss=…)"
        ) from None


class Step(nn.Module):
    """A model and its loss function as one module, called with the inputs, keyword arguments and targets.

    Parameters
    ----------
    model : torch.nn.Module
    loss : callable (output, *targets) → torch.Tensor, or None
        The loss function. None if the model computes its own loss, or if the loss is computed outside the step.

    Raises
    ------
    TraceError
        If the loss is not callable, is a class of modules instead of a module, or is a function that uses a tensor from
        a closure, a global or a default.
    """

    def __init__(self, model: nn.Module, loss: Loss | None) -> None:
        super().__init__()
        refuse_captured_tensors(loss)
        self.model = model
        self.loss = loss

    def forward(self, inputs: tuple[Any, ...], kwargs: dict[str, Any], targets: tuple[Any, ...]) -> Any:
        """Return the scalar loss of one batch, or the model's output if there is no loss.

        There is no loss if the step has no loss function, ``targets`` is empty, and neither the model's output nor a
        ``loss`` in the output is one number.

        Raises
        ------
        TraceError
            As for :func:`scalar`.
        """
        output = self.model(*inputs, **kwargs)
        if self.loss is None and not targets and not _is_one_number(_loss_in(output)):
            return output
        return scalar(output if self.loss is None else self.loss(output, *targets))


def scalar(output: Any) -> Any:
    """Return the loss as a tensor without dimensions: a model's output, its ``.loss``, or its ``["loss"]``.

    Raises
    ------
    TraceError
        If the loss is not one tensor with one element. While PyTorch compiles the step, such a loss is returned.
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
    """Raise TraceError if the loss is not callable, or is a function that uses a tensor from elsewhere.

    Elsewhere is a closure, a global variable, a default, or an argument of a ``functools.partial``.

    The trace would contain such a tensor as a constant. Every later batch would then train on the old data in it.
    """
    expect_loss(loss)
    if loss is None or isinstance(loss, nn.Module):
        return
    for name, value in _captured(loss):
        if isinstance(value, torch.Tensor):
            raise TraceError(
                f"the loss function captures the tensor {name!r}; every batch would train on this tensor's data. "
                f"Take it as an argument and pass it as a target: loss=lambda output, {_identifier(name)}: …, "
                f"targets=({_identifier(name)},)"
            )


def expect_loss(loss: Loss | None) -> None:
    """Raise TraceError unless a loss is callable or None. A class of modules is refused, too."""
    if loss is not None and not callable(loss):
        raise TraceError(
            f"loss is {shown(loss)}, expected a function of the model's output and the targets, for example "
            "torch.nn.functional.cross_entropy"
        )
    if isinstance(loss, type) and issubclass(loss, nn.Module):
        raise TraceError(f"loss is {shown(loss)}, expected a module of this class; write loss={loss.__name__}()")


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
    # co_names has the names of attributes, too, and "output.logits" is no use of a global "logits"
    names = {each.argval for each in dis.get_instructions(function) if each.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    names |= set(function.__code__.co_freevars)
    outer = {**found.globals, **found.nonlocals}
    defaults = [
        (p.name, p.default)
        for p in inspect.signature(function).parameters.values()
        if p.default is not inspect.Parameter.empty
    ]
    return [(name, value) for name, value in outer.items() if name in names] + defaults


def _identifier(name: str) -> str:
    return name if name.isidentifier() else "target"
