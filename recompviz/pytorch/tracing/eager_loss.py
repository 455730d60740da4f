"""The error that the loss raises in eager PyTorch, for a training step whose capture failed.

A capture works on tensors without memory. The kernels for such tensors check less than real kernels, and have other
messages. A target of a wrong shape may be noticed only in the backward pass. So the loss is called once with the real
targets, and with zeros of the shape of the model's output. The model itself runs on tensors without memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.utils import _pytree as pytree

from recompviz.pytorch.internals.export import result_on_shapes
from recompviz.pytorch.internals.state import state_restored
from recompviz.pytorch.internals.warning_filters import Action, warnings_filtered
from recompviz.pytorch.tracing.step import Step

# A larger output of the model is not made.
MOST_BYTES = 2**30
# The capture has warned already.
_NO_WARNINGS: tuple[Action, str] = ("ignore", "")


class _ModelOnly(torch.nn.Module):
    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        return self.model(*inputs, **kwargs)


def output_on_shapes(step: Step, arguments: tuple[Any, ...]) -> Any:
    """Return the model's output as tensors without memory; None if the model raises an error on such tensors."""
    try:
        with warnings_filtered(_NO_WARNINGS):
            return result_on_shapes(_ModelOnly(step.model), tuple(arguments[:2]))
    except Exception:  # the errors of the model are reported elsewhere
        return None


def error_of_loss(step: Step, arguments: tuple[Any, ...], output: Any) -> Exception | None:
    """Call the loss of a step on zeros in place of the model's output, and return the error that it raises.

    If the loss returns a Python number, the result is a TypeError. The result is None if the loss raises no error, or
    raises ``torch.OutOfMemoryError``. It is also None if the loss is not called. The loss is not called if the step has
    no loss, if ``output`` contains no tensor, if ``output`` contains anything but tensors, numbers, texts and None, or
    if its tensors take more than 1 GiB.

    Parameters
    ----------
    step : Step
    arguments : tuple
        The inputs, keyword arguments and targets.
    output : Any
        The model's output, from :func:`output_on_shapes`.
    """
    leaves, spec = pytree.tree_flatten(output)
    tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    known = all(isinstance(leaf, torch.Tensor | int | float | str | None) for leaf in leaves)
    if step.loss is None or not tensors or not known or sum(t.nbytes for t in tensors) > MOST_BYTES:
        return None
    device = next((t.device for t in pytree.tree_leaves(arguments) if isinstance(t, torch.Tensor)), None)
    with state_restored(step, arguments), torch.no_grad(), warnings_filtered(_NO_WARNINGS):
        try:
            zeros = [
                torch.zeros(leaf.shape, dtype=leaf.dtype, device=device) if isinstance(leaf, torch.Tensor) else leaf
                for leaf in leaves
            ]
            result = step.loss(pytree.tree_unflatten(zeros, spec), *arguments[2])
        except Exception as error:  # the loss is the user's code; its error is the result
            return None if isinstance(error, torch.OutOfMemoryError) else error
    if isinstance(result, int | float):
        return TypeError(
            f"the loss returned a Python number, {result!r}, expected a tensor; leave out item() and float()"
        )
    return None


def shapes_text(values: Any) -> str:
    """Return the dtypes and shapes of the tensors in a value, for example ``"float32 [2, 5], int64 [2]"``.

    For anything but a tensor, the text has the name of the type. Only the first four entries are listed.
    """
    leaves = pytree.tree_leaves(values)
    shown = [
        f"{str(leaf.dtype).removeprefix('torch.')} {list(leaf.shape)}"
        if isinstance(leaf, torch.Tensor)
        else type(leaf).__name__
        for leaf in leaves
    ]
    return ", ".join([*shown[:4], *(["…"] if len(shown) > 4 else [])])
