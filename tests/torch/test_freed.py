"""Once the user deletes a trace, a planned module or a compiled model, nothing keeps it or its tensors alive."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import recompviz as rv
from recompviz.pytorch.internals.dynamo import register_name
from recompviz.pytorch.running.compiled import backend, budget_for, budget_of, forget_budgets


def _trace(model: nn.Module, x: torch.Tensor) -> list[Any]:
    model(x).sum().backward()
    return [rv.trace(model, x, loss=torch.sum)]


def _apply(model: nn.Module, x: torch.Tensor) -> list[Any]:
    trace = rv.trace(model, x, loss=torch.sum)
    planned = rv.apply(trace, trace.baseline("chen"))
    planned(x).backward()
    return [trace, planned, planned._budget]


def _fit_in(model: nn.Module, x: torch.Tensor) -> list[Any]:
    step = rv.fit_in(model, x, loss=torch.sum, total="1 GiB")
    step(x).backward()
    return [step, step.trace]


def _compile(model: nn.Module, x: torch.Tensor) -> list[Any]:
    compiled = rv.compile(model, total="1 GiB")
    for _ in range(3):
        compiled(x).sum().backward()
    return [compiled, budget_of(compiled)]


def _backend(model: nn.Module, x: torch.Tensor) -> list[Any]:
    register_name("recompviz", backend)
    compiled = torch.compile(model, backend="recompviz", options={"total": "1 GiB"})
    for _ in range(3):
        compiled(x).sum().backward()
    return [compiled]


def _collect() -> None:
    for _ in range(3):  # a tensor that has a Python object may need a second pass
        gc.collect()


@pytest.mark.parametrize("use", [_trace, _apply, _fit_in, _compile, _backend], ids=lambda use: use.__name__[1:])
def test_nothing_stays_alive_after_the_user_deletes_it(use: Callable[[nn.Module, torch.Tensor], list[Any]]) -> None:
    def one() -> list[weakref.ref[Any]]:
        model, x = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1)), torch.randn(4, 8)
        made = use(model, x)
        return [weakref.ref(value) for value in (model, model[0].weight, model[0].weight.grad, x, *made)]

    references = one()
    _collect()
    assert [reference() for reference in references] == [None] * len(references)


def test_models_of_one_class_share_what_dynamo_compiled_and_have_budgets_of_their_own() -> None:
    x = torch.randn(4, 8)
    compiled = [rv.compile(nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1)), total="1 GiB") for _ in range(3)]
    for model in compiled:
        model(x).sum().backward()
    regions = {region for model in compiled for region in budget_of(model).regions}
    assert len(regions) == 1
    assert len({id(budget_of(model)) for model in compiled}) == 3


@pytest.mark.slow
def test_planned_modules_leave_no_tensor_behind() -> None:
    def one() -> None:
        model, x = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1)), torch.randn(4, 8)
        trace = rv.trace(model, x, loss=torch.sum)
        rv.apply(trace, trace.baseline("chen"))(x).backward()

    def tensors() -> int:
        _collect()
        return sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects())

    one()
    before = tensors()
    for _ in range(3):
        one()
    assert tensors() == before


def test_one_total_has_one_budget_however_it_is_written() -> None:
    forget_budgets()
    assert budget_for("1 GiB") is budget_for(2**30) is budget_for(float(2**30)) is budget_for("1024 MiB")
    assert budget_for("1 GB") is not budget_for("1 GiB")
    assert budget_for(None).total is None
    forget_budgets()
