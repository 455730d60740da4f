"""The choice among the splits that Inductor's code was counted for."""

from __future__ import annotations

import numpy as np
import pytest

from recompviz.pytorch.internals.inductor_code import InductorMemory
from recompviz.pytorch.running.split_candidates import MOST_LOWERED, SplitCandidates


class Counted(SplitCandidates):
    """Candidates whose code takes given bytes; nothing is lowered."""

    def __init__(self, simulated: list[int], counted: list[int]) -> None:
        self.masks = [np.ones(1, np.bool_)] * len(simulated)
        self.overhead = [float(i) for i in range(len(simulated))]
        self.simulated, self.counted = simulated, counted
        self.exact = True
        self.leanest = min(range(len(simulated)), key=lambda i: simulated[i])
        self._memory: dict[int, InductorMemory] = {}
        self._difference = 0

    def memory(self, row: int) -> InductorMemory:
        peak = self.counted[row]
        return self._memory.setdefault(row, InductorMemory(peak, peak, peak, peak))


@pytest.mark.parametrize("room", [999, 990, 985, 975])
def test_a_plan_near_the_total_is_found_where_the_estimate_is_wrong(room: int) -> None:
    """The code takes hardly less from plan to plan, so that the plans that are estimated to fit do not."""
    counted = [1000 - i for i in range(30)] + [700 - 10 * i for i in range(20)]
    candidates = Counted([1000 - 10 * i for i in range(50)], counted)
    row = candidates.least_recomputation(room)
    assert row is not None
    assert counted[row] <= room
    best = next(i for i in range(50) if counted[i] <= room)
    assert row - best <= 50 / 2**MOST_LOWERED
    assert len(candidates._memory) <= 2 * MOST_LOWERED + 1


def test_nothing_is_chosen_if_the_leanest_plan_does_not_fit() -> None:
    assert Counted([10, 9, 8], [10, 9, 8]).least_recomputation(7) is None


@pytest.mark.parametrize("seed", range(30))
def test_the_chosen_plan_fits_and_the_rest_is_not_lowered(seed: int) -> None:
    generator = np.random.default_rng(seed)
    simulated = np.sort(generator.integers(100, 1000, 40))[::-1].tolist()
    counted = [int(size * generator.uniform(0.6, 1.1)) for size in simulated]
    candidates = Counted(simulated, counted)
    room = int(generator.integers(50, 1100))
    row = candidates.least_recomputation(room)
    if row is None:
        assert counted[candidates.leanest] > room
    else:
        assert counted[row] <= room
    assert len(candidates._memory) <= 2 * MOST_LOWERED + 1
