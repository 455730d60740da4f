"""The sizes that the later regions of a step will have, predicted when its first region is called.

A size of a later region that has always been equal to a size of the first one (the length of the batch, for example)
will be equal again. For the others, the largest seen so far is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Sizes = tuple[Any, ...]


class PredictedSizes:
    """Learns from the steps that run how their sizes depend on those of the first region.

    Parameters
    ----------
    recorded : sequence of tuple
        The sizes of each run's inputs in one step.

    Examples
    --------
    >>> sizes = PredictedSizes([(8, 32), (32, 5)])
    >>> sizes.of((8, 64)), sizes.certain
    (((8, 64), (64, 5)), False)
    >>> sizes.note(1, (8, 64), (64, 9))
    >>> sizes.of((8, 16))
    ((8, 16), (16, 9))
    >>> sizes.of((8, 16), fewest=True)
    ((8, 16), (16, 5))
    """

    def __init__(self, recorded: Sequence[Sizes]) -> None:
        first = recorded[0]
        # for each size of each run, the positions of equal sizes of the first run
        self._equal = [[{k for k, v in enumerate(first) if v == size} for size in sizes] for sizes in recorded]
        self._most = [list(sizes) for sizes in recorded]
        self._fewest = [list(sizes) for sizes in recorded]

    @property
    def certain(self) -> bool:
        """Whether every size follows from those of the first run."""
        return all(equal for of_run in self._equal[1:] for equal in of_run)

    def note(self, run: int, first: Sizes, sizes: Sizes) -> None:
        """Learn from one run of a step.

        Parameters
        ----------
        run : int
            Its position in the step.
        first, sizes : tuple
            The sizes of the first run of this step, and of this run.
        """
        for j, size in enumerate(sizes):
            self._equal[run][j] = {k for k in self._equal[run][j] if first[k] == size}
            self._most[run][j] = max(self._most[run][j], size)
            self._fewest[run][j] = min(self._fewest[run][j], size)

    def of(self, first: Sizes, fewest: bool = False) -> tuple[Sizes, ...]:
        """The sizes of each run in a step whose first run has the sizes ``first``.

        Parameters
        ----------
        first : tuple
        fewest : bool
            Whether to take the smallest size seen so far where it cannot be predicted.
        """
        other = self._fewest if fewest else self._most
        later = [
            tuple(first[min(equal)] if equal else size for equal, size in zip(equals, sizes, strict=True))
            for equals, sizes in zip(self._equal[1:], other[1:], strict=True)
        ]
        return (first, *later)
