"""Cost models: FLOP by the textbook, rooflines above both bounds, time by default, and plans on any of them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import recompviz as rv
from recompviz.pytorch.budgeting.planned_budget import PlanWarning
from recompviz.pytorch.internals.devices.cuda import CudaRuntime
from recompviz.pytorch.tracing import costs as costing
from recompviz.pytorch.tracing import device_speeds
from recompviz.pytorch.tracing.costs import Roofline, measure_roofline, node_times
from tests.torch.steps import CASES, Case, make
from tests.torch.test_execution import plans_of

SLOW = Roofline(flops_per_second=1e9, bytes_per_second=1e8)


def convolution_and_linear() -> rv.Trace:
    model = nn.Sequential(
        nn.Conv2d(4, 6, 3, stride=2, groups=2), nn.ReLU(), nn.ConvTranspose2d(6, 2, 2), nn.Flatten(), nn.Linear(50, 7)
    )
    return Case(model, (torch.randn(3, 4, 9, 9),), (torch.tensor([0, 1, 2]),), loss=F.cross_entropy).trace()


def test_flops_are_those_of_the_textbook_and_else_one_an_element() -> None:
    graph = convolution_and_linear().with_costs("flops").graph
    found = dict(zip((info.key for info in graph.info), graph.time.tolist(), strict=True))
    convolution = 2 * 3 * 6 * (4 // 2) * 3 * 3 * 4 * 4  # two a product; batch, out, in per group, kernel, pixels
    transposed = 2 * 3 * 6 * 2 * 2 * 2 * 4 * 4  # every input pixel meets the whole kernel
    assert found["0/convolution"] == convolution
    assert found["2/convolution"] == transposed
    assert found["4/addmm"] == 2 * 3 * 50 * 7
    assert found["1/relu"] == 3 * 6 * 4 * 4
    assert found["loss/log_softmax"] == 3 * 7


def test_a_roofline_is_the_longer_of_arithmetic_and_traffic_in_milliseconds() -> None:
    trace = convolution_and_linear()
    times = trace.with_costs(SLOW).graph.time
    nodes = [trace.folded.call_node[c] for (c,) in trace.folded.node_calls]
    arithmetic = np.array([1000 * (costing.flops(node) / SLOW.flops_per_second) for node in nodes])
    traffic = np.array([1000 * (costing.bytes_moved(node) / SLOW.bytes_per_second) for node in nodes])
    assert times.tolist() == np.maximum(arithmetic, traffic).tolist()
    relu = [info.op for info in trace.graph.info].index("aten.relu")
    assert traffic[relu] == 1000 * (2 * 4 * 3 * 6 * 4 * 4 / SLOW.bytes_per_second)  # reads it once, writes it once
    fast_memory = trace.with_costs(Roofline(1e9, 1e15)).graph.time
    assert fast_memory.tolist() == arithmetic.tolist()


def test_a_devices_roofline_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    measure_roofline.cache_clear()
    runs = []
    genuine = costing._least_seconds
    monkeypatch.setattr(costing, "_least_seconds", lambda *a: runs.append(a) or genuine(*a))
    trace = convolution_and_linear()
    one, two = trace.with_costs("roofline"), trace.with_costs("roofline")
    assert len(runs) == 2  # a product and a copy
    assert one.graph.time.tolist() == two.graph.time.tolist()
    device = measure_roofline(torch.device("cpu"), torch.float32)
    assert one.graph.time.tolist() == trace.with_costs(device).graph.time.tolist()
    assert device.flops_per_second > 1e8  # any computer of this century
    assert device.bytes_per_second > 1e8


def test_the_meta_device_has_no_roofline() -> None:
    with pytest.raises(ValueError, match="meta device"):
        measure_roofline(torch.device("meta"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="the machine has the device")
def test_a_device_that_is_not_here_has_no_roofline() -> None:
    with torch.device("meta"):
        model, x = nn.Linear(4, 4), torch.empty(2, 4)
    trace = rv.trace(model, x, loss=torch.sum, device="cuda")
    with pytest.raises(ValueError, match="no CUDA device to measure"):
        trace.with_costs("roofline")


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_a_roofline_of_no_speed_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="bytes_per_second"):
        Roofline(1e12, bad)


def test_with_costs_leaves_the_trace_as_it_was() -> None:
    trace = make("batch norm").trace()
    curve, times = trace.tradeoff(), trace.graph.time.tolist()
    other = trace.with_costs("flops")
    assert not other.graph.same_as(trace.graph)
    assert (trace.graph.time.tolist(), trace.tradeoff()) == (times, curve)
    assert other.tradeoff() is not curve
    assert other.tradeoff().graph is other.graph
    assert (other.joint, other.folded.fx, other.signature) == (trace.joint, trace.folded.fx, trace.signature)
    assert (other.graph.names, other.graph.memory.tolist()) == (trace.graph.names, trace.graph.memory.tolist())
    assert other.with_costs("time").graph.same_as(trace.graph)


def test_a_plan_stays_valid_with_other_costs_and_gets_their_overhead() -> None:
    trace = make("batch norm").trace()
    units = trace.with_costs("paper")
    plan = units.plan(units.plans("live").least_total)
    assert plan.overhead > 0
    for carried in (trace.check(plan), rv.Plan.from_json(trace.graph, plan.to_json())):
        assert carried.keep_mask.tolist() == plan.keep_mask.tolist()
        assert carried.overhead == trace.graph.time[~plan.keep_mask].sum() != plan.overhead
    both = rv.compare(trace.check(plan), plan)
    assert both.overhead_change == 0


def test_the_default_is_estimated_time_and_measured_time_once_calibrated() -> None:
    case = make("batch norm")
    trace = case.trace()
    assert (trace.costs, trace.cost_unit) == ("time", "ms (estimated)")
    documented = trace.with_costs(costing.documented_roofline(torch.device("cpu"))).graph.time
    assert trace.graph.time.tolist() == pytest.approx(documented.tolist(), rel=0.05)
    calibrated = rv.calibrate(trace)
    assert (calibrated.costs, calibrated.cost_unit) == ("time", "ms (measured)")
    exact = calibrated.with_costs("measured").graph.time
    unit = exact.sum() / costing.LEAST_PARTS
    assert (np.abs(calibrated.graph.time - exact) <= unit).all()


def test_random_numbers_take_time_on_a_cpu() -> None:
    model = nn.Sequential(nn.Linear(64, 512), nn.Dropout(0.1), nn.ReLU())
    graph = rv.trace(model, torch.ones(64, 64), loss=torch.sum).graph
    time = dict(zip((info.op for info in graph.info), graph.time.tolist(), strict=True))
    drawn = 64 * 512 * costing.speed_of(torch.device("cpu")).draw * 1000
    assert time["aten.native_dropout"] > drawn > time["aten.relu"]


def test_default_times_keep_the_exact_curve_short() -> None:
    trace = make("small residual network").trace()
    front = trace.tradeoff().time_centric
    assert len(front) <= 2 * max(costing.LEAST_PARTS, costing.PARTS_PER_NODE * len(trace.graph))
    unit = 2.0 ** math.floor(math.log2(trace.graph.time.sum() / costing.LEAST_PARTS))
    assert (trace.graph.time / unit == np.rint(trace.graph.time / unit)).all()


@pytest.mark.parametrize(
    ("name", "dtype", "flops"),
    [
        ("NVIDIA H100 80GB HBM3", torch.float32, 67e12),
        ("Tesla T4", torch.float16, 65e12),
        ("NVIDIA A10G", torch.float16, 125e12),
        ("New GPU", None, 0),
        ("NVIDIA L40", None, 0),  # no L4
        ("NVIDIA T400 4GB", None, 0),  # no T4
    ],
)
def test_a_gpu_has_the_speed_of_its_data_sheet(
    name: str, dtype: torch.dtype | None, flops: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Properties:
        multi_processor_count, clock_rate, memory_clock_rate, memory_bus_width = 100, 1_000_000, 1_000_000, 4096

    Properties.name = name  # type: ignore[attr-defined]
    monkeypatch.setattr(CudaRuntime, "properties", lambda _runtime: Properties)
    speed = device_speeds.speed_of(torch.device("cuda"))
    if dtype is not None:
        assert speed.flops_per_second(dtype) == flops
    else:  # 100 × 128 lanes × 2 at 1 GHz, and 2 × 4096 bits at 1 GHz
        assert (speed.single, speed.traffic) == (25.6e12, 1.024e12)


def test_a_gpu_that_is_not_here_is_a_typical_one() -> None:
    assert device_speeds.speed_of(torch.device("cuda")) in (device_speeds.TYPICAL, *device_speeds.GPUS.values())


def test_a_trace_can_have_its_costs_from_the_start() -> None:
    case = make("batch norm")
    traced = rv.trace(case.model, *case.inputs, targets=case.targets, loss=case.loss, costs="flops")
    assert traced.graph.fingerprint == case.trace().with_costs("flops").graph.fingerprint
    assert traced.costs == "flops"


@pytest.mark.slow
@pytest.mark.parametrize("costs", ["flops", SLOW])
@pytest.mark.parametrize("name", CASES)
def test_plans_on_real_valued_costs_solve_and_run(name: str, costs: costing.Costs) -> None:
    trace = make(name).trace().with_costs(costs)
    assert (trace.graph.time > 0).all()
    overheads = trace.tradeoff().time_centric.overheads
    assert (np.diff(overheads) > 0).all()
    for plan in plans_of(trace)[1:]:
        assert plan.overhead == pytest.approx(trace.graph.time[~plan.keep_mask].sum())
        assert rv.certify(trace, plan).gradients == "bitwise"


def test_plans_with_views_that_cost_nothing_solve_and_run() -> None:
    case = make("tied transformer with dropout")
    trace = rv.trace(case.model, *case.inputs, targets=case.targets, loss=case.loss, granularity="paper", costs="flops")
    views = [v for v, calls in enumerate(trace.folded.node_calls) if not calls]
    assert views
    assert (trace.graph.time[views] == 0).all()
    for plan in plans_of(trace):
        assert rv.certify(trace, plan).ok


def test_a_node_of_several_calls_costs_their_sum_but_in_the_paper_one_or_ten() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.LocalResponseNorm(3))
    case = Case(model, (torch.randn(2, 1, 5, 5),), loss=lambda output: output.mean())
    fine = rv.trace(model, *case.inputs, loss=case.loss)
    coarse = rv.trace(model, *case.inputs, loss=case.loss, granularity="paper", costs="paper")
    assert coarse.graph.time.tolist() == [10, 1, 1]
    assert coarse.with_costs("flops").graph.time.sum() == fine.with_costs("flops").graph.time.sum()
    assert len(coarse.folded.node_calls[1]) == 7


def test_measured_seconds_of_the_calls_become_milliseconds_of_the_nodes() -> None:
    trace = make("batch norm").trace()
    seconds = tuple(0.001 * (1 + c) for c in range(trace.joint.forward_count))
    all_calls = seconds + (1.0,) * (len(trace.joint.calls) - len(seconds))
    measured = trace.with_joint(replace(trace.joint, seconds=all_calls)).with_costs("measured")
    assert measured.graph.time.tolist() == pytest.approx([1 + c for (c,) in trace.folded.node_calls])
    assert measured.cost_unit == "ms (measured)"
    assert node_times(trace.folded, all_calls).tolist() == node_times(trace.folded, seconds).tolist()
    with pytest.raises(ValueError, match=f"1 call costs for {len(seconds)} forward calls"):
        node_times(trace.folded, (1.0,))


def test_measured_costs_need_a_calibration_and_a_trace_asked_for_them_has_one() -> None:
    case = make("batch norm")
    with pytest.raises(ValueError, match="calibrate"):
        case.trace().with_costs("measured")
    trace = rv.trace(case.model, *case.inputs, targets=case.targets, loss=case.loss, costs="measured")
    seconds = [sum(trace.joint.seconds[c] for c in calls) for calls in trace.folded.node_calls]
    assert trace.graph.time.tolist() == pytest.approx([1000 * s for s in seconds])
    assert min(seconds) > 0


def test_each_cost_says_its_unit() -> None:
    trace = make("batch norm").trace()
    units = [trace.with_costs(costs).cost_unit for costs in ("time", "paper", "flops", SLOW)]
    assert units == ["ms (estimated)", "units of the paper", "FLOP", "ms (roofline)"]


def test_an_unknown_cost_is_named_beside_the_known_ones() -> None:
    trace = make("batch norm").trace()
    with pytest.raises(ValueError, match="'units' are unknown; choose 'time', 'paper', 'flops', 'roofline'"):
        trace.with_costs("units")
    with pytest.raises(ValueError, match="choose 'time'"):
        rv.trace(nn.Linear(1, 1), torch.ones(1, 1), costs="units")


def test_a_plan_on_measured_costs_runs_another_batch() -> None:
    home = make("batch norm").trace()
    home = home.with_joint(replace(home.joint, seconds=(0.001,) * len(home.joint.calls))).with_costs("measured")
    planned = rv.apply(home, home.tradeoff().plan_at(0))
    x, y = torch.randn(3, 3, 12, 12), torch.tensor([0, 1, 2])
    with pytest.warns(PlanWarning):
        loss = planned(x, y)
    loss.backward()
    assert torch.equal(loss, F.cross_entropy(home.model(x), y))


@pytest.mark.slow
def test_a_table_of_real_valued_costs_is_thinned_to_evenly_spaced_budgets() -> None:
    trace = make("small residual network").trace().with_costs(SLOW)
    front = trace.tradeoff().time_centric
    assert len(front) > 100
    table = rv.Planner(trace.graph, trace.joint, most_rows=20).plans()
    assert 10 < len(table) <= 21  # and the baseline that keeps everything
    peaks = set(table.formula_peaks.tolist())
    assert {int(front.peaks[0]), int(front.peaks[-1])} <= peaks
    gap = (front.peaks[0] - front.peaks[-1]) / 19 + 1
    optima = front.peaks.tolist()
    for budget in optima:  # what the table offers is no worse than the optimum of a budget one step smaller
        assert max(p for p in peaks if p <= budget) >= max((p for p in optima if p <= budget - gap), default=0)
    assert rv.simulate(trace, table.plan(table.least_total)).peak == table.least_total
