"""Checkmate's program against an enumeration of all its schedules, known answers, and canonical plans."""

from __future__ import annotations

import random
import subprocess
import sys
from itertools import combinations
from math import inf

import numpy as np
import pytest

import recompviz as rv
from recompviz.benchmarks import optimality
from recompviz.benchmarks.checkmate import least_memory, least_overhead
from recompviz.core.steps.joint import JointGraph
from recompviz.core.steps.paper_model import paper_step
from recompviz.core.steps.schedule import make_schedule
from recompviz.core.steps.simulation import simulate_schedule
from tests.core.random_graphs import random_graph


def subsets(items: set[int]) -> list[frozenset[int]]:
    return [frozenset(c) for size in range(len(items) + 1) for c in combinations(sorted(items), size)]


def stage_peak(joint: JointGraph, t: int, held: frozenset[int], again: frozenset[int], after: frozenset[int]) -> float:
    """Bytes at the fullest moment of a stage that starts and ends with the results given; infinite if it cannot run."""
    alive, peak = set(held), 0
    running = sorted({*again, t})
    for position, k in enumerate(running):
        if not set(joint.calls[k].reads) <= alive:
            return inf
        alive.add(k)
        peak = max(peak, sum(joint.sizes[s] for s in alive))
        later = {s for j in running[position + 1 :] for s in joint.calls[j].reads}
        # what was computed or read just now and is of no more use is freed
        alive -= {s for s in (*joint.calls[k].reads, k) if s not in later and s not in after}
    return peak if after <= alive else inf


def enumerated(joint: JointGraph, costs: list[float]) -> list[tuple[float, float]]:
    """All (cost, peak) that none beats, over every choice of what each stage computes again and holds."""
    states: dict[frozenset[int], set[tuple[float, float]]] = {frozenset(): {(0.0, 0.0)}}
    last = len(joint.calls) - 1
    for t in range(last + 1):
        after_stage: dict[frozenset[int], set[tuple[float, float]]] = {}
        for held, points in states.items():
            for again in subsets(set(range(t)) - held):
                ends = subsets({*held, *again, t}) if t < last else [frozenset[int]()]
                extra = sum(costs[i] for i in again)
                for end in ends:
                    peak = stage_peak(joint, t, held, again, end)
                    if peak < inf:
                        after_stage.setdefault(end, set()).update((c + extra, max(p, peak)) for c, p in points)
        states = {end: unbeaten(points) for end, points in after_stage.items()}
    return sorted(states[frozenset()])


def unbeaten(points: set[tuple[float, float]]) -> set[tuple[float, float]]:
    return {(c, p) for c, p in points if not any((d, q) != (c, p) and d <= c and q <= p for d, q in points)}


def small_graph(seed: int) -> rv.Graph:
    chance = random.Random(seed)
    edges = [e for e in ((0, 1), (1, 2), (0, 2)) if chance.random() < 0.8]
    return rv.Graph.from_edges(
        edges, memory=[chance.randint(0, 4) for _ in range(3)], time=[chance.choice([1, 1, 10]) for _ in range(3)]
    )


@pytest.mark.parametrize("seed", range(8))
def test_the_program_finds_what_an_enumeration_of_all_schedules_finds(seed: int) -> None:
    graph = small_graph(seed)
    joint = paper_step(graph)
    costs = [float(graph.time[joint.calls[min(i, 5 - i)].node]) for i in range(6)]
    front = enumerated(joint, costs)
    assert least_memory(joint).value == front[-1][1]
    for cost, peak in front:
        assert least_overhead(joint, costs, int(peak)).value == cost
        below = [c for c, p in front if p <= peak - 1]
        assert least_overhead(joint, costs, int(peak) - 1).value == min(below, default=inf)


@pytest.mark.parametrize("n", [3, 4, 5, 6])
def test_a_chain_runs_in_three_values_at_a_quadratic_price_and_in_plenty_for_nothing(n: int) -> None:
    joint = paper_step(optimality.chain(n))
    costs = [1.0] * (2 * n)
    assert least_memory(joint).value == 3
    # each gradient starts again from the first value
    assert least_overhead(joint, costs, 3).value == (n - 1) * (n - 2) / 2
    assert least_overhead(joint, costs, 2 * n).value == 0
    impossible = least_overhead(joint, costs, 2)
    assert impossible.proven
    assert impossible.value == inf


@pytest.mark.parametrize("seed", range(25))
def test_no_canonical_plan_with_liveness_beats_the_optimum_at_its_budget(seed: int) -> None:
    graph = random_graph(seed, most_nodes=5)
    joint = paper_step(graph)
    costs = [float(graph.time[v]) for v in graph.order]
    costs += reversed(costs)
    curve = rv.solve(graph, "all")
    plans = [curve.plan_at(i, objective) for objective in ("time", "memory")
             for i in range(len(curve.front(objective)))]  # fmt: skip
    reached = optimality.with_liveness(joint, [plan.keep_mask for plan in plans], graph)
    for overhead, peak in reached:
        found = least_overhead(joint, costs, peak)
        assert found.proven
        assert found.value <= overhead
    assert least_memory(joint).value <= min(peak for _, peak in reached)


@pytest.mark.parametrize("seed", range(30))
def test_the_keep_sets_are_those_of_every_lower_set_sequence(seed: int) -> None:
    from tests.core.test_oracle import sequences

    graph = random_graph(seed, most_nodes=5)
    expected = {graph.mask(rv.Plan.from_lower_sets(graph, sequence).keep) for sequence in sequences(graph)}
    assert set(optimality.keep_sets(graph)) == expected


def test_the_solution_it_returns_is_a_schedule_of_that_cost() -> None:
    graph = optimality.unet()
    joint = paper_step(graph)
    costs = [float(graph.time[v]) for v in graph.order]
    costs += reversed(costs)
    found = least_overhead(joint, costs, 60)
    assert found.proven
    assert found.computed.diagonal().all()
    assert not np.triu(found.computed, 1).any()
    assert float((found.computed * np.array(costs)).sum()) - sum(costs) == found.value
    keep_all = simulate_schedule(make_schedule(joint, [True] * len(graph)))
    assert keep_all.peak > 60


def test_a_known_cost_cuts_the_search_without_changing_the_answer() -> None:
    joint = paper_step(optimality.chain(5))
    assert least_overhead(joint, [1.0] * 10, 4, at_most=5).value == least_overhead(joint, [1.0] * 10, 4).value == 2
    assert least_overhead(joint, [1.0] * 10, 4, at_most=1).value == inf


def test_a_step_whose_calls_make_several_storages_is_refused() -> None:
    from recompviz.core.steps.examples import residual_step

    with pytest.raises(ValueError, match="paper_model"):
        least_memory(residual_step(blocks=(1,))[1])


def test_the_table_has_a_row_for_each_budget_and_says_what_was_proven(capsys: pytest.CaptureFixture[str]) -> None:
    optimality.main(["conv chain", "--seconds", "20", "--budgets", "2"])
    header, *rows, proven, curves, canonical, _ = capsys.readouterr().out.splitlines()
    assert header.split()[:4] == ["graph", "#V", "T(V)", "budget"]
    assert len(rows) == 3
    assert "yes" in rows[0]
    assert proven.endswith("optima proven")
    assert "fit in 2 rows" in curves
    assert "worst" in canonical


def test_an_unproven_row_states_its_gap_as_the_most_it_can_be() -> None:
    row = optimality.Row("g", 4, 10, 20.0, inf, 12.0, 10.0, 9.0, 8.0, False, 1.0)
    assert (row.gap, row.canonical_gap) == (20.0, 10.0)
    assert "8 … 9" in row.text
    assert "≤ 20.0%" in row.text


def test_without_scipy_the_error_names_the_extra() -> None:
    code = "import sys; sys.modules['scipy.optimize'] = None; import recompviz.benchmarks.checkmate"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "recompviz[test]" in done.stderr
