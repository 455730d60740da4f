"""The compiled solvers against the pairwise oracle, and against the enumeration of every sequence."""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

import recompviz as rv
from recompviz.core.base import compiled_code
from recompviz.core.base.errors import ImpossiblePin
from recompviz.core.exact import compiled_pairs, open_segments, pair_kernels, solver
from recompviz.core.exact.compiled_pairs import compiled_pairwise_front
from recompviz.core.exact.lattice import enumerate_lattice
from recompviz.core.exact.lazy_front import LazyParetoFront
from recompviz.core.exact.open_segments import open_segment_front
from recompviz.core.exact.recursion import pairwise_front
from recompviz.core.exact.solver import Family
from recompviz.core.exact.tolerances import TooManyLabels, has_fine_costs
from recompviz.core.exact.whole_times import whole_times
from recompviz.core.graphs.bitsets import bits
from recompviz.core.graphs.families import all_lower_sets, paper_family, prefix_family
from recompviz.core.graphs.pins import Pins, pins_of
from recompviz.core.plans.curve import Objective, ParetoFront
from recompviz.core.plans.formula import formula_peak, overhead
from recompviz.core.steps.examples import residual_step
from tests.core.random_graphs import random_graph
from tests.core.strategies import REAL_TIMES, graphs

OBJECTIVES: tuple[Objective, Objective] = ("time", "memory")
MANY = 10**6


def any_graph(seed: int, most_nodes: int = 8) -> rv.Graph:
    """A random DAG: ties, zero costs, parts not connected, costs whole or real, numbers in no order."""
    chance = random.Random(seed)
    n = chance.randint(1, most_nodes)
    density = chance.choice([0.0, 0.15, 0.3, 0.6])
    order = chance.sample(range(n), n)
    edges = [(order[i], order[j]) for i in range(n) for j in range(i + 1, n) if chance.random() < density]
    most = chance.choice([1, 3, 40, 10**9])
    costs: list[Any] = chance.choice([[1], [0, 1, 10], [chance.uniform(0, 3) for _ in range(4)]])
    return rv.Graph.from_edges(
        edges, [chance.randint(0, most) for _ in range(n)], [chance.choice(costs) for _ in range(n)]
    )


def points(front: ParetoFront) -> list[tuple[float, int]]:
    return list(zip(front.overheads.tolist(), front.peaks.tolist(), strict=True))


def assert_walks_back(graph: rv.Graph, front: ParetoFront) -> None:
    """Each point's sequence has the point's overhead and peak."""
    for i, (t, peak) in enumerate(points(front)):
        sequence = front.walk_back(i)
        assert formula_peak(graph, sequence) == peak
        assert overhead(graph, sequence) == pytest.approx(t, rel=1e-12)


def best_of(costs: set[tuple[float, int]], sign: int) -> list[tuple[float, int]]:
    """The Pareto front of (overhead, peak) pairs, in the order of a ParetoFront."""
    front: list[tuple[float, int]] = []
    for t, peak in sorted(costs, key=lambda cost: (sign * cost[0], cost[1])):
        if not front or peak < front[-1][1]:
            front.append((t, peak))
    return front


def all_costs(graph: rv.Graph, pins: Pins) -> set[tuple[float, int]]:
    """(overhead, peak) of every lower-set sequence that obeys the pins, by enumeration."""
    sets = all_lower_sets(graph, MANY)
    found = set()

    def grow(sequence: list[int]) -> None:
        last = sequence[-1] if sequence else 0
        if last == graph.everything:
            kept = 0
            for lower in sequence:
                kept |= graph.boundary_mask(lower)
            if not pins.keep & ~kept and not pins.recompute & kept:
                found.add((overhead(graph, sequence), formula_peak(graph, sequence)))
            return
        for lower in sets:
            if lower != last and last & ~lower == 0:
                grow([*sequence, lower])

    grow([])
    return found


@settings(max_examples=300)
@given(graphs(max_nodes=8))
def test_open_segments_equal_the_pairwise_recursion(graph: rv.Graph) -> None:
    sets, lattice = all_lower_sets(graph, MANY), enumerate_lattice(graph, MANY)
    for objective in OBJECTIVES:
        fast = open_segment_front(graph, lattice, objective)
        assert points(fast) == points(pairwise_front(graph, sets, objective))
        assert_walks_back(graph, fast)


@given(graphs(max_nodes=5))
def test_open_segments_equal_the_enumeration_of_all_sequences(graph: rv.Graph) -> None:
    costs, lattice = all_costs(graph, Pins()), enumerate_lattice(graph, MANY)
    for objective, sign in (("time", 1), ("memory", -1)):
        assert points(open_segment_front(graph, lattice, objective)) == best_of(costs, sign)


@given(graphs(max_nodes=8))
def test_families_equal_the_pairwise_recursion_over_the_same_sets(graph: rv.Graph) -> None:
    lattice = enumerate_lattice(graph, MANY)
    for family in (paper_family(graph), prefix_family(graph)):
        for objective in OBJECTIVES:
            oracle = points(pairwise_front(graph, family, objective))
            pairs = compiled_pairwise_front(graph, family, objective)
            assert points(pairs) == oracle
            assert_walks_back(graph, pairs)
            assert points(open_segment_front(graph, lattice, objective, ends=family)) == oracle


@given(graphs(max_nodes=8))
def test_the_lattice_holds_every_lower_set_once_with_its_boundary_and_covers(graph: rv.Graph) -> None:
    lattice = enumerate_lattice(graph, MANY)
    masks = [lattice.mask(i) for i in range(len(lattice))]
    assert len(masks) == len(set(masks))
    assert set(masks) == set(all_lower_sets(graph, MANY))
    for i, mask in enumerate(masks):
        boundary = int.from_bytes(lattice.boundaries[i].astype("<u8").tobytes(), "little")
        assert boundary == graph.boundary_mask(mask)
        covers = slice(lattice.cover_start[i], lattice.cover_start[i + 1])
        found = {masks[upper] for upper in lattice.cover_set[covers].tolist()}
        assert found == {other for other in masks if mask & ~other == 0 and (mask ^ other).bit_count() == 1}
        for upper, node in zip(lattice.cover_set[covers], lattice.cover_node[covers], strict=True):
            assert masks[upper] == mask | 1 << int(node)


def test_graphs_of_more_than_one_word_of_nodes_are_solved_alike() -> None:
    chance = random.Random(3)
    n = 134
    chain = {(i - 1, i) for i in range(1, n)} | {(i - chance.randint(2, 5), i) for i in range(6, n, 4)}
    for i in (63, 127):  # two branches across the boundary of two words
        chain = chain - {(i, i + 1)} | {(i - 1, i + 1), (i, i + 2)}
    graph = rv.Graph.from_edges(
        chain, [chance.randint(0, 9) for _ in range(n)], [chance.choice([1, 10]) for _ in range(n)]
    )
    sets, lattice = all_lower_sets(graph, MANY), enumerate_lattice(graph, MANY)
    assert len(sets) == len(lattice) > n
    for objective in OBJECTIVES:
        fast = open_segment_front(graph, lattice, objective)
        assert points(fast) == points(pairwise_front(graph, sets, objective))
        assert_walks_back(graph, fast)


@given(graphs(max_nodes=8))
def test_a_known_curve_prunes_the_search_and_changes_no_answer(graph: rv.Graph) -> None:
    lattice = enumerate_lattice(graph, MANY)
    fronts = {objective: open_segment_front(graph, lattice, objective) for objective in OBJECTIVES}
    for objective, other in (OBJECTIVES, OBJECTIVES[::-1]):
        near = compiled_pairwise_front(graph, paper_family(graph), objective)
        pruned = open_segment_front(graph, lattice, objective, known=[fronts[other], near])
        assert points(pruned) == points(fronts[objective])
        assert_walks_back(graph, pruned)


@given(graphs(max_nodes=8, times=REAL_TIMES))
def test_real_valued_costs_are_summed_alike_in_every_order(graph: rv.Graph) -> None:
    curve = rv.solve(graph, "all")
    for objective in OBJECTIVES:
        assert points(curve.front(objective)) == points(pairwise_front(graph, all_lower_sets(graph, MANY), objective))
        for i, t in enumerate(curve.front(objective).overheads.tolist()):
            assert curve.plan_at(i, objective).overhead == pytest.approx(t, rel=1e-12)


@given(graphs(max_nodes=8, sizes=st.integers(0, 10**9)))
def test_a_larger_budget_never_costs_more(graph: rv.Graph) -> None:
    curve = rv.solve(graph)
    for objective, sign in (("time", 1), ("memory", -1)):
        front = curve.front(objective)
        assert np.all(np.diff(front.peaks) < 0)
        assert np.all(sign * np.diff(front.overheads) > 0)
        assert curve.plan(int(front.peaks[0]) + 10**12, objective).peak == front.peaks[0]
    assert curve.memory_centric.peaks[-1] == curve.least_budget


# -------------------------------------------------------------------- pins


@given(graphs(max_nodes=5), st.data())
def test_pinned_curves_equal_the_enumeration_of_the_sequences_that_obey(graph: rv.Graph, data: st.DataObject) -> None:
    pinned = data.draw(st.lists(st.sampled_from(["", "keep", "recompute"]), min_size=len(graph), max_size=len(graph)))
    keep = [v for v, pin in enumerate(pinned) if pin == "keep"]
    recompute = [v for v, pin in enumerate(pinned) if pin == "recompute"]
    pins = Pins(graph.mask(keep), graph.mask(recompute))
    costs = all_costs(graph, pins)
    event("feasible" if costs else "impossible")
    if not costs:
        with pytest.raises(ImpossiblePin):
            pins_of(graph, keep, recompute)
        return
    curve = rv.solve(graph, "all", keep=keep, recompute=recompute)
    for objective, sign in (("time", 1), ("memory", -1)):
        front = curve.front(objective)
        assert points(front) == best_of(costs, sign)
        pairs = compiled_pairwise_front(graph, all_lower_sets(graph, MANY), objective, None, pins)
        segments = open_segment_front(graph, enumerate_lattice(graph, MANY), objective, None, pins)
        assert points(pairs) == points(segments) == points(front)
        for i in range(len(front)):
            plan = curve.plan_at(i, objective)
            assert set(keep) <= plan.keep
            assert set(recompute) <= plan.recompute


def test_an_impossible_pin_says_why() -> None:
    graph = rv.Graph.from_edges([("a", "b"), ("b", "c")], memory={"a": 1, "b": 1, "c": 1})
    with pytest.raises(ImpossiblePin, match="'c' cannot be pinned to be kept: nothing is computed from it"):
        rv.solve(graph, keep=["c"])
    with pytest.raises(ImpossiblePin, match="'a' is pinned both"):
        rv.solve(graph, keep=["a"], recompute=["a"])
    with pytest.raises(rv.GraphError, match="'x' is no node"):
        rv.solve(graph, keep=["x"])
    fork = rv.Graph.from_edges([("a", "b"), ("p", "b")], memory={"a": 1, "p": 1, "b": 1})
    assert rv.solve(fork, keep=["a"], recompute=["p"]).plan("1 kB").keep == {"a"}
    diamond = rv.Graph.from_edges([("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")], memory=dict.fromkeys("abcd", 1))
    assert rv.solve(diamond, "all", keep=["b"], recompute=["a"]).plan("1 kB").keep == {"b", "c"}
    with pytest.raises(ImpossiblePin, match='family "paper"'):
        # {a, b, c} has b but not a on its boundary, and is no L^v
        rv.solve(diamond, "paper", keep=["b"], recompute=["a"])


# -------------------------------------------------------------------- limits, progress, choice of family


def wide_graph(branches: int, length: int) -> rv.Graph:
    """Parallel chains: (length + 1)^branches lower sets, and one more for the sink."""
    edges = [(b * length + i, b * length + i + 1) for b in range(branches) for i in range(length - 1)]
    sink = branches * length
    edges += [(b * length + length - 1, sink) for b in range(branches)]
    return rv.Graph.from_edges(edges, memory=[1 + v % 3 for v in range(sink + 1)])


def test_too_many_lower_sets_is_said_and_auto_falls_back_to_a_family() -> None:
    graph = wide_graph(8, 4)
    with pytest.raises(rv.TooManyLowerSets, match=r"more than 1,000 lower sets") as caught:
        rv.solve(graph, "all", limit=1_000)
    assert caught.value.limit == 1_000
    curve = rv.solve(graph)
    assert curve.family == "prefixes"
    assert "30,000 lower sets" in curve.note
    assert f'{curve.lower_set_count:,} of "prefixes"' in curve.note


def test_the_limit_counts_both_ends() -> None:
    graph = wide_graph(3, 2)
    assert rv.solve(graph, "all", limit=28).lower_set_count == 28 == graph.count_lower_sets()
    with pytest.raises(rv.TooManyLowerSets):
        rv.solve(graph, "all", limit=27)


def test_auto_takes_all_where_it_can_and_says_so() -> None:
    curve = rv.solve(wide_graph(2, 2))
    assert (curve.family, curve.lower_set_count) == ("all", 10)
    assert curve.note == "all 10 lower sets: exact"


def test_auto_takes_the_papers_family_when_the_prefixes_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = wide_graph(5, 3)
    monkeypatch.setattr(solver, "AFFORDABLE_COMPILED", 20)
    monkeypatch.setattr(solver, "AFFORDABLE_FAMILY", len(paper_family(graph)))
    assert rv.solve(graph).family == "paper"


def test_progress_rises_to_the_number_of_sets() -> None:
    for family in ("all", "prefixes", "paper"):
        seen: list[tuple[int, int]] = []
        rv.solve(wide_graph(5, 4), family, progress=lambda done, total, seen=seen: seen.append((done, total)))
        assert [done for done, _ in seen] == sorted(done for done, _ in seen)
        assert seen[-1][0] == seen[-1][1]


@pytest.mark.parametrize("family", ["all", "prefixes", "paper"])
def test_an_exception_in_progress_stops_the_solve(family: Any) -> None:
    calls = 0

    def stop(_done: int, _total: int) -> None:
        nonlocal calls
        calls += 1
        raise rv.Cancelled("superseded")

    with pytest.raises(rv.Cancelled, match="superseded"):
        rv.solve(wide_graph(5, 4), family, progress=stop)
    assert calls == 1


def test_the_memory_centric_front_is_solved_on_first_look_and_once() -> None:
    curve = rv.solve(wide_graph(3, 3))
    assert isinstance(curve.memory_centric, LazyParetoFront)
    assert not curve.memory_centric.is_solved
    peaks = curve.memory_centric.peaks
    assert curve.memory_centric.is_solved
    assert curve.memory_centric.peaks is peaks
    assert curve.plan(curve.least_budget, "memory").peak == curve.least_budget


def test_wide_graphs_use_the_known_curve_for_the_memory_centric_front(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = wide_graph(3, 4)
    plain = points(rv.solve(graph, "all").memory_centric)
    monkeypatch.setattr(solver, "WIDE", 1)
    curve = rv.solve(graph, "all")
    assert points(curve.memory_centric) == plain
    assert_walks_back(graph, curve.memory_centric)


# -------------------------------------------------------------------- without numba


def test_without_numba_the_oracle_answers_and_says_that_it_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = [any_graph(80_000 + seed) for seed in range(10)]
    quick = [rv.solve(graph, "all") for graph in graphs]
    monkeypatch.setitem(sys.modules, "numba", None)
    for module in [name for name in sys.modules if name.startswith("recompviz.core.") and name.endswith("kernels")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(solver, "has_numba", lambda: False)
    for graph, fast in zip(graphs, quick, strict=True):
        slow = rv.solve(graph, "all")
        assert "numba" in slow.note
        assert "slow" in slow.note
        for objective in OBJECTIVES:
            assert points(slow.front(objective)) == points(fast.front(objective))
        for family in ("paper", "prefixes", "auto"):
            assert "numba" in rv.solve(graph, family).note


def test_numba_is_looked_for_and_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compiled_code.has_numba()
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert not compiled_code.has_numba()


def test_masks_of_a_front_are_lower_sets() -> None:
    graph = any_graph(4)
    for lower in rv.solve(graph, "all").time_centric.walk_back(0):
        assert all(graph.predecessors[v] & ~lower == 0 for v in bits(lower))


def real_costs(seed: int) -> rv.Graph:
    """A random graph with 7 to 12 nodes whose costs have no common unit."""
    graph = random_graph(seed, 12)
    return replace(graph, time=np.random.default_rng(seed).lognormal(0, 2, len(graph)))


@settings(max_examples=60)
@given(graphs(max_nodes=9, times=REAL_TIMES), st.sampled_from(OBJECTIVES), st.sampled_from([0.01, 0.2]))
def test_a_search_with_a_tolerance_counts_its_error(graph: rv.Graph, objective: Objective, tolerance: float) -> None:
    sign = 1 if objective == "time" else -1
    every, family = all_lower_sets(graph, MANY), [0, *prefix_family(graph), graph.everything]
    with pytest.MonkeyPatch.context() as patch:
        for module in (open_segments, compiled_pairs):
            patch.setattr(module, "EXACT_LABELS", 0)
            patch.setattr(module, "CHUNK", 1)
        lattice = enumerate_lattice(graph, MANY)
        found = [
            (every, open_segment_front(graph, lattice, objective, tolerance=tolerance)),
            (family, open_segment_front(graph, lattice, objective, ends=family, tolerance=tolerance)),
            (family, compiled_pairwise_front(graph, family, objective, tolerance=tolerance)),
            (every, compiled_pairwise_front(graph, every, objective, tolerance=tolerance)),
        ]
    total = float(graph.time.sum())
    for masks, front in found:
        exact = pairwise_front(graph, masks, objective)
        assert front.error <= tolerance * total
        event(f"error {front.error > 0}")
        assert_walks_back(graph, front)
        assert front.peaks[-1] == exact.peaks[-1]
        for best, budget in points(exact):
            worse = sign * (front.overheads[front.position(budget)] - best)
            assert -1e-9 * total <= worse <= front.error + 1e-9 * total


def test_pairs_count_each_label_that_they_drop(monkeypatch: pytest.MonkeyPatch) -> None:
    """At each budget, the least low is at most the least overhead. No t − low is larger than allowed."""
    monkeypatch.setattr(compiled_pairs, "EXACT_LABELS", 0)
    monkeypatch.setattr(compiled_pairs, "CHUNK", 1)
    sweep = pair_kernels.pair_sweep
    found: list[Any] = []

    def spied(first: int, last: int, *arguments: Any) -> Any:
        labels, start = sweep(first, last, *arguments), arguments[-1]
        found[:] = [labels[start[last - 1] : start[last]].copy()]
        return labels

    monkeypatch.setattr(pair_kernels, "pair_sweep", spied)
    for seed in (*range(60), 96):
        rng = np.random.default_rng(seed)
        graph = wide_graph(2, 5 + seed % 5) if seed % 3 else random_graph(seed, 12)
        n = len(graph)
        graph = replace(graph, memory=rng.integers(1, 99, n), time=1 + rng.random(n) / (1 + seed % 40))
        masks, quanta = all_lower_sets(graph, MANY), int(whole_times(graph.time)[0].sum())
        for objective in OBJECTIVES:
            exact = compiled_pairwise_front(graph, masks, objective)
            best = found[0][:, [pair_kernels.T, pair_kernels.R]]
            assert len(best) == len(exact)
            for tolerance in (0.003, 0.03, 0.3):
                compiled_pairwise_front(graph, masks, objective, tolerance=tolerance)
                t, peaks, low = found[0][:, [pair_kernels.T, pair_kernels.R, pair_kernels.LOW]].T
                assert (t - low).max() <= tolerance * quanta
                assert np.all(np.diff(low) > 0)
                for least, budget in best.tolist():
                    assert low[peaks <= budget].min() <= least


def u_shaped_edges(depth: int) -> list[tuple[int, int]]:
    """The edges of a U-Net: a chain of 4 × depth nodes, with an edge between the two nodes of each depth."""
    last = 4 * depth - 1
    return [*((i, i + 1) for i in range(last)), *((2 * i + 1, last - 2 * i) for i in range(depth - 1))]


def dense_edges(layers: int) -> list[tuple[int, int]]:
    """The edges of a DenseNet block: each layer has two nodes, and reads the outputs of all layers before it."""
    inner = [(2 * i, 2 * i + 1) for i in range(layers)]
    return inner + [(2 * i + 1, 2 * j) for j in range(layers) for i in range(j)]


@pytest.mark.parametrize("tolerance", [0.001, 0.02])
@pytest.mark.parametrize("shape", ["residual", "U", "dense"])
def test_the_error_of_a_small_network_with_real_costs_is_proven(
    shape: str, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(17)
    if shape == "residual":
        graph = residual_step((1, 1), batch=1, pixels=32)[0]
    else:
        edges = u_shaped_edges(4) if shape == "U" else dense_edges(9)
        graph = rv.Graph.from_edges(edges, memory=rng.integers(50, 999, max(v for _, v in edges) + 1))
    graph = replace(graph, time=rng.lognormal(0, 0.3, len(graph)))
    total = float(graph.time.sum())
    masks, lattice = all_lower_sets(graph, MANY), enumerate_lattice(graph, MANY)
    for module in (open_segments, compiled_pairs):
        monkeypatch.setattr(module, "EXACT_LABELS", 0)
        monkeypatch.setattr(module, "CHUNK", 1)
    for objective, sign in (("time", 1), ("memory", -1)):
        exact = compiled_pairwise_front(graph, masks, objective)
        assert points(exact) == points(open_segment_front(graph, lattice, objective))
        for front in (
            compiled_pairwise_front(graph, masks, objective, tolerance=tolerance),
            open_segment_front(graph, lattice, objective, tolerance=tolerance),
        ):
            assert front.error <= tolerance * total
            assert_walks_back(graph, front)
            worse = [sign * (front.overheads[front.position(budget)] - best) for best, budget in points(exact)]
            assert min(worse) >= -1e-9 * total
            assert max(worse) <= front.error + 1e-9 * total
            if objective == "time" and tolerance == 0.02:
                assert len(front) < len(exact)
                assert max(worse) > 0


def with_real_costs(graph: rv.Graph) -> rv.Graph:
    return replace(graph, time=np.random.default_rng(0).lognormal(0, 1, len(graph)))


def test_pairs_are_searched_where_few_lower_sets_have_real_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = {
        "wide": with_real_costs(wide_graph(3, 3)),
        "whole costs": wide_graph(3, 3),
        "chain": chain_with_close_costs(),
    }
    curves = {name: points(rv.solve(graph, "all").time_centric) for name, graph in graphs.items()}
    monkeypatch.setattr(compiled_pairs, "compiled_pairwise_front", lambda *_, **__: pytest.fail("pairs"))
    for name in ("chain", "whole costs"):
        assert points(rv.solve(graphs[name], "all").time_centric) == curves[name]
    with pytest.raises(pytest.fail.Exception, match="pairs"):
        rv.solve(graphs["wide"], "all")
    monkeypatch.setattr(solver, "MOST_PAIRED", 50)
    assert points(rv.solve(graphs["wide"], "all").time_centric) == curves["wide"]


@pytest.mark.parametrize("family", ["all", "prefixes"])
@pytest.mark.parametrize("pairs", [False, True])
def test_solve_states_the_error_of_a_search_with_a_tolerance(
    family: Family, pairs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = chain_with_close_costs()
    monkeypatch.setattr(solver, "_suits_pairs", lambda *_: pairs)
    exact = solver.solve(graph, family)
    assert (exact.tolerance, exact.note) == (0.0, "")
    for module in (open_segments, compiled_pairs):
        monkeypatch.setattr(module, "EXACT_LABELS", 0)
        monkeypatch.setattr(module, "CHUNK", 1)
    curve = solver.solve(graph, family)
    assert 0 < curve.tolerance <= 0.001
    assert "of the forward pass above the optimum" in curve.note
    assert len(curve.time_centric) < len(exact.time_centric)
    for best, budget in points(exact.time_centric):
        worse = (curve.plan(budget).overhead - best) / graph.time.sum()
        assert -1e-9 <= worse <= curve.tolerance + 1e-9
    assert curve.front("memory").error <= 0.001 * graph.time.sum()


def chain_with_close_costs() -> rv.Graph:
    """A chain of 40 nodes whose costs differ by less than a thousandth."""
    rng = np.random.default_rng(0)
    edges = [(i, i + 1) for i in range(39)]
    return rv.Graph.from_edges(edges, memory=rng.integers(1, 99, 40), time=1 + rng.random(40) / 2000)


def test_a_search_with_too_many_labels_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = real_costs(3)
    masks, lattice = all_lower_sets(graph, MANY), enumerate_lattice(graph, MANY)
    monkeypatch.setattr(open_segments, "FIRST_LABELS", 2)
    assert len(open_segment_front(graph, lattice, "time")) == len(compiled_pairwise_front(graph, masks, "time"))
    with pytest.raises(TooManyLabels):
        open_segment_front(graph, lattice, "time", most_bytes=500)
    with pytest.raises(TooManyLabels):
        compiled_pairwise_front(graph, masks, "time", most_bytes=100)


def test_a_small_graph_with_real_costs_does_not_wait_for_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = real_costs(3)
    assert has_fine_costs(graph)
    monkeypatch.setattr(solver, "has_compiled_code", lambda _name: False)
    monkeypatch.setattr(solver, "_choose_compiled", lambda *_arguments: pytest.fail("this would compile"))
    curve = solver.solve(graph)
    assert (curve.family, curve.tolerance) == ("all", 0.0)


@pytest.mark.parametrize(("present", "kind"), [("open_segments", "wide"), ("pair", "chain")])
def test_a_small_graph_does_not_wait_for_the_compiled_solver_that_is_missing(
    present: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs = {"wide": with_real_costs(wide_graph(3, 3)), "chain": chain_with_close_costs()}
    searched: list[int] = []

    def in_numpy(graph: rv.Graph, *arguments: Any) -> ParetoFront:
        searched.append(len(graph))
        return pairwise_front(graph, *arguments)

    monkeypatch.setattr(solver, "has_compiled_code", lambda name: name == f"exact/{present}_kernels")
    monkeypatch.setattr(solver, "pairwise_front", in_numpy)
    for graph in graphs.values():
        solver.solve(graph, "all")
    assert searched == [len(graphs[kind])]
