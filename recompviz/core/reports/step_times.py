"""Times of eager and planned training steps, measured in pairs.

The two steps of a pair run one after the other, under about the same load of the machine. So an extra time is computed
for each pair. The spread says how far the pairs agree. It is an interval that contains the median extra time of many
pairs with at least 95 % probability (the interval of the sign test). Fewer than six pairs are too few for this; their
spread goes from the smallest to the largest extra time.

On the CPU the extra time is computed from processor times. If other programs use the same cores, the wall-clock time of
a step grows, but its processor time changes little.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from statistics import median

from recompviz.core.base.units import format_time

# The most probability that the median lies outside the spread.
OUTSIDE = 0.05
# The least number of pairs whose spread is an interval with this probability.
ENOUGH = 6
# A prediction is too high if it is more than this many times the fastest eager step.
TOO_HIGH = 1.5
# A prediction is too low if the eager steps take more than this many times as long. On a quiet machine the sum of the
# operators differs by less.
TOO_LOW = 1.2
# and at least so many milliseconds longer: the time of Python between operators may be as much in a small step
LEAST_DIFFERENCE = 1.0


@dataclass(frozen=True)
class StepTimes:
    """Times of pairs of one eager and one planned training step, in milliseconds; frozen.

    Attributes
    ----------
    eager, planned : tuple of float
        The wall-clock time of each eager and of each planned step. The steps at the same position are a pair.
    predicted_extra : float or None
        The predicted extra time of the planned step. None if the costs are not times.
    predicted_eager : float or None
        The predicted time of the eager step: the sum of its measured operator calls. None if they were not measured.
    eager_work, planned_work : tuple of float or None
        The times from which :attr:`extra` is computed: on the CPU, the processor time of each step. None if ``extra``
        is computed from ``eager`` and ``planned``.

    Examples
    --------
    >>> times = StepTimes((10.0, 12.0, 11.0), (12.0, 14.4, 13.2), 1.5)
    >>> times.eager_step, round(times.planned_step, 2), round(times.extra, 3), times.predicted_step
    (11.0, 13.2, 0.2, 12.5)
    >>> [round(share, 3) for share in times.spread], times.within_noise, times.resolved
    ([0.2, 0.2], False, False)
    >>> print(times)
    step 13.2 ms, eager 11.0 ms, predicted 12.5 ms; extra +20.0% (+20.0% to +20.0%, 3 pairs: too few to tell)
    """

    eager: tuple[float, ...]
    planned: tuple[float, ...]
    predicted_extra: float | None = None
    predicted_eager: float | None = None
    eager_work: tuple[float, ...] | None = None
    planned_work: tuple[float, ...] | None = None

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
        """An interval for the true median of :attr:`extra`, at 95 % confidence if there are at least six pairs.

        With fewer pairs, it goes from the smallest to the largest extra time of a pair, as a share of the eager time.
        """
        shares = sorted(self._shares)
        left_out = rank_left_out(len(shares))
        return shares[left_out], shares[-1 - left_out]

    @property
    def within_noise(self) -> bool:
        """Whether the pairs do not show how much longer the planned step takes.

        The spread then contains 0. Or the plan recomputes something, and the pairs do not show that this takes time.
        Then they differ by something else, for example by the load of the machine.

        Examples
        --------
        >>> StepTimes((10.0,) * 6, (9.0,) * 6, 0.5).within_noise
        True
        """
        low, high = self.spread
        return low <= 0 and (high >= 0 or (self.predicted_extra or 0.0) > 0)

    @property
    def resolved(self) -> bool:
        """Whether there are at least six pairs, and they are not :attr:`within_noise`."""
        return self.pairs >= ENOUGH and not self.within_noise

    @property
    def too_high(self) -> bool:
        """Whether ``predicted_eager`` is more than 1.5 times the time of the fastest eager step.

        The operators were then measured on a busy machine, because other programs can make a step slower, but not
        faster. False if ``predicted_eager`` is None.

        Examples
        --------
        >>> StepTimes((10.0, 21.0), (12.0, 25.0), 4.0, 20.0).too_high
        True
        >>> StepTimes((20.0, 45.0), (24.0, 51.0), 4.0, 20.0).too_high
        False
        """
        return self.predicted_eager is not None and self.predicted_eager > TOO_HIGH * min(self.eager)

    @property
    def too_low(self) -> bool:
        """Whether the eager steps clearly took more than 1.2 times ``predicted_eager``, and 1 ms longer.

        The prediction is then too low for the steps as they run now. What counts is the lower end of an interval
        for the true median of :attr:`eager`, at 95 % confidence if there are at least six pairs. With fewer pairs, it
        is the fastest step. False if ``predicted_eager`` is None.

        Examples
        --------
        >>> StepTimes((13.0, 14.0), (14.0, 15.0), 1.0, 10.0).too_low
        True
        >>> StepTimes((11.0, 21.0), (14.0, 15.0), 1.0, 10.0).too_low
        False
        """
        if self.predicted_eager is None:
            return False
        low = sorted(self.eager)[rank_left_out(self.pairs)]
        return low > max(TOO_LOW * self.predicted_eager, self.predicted_eager + LEAST_DIFFERENCE)

    @property
    def pairs(self) -> int:
        """The number of pairs."""
        return len(self.eager)

    def __str__(self) -> str:
        low, high = self.spread
        predicted = self.predicted_step
        noise = "within noise" if high >= 0 else "no slower than eager"  # a plan that recomputes is not faster
        extra = noise if self.within_noise else f"{self.extra:+.1%}"
        spread = f"{low:+.1%} to {high:+.1%}, " if self.pairs > 1 else ""
        pairs = f"{self.pairs} pair{'s' * (self.pairs != 1)}" + (": too few to tell" if self.pairs < ENOUGH else "")
        return (
            f"step {format_time(self.planned_step)}, eager {format_time(self.eager_step)}"
            + (f", predicted {format_time(predicted)}" if predicted is not None else "")
            + (f" and {format_time(self.predicted_eager)}" if predicted is not None and self.predicted_eager else "")
            + (" (too high: the operators were measured on a busy machine)" if self.too_high else "")
            + (
                f" ({self._slower:.0%} longer: rv.calibrate(trace, fresh=True) measures the operators again)"
                if self.too_low
                else ""
            )
            + f"; extra {extra} ({spread}{pairs})"
        )

    @property
    def _shares(self) -> list[float]:
        pairs = zip(self.eager_work or self.eager, self.planned_work or self.planned, strict=True)
        return [plan / eager - 1 for eager, plan in pairs]

    @property
    def _slower(self) -> float:
        """How much longer than predicted the eager step took, as a share of the predicted time."""
        return self.eager_step / self.predicted_eager - 1 if self.predicted_eager else 0.0

    @property
    def planned_step(self) -> float:
        """The time of the planned step: ``eager_step * (1 + extra)``.

        The median of :attr:`planned` is not used, because the steps of different pairs ran under different load.
        """
        return self.eager_step * (1 + self.extra)

    @property
    def predicted_step(self) -> float | None:
        """The predicted time of the planned step; None if the costs are not times.

        It is ``predicted_eager + predicted_extra``. If ``predicted_eager`` is None, the measured ``eager_step`` is used
        instead.
        """
        if self.predicted_extra is None:
            return None
        return (self.predicted_eager or self.eager_step) + self.predicted_extra

    @property
    def predicted_share(self) -> float | None:
        """The predicted extra time as a share of the time of the eager step; None if the costs are not times.

        The time of the eager step is ``predicted_eager``. If it is None, the measured ``eager_step`` is used.
        """
        if self.predicted_extra is None:
            return None
        return self.predicted_extra / (self.predicted_eager or self.eager_step)


def rank_left_out(count: int) -> int:
    """Return how many of ``count`` sorted values a 95 % confidence interval for the median leaves out at each end.

    Each value is above the true median with probability 1/2. The interval misses the true median if at most this number
    of values are above the median, or at most this number are below. The number is the largest for which this has a
    probability of at most 5 %. With fewer than six values there is no such number, and the result is 0.

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
