"""The paper's model as a joint graph: held against the paper's words, and against the formula."""

from __future__ import annotations

from hypothesis import given

import recompviz as rv
from recompviz.core.plans.formula import formula_peak, overhead
from recompviz.core.steps.paper_model import paper_step
from recompviz.core.steps.schedule import make_schedule
from recompviz.core.steps.simulation import simulate_schedule
from tests.core.strategies import graphs, graphs_with_sequences
from tests.core.test_schedule import replay


@given(graphs())
def test_a_gradient_reads_its_successors_gradients_and_what_those_successors_read(graph: rv.Graph) -> None:
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


@given(graphs_with_sequences())
def test_the_canonical_strategy_that_discards_at_segment_ends_peaks_at_the_formula(
    case: tuple[rv.Graph, list[int]],
) -> None:
    graph, sequence = case
    plan = rv.Plan.from_masks(graph, sequence)
    joint, n = paper_step(graph), len(graph)
    number = {graph.names[v]: i for i, v in enumerate(graph.order)}
    kept = {number[name] for name in plan.keep}
    peak, before = 0, set()
    for segment in plan.segments:
        own = {number[name] for name in segment}
        later = set(range(n)) - before - own
        # of later segments only those values remain that the gradients from here on still read
        reads = {s for i in before | own for s in joint.calls[2 * n - 1 - i].reads}
        left = {s for s in reads if s in later or 2 * n - 1 - s in later}
        alive = (kept & before) | own | {2 * n - 1 - i for i in own} | left
        peak = max(peak, sum(joint.sizes[s] for s in alive))
        before |= own
    assert peak == plan.peak == formula_peak(graph, sequence)
    assert plan.overhead == overhead(graph, sequence)


@given(graphs_with_sequences())
def test_every_canonical_plan_can_be_scheduled_and_needs_no_more_than_the_formula(
    case: tuple[rv.Graph, list[int]],
) -> None:
    graph, sequence = case
    plan = rv.Plan.from_masks(graph, sequence)
    schedule = make_schedule(paper_step(graph), plan.keep_mask.tolist())
    assert max(replay(schedule)) <= simulate_schedule(schedule).peak <= plan.peak
