"""The pairwise recursion against an enumeration of every lower-set sequence, equations taken literally."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

import recompviz as rv
from tests.core.strategies import graphs


def sequences(graph: rv.Graph) -> Iterator[list[frozenset[object]]]:
    """Every sequence L₁ ⊊ … ⊊ L_k = V of lower sets."""
    everything = frozenset(graph.names)
    sets = sorted(graph.lower_sets(), key=len)

    def grow(last: frozenset[object], so_far: list[frozenset[object]]) -> Iterator[list[frozenset[object]]]:
        if last == everything:
            yield so_far
        for lower in sets:
            if lower > last:
                yield from grow(lower, [*so_far, lower])

    yield from grow(frozenset(), [])


def cost_by_definition(graph: rv.Graph, sequence: list[frozenset[object]]) -> tuple[float, int]:
    """(overhead, peak) from the paper's definitions, with plain sets."""
    names = list(graph.names)
    M = dict(zip(names, graph.memory.tolist(), strict=True))
    T = dict(zip(names, graph.time.tolist(), strict=True))
    edges = [(names[u], names[v]) for u, v in graph.edges.tolist()]

    def after(S: frozenset[object] | set[object]) -> set[object]:
        return {v for u, v in edges if u in S}

    def before(S: frozenset[object] | set[object]) -> set[object]:
        return {u for u, v in edges if v in S}

    def total(cost: dict[object, float], S: set[object] | frozenset[object]) -> float:
        return sum(cost[v] for v in S)

    U: set[object] = set()
    previous: frozenset[object] = frozenset()
    peak = 0.0
    for L in sequence:
        segment = L - previous
        peak = max(peak, total(M, U) + 2 * total(M, segment) + total(M, after(L) - L) + total(M, before(after(L)) - L))
        U |= before(set(names) - L) & L
        previous = L
    return total(T, set(names) - U), int(peak)


@given(graphs(max_nodes=5))
def test_both_fronts_equal_the_enumeration_of_all_sequences(graph: rv.Graph) -> None:
    points = {cost_by_definition(graph, sequence) for sequence in sequences(graph)}
    curve = rv.solve(graph, "all")
    for front, sign in ((curve.time_centric, 1), (curve.memory_centric, -1)):
        best = {
            (t, p)
            for t, p in points
            if not any((sign * u, q) != (sign * t, p) and sign * u <= sign * t and q <= p for u, q in points)
        }
        assert set(zip(front.overheads.tolist(), front.peaks.tolist(), strict=True)) == best


@given(graphs())
def test_a_plan_walked_back_has_the_overhead_and_peak_of_its_point(graph: rv.Graph) -> None:
    curve = rv.solve(graph, "all")
    for objective in ("time", "memory"):
        front = curve.front(objective)
        for i in range(len(front)):
            plan = curve.plan_at(i, objective)
            assert (plan.overhead, plan.peak) == (front.overheads[i], front.peaks[i])
            assert cost_by_definition(graph, list(plan.lower_sets)) == (plan.overhead, plan.peak)
            assert plan.keep | plan.recompute == set(graph.names)
            assert frozenset().union(*plan.segments) == set(graph.names)


@given(graphs())
def test_a_larger_budget_never_costs_more(graph: rv.Graph) -> None:
    curve = rv.solve(graph, "all")
    peaks = {int(peak) for front in (curve.time_centric, curve.memory_centric) for peak in front.peaks}
    budgets = sorted(peaks | {peak + 1 for peak in peaks})
    time = [curve.plan(b, "time").overhead for b in budgets]
    memory = [curve.plan(b, "memory").overhead for b in budgets]
    assert time == sorted(time, reverse=True)
    assert memory == sorted(memory)
    assert all(curve.plan(b).peak <= b for b in budgets)


def test_an_infeasible_budget_says_the_least_feasible_one() -> None:
    curve = rv.solve(rv.Graph.from_edges([(0, 1)], memory=[2**30, 2**30]))
    with pytest.raises(rv.InfeasibleBudget, match=r"1\.00 GiB .*formula.*3\.00 GiB") as caught:
        curve.plan("1 GiB")
    assert caught.value.least == curve.least_budget == 3 * 2**30
    assert curve.plan(curve.least_budget).peak == curve.least_budget


@given(graphs(), st.sampled_from(["paper", "prefixes"]))
def test_a_smaller_family_is_never_better_than_all(graph: rv.Graph, family: str) -> None:
    exact, approximate = rv.solve(graph, "all"), rv.solve(graph, family)  # type: ignore[arg-type]
    assert approximate.lower_set_count <= exact.lower_set_count
    for t, p in zip(approximate.time_centric.overheads, approximate.time_centric.peaks, strict=True):
        assert exact.plan(int(p)).overhead <= t


def test_an_unknown_family_or_objective_is_named() -> None:
    graph = rv.Graph.from_edges([], memory=[1])
    with pytest.raises(ValueError, match="'some'"):
        rv.solve(graph, "some")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'speed'"):
        rv.solve(graph).plan(10, "speed")  # type: ignore[arg-type]


def test_an_empty_graph_has_one_empty_plan() -> None:
    curve = rv.solve(rv.Graph.from_edges([], memory=[]), "all")
    assert curve.least_budget == 0
    assert curve.plan(0).lower_sets == ()
