"""What the caller keeps beside a compiled model counts in the total: teachers, moving averages, targets, a critic."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import recompviz as rv
from recompviz.pytorch.budgeting.recorded_models import RecordedModels
from recompviz.pytorch.budgeting.recording_attempts import UnplannedStep
from recompviz.pytorch.internals.devices.cpu import CpuRuntime
from recompviz.pytorch.internals.memory_window import memory_window
from recompviz.pytorch.internals.profiler import allocation_events
from recompviz.pytorch.internals.tensors import storage_key
from recompviz.pytorch.running.compiled import budget_of

WIDTH, BATCH = 64, 256


def _model() -> nn.Module:
    layers = [layer for _ in range(4) for layer in (nn.Linear(WIDTH, WIDTH), nn.Tanh())]
    return nn.Sequential(*layers)


def _bytes(tensors: Any) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def _rise(step: Callable[[], object]) -> int:
    """The most bytes by which a step raises what is allocated."""
    with memory_window(torch.device("cpu")) as window:
        step()
    now = most = 0
    for event in allocation_events(window.profiled, "cpu"):
        now += event.size
        most = max(most, now)
    return most


class _Setup:
    """A student with a teacher, a moving average and targets that exist before the forward pass."""

    def __init__(self, total: int | str, named: bool) -> None:
        torch.manual_seed(0)
        self.model, self.teacher, self.x = _model(), _model().requires_grad_(False), torch.randn(BATCH, WIDTH)
        self.average = copy.deepcopy(self.model).requires_grad_(False)
        self.target: torch.Tensor | None = None
        self.optimizer = torch.optim.AdamW(self.model.parameters())
        holds = [self.teacher, {"average": self.average}, lambda: self.target] if named else None
        self.compiled = rv.compile(self.model, total=total, optimizer=self.optimizer, holds=holds)

    def step(self) -> None:
        assert self.target is not None
        nn.functional.mse_loss(self.compiled(self.x), self.target).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def train(self, steps: int = 4) -> _Setup:
        for _ in range(steps):
            self.target = self.teacher(self.x)
            self.step()
        return self

    def peak(self) -> int:
        """The measured peak of a step in total bytes, with everything that is there before."""
        self.target = self.teacher(self.x)
        tensors = [
            *self.model.parameters(),
            *self.teacher.parameters(),
            *self.average.parameters(),
            self.x,
            self.target,
        ]
        state = [value for values in self.optimizer.state.values() for value in values.values()]
        return _bytes([*tensors, *state]) + _rise(self.step)


def test_teacher_average_and_targets_fit_into_the_total() -> None:
    least, most = budget_of(_Setup("1 GiB", True).train().compiled).range_of_totals
    for total in (least, (least + most) // 2, most):
        assert _Setup(total, True).train().peak() <= total
    total = (least + most) // 2
    assert _Setup(total, False).train().peak() > total  # without the names a step takes more
    with pytest.warns(UnplannedStep, match="1 B more than the total"), pytest.raises(rv.InfeasibleBudget):
        _Setup(least - 1, True).train()


def test_the_report_names_what_is_held() -> None:
    setup = _Setup("1 GiB", True).train()
    held = _bytes([*setup.teacher.parameters(), *setup.average.parameters(), setup.target])
    assert budget_of(setup.compiled).memory.held_bytes == held
    assert any("beside the model" in note for note in rv.step_report(setup.compiled).notes)


def test_each_storage_counts_once() -> None:
    model, x = _model(), torch.randn(BATCH, WIDTH)
    extra = torch.zeros(100)
    holds = [model, x, x[:3], list(model.parameters()), (extra, extra[1:], {extra})]
    compiled = rv.compile(model, total="1 GiB", holds=holds)
    compiled(x).sum().backward()
    compiled(x).sum().backward()
    assert budget_of(compiled).memory.held_bytes == 400


def test_gradients_and_states_of_others_count_once_they_exist() -> None:
    model, other, x = _model(), nn.Linear(WIDTH, WIDTH), torch.randn(BATCH, WIDTH)
    optimizer = torch.optim.SGD(other.parameters(), lr=0.1, momentum=0.9)
    compiled = rv.compile(model, total="1 GiB", holds={"critic": other, "its optimizer": optimizer})
    size, seen = _bytes(other.parameters()), []
    for after in (lambda: other(x).sum().backward(), optimizer.step, optimizer.zero_grad):
        compiled(x).sum().backward()
        seen.append(budget_of(compiled).memory.held_bytes)
        after()
    compiled(x).sum().backward()
    assert [*seen, budget_of(compiled).memory.held_bytes] == [size, 2 * size, 3 * size, 2 * size]


def test_parameters_that_are_replaced_are_found_again() -> None:
    model, other, x = _model(), nn.Linear(WIDTH, WIDTH), torch.randn(BATCH, WIDTH)
    compiled = rv.compile(model, total="1 GiB", holds=other)
    for dtype in (torch.float32, torch.float64):
        other.weight = nn.Parameter(torch.zeros(WIDTH, WIDTH, dtype=dtype))
        compiled(x).sum().backward()
        assert budget_of(compiled).memory.held_bytes == _bytes(other.parameters())


def test_what_is_held_can_be_freed() -> None:
    model, other, x = _model(), nn.Linear(WIDTH, WIDTH), torch.randn(BATCH, WIDTH)
    tensor = torch.zeros(10)
    compiled = rv.compile(model, total="1 GiB", holds=[other, tensor])
    compiled(x).sum().backward()
    alive = [weakref.ref(other), weakref.ref(tensor)]
    del other, tensor
    gc.collect()
    assert [reference() for reference in alive] == [None, None]
    compiled(x).sum().backward()
    assert budget_of(compiled).memory.held_bytes == 0


@pytest.mark.parametrize("wrong", [5, "1 GiB", [nn.Linear], {"a": 5}])
def test_what_cannot_be_held_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"holds has .*, expected tensors, modules, optimizers, or a function"):
        rv.compile(_model(), total="1 MiB", holds=wrong)


def test_where_the_allocator_counts_nothing_has_to_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = _model(), torch.randn(BATCH, WIDTH)
    known = _bytes(model.parameters()) + x.nbytes
    compiled = rv.compile(model, total="1 GiB")
    for unknown, counted in ((0, 0), (1000, 0), (64 << 20, 64 << 20)):  # a few bytes are the loss of the step before
        monkeypatch.setattr(CpuRuntime, "allocated", lambda _runtime, now=known + unknown: now)
        compiled(x).sum().backward()
        model.zero_grad()
        assert budget_of(compiled).memory.held_bytes == counted


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # Dynamo reads it of an input
def test_values_that_another_compiled_model_saves_count_until_its_backward_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(RecordedModels, "search_seconds", 0.0)
    torch.manual_seed(0)
    generator, critic, x = _model(), _model(), torch.randn(BATCH, WIDTH)
    make, judge = rv.compile(generator, total="1 GiB"), rv.compile(critic, total="1 GiB", holds=generator)

    def room(given: Callable[[], torch.Tensor]) -> int:
        generator.zero_grad()
        critic.zero_grad()
        result = judge(given())
        found = budget_of(judge).room_left
        result.sum().backward()
        return found

    for _ in range(3):
        room(lambda: make(x))
    alone = room(x.clone().requires_grad_)
    held: dict[int, int] = {}

    def made() -> torch.Tensor:
        value = make(x)
        given = {storage_key(t) for t in (*generator.parameters(), x, value)}
        for tensor in value.grad_fn.saved_tensors:  # type: ignore[union-attr]
            if tensor.is_floating_point() and storage_key(tensor) not in given:  # the token of the run holds integers
                held[storage_key(tensor)] = tensor.untyped_storage().nbytes()
        return value

    beside = room(made)
    assert alone - beside == sum(held.values()) > 0  # x, the input of the other model's last call, counts in both
    assert room(x.clone().requires_grad_) == alone
