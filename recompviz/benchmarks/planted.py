"""The registry of pathologies: small training steps that waste memory, each with the cause that a report must name.

A function decorated with :func:`planted` returns the arguments of :func:`recompviz.debug`. The line that wastes the
memory ends in ``# here``.
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
    """A training step that wastes memory, and the finding that is expected.

    Attributes
    ----------
    name : str
        A description in a few words.
    make : callable
        Returns positional and keyword arguments of :func:`recompviz.debug`.
    cause : str
        The cause that the first finding must name.
    value : str
        A text that the name of the value in the first finding must contain.
    """

    name: str
    make: Callable[[], Arguments]
    cause: str
    value: str

    @property
    def line(self) -> int:
        """The number of the source line that ends in ``# here``, which the first finding must name."""
        lines, start = inspect.getsourcelines(self.make)
        return next(start + i for i, text in enumerate(lines) if text.rstrip().endswith("# here"))


PATHOLOGIES: list[Pathology] = []


def planted(name: str, cause: str, value: str) -> Callable[[Callable[[], Arguments]], Callable[[], Arguments]]:
    """Return a decorator that adds a function to :data:`PATHOLOGIES`.

    Parameters
    ----------
    name, cause, value : str
        As for :class:`Pathology`. The decorated function becomes ``make``.
    """

    def add(make: Callable[[], Arguments]) -> Callable[[], Arguments]:
        PATHOLOGIES.append(Pathology(name, make, cause, value))
        return make

    return add


def layers(width: int = 256, depth: int = 4) -> nn.Sequential:
    """Return ``depth`` linear layers with ``width`` features, each followed by tanh."""
    return nn.Sequential(*(layer for _ in range(depth) for layer in (nn.Linear(width, width), nn.Tanh())))
