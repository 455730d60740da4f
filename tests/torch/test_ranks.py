"""The training step of one rank: predicted from one process, and measured in two processes connected by gloo."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

import recompviz as rv
from recompviz.benchmarks.ranks import faults, large
from recompviz.benchmarks.ranks.cases import case
from recompviz.benchmarks.ranks.pipeline import compared
from recompviz.benchmarks.ranks.processes import run_ranks
from recompviz.benchmarks.ranks.resharding import GATHER, beside, fixed_points, summary
from recompviz.benchmarks.ranks.stages import stage_of
from recompviz.core.ranks.eager_form import eager_form
from recompviz.core.ranks.resharding import reshard_front, reshard_point
from recompviz.core.steps.joint import JointGraph
from recompviz.pytorch.ranks.measured_rank import measure_rank

WORKER = "recompviz.benchmarks.ranks.worker"


@pytest.mark.slow
def test_predicted_and_measured_peaks_of_two_ranks_are_equal_and_gradients_too() -> None:
    cases = [
        {"model": "gpt2", "layers": 2, "strategy": "fsdp2", "share": 0.2, "steps": 2},
        {"model": "vit", "layers": 2, "strategy": "fsdp2", "tracker": True},
        {"model": "gpt2-parts", "layers": 2, "strategy": "fsdp2, every second gathered"},
        {"model": "llama", "layers": 2, "strategy": "ddp, bucket views"},
        {"model": "gpt2, dropout", "layers": 2, "strategy": "ddp"},
        {"model": "gpt2, dropout", "layers": 2, "strategy": "fsdp2", "share": 0.2, "steps": 2},
    ]
    for result in run_ranks(WORKER, [json.dumps(cases)], world=2, seconds=600):
        planned, *eager, with_dropout = result["rows"]
        for row in result["rows"]:
            assert row["measured"] == row["predicted"]
        for row in (planned, with_dropout):
            assert row["equal"]
            assert row["overhead"] > 0
            assert all(row["runs"])
            assert row["measured"] <= (row["budget"] or row["measured"])
        assert eager[0]["tracker"] > 0


def test_buckets_have_room_for_parameters_that_the_step_does_not_use() -> None:
    model = Scaled()
    model.extra = nn.Linear(3, 3)  # not used
    model.frozen = nn.Linear(3, 3).requires_grad_(False)
    trace = rv.trace(model, torch.zeros(3, 6), targets=(torch.zeros(3, 1),), loss=nn.functional.mse_loss)
    buckets = rv.replicate_step(trace).simulate().static - rv.simulate(trace).static
    assert buckets == 4 * (5 * 7 + 6 + 12)


class Dropping(nn.Module):
    """Dropout outside a unit, and in it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 32)
        self.block = nn.Sequential(nn.Linear(32, 32), nn.Dropout(0.1), nn.Linear(32, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.block(nn.functional.dropout(self.first(x), 0.1))


@pytest.mark.parametrize("engine", ["fsdp", "ddp"])
def test_dropout_keeps_a_mask_in_the_dtype_of_its_input_where_no_plan_runs_on_the_cpu(engine: str) -> None:
    torch.manual_seed(0)
    model = Dropping()
    x, y = torch.zeros(64, 6), torch.zeros(64, 1)
    trace = rv.trace(model, x, targets=(y,), loss=nn.functional.mse_loss)
    step = rv.shard_step(trace, 2, ["block"]) if engine == "fsdp" else rv.replicate_step(trace, units=["block"])
    captured = rv.Plan.keep_all(step.graph)
    values = 64 * 32
    assert _masks(trace.joint) == [values, values]
    assert _masks(step.joint) == [4 * values, values]  # under a plan, only the unit runs as captured
    assert step.unplanned is not None
    assert _masks(step.unplanned) == [4 * values, 4 * values]
    assert step.simulate().peak > step.simulate(captured).peak
    on_cuda = eager_form(trace.joint, "cuda:0")
    assert on_cuda is trace.joint


def _masks(joint: JointGraph) -> list[int]:
    return [joint.storages[call.makes[1]].size for call in joint.calls if call.info.op == "aten.native_dropout"]


class Scaled(nn.Module):
    """A layer of 5 rows, so that four ranks have 2, 2, 1 and 0 rows."""

    def __init__(self, rows: int = 5) -> None:
        super().__init__()
        self.first: nn.Module = nn.Linear(6, rows)
        self.second = nn.Linear(rows, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.relu(self.first(x)))


class LinearTanh(nn.Linear):
    """A layer with the parameters of a linear one and another operator."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(super().forward(x))


def test_ranks_with_fewer_rows_have_less_optimizer_state() -> None:
    model = Scaled()
    adam = torch.optim.Adam(model.parameters())
    trace = rv.trace(
        model, torch.zeros(3, 6), targets=(torch.zeros(3, 1),), loss=nn.functional.mse_loss, optimizer=adam
    )
    state = [
        rv.shard_step(trace, 4, ["first"], rank=rank).simulate().static_bytes[rv.Category.OPTIMIZER]
        for rank in range(4)
    ]
    steps = 4 * 4  # one number of a step for each parameter
    # rows of first (7 floats with the bias) and of second (6), on each rank; two moments
    rows = [(2, 1), (2, 0), (1, 0), (0, 0)]
    assert state == [2 * 4 * (7 * first + 6 * second) + steps for first, second in rows]


@pytest.mark.slow
def test_a_plan_of_a_rank_fits_its_budget_and_is_that_of_the_trace() -> None:
    made = case("gpt2", 2)
    trace = rv.trace(made.model, *made.inputs, targets=made.targets, loss=made.loss)
    step = rv.shard_step(trace, 4, made.units)
    assert step.simulate().peak < rv.simulate(trace).peak
    least = int(min(step.planner.plans("live").total_peaks))
    total = (least + step.simulate().peak) // 2
    plan = step.plan(total)
    assert step.simulate(plan).peak <= total
    rv.simulate(trace, plan)  # the same graph
    assert {unit.name for unit in step.unit_plans(plan)} == {"h.0", "h.1"}


def test_a_unit_with_other_operators_than_its_plan_is_refused() -> None:
    model = Scaled()
    trace = rv.trace(model, torch.zeros(3, 6), targets=(torch.zeros(3, 1),), loss=nn.functional.mse_loss)
    step = rv.replicate_step(trace, units=["first"])
    plans = step.unit_plans(rv.Plan.keep_all(step.graph))
    other = Scaled()
    other.first = LinearTanh(6, 5)
    units = rv.plan_units(other, plans)
    with pytest.raises(rv.PlanMismatch, match=r"unit 'first' runs aten\.tanh as operator 2"):
        other(torch.zeros(3, 6))
    units.remove()
    other(torch.zeros(3, 6))
    with pytest.raises(rv.PlanMismatch, match="no module 'first'"):
        rv.plan_units(nn.Linear(2, 2), plans)


def planned_step(width: int = 5, dtype: torch.dtype = torch.float32, batch: int = 3) -> rv.RankStep:
    trace = rv.trace(
        Scaled(width).to(dtype),
        torch.zeros(batch, 6, dtype=dtype),
        targets=(torch.zeros(batch, 1, dtype=dtype),),
        loss=nn.functional.mse_loss,
    )
    return rv.replicate_step(trace, units=["first"])


def test_a_model_with_other_widths_or_dtypes_than_the_plans_is_refused() -> None:
    step = planned_step()
    plans = step.unit_plans(rv.Plan.keep_all(step.graph))
    text = r"'first' has the parameter 'weight' of the shape \(4, 6\), and its plan .* 'weight' of the shape \(5, 6\)"
    with pytest.raises(rv.PlanMismatch, match=text):
        rv.plan_units(Scaled(4), plans)
    less = Scaled()
    less.first = nn.Linear(6, 5, bias=False)
    with pytest.raises(rv.PlanMismatch, match="unit 'first' has no parameter 'bias', and its plan"):
        rv.plan_units(less, plans)
    more = Scaled()
    more.first.extra = nn.Parameter(torch.zeros(2))  # type: ignore[assignment]
    with pytest.raises(rv.PlanMismatch, match="its plan is for a unit with no parameter 'extra'"):
        rv.plan_units(more, plans)
    wide = Scaled().double()
    rv.plan_units(wide, plans)
    with pytest.raises(rv.PlanMismatch, match=r"runs aten\.addmm in float64 as operator 1, .* aten\.addmm in float32"):
        wide(torch.zeros(3, 6, dtype=torch.float64))
    other_batch = Scaled()
    units = rv.plan_units(other_batch, plans)
    other_batch(torch.zeros(2, 6)).sum().backward()
    assert units.choosers[0].runs == 1


def test_a_module_has_one_plan_at_a_time_and_gets_its_own_forward_back() -> None:
    step = planned_step()
    plans = step.unit_plans(rv.Plan.keep_all(step.graph))
    model = Scaled()
    own = model.first.forward
    model.first.forward = own  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="two plans for the module 'first'"):
        rv.plan_units(model, plans * 2)
    units = rv.plan_units(model, plans)
    with pytest.raises(ValueError, match="'first' runs under a plan already; first call remove"):
        rv.plan_units(model, plans)
    units.remove()
    assert model.first.forward is own
    rv.plan_units(model, plans).remove()


def test_unit_plans_of_another_rank_are_a_plan_of_this_step() -> None:
    mine, theirs = planned_step(batch=3), planned_step(batch=40)
    lean = rv.Plan.from_keep_mask(mine.graph, [i % 2 == 1 for i in range(len(mine.graph))], "every second")
    assert not mine.unit_plans(lean)[0].keep[0]
    parts = mine.unit_plans(lean)
    assert theirs.unit_plans(theirs.whole_plan(parts)) == parts
    assert theirs.simulate(theirs.whole_plan(parts)).peak > mine.simulate(lean).peak
    with pytest.raises(rv.PlanMismatch, match="no unit 'second'"):
        mine.whole_plan([rv.UnitPlan("second", (), ())])
    wide = planned_step(dtype=torch.float64)
    with pytest.raises(
        rv.PlanMismatch, match=r"runs aten\.addmm in float32 as operator 1, where its plan has aten\.addmm in float64"
    ):
        mine.whole_plan(wide.unit_plans(rv.Plan.keep_all(wide.graph)))


def test_a_rank_whose_own_peak_is_over_its_total_refuses_the_plans() -> None:
    dist.init_process_group("gloo", rank=0, world_size=1, store=dist.HashStore())
    try:
        mine, larger = planned_step(batch=3), planned_step(batch=40)
        parts = mine.unit_plans(rv.Plan.keep_all(mine.graph))
        total = mine.simulate(rv.Plan.keep_all(mine.graph)).peak
        assert rv.shared_plans(lambda _: parts, total=total, step=mine) == parts
        with pytest.raises(
            rv.RanksDisagree, match=r"rank 0 takes .* under the plans of rank 0, and its total is"
        ) as info:
            rv.shared_plans(lambda _: parts, total=total, step=larger)
        assert info.value.ranks == (0,)
        with pytest.raises(rv.RanksDisagree, match="rank 0 cannot run the plans of rank 0: the step has no unit"):
            rv.shared_plans(lambda _: [rv.UnitPlan("third", (), ())], total=total, step=mine)
        with pytest.raises(ValueError, match="step is given without a total"):
            rv.shared_plans(lambda _: parts, step=mine)
        with pytest.raises(TypeError, match="make is 5"):
            rv.shared_plans(5)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="seconds is -1"):
            rv.shared_plans(lambda _: parts, seconds=-1)
    finally:
        dist.destroy_process_group()


@pytest.mark.slow
def test_the_script_of_the_page_about_loops_runs_and_its_ranks_take_what_is_predicted(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "loops.md").read_text(encoding="utf-8")
    (script,) = (code for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "init_process_group" in code)
    (tmp_path / "train.py").write_text(script, encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    ended = subprocess.run([*command, str(tmp_path / "train.py")], capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    rows = re.findall(r"rank (\d): (\d+) predicted, (\d+) measured, (\d+) total", ended.stdout)
    assert sorted(rank for rank, *_ in rows) == ["0", "1"]
    for _, predicted, measured, total in rows:
        assert predicted == measured
        assert int(measured) <= int(total)


def test_a_buffer_of_a_collective_that_another_thread_holds_last_is_seen_to_be_freed() -> None:
    dist.init_process_group("gloo", rank=0, world_size=1, store=dist.HashStore())
    size = 1 << 20

    def step() -> None:
        dropped = threading.Event()
        buffer = torch.ones(size, dtype=torch.uint8)
        dist.all_reduce(buffer)
        (held := []).append(buffer)
        other = threading.Thread(target=lambda: (dropped.wait(), held.clear()))
        other.start()
        del buffer
        dropped.set()
        other.join()  # without CollectiveBuffers, the memory was freed in the other thread, which no profiler watches
        torch.ones(2 * size, dtype=torch.uint8).add(1)

    try:
        assert 4 * size <= measure_rank(step, ()).peak < 5 * size
    finally:
        dist.destroy_process_group()


def test_wrong_arguments_of_a_measurement() -> None:
    model = Scaled()
    with pytest.raises(TypeError, match="step is None, expected a function"):
        rv.measure_rank(None, model.parameters())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="parameters is 5, expected an iterable of tensors"):
        rv.measure_rank(lambda: None, 5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"an element of parameters is 'first\.weight', expected a tensor"):
        rv.measure_rank(lambda: None, dict(model.named_parameters()))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((0, ["first"]), ValueError, "shards is 0"),
        (("2", ["first"]), TypeError, "shards is '2'"),
        ((True, ["first"]), TypeError, "shards is True"),
        ((2, ["third.*"]), ValueError, "no module fits the unit"),
        ((2, [0]), TypeError, "units has 0, expected paths"),
        ((2, None), TypeError, "units is None, expected paths"),
    ],
)
def test_wrong_arguments(arguments: tuple[object, list[str]], error: type[Exception], text: str) -> None:
    trace = rv.trace(Scaled(), torch.zeros(3, 6), targets=(torch.zeros(3, 1),), loss=nn.functional.mse_loss)
    for make in (rv.shard_step, rv.rank_kinds):
        with pytest.raises(error, match=text):
            make(trace, *arguments)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"rank": 2}, ValueError, "rank 2 is not among 2 shards; write a number from 0 to 1"),
        ({"rank": 0.5}, TypeError, "rank is 0.5, expected a number from 0 to 1"),
        ({"replicas": 0}, ValueError, "replicas is 0, expected a number of ranks, at least 1"),
        ({"reshard": 2}, TypeError, "reshard is 2, expected True, False or a mapping"),
        ({"reshard": {"first": 2}}, TypeError, "reshard of 'first' is 2, expected True or False"),
        ({"reshard": {"firs": False}}, ValueError, "reshard has 'firs', which fits no unit; .*: 'first'"),
        ({"reshard": {"second": False}}, ValueError, "reshard has 'second', which fits no unit"),
        ({"reshard": {"": True}}, ValueError, r"reshard of '' \(the root\) is True"),
        ({"reduce_workspace": -1.0}, ValueError, r"reduce_workspace is -1\.0, expected a multiple"),
        ({"reduce_workspace": "1"}, TypeError, "reduce_workspace is '1'"),
    ],
)
def test_wrong_options_of_a_sharded_step(options: dict[str, Any], error: type[Exception], text: str) -> None:
    trace = rv.trace(Scaled(), torch.zeros(3, 6), targets=(torch.zeros(3, 1),), loss=nn.functional.mse_loss)
    with pytest.raises(error, match=text):
        rv.shard_step(trace, 2, ["first"], **options)
    assert rv.shard_step(trace, 2, ["first"], reshard={"": False, "*": False}).sharding is not None


def test_wrong_arguments_of_other_functions_for_ranks() -> None:
    trace = rv.trace(Scaled(), torch.zeros(3, 6), targets=(torch.zeros(3, 1),), loss=nn.functional.mse_loss)
    with pytest.raises(TypeError, match="rank_kinds got rank=1, but it returns the kinds of all ranks"):
        rv.rank_kinds(trace, 2, ["first"], rank=1)
    with pytest.raises(ValueError, match="rank is -1"):
        rv.replicate_step(trace, rank=-1)
    step = rv.shard_step(trace, 2, ["first"])
    with pytest.raises(ValueError, match="latency is nan, expected the time"):
        step.reshard_curve(float("nan"), 1.0)
    with pytest.raises(ValueError, match="bandwidth is 0, expected the bytes"):
        step.reshard_curve(0, 0)
    whole = rv.replicate_step(trace)
    assert whole.unit_plans(rv.Plan.keep_all(whole.graph)) == ()
    lean = min(whole.planner.plans("time").plans, key=lambda plan: int(plan.keep_mask.sum()))
    assert lean.overhead > 0
    with pytest.raises(ValueError, match="the step has no units, so no module would run under the plan"):
        whole.unit_plans(lean)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "ends"),
    [
        ("rank 0 fails in planning", ["InfeasibleBudget", "RanksDisagree: rank 0 could not plan: InfeasibleBudget"]),
        ("the last rank is killed in the step", ["RuntimeError", "killed"]),
    ],
)
def test_a_fault_of_one_rank_is_an_error_on_the_others_in_time(fault: str, ends: list[str]) -> None:
    for outcome, expected in zip(faults.outcomes(fault, 2), ends, strict=True):
        assert outcome.partition(": ")[2].startswith(expected)


@pytest.mark.slow
def test_a_model_without_memory_has_a_peak_for_each_kind_of_rank() -> None:
    small = {"layers": 2, "width": 64, "heads": 4, "groups": 2, "hidden": 96, "vocabulary": 101}
    trace = large.traced("405b", tokens=16, **small)
    kinds = rv.rank_kinds(trace, 16, ["layers.*"], stored=torch.float32, reduced=torch.float32)
    assert trace.estimated
    assert [kind.ranks[0] for kind in kinds] == [0, 14, 15]  # 101 rows: 7 on each rank, 3 on rank 14, none on rank 15
    peaks = [kind.step.simulate().peak for kind in kinds]
    assert peaks == sorted(peaks, reverse=True)
    # parts of four bytes and two moments of four bytes for each of them; the tables of rotations
    count = sum(-(-p.shape[0] // 16) * p[0].numel() for p in trace.model.parameters())
    static = kinds[0].step.simulate().static_bytes
    assert static[rv.Category.PARAMETER] == sum(-(-4 * n // 512) * 512 for n in _parts(trace.model, 16))
    assert static[rv.Category.OPTIMIZER] >= 8 * count


def _parts(model: nn.Module, shards: int) -> list[int]:
    return [-(-p.shape[0] // shards) * p[0].numel() for p in model.parameters()]


@pytest.mark.slow
def test_the_last_blocks_should_stay_gathered() -> None:
    made = case("vit", 4)
    trace = rv.trace(made.model, *made.inputs, targets=made.targets, loss=made.loss)
    step = rv.shard_step(trace, 4, made.units)
    points = fixed_points(step, made)
    always, never, second, half = points.values()
    assert half.time == second.time
    assert half.peak < second.peak
    assert always.peak <= half.peak < never.peak
    assert always.time > half.time > never.time == 0
    curve = step.reshard_curve(GATHER.latency, GATHER.bandwidth)
    for point in points.values():  # no common choice is better than the curve
        assert any(best.time <= point.time and best.peak <= point.peak for best in curve)
    assert [point.time for point in curve] == sorted(point.time for point in curve)
    assert beside(never, curve) == "a point of it"
    assert beside(always, curve).endswith("+0 bytes")  # keeping the last blocks gathered costs no memory
    assert beside(second, curve).startswith("3 gathered: -")
    assert summary(points, curve).startswith("reshard always: dominated, 2 gathered: -")
    with pytest.raises(rv.GraphError, match="nothing is gathered"):
        rv.replicate_step(trace).reshard_curve(0.1, 1e6)


@pytest.mark.slow
def test_with_unequal_units_both_ends_are_points_and_the_middle_is_better_than_every_second_block() -> None:
    made = case("gpt2-parts", 6)
    trace = rv.trace(made.model, *made.inputs, targets=made.targets, loss=made.loss)
    step = rv.shard_step(trace, 8, made.units)
    assert step.alone is not None
    assert step.sharding is not None
    points = fixed_points(step, made)
    curve = reshard_front(step.graph, step.alone, step.sharding, step.planner.first_plans().plans, GATHER)
    assert any(point.overhead > 0 for point in curve)
    assert [beside(points[f"reshard {end}"], curve) for end in ("always", "never")] == ["a point of it"] * 2
    second = points["every second block gathered"]
    assert any(point.time < second.time and point.peak < second.peak for point in curve)
    assert len(second.kept) == 6


@pytest.mark.slow
def test_with_equal_units_one_of_both_holds_whatever_is_gathered() -> None:
    """Either resharding always is dominated, or nothing is better than every second unit; without recomputation."""
    for name in ("gpt2", "vit"):
        made = case(name, 4)
        trace = rv.trace(made.model, *made.inputs, targets=made.targets, loss=made.loss)
        step = rv.shard_step(trace, 8, made.units)
        assert step.alone is not None
        assert step.sharding is not None
        names, keep_all = [unit.name for unit in step.sharding.units[1:]], rv.Plan.keep_all(step.graph)
        every = [
            reshard_point(step.graph, step.alone, step.sharding, kept, keep_all, GATHER)
            for count in range(5)
            for kept in itertools.combinations(names, count)
        ]
        always, _, second, _ = fixed_points(step, made).values()
        dominated = [
            any((p.time, p.peak) != (q.time, q.peak) and p.time <= q.time and p.peak <= q.peak for p in every)
            for q in (always, second)
        ]
        assert dominated == ([False, False] if name == "gpt2" else [True, True])


@pytest.mark.slow
def test_predicted_and_measured_peaks_of_two_stages_are_equal_and_gradients_too() -> None:
    cases = [
        {"kind": "1f1b", "layers": 4, "micro_batches": 4, "share": 0.3, "steps": 2},
        {"kind": "interleaved", "layers": 4, "micro_batches": 4, "share": 0.3, "steps": 2},
        {"kind": "1f1b", "layers": 4, "micro_batches": 4},
        {"kind": "1f1b", "layers": 2, "micro_batches": 3, "return_outputs": False},
        {"kind": "gpipe", "layers": 2, "micro_batches": 2, "share": 0.0, "optimizer": True},
        {"kind": "interleaved", "layers": 4, "micro_batches": 4},
        {"kind": "interleaved", "layers": 4, "micro_batches": 2, "return_outputs": False, "optimizer": True},
    ]
    for result in run_ranks("recompviz.benchmarks.ranks.stages", [json.dumps(cases)], world=2, seconds=600):
        for row in result["rows"]:
            assert row["static"] == row["expected"]
            assert row["measured"] == row["predicted"]
        for planned in result["rows"][:2]:
            assert planned["equal"]
            assert planned["measured"] <= planned["budget"]


class Gated(nn.Module):
    """One autograd node multiplies two values, and its backward pass reads both of them, one after the other.

    The model returns the first ``width`` columns of its result, which has 16.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.first, self.second = nn.Linear(16, 128), nn.Linear(64, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = self.first(x).chunk(2, -1)
        return self.second(nn.functional.dropout(nn.functional.silu(a) * b, 0.1))[:, : self.width]


@pytest.mark.parametrize("units", [(), ("first", "second")])
@pytest.mark.parametrize(("width", "returned"), [(16, True), (4, True), (16, False)])
def test_a_stage_without_a_plan_holds_what_autograd_holds(units: tuple[str, ...], width: int, returned: bool) -> None:
    model, x, y = Gated(width), torch.randn(32, 16), torch.randn(32, width)
    trace = rv.calibrate(rv.trace(model, x, targets=(y,), loss=nn.functional.mse_loss))
    step = rv.stage_step(trace, 0, 1, 1, units, kind="gpipe", return_outputs=returned)

    def train() -> object:
        output = model(x)
        loss = nn.functional.mse_loss(output, y)
        loss.backward()
        return loss, (output, torch.cat([output])) if returned else None

    train()
    model.zero_grad()
    measured = measure_rank(train, model.parameters(), inputs=x, targets=y)
    assert step.simulate().peak == measured.peak
    assert step.steps.merged == returned * 32 * width * 4


def test_a_lower_set_sequence_can_be_refilled_for_a_stage() -> None:
    # without numba, the plans of a trace are lower-set sequences
    model = nn.Sequential(*(layer for _ in range(4) for layer in (nn.Linear(16, 16), nn.GELU())))
    step = rv.stage_step(rv.trace(model, torch.randn(8, 16)), 0, 2, 4, ["0", "2", "4", "6"])
    canonical = step.trace.planner.plans("memory").plans[-1]
    assert canonical.kind == "canonical"
    least = step.simulate(canonical).peak
    (found,) = step.batch_plans.within(((canonical.overhead, least, (canonical,)),), step.simulate().peak)
    assert found.overhead < canonical.overhead
    assert found.kind == "live"


@pytest.mark.slow
def test_plans_per_stage_level_the_peaks_and_recompute_less_than_one_policy() -> None:
    stages = [stage_of(stage, 2, layers=6, micro_batches=4) for stage in range(2)]
    keep_all, one, own = compared(stages)
    assert keep_all.ratio > 1.2
    assert own.ratio <= 1.1
    assert max(own.peaks) <= min(keep_all.peaks)
    assert own.overhead < one.overhead
    with pytest.raises(rv.InfeasibleBudget):
        stages[0].plan(1000)


@pytest.mark.parametrize(
    ("arguments", "options", "text"),
    [
        ((2, 2, 4), {}, "stage 2 is not among 2"),
        ((0, 4, 3), {}, "expected at least 4"),
        ((0, 2, 1), {"kind": "x"}, "'x'"),
        ((1, 2, 2), {}, r"the trace of stage 1 has no loss, but it is the last of 2 stages"),
        ((1, 3, 3), {}, r"no input of the trace of stage 1 requires a gradient, but this stage sends it to stage 0"),
        ((0, 2, 0), {"kind": "gpipe"}, "micro_batches is 0, expected a number of micro-batches, at least 1"),
        ((0, 2, 2), {"return_outputs": 1}, "return_outputs is 1"),
    ],
)
def test_wrong_places_in_a_pipeline(arguments: tuple[int, ...], options: dict[str, object], text: str) -> None:
    trace = rv.trace(Scaled(), torch.zeros(3, 6))
    with pytest.raises((ValueError, TypeError), match=text):
        rv.stage_step(trace, *arguments, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("stage", [0, 1])
def test_only_the_last_stage_has_a_loss(stage: int) -> None:
    given = torch.zeros(3, 6, requires_grad=True)
    trace = rv.trace(Scaled(), given, targets=(torch.zeros(3, 1),), loss=nn.functional.mse_loss)
    with pytest.raises(ValueError, match=f"the trace of stage {stage} has a loss, but only the last of 3 stages"):
        rv.stage_step(trace, stage, 3, 3)
    assert rv.stage_step(trace, 2, 3, 3).place.stage == 2


@pytest.mark.parametrize("number", [0.5, True, "1"])
def test_a_place_in_a_pipeline_is_a_whole_number(number: Any) -> None:
    trace = rv.trace(Scaled(), torch.zeros(3, 6))
    for arguments in ((number, 2, 2), (0, number, 2), (0, 2, number)):
        with pytest.raises(TypeError, match="expected a number"):
            rv.stage_step(trace, *arguments)
