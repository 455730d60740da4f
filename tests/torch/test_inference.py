"""Graphs without a backward pass count: a teacher under no_grad, a moving average, a validation pass."""

from __future__ import annotations

import copy
import gc
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import recompviz as rv
from recompviz.core.base.units import format_bytes
from recompviz.pytorch.budgeting.recorded_models import RecordedModels
from recompviz.pytorch.budgeting.recording_attempts import UnplannedStep
from recompviz.pytorch.internals.memory_window import memory_window
from recompviz.pytorch.internals.profiler import allocation_events
from recompviz.pytorch.running.compiled import budget_of, forget_budgets

WIDTH, BATCH = 48, 256
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # Dynamo reads it of an input
Compiled = Callable[[nn.Module], Any]
Step = Callable[[], Tensor]


@pytest.fixture(autouse=True)
def _quick_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RecordedModels, "search_seconds", 0.0)
    gc.collect()  # outputs of earlier tests


def _layers(count: int = 3) -> nn.Sequential:
    return nn.Sequential(*[layer for _ in range(count) for layer in (nn.Linear(WIDTH, WIDTH), nn.Tanh())])


def _size(model: nn.Module) -> int:
    return sum(parameter.nbytes for parameter in model.parameters())


def _after_backward(loss: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss.detach().clone()  # the storage of a mean squared error is as large as the outputs


def _teacher_first(compiled: Compiled, known: list[Tensor]) -> Step:
    model, other, x = _layers(), _layers(6), torch.randn(BATCH, WIDTH)
    student, teacher = compiled(model), compiled(other)
    known += [*model.parameters(), *other.parameters(), x]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step() -> Tensor:
        with torch.no_grad():
            target = teacher(x)
        return _after_backward(F.mse_loss(student(x), target), optimizer)

    return step


def _two_teachers_between_two_models(compiled: Compiled, known: list[Tensor]) -> Step:
    models, x = [_layers(), _layers(2), _layers(5), _layers(4)], torch.randn(BATCH, WIDTH)
    first, second, teacher, other = map(compiled, models)
    known += [*(p for model in models for p in model.parameters()), x]
    optimizer = torch.optim.SGD([*models[0].parameters(), *models[1].parameters()], lr=0.1)

    def step() -> Tensor:
        hidden = first(x)
        with torch.no_grad():
            target = teacher(x) + other(x)
        return _after_backward(F.mse_loss(second(hidden), target), optimizer)

    return step


def _moving_average(compiled: Compiled, known: list[Tensor]) -> Step:
    model, x = _layers(), torch.randn(BATCH, WIDTH)
    average = copy.deepcopy(model)
    student, teacher = compiled(model), compiled(average)
    known += [*model.parameters(), *average.parameters(), x]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step() -> Tensor:
        with torch.inference_mode():
            target = teacher(x)
        result = _after_backward(F.mse_loss(student(x), target.clone()), optimizer)
        with torch.no_grad():
            for old, new in zip(average.parameters(), model.parameters(), strict=True):
                old.lerp_(new, 0.1)
        return result

    return step


def _teacher_of_shared_layers_every_third_step(compiled: Compiled, known: list[Tensor]) -> Step:
    body, head, other, x = _layers(), _layers(1), _layers(4), torch.randn(BATCH, WIDTH)
    model, shared = nn.Sequential(body, head), nn.Sequential(body, nn.Dropout(0.2), other)
    student, teacher = compiled(model), compiled(shared)
    known += [*model.parameters(), *other.parameters(), x]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    numbers = iter(range(100))

    def step() -> Tensor:
        output = student(x)
        loss = output.square().mean()
        if next(numbers) % 3 == 0:
            with torch.no_grad():
                target = teacher(x)
            loss = loss + F.mse_loss(output, target)
        return _after_backward(loss, optimizer)

    return step


def _trained(make: Callable[[Compiled, list[Tensor]], Step], compiled: Compiled) -> tuple[list[float], int]:
    """The losses of eight steps, and the largest measured peak of the last four, with all that exists before them."""
    torch.manual_seed(0)
    torch._dynamo.reset()
    known: list[Tensor] = []
    step = make(compiled, known)
    losses = [step().item() for _ in range(4)]
    peak = 0
    for _ in range(4):
        with memory_window(torch.device("cpu")) as window:
            losses.append(step().item())
        now = 0
        for event in allocation_events(window.profiled, "cpu"):
            now += event.size
            peak = max(peak, now)
    return losses, peak + sum(tensor.nbytes for tensor in known)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "by_name"),
    [
        (_teacher_first, False),
        (_teacher_first, True),
        (_two_teachers_between_two_models, False),
        (_moving_average, False),
        (_teacher_of_shared_layers_every_third_step, False),
    ],
)
@pytest.mark.filterwarnings("ignore::recompviz.pytorch.budgeting.recording_attempts.UnplannedStep")
def test_a_step_with_a_compiled_teacher_stays_within_the_total(make: Any, by_name: bool) -> None:
    def compiled(total: int) -> Compiled:
        if by_name:
            return lambda model: torch.compile(model, backend="recompviz", options={"total": total})
        return lambda model: rv.compile(model, total=total)

    eager, _ = _trained(make, lambda model: model)
    losses, most = _trained(make, compiled(1 << 30))
    assert losses == eager
    total = int(0.92 * most)
    losses, peak = _trained(make, compiled(total))
    forget_budgets()
    assert losses == eager
    assert 0.8 * total < peak <= total


def test_a_teacher_counts_with_parameters_and_output_also_after_steps_without_it() -> None:
    model, teacher, x = _layers(), rv.compile(_layers(4)), torch.randn(BATCH, WIDTH)
    student = rv.compile(model, total="1 GiB")
    counted = []
    for with_teacher in (False, True, False, False):
        if with_teacher:
            with torch.no_grad():
                target = teacher(x)
        student(x).sum().backward()
        counted.append((1 << 30) - budget_of(student).room_left)
        model.zero_grad()
    target_size = target.nbytes
    del target
    student(x).sum().backward()
    counted.append((1 << 30) - budget_of(student).room_left)
    assert counted[1] - counted[0] == _size(teacher) + target_size
    assert counted[1] == counted[2] == counted[3] == counted[4] + target_size
    del teacher
    gc.collect()
    model.zero_grad()
    student(x).sum().backward()
    assert (1 << 30) - budget_of(student).room_left == counted[0]


def _expected(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(WIDTH, width), nn.Tanh(), nn.Linear(width, WIDTH))


def test_a_teacher_that_takes_more_than_the_total_while_it_runs_is_reported_once() -> None:
    wide, x = _expected(20 * WIDTH), torch.randn(BATCH, WIDTH)
    model = _layers(2)
    student, teacher = rv.compile(model, total="2 MiB"), rv.compile(wide)

    def train() -> None:
        for _ in range(3):
            with torch.no_grad():
                target = teacher(x)
            F.mse_loss(student(x), target).backward()
            model.zero_grad()

    with pytest.warns(UnplannedStep, match="without gradients before training step 2 takes") as caught:
        train()
    assert len(caught) == 1
    hidden = BATCH * 20 * WIDTH * 4  # the hidden layer before and after its tanh
    in_use = _size(wide) + _size(model) + x.nbytes + BATCH * WIDTH * 4  # and the target of the step before
    assert f"takes {format_bytes(in_use + 2 * hidden)}, " in str(caught[0].message)


def test_a_validation_pass_that_is_too_large_is_reported_with_the_step_before_it() -> None:
    model, x = _expected(4 * WIDTH), torch.randn(16, WIDTH)
    compiled = rv.compile(model, total="1 MiB")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            compiled(x).sum().backward()
            model.zero_grad()
        with torch.no_grad():
            compiled(torch.randn(32, WIDTH))
    too_large = r"before training step 4 takes .* more than the total of 1.00 MiB"
    with torch.no_grad(), pytest.warns(UnplannedStep, match=too_large):
        compiled(torch.randn(2000, WIDTH))


class _Counting(nn.Module):
    """Overwrites buffers and draws random numbers, also without gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop, self.line = nn.BatchNorm1d(WIDTH), nn.Dropout(0.4), nn.Linear(WIDTH, WIDTH)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.calls.add_(1)
        z = self.drop(self.norm(self.line(x)))
        return z.view(-1), x[:2]  # a view of a value, and a view of the input


def test_without_gradients_results_buffers_and_random_numbers_are_those_of_eager() -> None:
    model = _Counting()
    twin, x = copy.deepcopy(model), torch.randn(8, WIDTH)
    compiled = rv.compile(model, total="1 GiB")
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            results = []
            for one in (compiled, twin):
                torch.manual_seed(1)
                results.append((*one(x), torch.rand(1)))
        assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
        assert results[0][1].untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), twin.state_dict().values(), strict=True))
