"""Sizes of storages that follow from the sizes of a graph's inputs.

Private PyTorch used here: ``SymInt.node.expr``. Tried on torch 2.13.0 and 2.14.1, on the CPU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch

__all__ = ["SymbolicSizes", "symbolic_bytes"]


def symbolic_bytes(value: torch.Tensor) -> Any:
    """The bytes of a fake tensor's storage as an expression of symbols; None if they are a number."""
    size = value.untyped_storage().nbytes()
    return size.node.expr if isinstance(size, torch.SymInt) else None


class SymbolicSizes:
    """Evaluates the sizes of storages for given sizes of inputs.

    Parameters
    ----------
    inputs : sequence
        The inputs of the graph as fake values. Those that are no tensors are the sizes that :meth:`at` gets.
    sizes : mapping of int to expression
        Storages and their sizes.
    """

    def __init__(self, inputs: Sequence[Any], sizes: Mapping[int, Any]) -> None:
        sizes_given = [value for value in inputs if not isinstance(value, torch.Tensor)]
        self._symbols = [size.node.expr if isinstance(size, torch.SymInt) else None for size in sizes_given]
        self._sizes = dict(sizes)
        self._evaluated = lru_cache(64)(self._evaluate)

    @property
    def storages(self) -> list[int]:
        """The storages whose size is symbolic."""
        return list(self._sizes)

    def __bool__(self) -> bool:
        return bool(self._sizes)

    def at(self, values: tuple[Any, ...]) -> dict[int, int]:
        """The bytes of each storage whose size is symbolic.

        Parameters
        ----------
        values : tuple
            The inputs' sizes in one call.
        """
        return self._evaluated(values)

    def _evaluate(self, values: tuple[Any, ...]) -> dict[int, int]:
        known = {s: v for s, v in zip(self._symbols, values, strict=True) if s is not None}
        found = {expression: expression.xreplace(known) for expression in set(self._sizes.values())}
        numbers = {expression: int(value) for expression, value in found.items() if value.is_number}
        return {s: numbers[expression] for s, expression in self._sizes.items() if expression in numbers}
