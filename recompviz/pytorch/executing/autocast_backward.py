"""Warn when a backward pass runs inside ``torch.autocast``, where eager PyTorch would compute other gradients.

PyTorch advises to call ``loss.backward()`` outside of the autocast block. A region (a captured graph) always computes
its backward pass as if it were outside. Inside the block, eager PyTorch also casts the operands of matrix products in
the backward pass. In most models these operands have the lower precision already, and the gradients are equal. The
gradients differ if the model computes a part in full precision, as in ``with torch.autocast(…, enabled=False):``.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import torch

from recompviz.pytorch.internals.operators import is_matrix_product, operator_name
from recompviz.pytorch.internals.user_lines import warn_user

if TYPE_CHECKING:
    from torch.fx import Node

    from recompviz.pytorch.executing.region import Region

_checked: weakref.WeakSet[Region] = weakref.WeakSet()


class BackwardInAutocast(UserWarning):
    """A backward pass runs inside ``torch.autocast``, but computes its gradients as if it ran outside of autocast."""


def check_autocast(region: Region) -> None:
    """Warn if eager PyTorch would use another dtype for matrix products in the backward pass that starts now.

    Warns
    -----
    BackwardInAutocast
        At most once for each region, at its first backward pass inside ``torch.autocast``.
    """
    kind = region.device.type
    if not torch.is_autocast_enabled(kind) or region in _checked:
        return
    _checked.add(region)
    folded = region.folded
    lower = torch.get_autocast_dtype(kind)
    products = [
        node
        for call, node in zip(folded.joint.calls, folded.call_node, strict=True)
        if call.backward and is_matrix_product(node.target) and _is_cast(node, lower)
    ]
    if products:
        warn_user(
            f"a backward pass runs inside torch.autocast, where eager PyTorch computes {len(products)} of its matrix "
            f"products in {lower} (the first is {operator_name(products[0].target)}). Here they are computed in the "
            "type of the forward pass, as in a backward pass outside, so the gradients differ in rounding; end the "
            "autocast block before loss.backward(), as PyTorch advises",
            BackwardInAutocast,
        )


def _is_cast(node: Node, lower: torch.dtype) -> bool:
    """Return whether autocast casts an operand of a call. It leaves double precision alone."""
    values = [source.meta.get("val") for source in node.all_input_nodes]
    types = {value.dtype for value in values if isinstance(value, torch.Tensor)}
    return any(one.is_floating_point and one not in (lower, torch.float64) for one in types)
