"""The paper's model as a joint graph: held against the paper's words, and against the formula."""

from __future__ import annotations

import pytest

import recompviz as rv
from recompviz.core.steps.paper_model import paper_step
from recompviz.core.steps.schedule import make_schedule
from tests.core.random_graphs import random_graph
from tests.core.test_schedule import replay


@pytest.mark.parametrize("seed", range(60))
def test_a_gradient_reads_its_successors_gradients_and_what_those_successors_read(seed: int) -> None:
    graph = random_graph(seed)
    joint, n = paper_step(graph), len(graph)
    edges = graph.edges.tolist()
    computed = {v: i for i, v in enumerate(graph.order)}
    for v, i in computed.items():
        after = {w for u, w in edges if u == v}
        beside = {u for u, w in edges if w in after}
        assert set(joint.calls[i].reads) == {computed[u] for u, w in edges if w == v}
        gradient = joint.calls[2 * n - 1 - i]
        assert gradient.backward
        assert set(gradient.reads) == {computed[u] for u in beside} | {2 * n - 1 - computed[w] for w in after}
        assert {joint.sizes[s] for s in (*joint.calls[i].makes, *gradient.makes)} == {int(graph.memory[v])}


@pytest.mark.parametrize("seed", range(60))
def test_discarding_at_segment_ends_it_peaks_exactly_at_the_formula(seed: int) -> None:
    graph = random_graph(seed)
    joint, n = paper_step(graph), len(graph)
    number = {graph.names[v]: i for i, v in enumerate(graph.order)}
    curve = rv.solve(graph, "all")
    for plan in [curve.plan_at(i) for i in range(len(curve.time_centric))]:
        kept = {number[name] for name in plan.keep}
        peak, before = 0, set()
        for segment in plan.segments:
            own = {number[name] for name in segment}
            later = set(range(n)) - before - own
            # of later segments only that is left which the gradients from here on down still read
            reads = {s for i in before | own for s in joint.calls[2 * n - 1 - i].reads}
            left = {s for s in reads if s in later or 2 * n - 1 - s in later}
            alive = (kept & before) | own | {2 * n - 1 - i for i in own} | left
            peak = max(peak, sum(joint.sizes[s] for s in alive))
            before |= own
        assert peak == plan.peak


@pytest.mark.parametrize("seed", range(40))
def test_every_plan_of_it_can_be_scheduled(seed: int) -> None:
    graph = random_graph(seed)
    joint = paper_step(graph)
    curve = rv.solve(graph, "all")
    for plan in (rv.Plan.keep_all(graph), curve.plan_at(0), curve.plan(curve.least_budget, "memory")):
        replay(make_schedule(joint, plan.keep_mask.tolist()))
