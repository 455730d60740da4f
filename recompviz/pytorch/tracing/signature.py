"""The signature of a training step: the properties of a call that a trace depends on.

A trace is valid only for the shapes, dtypes, devices, training flags, plain Python attributes and autocast settings
with which it was made. A call with another signature must not use the trace, because its results could be wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from recompviz.pytorch.internals.devices.runtimes import autocast_devices, device_of
from recompviz.pytorch.internals.tensors import version_of

_PLAIN = (int, float, bool, str, type(None), torch.dtype)


@dataclass(frozen=True)
class Signature:
    """The properties of a call of a training step that a trace depends on; frozen.

    A trace may be used for a call only if the call's signature equals (``==``) the signature of the traced call.
    :meth:`difference` describes the first difference.

    Attributes
    ----------
    structure : str
        The nesting of the inputs, keyword arguments and targets, as the text of a pytree specification.
    leaves : tuple
        One entry for each leaf of the arguments. For a tensor it is
        ``("tensor", shape, strides, dtype, device, requires_grad)``. For a number, string, dtype or None it is
        ``("value", type name, value)``, and for any other object ``("value", type name, id)``.
    parameters : tuple
        One entry for each parameter and buffer: its name, followed by the same items as for a tensor in ``leaves``.
    modules : tuple
        One entry for each module: its name, its training flag, and a pair (name, value) for each plain attribute.
        Plain attributes are numbers, strings, dtypes, None, tuples of these, and tensors without ``grad_fn``. The value
        of a tensor is its ``id`` and version. Names that begin with an underscore are left out.
    autocast : tuple
        (device type, dtype) for each kind of device on which autocast is enabled.
    device : str
        The device of the step, for example ``"cuda:0"``.
    """

    structure: str
    leaves: tuple[Any, ...]
    parameters: tuple[Any, ...]
    modules: tuple[Any, ...]
    autocast: tuple[Any, ...]
    device: str

    @classmethod
    def of(cls, step: nn.Module, arguments: tuple[Any, ...]) -> Signature:
        """Return the signature of the call ``step(*arguments)`` under the current flags and autocast settings."""
        leaves, spec = pytree.tree_flatten(arguments)
        tensors = [*step.named_parameters(remove_duplicate=False), *step.named_buffers(remove_duplicate=False)]
        return cls(
            str(spec),
            tuple(_leaf(leaf) for leaf in leaves),
            tuple((name, *_leaf(tensor)) for name, tensor in tensors),
            tuple((name, module.training, *_plain(module)) for name, module in step.named_modules()),
            tuple(
                (kind, torch.get_autocast_dtype(kind)) for kind in autocast_devices() if torch.is_autocast_enabled(kind)
            ),
            str(device_of([*(tensor for _, tensor in tensors), *leaves])),
        )

    @property
    def differentiable_inputs(self) -> bool:
        """Whether any tensor among the inputs, keyword arguments and targets requires a gradient."""
        return any(_is_tensor(leaf) and leaf[5] for leaf in self.leaves)

    def difference(self, other: Signature) -> str:
        """Return a text about the first property that differs in another signature; empty if both are equal."""
        if self.structure != other.structure:
            return "inputs of another structure"
        for i, (mine, theirs) in enumerate(zip(self.leaves, other.leaves, strict=True)):
            if mine != theirs:
                return f"argument {i} is {_describe(theirs)}, traced with {_describe(mine)}"
        if self.parameters != other.parameters:
            return "a parameter or buffer changed its shape, dtype, device or requires_grad"
        for mine, theirs in zip(self.modules, other.modules, strict=False):
            if mine != theirs:
                return f"module {theirs[0]!r} {_module_difference(mine, theirs)}"
        if len(self.modules) != len(other.modules):
            return "the model has other modules"
        if self.autocast != other.autocast:
            return "autocast is switched differently"
        return ""


def _leaf(value: Any) -> tuple[Any, ...]:
    if isinstance(value, torch.Tensor):
        return (
            "tensor",
            tuple(value.shape),
            value.stride(),
            value.dtype,
            str(value.device),
            value.requires_grad,
        )
    return ("value", type(value).__name__, value if isinstance(value, _PLAIN) else id(value))


def _is_tensor(leaf: Any) -> bool:
    return isinstance(leaf, tuple) and leaf[:1] == ("tensor",)


def _describe(leaf: tuple[Any, ...]) -> str:
    if _is_tensor(leaf):
        layout = "" if leaf[2] == _contiguous(leaf[1]) else f" with strides {leaf[2]}"
        return f"{leaf[3]} {leaf[1]}{layout} on {leaf[4]}" + (" with requires_grad" if leaf[5] else "")
    return f"{leaf[1]} {leaf[2]!r}"


def _contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides: list[int] = []
    step = 1
    for size in reversed(shape):
        strides.insert(0, step)
        step *= max(size, 1)
    return tuple(strides)


def _plain(module: nn.Module) -> tuple[Any, ...]:
    """Return (name, value) of each plain attribute of a module. The value of a tensor is its identity and version."""
    return tuple(
        (name, (id(value), version_of(value)) if isinstance(value, torch.Tensor) else value)
        for name, value in vars(module).items()
        if name != "training" and not name.startswith("_") and _is_baked_in(value)
    )


def _is_baked_in(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return value.grad_fn is None  # each forward makes it anew; a trace that reads an older one is refused
    return isinstance(value, _PLAIN) or (isinstance(value, tuple) and all(isinstance(v, _PLAIN) for v in value))


def computed_attributes(step: nn.Module) -> dict[str, torch.Tensor]:
    """Return the attributes of modules that are tensors with a ``grad_fn``, by dotted name in the model."""
    return {
        f"{module_name}.{name}".removeprefix("model."): value
        for module_name, module in step.named_modules()
        for name, value in vars(module).items()
        if isinstance(value, torch.Tensor) and value.grad_fn is not None
    }


def _module_difference(mine: tuple[Any, ...], theirs: tuple[Any, ...]) -> str:
    if mine[1] != theirs[1]:
        return f"is in {'train' if theirs[1] else 'eval'}() mode, traced in {'train' if mine[1] else 'eval'}() mode"
    changed = [f"{name} = {value!r}" for name, value in theirs[2:] if (name, value) not in mine[2:]]
    gone = {name for name, _ in mine[2:]} - {name for name, _ in theirs[2:]}
    changed += [f"{name} is gone, or is a tensor that forward() made" for name in sorted(gone)]
    return "has changed: " + ", ".join(changed)
