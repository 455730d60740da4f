"""Times of eager and planned training steps, measured in pairs.

The two steps of a pair run one after the other, under about the same load of the machine. So the extra time is taken
within pairs. Its spread says how far the pairs agree: the median extra time of many pairs lies inside it with at least
95 % probability (the interval of the sign test). Fewer than six pairs are too few for this; their spread is the
smallest and the largest extra time.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from statistics import median

# The most probability that the median lies outside the spread.
OUTSIDE = 0.05


@dataclass(frozen=True)
class StepTimes:
    """Wall-clock times of pairs of one eager and one planned training step, in milliseconds; frozen.

    Attributes
    ----------
    eager, planned : tuple of float
        The time of each eager and of each planned step. The steps at the same position are a pair.
    predicted_extra : float or None
        The predicted extra time of the planned step. None if the costs are not times.

    Examples
    --------
    >>> times = StepTimes((10.0, 12.0, 11.0), (12.0, 14.4, 13.2), 1.5)
    >>> times.eager_step, round(times.planned_step, 2), round(times.extra, 3), times.predicted_step
    (11.0, 13.2, 0.2, 12.5)
    >>> [round(share, 3) for share in times.spread], times.within_noise
    ([0.2, 0.2], False)
    >>> print(times)
    step 13.2 ms, eager 11 ms, predicted 12.5 ms; extra +20.0% (+20.0% to +20.0%, 3 pairs)
    """

    eager: tuple[float, ...]
    planned: tuple[float, ...]
    predicted_extra: float | None = None

    @property
    def eager_step(self) -> float:
        """The median time of the eager steps."""
        return median(self.eager)

    @property
    def extra(self) -> float:
        """The extra time of the planned steps as a share of the eager time: the median over the pairs."""
        return median(self._shares)

    @property
    def spread(self) -> tuple[float, float]:
        """An interval for the true median of :attr:`extra`, at 95 % confidence if there are at least six pairs."""
        shares = sorted(self._shares)
        left_out = rank_left_out(len(shares))
        return shares[left_out], shares[-1 - left_out]

    @property
    def within_noise(self) -> bool:
        """Whether the pairs do not show which step takes longer, because the spread contains 0."""
        low, high = self.spread
        return low <= 0 <= high

    @property
    def pairs(self) -> int:
        """The number of pairs."""
        return len(self.eager)

    def __str__(self) -> str:
        low, high = self.spread
        predicted = self.predicted_step
        extra = "within noise" if self.within_noise else f"{self.extra:+.1%}"
        return (
            f"step {self.planned_step:.3g} ms, eager {self.eager_step:.3g} ms"
            + (f", predicted {predicted:.3g} ms" if predicted is not None else "")
            + f"; extra {extra} ({low:+.1%} to {high:+.1%}, {self.pairs} pair{'s' * (self.pairs != 1)})"
        )

    @property
    def _shares(self) -> list[float]:
        return [plan / eager - 1 for eager, plan in zip(self.eager, self.planned, strict=True)]

    @property
    def planned_step(self) -> float:
        """The time of the planned step: ``eager_step * (1 + extra)``.

        The share ``extra`` is taken within pairs, because the two steps of a pair ran under about the same load.
        """
        return self.eager_step * (1 + self.extra)

    @property
    def predicted_step(self) -> float | None:
        """The measured time of the eager step plus the predicted extra time. None if the costs are not times."""
        return None if self.predicted_extra is None else self.eager_step + self.predicted_extra


def rank_left_out(count: int) -> int:
    """Return how many of the smallest and of the largest of ``count`` values the interval of their median leaves out.

    Each value is above the true median with probability 1/2. The interval misses the median if at most this many
    values lie on one of its sides, which must have a probability of at most 5 %. With fewer than six values, none is
    left out.

    Examples
    --------
    >>> [rank_left_out(count) for count in (1, 6, 8, 9, 15)]
    [0, 0, 0, 1, 3]
    """
    left_out, tail = 0, 1.0
    while 2 * (tail + comb(count, left_out + 1)) <= OUTSIDE * 2**count:
        left_out += 1
        tail += comb(count, left_out)
    return left_out
