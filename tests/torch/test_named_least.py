"""The least total that a refusal names, before and after a step was recorded."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import recompviz as rv
from recompviz.core.base.units import format_bytes, parse_bytes

CROSS_ENTROPY = nn.functional.cross_entropy


def _deep() -> nn.Module:
    layers = [layer for _ in range(4) for layer in (nn.Linear(32, 32), nn.GELU())]
    return nn.Sequential(*layers, nn.Linear(32, 10))


def _convolutional() -> nn.Module:
    layers = [layer for _ in range(3) for layer in (nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())]
    return nn.Sequential(nn.Unflatten(1, (16, 6, 6)), *layers, nn.Flatten(), nn.Linear(576, 10))


class _WithBreak(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = _deep(), nn.Sequential(nn.Linear(10, 32), _deep())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x)
        print(end="")
        return self.second(y)


def _train(make: Callable[[], nn.Module], width: int, total: int | str, passes: int = 1) -> rv.StepReport:
    torch.manual_seed(0)
    model = make()
    x, y = torch.randn(64, width), torch.randint(0, 10, (64,))
    optimizer = torch.optim.AdamW(model.parameters())
    compiled = rv.compile(model, total=total, optimizer=optimizer)
    for _ in range(4):
        for _ in range(passes):
            CROSS_ENTROPY(compiled(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()
    return rv.step_report(compiled)


def _refusal(make: Callable[[], nn.Module], width: int, total: int, passes: int = 1) -> rv.InfeasibleBudget | None:
    try:
        _train(make, width, total, passes)
    except rv.InfeasibleBudget as error:
        return error
    return None


@pytest.mark.parametrize(("make", "width"), [(_deep, 32), (_convolutional, 576)])
def test_training_with_the_named_least_total_works(make: Callable[[], nn.Module], width: int) -> None:
    error = _refusal(make, width, 1000)
    assert error is not None
    assert "no step was recorded" in error.estimated
    report = _train(make, width, error.least)
    assert report.least_total <= error.least <= 1.5 * report.least_total
    text = re.search("least feasible one is estimated as ([0-9.]+ [KM]iB)", str(error))
    assert text is not None
    _train(make, width, text[1])


def test_with_accumulated_gradients_the_message_names_what_they_add() -> None:
    error = _refusal(_deep, 32, 1000, passes=2)
    assert error is not None
    gradients = sum(p.nbytes for p in _deep().parameters())
    assert f"accumulate over several backward passes take {format_bytes(gradients)} more" in error.estimated
    _train(_deep, 32, error.least + gradients, passes=2)
    with_gradients = _refusal(_deep, 32, error.least, passes=2)
    assert with_gradients is not None
    assert "accumulate" not in with_gradients.estimated  # they are there, and counted


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # Dynamo asks for it after a graph break
@pytest.mark.filterwarnings("ignore:training step 2 took")
def test_of_a_part_of_a_model_the_message_says_that_a_step_may_take_more() -> None:
    error = _refusal(_WithBreak, 32, 1000)
    assert error is not None
    assert "only a part of the model was captured" in error.estimated
    recorded = _refusal(_WithBreak, 32, error.least)
    if recorded is not None:
        assert not recorded.estimated
        assert _refusal(_WithBreak, 32, recorded.least) is None


@given(st.integers(0, 2**50))
def test_a_least_budget_in_words_is_enough(count: int) -> None:
    assert count <= parse_bytes(format_bytes(count, up=True)) <= 1.011 * count + 1


def test_equal_texts_are_written_in_bytes() -> None:
    assert "1,048,575 B" in str(rv.InfeasibleBudget(1_048_575, 1_048_576, "total"))
