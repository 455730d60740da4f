"""How a pathology is planted: a small training step that wastes memory, with the cause that its diagnosis must name.

A function marked with :func:`planted` returns the arguments of :func:`recompviz.debug`. The line that is to blame ends
in ``# here``; the benchmark looks its number up in the source.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class Pathology:
    """A planted pathology.

    Attributes
    ----------
    name : str
    make : callable
        Returns positional and keyword arguments of :func:`recompviz.debug`.
    cause : str
        The cause that the first finding must name.
    value : str
        A part of the value that it must name.
    """

    name: str
    make: Callable[[], Arguments]
    cause: str
    value: str

    @property
    def line(self) -> int:
        """The number of the line that ends in ``# here``."""
        lines, start = inspect.getsourcelines(self.make)
        return next(start + i for i, text in enumerate(lines) if text.rstrip().endswith("# here"))


PATHOLOGIES: list[Pathology] = []


def planted(name: str, cause: str, value: str) -> Callable[[Callable[[], Arguments]], Callable[[], Arguments]]:
    """Decorator: register a function as a pathology, in :data:`PATHOLOGIES`.

    Parameters
    ----------
    name, cause, value : str
        As for :class:`Pathology`. The decorated function is its ``make``.
    """

    def add(make: Callable[[], Arguments]) -> Callable[[], Arguments]:
        PATHOLOGIES.append(Pathology(name, make, cause, value))
        return make

    return add


def layers(width: int = 256, depth: int = 4) -> nn.Sequential:
    """Linear layers with tanh."""
    return nn.Sequential(*(layer for _ in range(depth) for layer in (nn.Linear(width, width), nn.Tanh())))
