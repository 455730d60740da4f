"""Training steps that a budget could not record at first: they end planned, or a message says why they are not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import recompviz as rv
from recompviz.pytorch.budgeting.recorded_models import RecordedModels
from recompviz.pytorch.budgeting.recording_attempts import UnplannedStep
from recompviz.pytorch.budgeting.step_budget import StepBudget
from recompviz.pytorch.executing import backend
from recompviz.pytorch.executing.backend import UnplannedGraph
from recompviz.pytorch.internals import memory_window as windows
from recompviz.pytorch.internals.devices.cpu import CpuRuntime
from recompviz.pytorch.internals.memory_window import in_compiled_call, memory_window
from recompviz.pytorch.running.compiled import budget_of


@pytest.fixture(autouse=True)
def _short_search(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(RecordedModels, "search_seconds", 0.02)
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def _loop(step: Callable[[Any, int], None], count: int = 8, total: str = "1 GiB") -> StepBudget:
    """Train a small model; return its budget."""
    compiled = rv.compile(nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1)), total=total)
    for number in range(count):
        step(compiled, number)
    return budget_of(compiled)


def _train(compiled: Any, _number: int = 0) -> None:
    compiled(torch.randn(16, 8)).square().mean().backward()


def test_evaluation_with_gradients_before_training_does_not_prevent_a_plan() -> None:
    def step(compiled: Any, number: int) -> None:
        _train(compiled) if number > 5 else compiled(torch.randn(16, 8))

    assert _loop(step).planned is not None


def test_outputs_that_are_kept_with_their_graphs_do_not_prevent_a_plan_and_their_bytes_count() -> None:
    kept = []

    def step(compiled: Any, number: int) -> None:
        if number < 2:
            kept.append(compiled(torch.randn(16, 8)))
        elif number == 6:
            room.append(budget_of(compiled).room_left)
            kept.clear()
        _train(compiled)

    room: list[int] = []
    budget = _loop(step)
    assert budget.planned is not None
    assert budget.room_left - room[0] >= 2 * 16 * 4  # each output has 16 numbers


def test_backward_passes_that_raise_do_not_prevent_a_plan() -> None:
    def fail(_gradient: torch.Tensor) -> None:
        raise KeyError("a hook of the user")

    def step(compiled: Any, number: int) -> None:
        output = compiled(torch.randn(16, 8))
        if number < 3:
            output.register_hook(fail)
            with pytest.raises(KeyError):
                output.sum().backward()
        else:
            output.sum().backward()

    assert _loop(step).planned is not None


def test_training_in_a_thread_runs_and_the_reason_without_a_plan_is_told() -> None:
    """A profiler in another thread than the main one cannot be stopped safely after a backward pass."""
    compiled = rv.compile(nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1)), total="1 GiB")

    def train(count: int) -> None:
        for _ in range(count):
            _train(compiled)

    def train_in_a_thread() -> None:
        thread = threading.Thread(target=train, args=(6,))
        thread.start()
        thread.join()

    with pytest.warns(UnplannedStep, match="main thread"):
        train_in_a_thread()
    assert budget_of(compiled).planned is None
    with memory_window(torch.device("cpu")):  # no profiler was left running
        pass
    train(12)  # in the main thread
    assert budget_of(compiled).planned is not None


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_compiled_model_under_a_checkpoint_trains_and_the_reason_without_a_plan_is_told(reentrant: bool) -> None:
    def step(compiled: Any, _number: int) -> None:
        x = torch.randn(16, 8, requires_grad=True)
        checkpoint(compiled, x, use_reentrant=reentrant).square().mean().backward()

    with pytest.warns(UnplannedStep, match=r"checkpoint.*outside"):
        assert _loop(step).planned is None


def test_a_profiler_that_runs_in_all_steps_is_named() -> None:
    def step(compiled: Any, _number: int) -> None:
        with torch.profiler.profile(acc_events=True):
            _train(compiled)

    with pytest.warns(UnplannedStep, match="another profiler"):
        assert _loop(step, 5).planned is None


def test_a_profiler_in_planned_steps_is_no_failure() -> None:
    compiled = rv.compile(nn.Linear(8, 8), total="1 GiB", dynamic=True)
    for _ in range(3):
        _train(compiled)
    with torch.profiler.profile(acc_events=True):
        for number in range(4):  # larger steps, which are recorded again if they can
            compiled(torch.randn(200 * (number + 1), 8)).square().mean().backward()
    budget = budget_of(compiled)
    assert budget.planned is not None
    assert budget.attempts.flaw is None


def test_a_function_that_is_compiled_in_each_step_is_named_with_the_cause() -> None:
    class Growing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.seen = nn.Linear(8, 1), []

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.seen.append(x.detach().mean())
            return self.linear(x) * len(self.seen)

    compiled = rv.compile(Growing(), total="1 GiB")
    with (
        torch._dynamo.config.patch(recompile_limit=3),
        pytest.warns(UnplannedGraph, match=r"forward .* 3 times.*len\(self\.seen\) == 1.*out of the compiled"),
    ):
        _repeated(compiled)


def test_a_function_that_is_compiled_often_is_named_long_before_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "OFTEN", 3)

    class Sizes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(8, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(x)

    compiled = rv.compile(Sizes(), total="1 GiB", dynamic=False)
    with pytest.warns(UnplannedGraph, match=r"forward .* 3 times.*size mismatch.*after 32 of them") as caught:
        _of_sizes(compiled, 6)
    assert len(caught) == 1

    class Layer(Sizes):
        pass

    class Layers(nn.Module):  # one function for several layers, each compiled once
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(Layer() for _ in range(5))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            total = torch.zeros(())
            for layer in self.layers:
                torch._dynamo.graph_break()
                total = total + layer(x).sum()
            return total

    several = rv.compile(Layers(), total="1 GiB")
    _of_sizes(several, 1)


def _of_sizes(compiled: Any, count: int) -> None:
    for size in range(2, 2 + count):
        compiled(torch.randn(size, 8)).sum().backward()


def _repeated(compiled: Any) -> None:
    for _ in range(5):
        compiled(torch.randn(4, 8)).sum().backward()


def test_the_profiler_never_stops_inside_a_compiled_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """There, the profiler would write the end of the call into memory that is free."""
    inside: list[bool] = []

    class Watched(CpuRuntime):
        def synchronize(self) -> None:  # a window calls it where its profiler stops
            inside.append(in_compiled_call())

    monkeypatch.setattr(windows, "runtime", Watched)
    kept: list[torch.Tensor] = []

    def step(compiled: Any, number: int) -> None:
        if number in (1, 3):
            kept.append(compiled(torch.randn(16, 8)))  # its graph stays alive, so that its record stays open
        loss = compiled(torch.randn(16, 8)).square().mean()
        loss.backward()
        kept.append(loss)

    assert _loop(step, 10).planned is not None
    assert inside
    assert not any(inside)
