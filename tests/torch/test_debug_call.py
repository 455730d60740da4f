"""What is given to ``debug``: a wrong argument is refused, what cannot be told is said, and its advice is explained."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

import recompviz as rv
from recompviz.core.base.units import parse_bytes
from recompviz.pytorch.debugging.advice import planner_advice

X = torch.ones(64, 16)


def mlp() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))


def step(x: torch.Tensor) -> None:
    x.square().sum()


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"optimizer": 5}, TypeError, "optimizer is 5, expected an optimiser"),
        ({"steps": 2.5}, TypeError, "steps is 2.5, expected a whole number"),
        ({"steps": True}, TypeError, "steps is True"),
        ({"steps": 0}, ValueError, "steps = 0"),
        ({"fits": "lots"}, ValueError, "'lots' is not a size"),
    ],
)
@pytest.mark.parametrize("model", [step, mlp()], ids=["function", "model"])
def test_a_wrong_argument_is_refused(model: Any, given: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        rv.debug(model, X, advise=False, **given)


def test_a_function_that_only_begins_when_called_is_refused() -> None:
    async def later(x: torch.Tensor) -> None:
        x.square().sum()

    def piece_by_piece(x: torch.Tensor) -> Iterator[torch.Tensor]:
        yield x.square().sum()

    class Trainer:
        async def __call__(self, x: torch.Tensor) -> None:
            x.square().sum()

    for model, name in ((later, "later"), (piece_by_piece, "piece_by_piece"), (Trainer(), "Trainer")):
        with pytest.raises(TypeError, match=f"{name} is async or a generator"):
            rv.debug(model, X)


def test_a_size_to_fit_that_cannot_be_used_is_said_to_be_left_out() -> None:
    of_function = rv.debug(step, X, steps=1, fits="1 GiB")
    assert any("no" in note and "function that runs a whole step" in note for note in of_function.notes)
    unadvised = rv.debug(mlp(), X, loss=torch.sum, steps=1, fits="1 GiB", advise=False)
    assert any("advise=False" in note for note in unadvised.notes)


def test_what_is_held_across_steps_is_told_beside_the_what_ifs_and_tracing_warns_of_nothing() -> None:
    model, kept = mlp(), []
    [*model.children()][2].register_forward_hook(lambda *given: kept.append(given[2]))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        report = rv.debug(model, torch.randn(512, 16), loss=torch.sum, steps=3)
    assert not [w for w in seen if "side effects" in str(w.message)]
    assert report.trace is not None
    said = next(note for note in report.notes if "traced step alone" in note)
    assert "held from earlier steps" in said


def test_no_advice_is_given_twice_and_each_size_is_one_that_a_plan_fits() -> None:
    model = nn.Sequential(
        *(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(inplace=True), nn.Conv2d(16, 16, 3)),
        *(nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)),
    )
    for size in (64, 63, 62):
        traced = rv.calibrate(rv.trace(model, torch.randn(8, 3, size, size), loss=torch.sum))
        totals = [re.findall('"(.*)"', advice.what)[0] for advice in planner_advice(traced)]
        assert totals
        assert len({*totals}) == len(totals)
        for total in totals:
            assert rv.simulate(traced, traced.plan(total, "live")).peak <= parse_bytes(total)


def test_the_largest_batch_that_fits_leaves_room_for_the_optimisers_state() -> None:
    model, x = mlp(), torch.randn(64, 16)
    optimizer = torch.optim.Adam(model.parameters())
    report = rv.debug(model, x, loss=torch.sum, optimizer=optimizer, steps=1, fits="400 KiB")
    said = next(note for note in report.notes if "largest batch" in note)
    largest = int(said.split(" is ")[1].split(" ")[0].replace(",", ""))
    for batch, fits in ((largest, True), (largest + 1, False)):
        traced = rv.trace(model, torch.randn(batch, 16), loss=torch.sum, optimizer=optimizer)
        assert (rv.simulate(traced).peak <= 400 << 10) == fits
