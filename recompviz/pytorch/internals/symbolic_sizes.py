"""The bytes of storages, computed from the sizes of a graph's inputs.

The bytes of a storage are a number times a *unit*. A unit is an expression of the sizes of the inputs, such as batch ×
length. A graph has few units, so the bytes of all its storages are computed from a few values.

Private PyTorch used here: ``SymInt.node.expr``, and ``PythonPrinter`` of ``torch.utils._sympy.printers``. Tried on
torch 2.13.0 and 2.14.1, on the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch.utils._sympy.printers import PythonPrinter

__all__ = ["SymbolicSizes", "symbolic_bytes"]


def symbolic_bytes(value: torch.Tensor) -> Any:
    """Return the bytes of a fake tensor's storage as a symbolic expression; None if they are a plain number."""
    size = value.untyped_storage().nbytes()
    return size.node.expr if isinstance(size, torch.SymInt) else None


class SymbolicSizes:
    """The bytes of storages as a function of the sizes of a graph's inputs.

    The bytes of a storage are a number times a *unit*, for example batch × length. A unit is an expression of the
    inputs' sizes. A storage is left out if its bytes depend on another symbol, for example the number of nonzero values
    of a tensor. ``bool()`` of the object is False if no storage remains.

    Parameters
    ----------
    inputs : sequence
        The inputs of the graph as fake values. Every input that is not a tensor is a size.
    sizes : mapping of int to expression
        Number of a storage → its bytes as a symbolic expression.

    Attributes
    ----------
    terms : dict of int to (int, int)
        For each storage, the index of its unit and the bytes per unit.
    units : callable (values) → tuple of int
        Returns the value of each unit for the sizes of one call (see :meth:`at`); cached.
    """

    def __init__(self, inputs: Sequence[Any], sizes: Mapping[int, Any]) -> None:
        sizes_given = [value for value in inputs if not isinstance(value, torch.Tensor)]
        self._symbols = [size.node.expr if isinstance(size, torch.SymInt) else None for size in sizes_given]
        given = {symbol for symbol in self._symbols if symbol is not None and symbol.is_Symbol}
        index: dict[Any, int] = {}
        self.terms: dict[int, tuple[int, int]] = {}
        for s, expression in sizes.items():
            if expression.free_symbols <= given:
                number, unit = expression.as_coeff_Mul()
                if number == int(number):
                    self.terms[s] = index.setdefault(unit, len(index)), int(number)
                else:
                    self.terms[s] = index.setdefault(expression, len(index)), 1
        self._function = _compiled(list(index), self._symbols)
        self.units = lru_cache(256)(self._evaluate)

    def __bool__(self) -> bool:
        return bool(self.terms)

    def at(self, values: tuple[Any, ...]) -> dict[int, int]:
        """Return the bytes of each storage in ``terms`` for one call of the graph.

        Parameters
        ----------
        values : tuple
            The values of the inputs that are not tensors, in order.
        """
        units = self.units(values)
        return {s: number * units[unit] for s, (unit, number) in self.terms.items()}

    def _evaluate(self, values: tuple[Any, ...]) -> tuple[int, ...]:
        """Return the value of each unit for the sizes of one call."""
        return tuple(map(int, self._function(*values)))


def _compiled(expressions: list[Any], symbols: list[Any]) -> Callable[..., tuple[Any, ...]]:
    """Compile a Python function from symbols to the expressions' values, because SymPy's substitution is slow."""
    names: list[str] = []
    for i, symbol in enumerate(symbols):  # two inputs may have the same symbol, and one may be an expression
        named = symbol is not None and symbol.is_Symbol and str(symbol) not in names
        names.append(str(symbol) if named else f"size_{i}")
    texts = [PythonPrinter().doprint(expression) for expression in expressions]
    function: Callable[..., tuple[Any, ...]] = eval(
        f"lambda {', '.join(names)}: ({''.join(text + ', ' for text in texts)})", {"math": math}
    )
    return function
