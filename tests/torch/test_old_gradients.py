"""Gradients of the step before that are freed between the forward and the backward pass count in the forward pass only.

Many loops call ``zero_grad()`` after the loss was computed. Then the old gradients are alive in the forward pass.
"""

from __future__ import annotations

import gc
import warnings
from typing import Any

import pytest
import torch
from torch import nn

import recompviz as rv
from recompviz.core.steps.allocations import read_allocations
from recompviz.pytorch.budgeting.recorded_models import RecordedModels
from recompviz.pytorch.budgeting.recording_attempts import UnplannedStep
from recompviz.pytorch.internals.memory_window import memory_window
from recompviz.pytorch.internals.profiler import allocation_events

BATCH, WIDTH = 256, 128
PARAMETERS = 4 * (3 * (WIDTH * WIDTH + WIDTH) + WIDTH * 8 + 8)


@pytest.fixture(autouse=True)
def _quick_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RecordedModels, "search_seconds", 0.1)


class Loop:
    """A training loop that frees the gradients before or after the forward pass, or at the end of a step."""

    def __init__(self, order: str, total: int | str | None) -> None:
        torch.manual_seed(0)
        hidden = [layer for _ in range(3) for layer in (nn.Linear(WIDTH, WIDTH), nn.GELU())]
        self.model = nn.Sequential(*hidden, nn.Linear(WIDTH, 8))
        self.called: Any = self.model if total is None else rv.compile(self.model, total=total)
        self.order, self.number = order, 0
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.1)

    def step(self, *, frees: bool = True) -> None:
        generator = torch.Generator().manual_seed(self.number)
        self.number += 1
        x = torch.randn(BATCH, WIDTH, generator=generator)
        y = torch.randint(0, 8, (BATCH,), generator=generator)
        if self.order == "before" and frees:
            self.optimizer.zero_grad()
        loss = nn.functional.cross_entropy(self.called(x), y)
        if self.order == "after" and frees:
            self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if self.order == "end" and frees:
            self.optimizer.zero_grad()

    def train(self, steps: int) -> None:
        for _ in range(steps):
            self.step()

    @property
    def range_of_totals(self) -> tuple[int, int]:
        report = rv.step_report(self.called)
        peaks = [report.peak(point) for point in range(len(report.front.peak))]
        return min(peaks), max(peaks)

    def measured(self, steps: int = 3) -> int:
        """The peak of the next steps in total bytes. The gradients are allocated inside the window."""
        self.optimizer.zero_grad()
        with memory_window(torch.device("cpu")) as window:
            self.train(steps)
        events = allocation_events(window.profiled, "cpu", ("rv:",))
        return PARAMETERS + read_allocations(event for event in events if event.address).peak


@pytest.mark.slow
@pytest.mark.parametrize("order", ["before", "after", "end"])
@pytest.mark.parametrize("share", [0.1, 0.6])
def test_a_step_is_planned_as_measured_and_equals_eager(order: str, share: float) -> None:
    first = Loop(order, "1 GiB")
    first.train(5)
    least, most = first.range_of_totals
    total = int(least + share * (most - least))
    eager, loop = Loop(order, None), Loop(order, total)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnplannedStep)  # the second step, which is recorded, may take more
        loop.train(5)
    eager.train(5)
    planned, measured = rv.step_report(loop.called).peak(), loop.measured()
    assert measured <= planned <= total
    # after the loss was computed, its bytes and the old gradients may have been alive together
    assert planned - measured <= (4 * BATCH * 8 if order == "after" else 0)
    eager.optimizer.zero_grad()
    eager.train(3)
    for mine, theirs in zip(loop.model.parameters(), eager.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.slow
def test_old_gradients_that_are_freed_before_the_backward_pass_cost_less_than_those_that_stay() -> None:
    ranges = []
    for order in ("before", "after"):
        loop = Loop(order, "1 GiB")
        loop.train(5)
        ranges.append(loop.range_of_totals)
        del loop  # it would count beside the next one
        gc.collect()
    (least, most), (least_after, most_after) = ranges
    assert most < most_after < most + PARAMETERS
    assert least < least_after < least + PARAMETERS


@pytest.mark.slow
def test_a_total_that_fits_is_not_refused_because_of_old_gradients() -> None:
    loop = Loop("after", "1 GiB")
    loop.train(5)
    least, most = loop.range_of_totals
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnplannedStep)
        again = Loop("after", least + (most - least) // 10)
        again.train(6)
    assert rv.step_report(again.called).peak() <= least + (most - least) // 10


@pytest.mark.slow
def test_a_loop_that_stops_freeing_old_gradients_is_warned_of_and_planned_with_them() -> None:
    loop = Loop("after", "1 GiB")
    loop.train(5)
    before = rv.step_report(loop.called).peak()
    loop.step(frees=False)
    with pytest.warns(UnplannedStep, match=r"training step 6 may have taken .* more than planned"):
        loop.step(frees=False)
    loop.step(frees=False)  # one warning is enough
    assert rv.step_report(loop.called).peak() == before + PARAMETERS


@pytest.mark.slow
def test_gradients_that_accumulate_are_not_old() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(*[layer for _ in range(3) for layer in (nn.Linear(WIDTH, WIDTH), nn.GELU())])
    compiled, optimizer = rv.compile(model, total="1 GiB"), torch.optim.SGD(model.parameters(), 0.1)
    peaks = []
    for step in range(9):
        loss = compiled(torch.randn(BATCH, WIDTH)).square().mean()
        if step % 3 == 0:
            optimizer.zero_grad()
        loss.backward()
        if step >= 3:
            peaks.append(rv.step_report(compiled).peak())
        if step % 3 == 2:
            optimizer.step()
    size = sum(parameter.nbytes for parameter in model.parameters())
    assert min(peaks) >= 2 * size  # parameters and gradients in use before the step
    assert peaks[1] == peaks[2] == peaks[4]
