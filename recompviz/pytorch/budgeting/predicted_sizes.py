"""Predict the dynamic sizes of a training step's later regions (captured graphs) when its first region is called.

If a size of a later region was equal to a size of the first region in all steps so far, it is predicted to be equal
again. An example is the batch size. For any other size, the largest value so far is predicted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Sizes = tuple[Any, ...]


class PredictedSizes:
    """Predicts the dynamic input sizes of each run of a training step from the sizes of the first run.

    A run is a call of a captured graph.

    Parameters
    ----------
    recorded : sequence of tuple
        For each run of a recorded step, the dynamic sizes of its inputs.

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
        """Whether every size of a later run has been equal to the same size of the first run in all steps so far."""
        return all(equal for of_run in self._equal[1:] for equal in of_run)

    def note(self, run: int, first: Sizes, sizes: Sizes) -> None:
        """Update the prediction with one run.

        Parameters
        ----------
        run : int
            The position of the run in its step.
        first : tuple
            The sizes of the first run of the same step.
        sizes : tuple
            The sizes of this run.
        """
        for j, size in enumerate(sizes):
            self._equal[run][j] = {k for k in self._equal[run][j] if first[k] == size}
            self._most[run][j] = max(self._most[run][j], size)
            self._fewest[run][j] = min(self._fewest[run][j], size)

    def of(self, first: Sizes, fewest: bool = False) -> tuple[Sizes, ...]:
        """Predict the sizes of each run in a step.

        Parameters
        ----------
        first : tuple
            The sizes of the first run.
        fewest : bool
            Whether to predict the smallest value so far, instead of the largest, for a size that is not always equal to
            a size in ``first``.

        Returns
        -------
        tuple of tuple
            For each run, its sizes.
        """
        other = self._fewest if fewest else self._most
        later = [
            tuple(first[min(equal)] if equal else size for equal, size in zip(equals, sizes, strict=True))
            for equals, sizes in zip(self._equal[1:], other[1:], strict=True)
        ]
        return (first, *later)
