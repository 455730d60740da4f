"""Both tables are checked against the solver, the formula and an enumeration, on small random graphs."""

from __future__ import annotations

from collections import defaultdict

import pytest

import recompviz as rv
from recompviz.core.teaching.programme import Programme, budget_free, per_budget
from recompviz.core.teaching.small_graphs import NAMES, small_graph
from tests.core.random_graphs import random_graph
from tests.core.test_oracle import cost_by_definition, sequences


def points(cells: tuple[object, ...]) -> list[tuple[float, int]]:
    return [(cell.place[1], cell.value) for cell in cells]  # type: ignore[attr-defined]


def front(curve: rv.Tradeoff, objective: str) -> list[tuple[float, int]]:
    of = curve.front(objective)  # type: ignore[arg-type]
    return list(zip(of.overheads.tolist(), of.peaks.tolist(), strict=True))


@pytest.mark.parametrize("seed", range(60))
def test_the_last_row_without_a_budget_is_both_exact_curves(seed: int) -> None:
    graph = random_graph(seed, most_nodes=6)
    table, curve = budget_free(graph), rv.solve(graph, "all")
    assert points(table.time_centric) == front(curve, "time")
    assert points(table.memory_centric) == front(curve, "memory")
    for cell in table.answers:
        plan = table.plan(cell.place)
        assert (plan.overhead, plan.peak) == (cell.place[1], cell.value)


@pytest.mark.parametrize("seed", range(60))
def test_the_last_row_under_a_budget_has_both_optima(seed: int) -> None:
    graph = random_graph(seed, most_nodes=6)
    curve = rv.solve(graph, "all")
    for budget in sorted({*map(int, curve.memory_centric.peaks), curve.least_budget + 1}):
        table = per_budget(graph, budget)
        assert table.time_centric[0].place[1] == curve.plan(budget).overhead
        assert table.memory_centric[0].place[1] == curve.plan(budget, "memory").overhead
        for cell in table.answers:
            plan = table.plan(cell.place)
            assert plan.overhead == cell.place[1]
            assert plan.peak <= budget
    if curve.least_budget > 0:
        assert per_budget(graph, curve.least_budget - 1).answers == ()


@pytest.mark.parametrize("seed", range(25))
def test_every_cell_is_the_least_peak_of_all_remaining_sequences(seed: int) -> None:
    graph = random_graph(seed, most_nodes=5)
    best: dict[tuple[int, float], int] = defaultdict(lambda: 10**9)
    for sequence in sequences(graph):
        plan = rv.Plan.from_lower_sets(graph, sequence)
        masks, totals = (0, *plan.masks), [terms.total for terms in plan.terms]
        cached = 0
        for i, mask in enumerate(masks):  # the sequence goes on from L_i
            cached |= graph.boundary_mask(mask) if mask else 0
            rest = [v for v in range(len(graph)) if not mask >> v & 1 and not plan.keep_mask[v]]
            place = (mask, float(graph.time[rest].sum()))
            best[place] = min(best[place], max(totals[i:], default=0) - graph.memory_of(cached) * (i < len(totals)))
    assert {cell.place: cell.value for cell in budget_free(graph).cells} == best
    assert points(budget_free(graph).answers) == sorted((t, peak) for (mask, t), peak in best.items() if mask == 0)


@pytest.mark.parametrize("seed", range(25))
def test_the_row_of_the_empty_set_is_the_least_peak_of_all_sequences(seed: int) -> None:
    graph = random_graph(seed, most_nodes=5)
    best: dict[float, int] = defaultdict(lambda: 10**9)
    for sequence in sequences(graph):
        overhead, peak = cost_by_definition(graph, sequence)
        best[overhead] = min(best[overhead], peak)
    assert points(budget_free(graph).answers) == sorted(best.items())


def check_cells(table: Programme) -> None:
    seen = {}
    for cell in table.cells:
        for candidate in cell.candidates:
            assert seen[candidate.other] == candidate.needed  # filled before it is needed
            assert candidate.other[1] + candidate.extra_t == pytest.approx(cell.place[1])
        if cell.best >= 0:
            assert cell.value == min(candidate.value for candidate in cell.candidates if candidate.fits)
            assert cell.candidates[cell.best].value == cell.value
        seen[cell.place] = cell.value


@pytest.mark.parametrize("name", NAMES)
def test_the_tables_of_the_small_graphs_can_be_stepped_through(name: str) -> None:
    graph = small_graph(name)
    check_cells(budget_free(graph))
    check_cells(per_budget(graph, rv.solve(graph, "all").least_budget))


def test_a_table_too_large_to_step_through_is_refused() -> None:
    with pytest.raises(rv.TooManyLowerSets, match="80"):
        budget_free(rv.Graph.from_edges([], memory=[1] * 8))
    times = [2.0**i for i in range(12)]
    with pytest.raises(ValueError, match="more than 700 cells"):
        budget_free(rv.Graph.from_edges([(i, i + 1) for i in range(11)], memory=[1] * 12, time=times))
