"""The choice among the splits that Inductor's code was counted for."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from recompviz.pytorch.internals.inductor_code import InductorMemory
from recompviz.pytorch.policies import split_candidates
from recompviz.pytorch.policies.split_candidates import MOST_LOWERED, SimulatedPlans, SplitCandidates


class Counted(SplitCandidates):
    """Candidates whose code takes given bytes; nothing is lowered."""

    def __init__(self, simulated: list[int], counted: list[int]) -> None:
        masks, overhead = [np.ones(1, np.bool_)] * len(simulated), [float(i) for i in range(len(simulated))]
        super().__init__(None, SimulatedPlans(masks, overhead, simulated))  # type: ignore[arg-type]
        self.counted = counted

    def memory(self, row: int) -> InductorMemory:
        peak = self.counted[row]
        return self.plans.lowered.setdefault(row, InductorMemory(peak, peak, peak, peak))


@pytest.mark.parametrize("room", [999, 990, 985, 975, 971, 700, 510])
def test_the_first_plan_that_fits_is_found_where_the_counted_bytes_fall(room: int) -> None:
    """The code takes hardly less from plan to plan, unlike the simulation."""
    counted = [1000 - i for i in range(30)] + [700 - 10 * i for i in range(20)]
    candidates = Counted([1000 - 10 * i for i in range(50)], counted)
    assert candidates.least_recomputation(room) == next(i for i in range(50) if counted[i] <= room)
    assert len(candidates.plans.lowered) <= MOST_LOWERED + 1


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
    assert len(candidates.plans.lowered) <= MOST_LOWERED + 1


@pytest.mark.parametrize("seed", range(30))
def test_the_peak_does_not_rise_when_the_total_falls(seed: int) -> None:
    """The counted bytes do not fall along the front. One process tries falling totals for one graph."""
    generator = np.random.default_rng(seed)
    simulated = list(range(400, 0, -1))
    counted = [int(size * generator.uniform(0.6, 1.1)) for size in simulated]
    candidates = Counted(simulated, counted)
    rows = [candidates.least_recomputation(room) for room in range(440, 0, -20)]
    peaks = [counted[row] for row in rows if row is not None]
    assert len(peaks) > 10
    assert all(later <= earlier for earlier, later in pairwise(peaks))


def test_the_plans_of_equal_graphs_are_searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split_candidates, "_remembered", {})
    monkeypatch.setattr(split_candidates, "MOST_REMEMBERED", 2)
    known = [SimulatedPlans([], [], []) for _ in "ab"]
    split_candidates._remembered.update(zip("ab", known, strict=True))
    monkeypatch.setattr(split_candidates, "region_masks", lambda *_: [])
    monkeypatch.setattr(split_candidates, "LiveModel", lambda *_: None)

    graph: Any = SimpleNamespace(folded=SimpleNamespace(graph=None, joint=None))
    assert SimulatedPlans.of(graph, "a") is known[0]
    assert SimulatedPlans.of(graph, "c") not in known
    assert list(split_candidates._remembered) == ["a", "c"]
