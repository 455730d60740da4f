"""Corrections for operators whose real kernels allocate more or fewer bytes than the fake kernels report.

A trace gets the sizes of storages from fake kernels, which run on tensors without memory. The corrections were found by
comparing measured with simulated memory. Real and fake kernels agree on shapes. Only the bytes of storages differ.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.fx import Node

from recompviz.pytorch.internals.fake_tensors import real_tensors
from recompviz.pytorch.internals.operators import lstm_for_training

aten = torch.ops.aten


def real_bytes(node: Node, value: torch.Tensor) -> int:
    """Return the bytes of the storage that a call allocates for one of its outputs.

    Parameters
    ----------
    node : torch.fx.Node
        The call, or the ``getitem`` that takes the output out of its tuple.
    value : torch.Tensor
        The output as a fake tensor.
    """
    rule = _RULES.get(node.target) if node.op == "call_function" else None
    said = int(value.untyped_storage().nbytes())
    return said if rule is None else rule(node, value, said)


def _reduced_loss(node: Node, value: torch.Tensor, said: int) -> int:
    """An elementwise loss with a reduction keeps the storage of the loss before its reduction."""
    reduction = node.args[2] if len(node.args) > 2 else node.kwargs.get("reduction", 1)
    if not reduction:
        return said
    one, other = (torch.empty(_of(node.args[i]).shape, device="meta") for i in (0, 1))
    return (one + other).numel() * value.element_size()


def _statistics(parameter: int) -> Callable[[Node, torch.Tensor, int], int]:
    """On the CPU, the mean and variance of half-precision values have the dtype of the weight."""

    def rule(node: Node, value: torch.Tensor, said: int) -> int:
        weight = node.args[parameter]
        if not isinstance(weight, Node) or value.device.type != "cpu" or value.numel() == _of(node.args[0]).numel():
            return said
        return value.numel() * _of(weight).element_size()

    return rule


def _whole_block(node: Node, _value: torch.Tensor, said: int) -> int:
    """A functionalised in-place write copies the whole storage that it writes to, to keep the strides."""
    return max(said, _of(node.args[0]).untyped_storage().nbytes())


def _lstm_workspace(node: Node, value: torch.Tensor, said: int) -> int:
    """Only the kernel of MKL-DNN's LSTM knows the size of its workspace, so the kernel runs once on zeros."""
    if value.dtype is not torch.uint8:
        return said
    arguments = [a.meta["val"] if isinstance(a, Node) else a for a in node.args]
    with real_tensors():
        made = [
            torch.zeros([int(n) for n in a.shape], dtype=a.dtype, device="cpu") if isinstance(a, torch.Tensor) else a
            for a in arguments
        ]
        return int(lstm_for_training(*made)[3].untyped_storage().nbytes())


def _of(node: Any) -> torch.Tensor:
    value: torch.Tensor = node.meta["val"]
    return value


_RULES: dict[Any, Callable[[Node, torch.Tensor, int], int]] = {
    aten.mse_loss.default: _reduced_loss,
    aten.smooth_l1_loss.default: _reduced_loss,
    aten.native_layer_norm.default: _statistics(2),
    aten.native_group_norm.default: _statistics(1),
    aten._native_batch_norm_legit_functional.default: _statistics(1),
    aten._native_batch_norm_legit.no_stats: _statistics(1),
    aten.mkldnn_rnn_layer.default: _lstm_workspace,
    aten.copy.default: _whole_block,
    aten.slice_scatter.default: _whole_block,
    aten.select_scatter.default: _whole_block,
}
