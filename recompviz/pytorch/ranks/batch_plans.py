"""The plans of a rank of a pipeline over a whole batch, and the best of them within a total.

A *choice* has one plan for each stage of the rank. Its peak is simulated over all micro-batches. A search for a single
micro-batch finds some choices. Between two such choices with neighbouring peaks, further choices are made: starting
from the choice with the lower peak, values are kept one after another, as long as the higher peak is not exceeded.

A *row* is a tuple (overhead, peak, choice). The overhead is the time of recomputation for one micro-batch, in the unit
of ``graph.time``. The peak is in total bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from recompviz.core.base.errors import InfeasibleBudget
from recompviz.core.base.progress import Progress, partial_progress
from recompviz.core.graphs.graph import Graph
from recompviz.core.plans.plan import Plan

# a plan for each stage of a rank
Choice: TypeAlias = "tuple[Plan, ...]"
# recomputation of one micro-batch, peak in total bytes, and the plans
Row: TypeAlias = "tuple[float, int, Choice]"

# the most choices whose peak over a whole batch is simulated
MOST_PLANS = 64
# between two plans whose peaks differ by more than this share of the range, plans that keep further values are tried
GAP = 0.03


@dataclass(frozen=True, eq=False)
class BatchPlans:
    """Finds plans for the stages of a rank.

    Attributes
    ----------
    graphs : tuple of Graph
        For each stage, the graph of the values of one micro-batch.
    peak : callable (masks) → int
        Simulates a batch, and returns the peak in total bytes. The argument has for each stage one bool for each node:
        whether its value is kept for the backward pass.
    """

    graphs: tuple[Graph, ...]
    peak: Callable[[Sequence[Sequence[bool]]], int]

    def rows(self, choices: Iterable[Choice]) -> tuple[Row, ...]:
        """Simulate choices (one plan for each stage), and return the best rows as :func:`best_rows` does."""
        return best_rows(
            (_overhead(plans), self.peak([p.keep_mask.tolist() for p in plans]), plans) for plans in choices
        )

    def curve(self, choices: Sequence[Choice], progress: Progress | None = None) -> tuple[Row, ...]:
        """Return the best rows of the given choices and of further choices between them, as :func:`best_rows` does.

        A further choice keeps more values than one of the given choices; see the docstring of the module.
        """
        tell = progress or (lambda _done, _total: None)

        def told() -> Iterable[Choice]:
            for i, plans in enumerate(choices):
                tell(i, 2 * len(choices))
                yield plans

        rows = self.rows(told())
        wide = GAP * (rows[0][1] - rows[-1][1])
        between: list[Row] = []
        for i, (rich, lean) in enumerate(pairwise(rows)):
            tell(len(rows) + i, 2 * len(rows))
            if rich[1] - lean[1] > wide:
                between += self._fillings(lean[2], rich[1])
        return best_rows([*rows, *between])

    def found(
        self,
        kept: dict[str, tuple[Row, ...]],
        choices: Callable[[Progress | None], Sequence[Choice]],
        share: float,
        progress: Progress | None,
    ) -> tuple[Row, ...]:
        """Return the rows of :meth:`curve` for the choices that a search finds, cached.

        Parameters
        ----------
        kept : dict
            The cache. The first call stores the rows in it, and later calls return them.
        choices : callable (progress) → sequence of choices
            Searches for the choices.
        share : float
            The share of the progress that the search takes, from 0 to 1. The simulations take the rest.
        progress : callable (done, total), optional
            Called during the search and the simulations.
        """
        if "rows" not in kept:
            kept["rows"] = self.curve(
                choices(partial_progress(progress, 0, share)), partial_progress(progress, share, 1)
            )
        return kept["rows"]

    def within(self, curve: Sequence[Row], size: int) -> Choice:
        """Return the choice that recomputes least among those found with a peak of at most ``size`` bytes.

        A choice has one plan for each stage.

        The search starts from the first row of ``curve`` whose peak fits. It keeps further values, one after another,
        as long as the peak still fits.

        Parameters
        ----------
        curve : sequence of rows
            By rising overhead, as :meth:`curve` returns them.
        size : int
            Total bytes.

        Raises
        ------
        InfeasibleBudget
            If no row of ``curve`` fits.
        """
        for _, peak, plans in curve:
            if peak <= size:
                return min([plans, *(filled for _, _, filled in self._fillings(plans, size)[-1:])], key=_overhead)
        raise InfeasibleBudget(size, curve[-1][1], "total")

    def _fillings(self, plans: Choice, size: int) -> list[Row]:
        """Return choices that keep one more value after another while the peak is at most ``size``.

        Values of most time for each byte come first. The rows have falling recomputation.
        """
        masks = [plan.keep_mask.copy() for plan in plans]
        lost = [
            (graph.time[v] / max(int(graph.memory[v]), 1), i, v)
            for i, graph in enumerate(self.graphs)
            for v in np.flatnonzero(~masks[i] & (graph.time > 0)).tolist()
        ]
        found = []
        for _, i, v in sorted(lost, key=lambda row: (-row[0], row[1:])):
            masks[i][v] = True
            peak = self.peak([mask.tolist() for mask in masks])
            if peak <= size:
                filled = tuple(
                    plan.with_keep_mask(graph, mask)
                    for graph, mask, plan in zip(self.graphs, masks, plans, strict=True)
                )
                found.append((_overhead(filled), peak, filled))
            masks[i][v] = peak <= size
        return found


def best_rows(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Return the rows that no other row beats, by rising overhead and falling peak.

    A row is a tuple (overhead, peak, choice). It is dropped if another row has no more overhead and no higher peak. Of
    rows with equal overhead and equal peak, one is kept.
    """
    best: list[Row] = []
    for row in sorted(rows, key=lambda row: row[:2]):
        if not best or row[1] < best[-1][1]:
            best.append(row)
    return tuple(best)


def _overhead(plans: Choice) -> float:
    return sum(plan.overhead for plan in plans)
