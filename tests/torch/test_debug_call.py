"""Arguments of ``debug``: wrong ones are refused; notes say what a report leaves out and what its advice covers."""

from __future__ import annotations

import copy
import pickle
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
        ({"optimizer": 5}, TypeError, "optimizer is 5, expected a torch.optim.Optimizer"),
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


def test_an_async_function_or_generator_is_refused() -> None:
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


def test_a_note_says_that_fits_cannot_be_used() -> None:
    of_function = rv.debug(step, X, steps=1, fits="1 GiB")
    assert any("no" in note and "function that runs a whole step" in note for note in of_function.notes)
    unadvised = rv.debug(mlp(), X, loss=torch.sum, steps=1, fits="1 GiB", advise=False)
    assert any("advise=False" in note for note in unadvised.notes)


@pytest.mark.slow
def test_a_note_says_what_the_what_ifs_leave_out_and_tracing_does_not_warn() -> None:
    model, kept = mlp(), []
    [*model.children()][2].register_forward_hook(lambda *given: kept.append(given[2]))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        report = rv.debug(model, torch.randn(512, 16), loss=torch.sum, steps=3)
    assert not [w for w in seen if "side effects" in str(w.message)]
    assert report.trace is not None
    said = next(note for note in report.notes if "traced step alone" in note)
    assert "held from earlier steps" in said


@pytest.mark.slow
def test_each_advice_differs_and_a_plan_fits_its_size() -> None:
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


@pytest.mark.slow
def test_the_largest_batch_counts_the_state_of_the_optimizer() -> None:
    model, x = mlp(), torch.randn(64, 16)
    optimizer = torch.optim.Adam(model.parameters())
    report = rv.debug(model, x, loss=torch.sum, optimizer=optimizer, steps=1, fits="400 KiB")
    said = next(note for note in report.notes if "largest batch" in note)
    largest = int(said.split(" is ")[1].split(" ")[0].replace(",", ""))
    for batch, fits in ((largest, True), (largest + 1, False)):
        traced = rv.trace(model, torch.randn(batch, 16), loss=torch.sum, optimizer=optimizer)
        assert (rv.simulate(traced).peak <= 400 << 10) == fits


def test_a_report_can_be_pickled_without_its_trace() -> None:
    report = rv.debug(mlp(), X, loss=lambda output: output.sum())
    read = pickle.loads(pickle.dumps(report))
    assert str(read) == str(report)
    assert read._repr_html_() == report._repr_html_()
    assert report.trace is not None
    assert (read.trace, read.open_explorer) == (None, None)
    assert copy.deepcopy(report) is report


def test_the_users_optimizer_is_not_stepped() -> None:
    model = torch.nn.Linear(8, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 10)
    called: list[str] = []
    optimizer.register_step_pre_hook(lambda *_arguments: called.append("hook"))
    before = {name: value for name, value in vars(optimizer).items() if name != "param_groups"}
    rv.debug(
        model, torch.ones(4, 8), targets=(torch.zeros(4, 1),), loss=torch.nn.functional.mse_loss, optimizer=optimizer,
        advise=False,
    )  # fmt: skip
    assert not called
    assert {name: vars(optimizer)[name] for name in before} == before
    assert (scheduler.last_epoch, optimizer.state) == (0, {})
