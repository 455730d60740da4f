"""FSDP2's parameters: the part that this rank stores of a parameter that was gathered for a forward pass.

While a module runs, ``fully_shard`` puts the gathered parameter in the place of the sharded parameter. The optimizer
updates the sharded parameter, and FSDP2 puts the gradient into ``grad`` of the sharded parameter.

Private PyTorch used here: ``_module_state_mapping`` of ``torch.distributed._composable_state``, ``_fsdp_param_groups``
of FSDP2's module states (``_fsdp_param_group`` in older versions), and ``sharded_param`` and ``_unsharded_param`` of
its parameters. Tried on torch 2.13.0 and 2.14.1, on the CPU.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.weak import WeakTensorKeyDictionary

__all__ = ["local_part", "sharded_of"]


def local_part(tensor: torch.Tensor) -> torch.Tensor:
    """Return this rank's part of a sharded tensor. Any other tensor is returned unchanged."""
    given: Any = tensor
    local: torch.Tensor = given.to_local() if hasattr(given, "to_local") else given
    return local


# gathered parameter → reference to the sharded one, or None for a parameter that was not gathered
_known = WeakTensorKeyDictionary()


def sharded_of(parameters: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Return the sharded parameter of each parameter that FSDP2 has gathered; other parameters are left out."""
    composable: Any = sys.modules.get("torch.distributed._composable_state")
    if composable is None or not composable._module_state_mapping:
        return []
    if not all(map(_is_known, parameters)):
        for gathered, sharded in _pairs(composable):
            _known[gathered] = weakref.ref(sharded)
        for parameter in parameters:
            if not _is_known(parameter):
                _known[parameter] = None
    found = [reference() for parameter in parameters if (reference := _known[parameter]) is not None]
    return [sharded for sharded in found if sharded is not None]


def _is_known(parameter: torch.Tensor) -> bool:
    reference = _known.get(parameter, _gone)
    return reference is None or reference() is not None


def _gone() -> None:
    """Stands for a reference to a parameter that does not exist."""


def _pairs(composable: Any) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield each gathered parameter of this process with the sharded one."""
    for reference in list(composable._module_state_mapping.values()):
        state = reference()
        groups = getattr(state, "_fsdp_param_groups", None) or [getattr(state, "_fsdp_param_group", None)]
        for group in groups:
            for parameter in getattr(group, "fsdp_params", ()):
                gathered = getattr(parameter, "_unsharded_param", None)
                if gathered is not None:
                    yield gathered, parameter.sharded_param
