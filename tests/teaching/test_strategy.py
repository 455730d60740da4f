"""The stepped strategy is checked against the formula, the plan and the definitions, on small random graphs."""

from __future__ import annotations

import itertools

import pytest

import recompviz as rv
from recompviz.core.graphs.bitsets import bits
from recompviz.core.teaching.small_graphs import small_graph
from recompviz.core.teaching.strategy import canonical_strategy
from tests.core.random_graphs import random_graph
from tests.core.test_oracle import sequences


@pytest.mark.parametrize("seed", range(30))
def test_the_largest_live_memory_is_the_formulas_peak_and_the_last_overhead_the_plans(seed: int) -> None:
    graph = random_graph(seed, most_nodes=6)
    for sequence in itertools.islice(sequences(graph), 60):
        plan = rv.Plan.from_lower_sets(graph, sequence)
        strategy = canonical_strategy(plan)
        assert strategy.peak == plan.peak
        assert strategy.states[-1].overhead == plan.overhead
        assert strategy.peak_with_liveness <= strategy.peak
        backward = [state for state in strategy.states if state.verb == "backward"]
        for i, terms in enumerate(strategy.terms, start=1):
            assert max(state.live for state in backward if state.segment == i) == terms.total


@pytest.mark.parametrize("seed", range(30))
def test_no_action_reads_a_value_that_is_not_live(seed: int) -> None:
    graph = random_graph(seed, most_nodes=6)
    for sequence in itertools.islice(sequences(graph), 40):
        states = canonical_strategy(rv.Plan.from_lower_sets(graph, sequence)).states
        for before, state in itertools.pairwise(states):
            v = state.node
            if state.verb in ("compute", "recompute"):
                assert graph.predecessors[v] & ~before.values == 0
                assert state.values == before.values | 1 << v
            elif state.verb == "backward":
                assert graph.successors[v] & ~before.gradients == 0
                for w in bits(graph.successors[v]):
                    assert graph.predecessors[w] & ~before.values == 0
            assert state.live == graph.memory_of(state.values) + graph.memory_of(state.gradients)
            assert state.cache & ~state.values == 0
        last = states[-1]
        assert (last.values, last.gradients, last.done) == (0, 0, graph.everything)


def test_the_overhead_only_rises_and_only_by_recomputing() -> None:
    graph = small_graph("inception")
    plan = rv.solve(graph, "all").plan(25, "memory")
    for before, state in itertools.pairwise(canonical_strategy(plan).states):
        rise = float(graph.time[state.node]) if state.verb == "recompute" else 0.0
        assert state.overhead == before.overhead + rise


def test_a_plan_that_is_not_a_sequence_has_no_canonical_strategy() -> None:
    with pytest.raises(ValueError, match="'keep-all'"):
        canonical_strategy(rv.Plan.keep_all(small_graph("chain")))
