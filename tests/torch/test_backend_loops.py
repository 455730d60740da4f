"""Training loops with the compiler backend: losses, gradients and states are bitwise those of eager PyTorch."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import recompviz as rv
from recompviz.benchmarks.loops import distributed_loops
from recompviz.benchmarks.loops.budgets import compiled_for, run_loop
from recompviz.benchmarks.loops.comparison import highest
from recompviz.benchmarks.loops.plain_loops import LOOPS
from recompviz.core.planning.region_in_step import region_in_step
from recompviz.core.steps.schedule import make_schedule
from recompviz.core.steps.simulation import simulate_schedule
from recompviz.pytorch.budgeting.recorded_models import RecordedModels
from recompviz.pytorch.budgeting.recording_attempts import UnplannedStep
from recompviz.pytorch.executing.backend import UnplannedGraph
from recompviz.pytorch.internals.aot import DoubleBackward
from recompviz.pytorch.internals.memory_window import memory_window
from recompviz.pytorch.internals.profiler import allocation_events
from recompviz.pytorch.running.compiled import budget_of
from recompviz.pytorch.running.compiled_report import StepNotRecorded

QUICK = ("accumulation, clipping and a scheduler", "two backward passes of one graph (retain_graph)")


@pytest.fixture(autouse=True)
def _short_search(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(RecordedModels, "search_seconds", 0.05)
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in LOOPS])
def test_a_loop_under_a_total_gives_what_eager_gives(name: str) -> None:
    row = run_loop(name, lambda total: LOOPS[name](compiled_for(total)))
    assert not row.wrong
    assert not row.messages
    assert row.least <= row.total <= row.keep_all


@pytest.mark.slow
def test_two_processes_under_a_total_give_what_eager_gives() -> None:
    results = distributed_loops.run()  # all kinds in the same processes: to start two takes longer than a loop
    assert tuple(results) == distributed_loops.KINDS
    for kind, found in ((kind, found) for kind, ranks in results.items() for found in ranks):
        assert found["equal"], kind
        assert found["planned"], kind
        if kind != "fsdp2":  # whose recorded bytes differ between processes, because gloo's threads free its buffers
            assert found["least"] <= found["total"] <= found["keep_all"]


def test_a_second_derivative_is_refused_with_a_next_step() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    x, y = torch.randn(5, 4, requires_grad=True), torch.tensor([0, 1, 2, 0, 1])
    loss = F.cross_entropy(rv.compile(model, total="1 MiB")(x), y)
    (slope,) = torch.autograd.grad(loss, x, create_graph=True)
    with pytest.raises(DoubleBackward, match=r"not compiled.* or take its gradient inside"):
        (loss + slope.pow(2).sum()).backward()


def test_a_second_derivative_inside_the_compiled_function_is_planned() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))

    def penalised(x: torch.Tensor) -> torch.Tensor:
        (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
        return slope.pow(2).mean()

    x = torch.randn(5, 4, requires_grad=True)
    penalised(x).backward()
    wanted = [p.grad for p in model.parameters()]
    model.zero_grad()
    compiled = rv.compile(penalised, total="1 MiB")
    compiled(x).backward()
    assert budget_of(compiled).regions
    for mine, theirs in zip([p.grad for p in model.parameters()], wanted, strict=True):
        assert (mine is None) == (theirs is None)
        assert mine is None or theirs is None or torch.equal(mine, theirs)


def test_a_graph_that_cannot_be_planned_runs_eagerly_and_says_where() -> None:
    model = nn.Sequential(nn.Embedding(10, 4, sparse=True), nn.Linear(4, 2))
    tokens = torch.arange(6)
    model(tokens).sum().backward()
    wanted = model[0].weight.grad
    model.zero_grad()
    with pytest.warns(UnplannedGraph, match="sparse") as caught:
        model_output = rv.compile(model, total="1 MiB")(tokens)
    assert caught[0].filename == __file__
    model_output.sum().backward()
    assert torch.equal(model[0].weight.grad.to_dense(), wanted.to_dense())


def test_the_layers_of_a_loop_that_dynamo_cannot_capture_are_planned_one_by_one() -> None:
    class Routed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.experts = nn.ModuleList(nn.Sequential(nn.Linear(8, 8), nn.Tanh()) for _ in range(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for number, expert in enumerate(self.experts):
                rows = torch.where(x[:, 0] > number / 3)[0]
                x = x.index_add(0, rows, expert(x[rows]))
            return x

    model = Routed()
    compiled = rv.compile(model, total="1 MiB")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        batch = torch.rand(16, 8)  # the same for every step: another number of rows may be captured once more
        for _ in range(3):
            compiled(batch).sum().backward()
    assert len(budget_of(compiled).regions) == 3


def test_a_model_that_trains_without_a_captured_graph_is_reported_once() -> None:
    class Routed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.experts = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))
            self.limit = -torch.inf

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for expert in self.experts:
                if x.sum() > self.limit:  # Dynamo does not capture a function with such a branch in a loop
                    x = expert(x)
            return x

    def train(called: nn.Module, model: nn.Module) -> list[str]:
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(5):
                called(torch.randn(4, 8)).sum().backward()
                optimizer.step()
        return [str(warning.message) for warning in caught if issubclass(warning.category, UnplannedStep)]

    options = {"total": "1 MiB"}
    routed, layer = Routed(), nn.Linear(8, 8)
    (message,) = train(torch.compile(routed, backend="recompviz", options=options), routed)
    assert message.startswith("Routed was compiled with backend 'recompviz'")
    assert not train(rv.compile(routed, total="1 MiB"), routed)  # the layers are planned
    assert not train(torch.compile(layer, backend="recompviz", options=options), layer)
    assert not train(torch.compile(layer, backend="recompviz"), layer)
    assert not train(nn.Linear(8, 8), nn.Linear(8, 8))
    layer.compile(backend="recompviz", options=options)  # Module.compile has no effect on PyTorch's own layers
    (message,) = train(layer, layer)
    assert message.startswith("Linear was compiled with backend 'recompviz'")


def test_another_number_of_rows_needs_one_more_graph_and_no_more() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))
    compiled = rv.compile(model, total="1 MiB")
    for rows in (5, 7, 11, 4, 9, 13):
        compiled(torch.randn(rows, 8)).sum().backward()
    assert len(budget_of(compiled).regions) == 2


def test_a_size_that_the_graph_reads_from_a_recomputed_value() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.up, self.down = nn.LayerNorm(8), nn.Linear(8, 16), nn.Linear(16, 8)

        def rows(self, x: torch.Tensor, layer: nn.Linear) -> torch.Tensor:
            rows = torch.addmm(layer.bias, x.view(-1, x.size(-1)), layer.weight.T)  # as in GPT-2 of transformers
            return rows.view(*x.shape[:-1], layer.out_features)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.rows(F.gelu(self.rows(self.norm(x), self.up)) * 1.5, self.down)

    model = nn.Sequential(Block(), Block())
    compiled = rv.compile(model, total="1 MiB", dynamic=True)
    for length in (4, 5, 7):
        x, found = torch.randn(2, length, 8), []
        for called in (compiled, copy.deepcopy(model)):
            loss = called(x).square().sum()
            found.append(torch.autograd.grad(loss, list(called.parameters())))
        assert all(map(torch.equal, *found))


@pytest.mark.parametrize(
    ("p", "dtype", "layout"),
    [
        (0.15, torch.float32, lambda h: h),  # in eager, the float32 scale is not the rounded 1 / (1 - p)
        (0.15, torch.float32, lambda h: h[:1].expand(4, -1, -1)),
        (0.5, torch.bfloat16, lambda h: h.transpose(0, 1)),
    ],
)
def test_a_dropout_drops_and_scales_as_in_eager(
    p: float, dtype: torch.dtype, layout: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    model, x = nn.Linear(8, 8).to(dtype), torch.randn(4, 6, 8, dtype=dtype)

    def forward() -> torch.Tensor:
        return F.dropout(layout(model(x)), p).square().sum()

    found = []
    for called in (forward, rv.compile(forward, total="1 MiB")):
        torch.manual_seed(0)
        loss = called()
        found.append((loss, *torch.autograd.grad(loss, list(model.parameters()))))
    assert all(map(torch.equal, *found))


def test_the_state_of_an_optimizer_counts_before_it_steps_although_another_has_stepped() -> None:
    model, x = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64)), torch.randn(8, 64)
    first, second = (torch.optim.AdamW(layer.parameters()) for layer in (model[0], model[2]))
    with pytest.raises(TypeError, match=r"holds=\[second\]"):
        rv.compile(model, total="1 KiB", optimizer=[first, second])  # type: ignore[arg-type]
    compiled = rv.compile(model, total="1 KiB", optimizer=first, holds=[second])
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    least = []
    for optimizer in (second, first):
        optimizer.step()
        with pytest.raises(rv.InfeasibleBudget) as refused:
            compiled(x)
        least.append(refused.value.least)
    assert least[0] == least[1]


def test_the_state_of_an_optimizer_counts_before_it_steps_and_where_it_is_in_lists() -> None:
    model = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))
    weights = sum(p.numel() * 4 for p in model.parameters())
    adam = rv.compile(model, total="10 KiB", optimizer=torch.optim.AdamW(model.parameters()))
    with pytest.raises(rv.InfeasibleBudget) as refused:
        adam(torch.randn(8, 64))
    assert refused.value.least > 3 * weights
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=4)
    compiled, x = rv.compile(model, total="150 KiB", optimizer=optimizer), torch.randn(64, 64)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = compiled(x).square().mean()
        loss.backward()
        return loss

    def steps() -> None:
        for _ in range(8):
            optimizer.step(closure)

    with pytest.raises(rv.InfeasibleBudget):
        steps()


def test_a_compiled_model_can_be_compiled_for_another_total() -> None:
    model = nn.Linear(8, 8)
    again = rv.compile(rv.compile(model, total="1 MiB"), total="2 MiB")
    assert budget_of(again).total == 2 << 20
    again(torch.ones(2, 8)).sum().backward()
    assert model.weight.grad is not None


def test_a_profiler_that_prevents_the_recording_is_named() -> None:
    compiled = rv.compile(nn.Linear(8, 8), total="1 MiB")
    with torch.profiler.profile():
        for _ in range(3):
            compiled(torch.randn(4, 8)).sum().backward()
    with pytest.raises(StepNotRecorded, match="another profiler"):
        rv.step_report(compiled)


def test_state_that_an_optimizer_adds_to_a_list_is_counted_when_it_is_there() -> None:
    model, x = nn.Linear(64, 1), torch.randn(16, 64)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=1)
    compiled = rv.compile(model, total="1 GiB", optimizer=optimizer)
    counted = []

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (compiled(x) - x.sum(1, keepdim=True).sin()).square().mean()
        counted.append(budget_of(compiled).room_left)
        loss.backward()
        return loss

    for _ in range(8):
        optimizer.step(closure)
    (state,) = optimizer.state.values()
    assert len(state["old_dirs"]) > 3
    # a direction and a step of 65 numbers for each entry of the history
    assert counted[-2] - counted[-1] >= 2 * 65 * 4


def test_a_gradient_that_arrives_transposed_is_in_memory_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A view of it copies it, because its strides allow no view: the original is freed then."""
    model = nn.Sequential(nn.Linear(8, 256), nn.GELU(), nn.Linear(256, 8), nn.Linear(8, 200))
    compiled, targets = rv.compile(model, total="1 GiB"), torch.randint(0, 200, (4, 64))
    budget, x = budget_of(compiled), torch.randn(4, 64, 8)

    def step() -> None:
        F.cross_entropy(compiled(x).transpose(1, 2), targets).backward()
        model.zero_grad()

    for _ in range(3):
        step()
    (known,) = budget.regions.values()
    keep_nothing = np.zeros(len(known.region.folded.graph), np.bool_)
    around = budget.models[known.region].passes[0]
    joint = region_in_step(known.joint, around.outside, around.released)
    simulated = simulate_schedule(make_schedule(joint, keep_nothing.tolist())).transient_peak
    monkeypatch.setattr(budget, "choose", lambda _run: keep_nothing)
    with memory_window(torch.device("cpu")) as window:
        step()
    assert highest(allocation_events(window.profiled, "cpu", ())) == simulated + around.outside.forward


class _Weighted:
    """A loss object that holds a trainable weight and is no module."""

    def __init__(self) -> None:
        self.log_var = nn.Parameter(torch.zeros(()))

    def __call__(self, output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(output, y) * torch.exp(-self.log_var) + self.log_var


class _ListedLayers(nn.Module):
    """Uses layers in a Python list, a closure and a loss object, so that ``parameters()`` misses their parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.blocks, self.loss = nn.Linear(16, 3), [nn.Linear(16, 16), nn.Tanh()], _Weighted()
        head = nn.Linear(3, 3)
        self.head, self.hidden = (lambda x: head(x)), (head.weight, self.blocks[0].weight, self.loss.log_var)

    def forward(self, x: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        output = self.head(self.net(x))
        return output if y is None else self.loss(output, y)


@pytest.mark.parametrize("loss_inside", [True, False])
def test_trainable_tensors_outside_the_models_parameters_are_trained(loss_inside: bool) -> None:
    models = []
    for _ in range(2):
        torch.manual_seed(0)
        models.append(_ListedLayers())
    mine, theirs = models
    compiled = rv.compile(mine, total="1 MiB")
    optimizers = [torch.optim.SGD([*model.parameters(), *model.hidden], 0.1) for model in models]
    for seed in range(4):
        torch.manual_seed(seed)
        x, y = torch.randn(8, 16), torch.randint(0, 3, (8,))
        losses = []
        for called, model, optimizer in zip((compiled, theirs), models, optimizers, strict=True):
            loss = called(x, y) if loss_inside else model.loss(called(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[0] == losses[1]
        for ours, other in zip(mine.hidden, theirs.hidden, strict=True):
            assert ours.grad is not None
            assert torch.equal(ours.grad, other.grad)
