"""Plans by minimum cuts have the least saved bytes + λ · recomputation, compared with all sets of recomputed calls."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings

import recompviz as rv
from recompviz.core.graphs.graph import Graph
from recompviz.core.live.minimum_cut import _Network, minimum_cut_plans
from recompviz.core.steps.examples import chain_step, residual_step
from recompviz.core.steps.joint import JointGraph
from tests.core.random_joints import random_joint
from tests.core.strategies import steps


def every_cut(graph: Graph, joint: JointGraph) -> list[tuple[int, float]]:
    """Return (saved bytes, cost) for each set of forward calls that may run again."""
    calls, storages, forward = joint.calls, joint.storages, joint.forward_count
    count = [sum(call.node == v and not call.backward for call in calls) for v in range(len(graph))]
    cost = [graph.time[call.node] / count[call.node] if call.node >= 0 else 0.0 for call in calls[:forward]]
    found = []
    for again in product((False, True), repeat=forward):
        if any(run and call.pinned for run, call in zip(again, calls, strict=False)):
            continue
        readers = [c for c in range(len(calls)) if c >= forward or again[c]]
        read = {s for c in readers for s in calls[c].reads}
        saved = [s for s in read if 0 <= storages[s].maker < forward and not again[storages[s].maker]]
        bytes_ = sum(joint.sizes[s] for s in saved if s not in joint.results)
        found.append((bytes_, float(np.sum(cost, where=again))))
    return found


def assert_least(graph: Graph, joint: JointGraph) -> None:
    """Check the cuts of some prices against all cuts."""
    network, cuts = _Network(graph, joint), every_cut(graph, joint)
    for price in (0.1, 1.0, 3.0, 10.0, 100.0):
        found = network.cut(price)
        assert (found.bytes, pytest.approx(found.cost)) in cuts
        assert found.bytes + price * found.cost == pytest.approx(min(b + price * cost for b, cost in cuts))


@pytest.mark.parametrize("seed", range(10))
def test_the_cut_of_a_price_is_the_least_of_all_cuts_of_random_steps(seed: int) -> None:
    assert_least(*random_joint(seed, 6))


@settings(max_examples=20)
@given(steps(max_nodes=6))
def test_the_cut_of_a_price_is_the_least_of_all_cuts(case: tuple[Graph, JointGraph]) -> None:
    assert_least(*case)


def test_plans_go_from_the_fewest_saved_bytes_to_no_recomputation() -> None:
    graph, joint = residual_step((2, 2))
    plans = minimum_cut_plans(graph, joint)
    overheads = [plan.overhead for plan in plans]
    assert overheads == sorted(overheads, reverse=True)
    assert overheads[0] > 0 == overheads[-1]
    saved = [rv.Planner(graph, joint).schedule(plan).saved_bytes for plan in plans]
    assert saved == sorted(saved)
    assert len(minimum_cut_plans(graph, joint, most=4)) == 4


def test_costs_of_zero_give_one_plan() -> None:
    graph, joint = chain_step([4, 4, 4])
    free = Graph.from_edges(graph.edges.tolist(), memory=graph.memory, time=[0.0] * 3)
    assert [plan.overhead for plan in minimum_cut_plans(free, joint)] == [0]
