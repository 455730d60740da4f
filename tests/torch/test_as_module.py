"""Planned and compiled models behave as modules: names, copies, pickles, hooks, ``train`` and ``eval``."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

import recompviz as rv
from recompviz.pytorch.running.compiled import budget_of

# in eval mode, and with a hook, the step is not the traced one
pytestmark = pytest.mark.filterwarnings("ignore::recompviz.pytorch.budgeting.planned_budget.PlanWarning")

X = torch.linspace(-1, 1, 64).reshape(4, 16)


def _net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 3))


def _applied(model: nn.Module) -> nn.Module:
    trace = rv.trace(model, X)
    return rv.apply(trace, trace.baseline("chen"))


def _compiled(model: nn.Module) -> nn.Module:
    return rv.compile(model, total="1 GiB")


class Parent(nn.Module):
    def __init__(self, child: nn.Module) -> None:
        super().__init__()
        self.child = child


both = pytest.mark.parametrize("make", [_applied, _compiled], ids=["apply", "compile"])
Make = Callable[[nn.Module], Any]


@both
def test_a_state_dict_has_the_names_of_the_model(make: Make) -> None:
    assert list(make(_net()).state_dict()) == list(_net().state_dict())
    inside = Parent(make(_net()))
    assert list(inside.state_dict()) == list(Parent(_net()).state_dict())
    inside.load_state_dict(Parent(_net()).state_dict())
    make(_net()).load_state_dict(make(_net()).state_dict())


def test_a_state_dict_of_torch_compile_can_be_loaded() -> None:
    theirs: nn.Module = torch.compile(_net(), backend="eager")  # type: ignore[assignment]
    _compiled(_net()).load_state_dict(theirs.state_dict())


@both
def test_functional_call_uses_the_given_parameters(make: Make) -> None:
    module = make(_net()).eval()
    zeros = {name: torch.zeros_like(value) for name, value in module.state_dict().items()}
    assert not torch.func.functional_call(module, zeros, (X,)).any()
    assert module(X).any()


@both
def test_a_deep_copy_trains_apart_from_the_model(make: Make) -> None:
    module = make(_net())
    module(X).sum().backward()
    other = copy.deepcopy(module).eval()
    before = other(X)
    with torch.no_grad():
        next(module.parameters()).add_(1)
    assert torch.equal(other(X), before)
    other.train()(X).sum().backward()


def test_a_deep_copy_of_a_compiled_model_has_the_same_budget() -> None:
    module = _compiled(_net())
    assert budget_of(copy.deepcopy(module)) is budget_of(module)


def test_a_pickled_compiled_model_is_compiled_again_for_the_same_total() -> None:
    module = _compiled(_net()).eval()
    other = pickle.loads(pickle.dumps(module))
    assert torch.equal(other(X), module(X))
    assert budget_of(other).total == budget_of(module).total


def test_a_plan_can_be_pickled_and_a_trace_and_a_planned_module_say_why_not() -> None:
    planned = _applied(_net())
    assert isinstance(planned, rv.PlannedModule)
    plan = pickle.loads(pickle.dumps(planned.plan))
    assert (plan.keep_mask == planned.plan.keep_mask).all()
    rv.apply(planned.trace, plan)
    for program in (planned, planned.trace):
        with pytest.raises(TypeError, match="to_json"):
            pickle.dumps(program)


@both
def test_a_hook_that_is_added_after_the_first_step_is_called(make: Make) -> None:
    model = _net()
    module = make(model)
    module(X).sum().backward()
    seen: list[torch.Size] = []
    hook = model[0].register_forward_hook(lambda _module, _inputs, output: seen.append(output.shape))
    module(X).sum().backward()
    hook.remove()
    module(X).sum().backward()
    assert seen == [torch.Size([4, 8])]


@both
def test_eval_reaches_the_model(make: Make) -> None:
    model = _net()
    module = make(model)
    module(X).sum().backward()
    module.eval()
    assert not model[2].training
    assert torch.equal(module(X), copy.deepcopy(model)(X))


def test_the_model_that_was_compiled_can_still_be_traced_by_other_tools() -> None:
    model = _net().eval()
    wanted = model(X)
    compiled = _compiled(model)
    assert torch.equal(compiled(X), wanted)
    assert torch.equal(make_fx(model)(X)(X), wanted)
    assert torch.equal(torch.export.export(model, (X,)).module()(X), wanted)
    torch._dynamo.reset()
    assert torch.equal(make_fx(model)(X)(X), wanted)
