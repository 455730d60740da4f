"""FSDP2's parameters: the part that this rank stores of a parameter that was gathered for a forward pass.

While a module runs, ``fully_shard`` puts a gathered parameter in the place of the sharded one. The optimizer steps the
sharded one, and its gradient belongs to it, too.

Private PyTorch used here: ``_module_state_mapping`` of ``torch.distributed._composable_state``, ``_fsdp_param_groups``
of FSDP2's module states (``_fsdp_param_group`` in older versions), and ``sharded_param`` and ``_unsharded_param`` of
its parameters. Tried on torch 2.13.0 and 2.14.1, on the CPU.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import torch

__all__ = ["local_part", "sharded_of"]


def local_part(tensor: torch.Tensor) -> torch.Tensor:
    """Return this rank's part of a sharded tensor; any other tensor itself."""
    given: Any = tensor
    local: torch.Tensor = given.to_local() if hasattr(given, "to_local") else given
    return local


def sharded_of(parameters: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    """Return the sharded parameters from which FSDP2 gathered some of these; the others are left out."""
    composable: Any = sys.modules.get("torch.distributed._composable_state")
    if composable is None or not composable._module_state_mapping:
        return []
    gathered = {id(parameter) for parameter in parameters}
    found = []
    for reference in list(composable._module_state_mapping.values()):
        state = reference()
        groups = getattr(state, "_fsdp_param_groups", None) or [getattr(state, "_fsdp_param_group", None)]
        for group in groups:
            for parameter in getattr(group, "fsdp_params", ()):
                if id(getattr(parameter, "_unsharded_param", None)) in gathered:
                    found.append(parameter.sharded_param)
    return found
