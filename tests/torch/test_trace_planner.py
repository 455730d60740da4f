"""The planner of a trace: when it is shared, when its curves carry over, and what PyTorch adds to it."""

from __future__ import annotations

from dataclasses import replace

import recompviz as rv
from recompviz.pytorch.tracing.twin import twin
from tests.torch.steps import make


def test_a_twin_of_a_trace_shares_its_planner() -> None:
    trace = make("batch norm").trace()
    assert twin(trace).planner is trace.planner


def test_another_joint_graph_keeps_the_curves_and_simulates_anew() -> None:
    trace = make("batch norm").trace()
    curve, table = trace.tradeoff(), trace.plans("time")
    more = trace.with_joint(replace(trace.joint, workspace=(1024,) * len(trace.joint.calls)))
    assert more.planner is not trace.planner
    assert more.tradeoff() is curve
    assert more.plans("time").least_total > table.least_total
    assert rv.simulate(more, more.plan(more.plans("live").least_total)).peak == more.plans("live").least_total


def test_other_costs_are_planned_anew() -> None:
    trace = make("batch norm").trace()
    curve = trace.tradeoff()
    assert trace.with_costs("flops").tradeoff() is not curve


def test_the_partitioner_of_pytorch_is_one_of_its_baselines() -> None:
    trace = make("batch norm").trace()
    assert "min-cut" in trace.planner.baseline_names
    assert trace.planner.baseline("min-cut 0.5") is trace.baseline("min-cut 0.5")


def test_timelines_name_the_device_of_the_trace() -> None:
    trace = make("batch norm").trace()
    assert rv.simulate(trace).device == trace.planner.device == trace.device
