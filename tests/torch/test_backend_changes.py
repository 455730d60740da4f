"""One random thing changes between steps: no answer is that of the model before the change."""

from __future__ import annotations

import contextlib
import os
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

import recompviz as rv
from recompviz.benchmarks.loops.changes import random_changes
from recompviz.pytorch.budgeting.recorded_models import RecordedModels
from recompviz.pytorch.running.compiled import budget_of

pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute")  # Dynamo asks any input for it


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 103))
def test_no_answer_is_stale(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RecordedModels, "search_seconds", 0.02)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outcome = random_changes(seed, changes=15)
    torch._dynamo.reset()
    assert outcome.changes == 15
    assert not outcome.stale


VARIABLE = "RECOMPVIZ_TEST_FACTOR"


class Shift:
    """A helper that is no module."""

    def of(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1


class Methods(nn.Module):
    """Reads what Dynamo does not guard: methods of classes, and an environment variable that does not exist."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.shift = nn.Linear(4, 4), Shift()

    def scaled(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.shift.of(self.scaled(self.linear(x))) * float(os.environ.get(VARIABLE, "1"))


def _tripled(_self: object, x: torch.Tensor) -> torch.Tensor:
    return x * 3


def test_methods_that_are_replaced_in_their_class_and_new_environment_variables_are_noticed() -> None:
    torch._dynamo.reset()
    model, x = Methods(), torch.randn(2, 4)
    compiled = rv.compile(model, total="1 MiB")

    def agrees() -> bool:
        return torch.equal(compiled(x), Methods.forward(model, x))

    assert agrees()
    for owner, name in ((Methods, "scaled"), (Shift, "of"), (nn.Linear, "forward")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(owner, name, _tripled)
            assert agrees()
        assert agrees()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, "0.5")
        assert agrees()
    assert agrees()
    torch._dynamo.reset()


class Noisy(nn.Module):
    """Draws numbers from NumPy's generator."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.linear(x) * np.random.randn()  # noqa: NPY002
        places = np.random.randint(4)  # noqa: NPY002
        shift = torch.from_numpy(np.random.rand(4))  # noqa: NPY002
        return x.roll(places, 1) + shift.float()


def test_random_numbers_of_numpy_are_those_of_eager() -> None:
    torch._dynamo.reset()
    model, x = Noisy(), torch.randn(2, 4)
    compiled = rv.compile(model, total="1 MiB")
    outputs = []
    for called in (compiled, model):
        np.random.seed(0)  # noqa: NPY002
        outputs.append([called(x) for _ in range(4)])
    assert all(map(torch.equal, *outputs))
    torch._dynamo.reset()


@pytest.mark.filterwarnings("ignore:Using `torch.compile")  # such hooks are also called for the compiled model
def test_hooks_of_all_modules_are_called_when_they_are_added_and_not_when_they_are_gone() -> None:
    torch._dynamo.reset()
    model, x = nn.Sequential(nn.Linear(4, 4), nn.Tanh()), torch.randn(2, 4)
    compiled = rv.compile(model, total="1 MiB")
    plain = model(x)

    def doubled(module: nn.Module, _inputs: object, output: torch.Tensor) -> torch.Tensor | None:
        return output * 2 if isinstance(module, nn.Tanh) else None

    assert torch.equal(compiled(x), plain)
    for _ in range(2):
        hook = nn.modules.module.register_module_forward_hook(doubled)
        assert torch.equal(compiled(x), plain * 2)
        hook.remove()
        assert torch.equal(compiled(x), plain)
    torch._dynamo.reset()


class Doubling(TorchFunctionMode):
    """Doubles each result of GELU."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        return result * 2 if function is nn.functional.gelu else result


@pytest.mark.parametrize("training", [True, False])
def test_a_mode_that_changes_calls_changes_them_once(training: bool) -> None:
    torch._dynamo.reset()
    model, plain = (nn.Sequential(nn.Linear(4, 4), nn.GELU()) for _ in range(2))
    plain.load_state_dict(model.state_dict())
    compiled, x = rv.compile(model, total="1 MiB"), torch.randn(2, 4)
    for step in range(6):
        with torch.set_grad_enabled(training), Doubling() if step % 2 else contextlib.nullcontext():
            output, wanted = compiled(x), plain(x)
            assert torch.equal(output, wanted)
            if training:
                output.sum().backward()
                wanted.sum().backward()
    if training:
        assert all(torch.equal(p.grad, q.grad) for p, q in zip(model.parameters(), plain.parameters(), strict=True))
    torch._dynamo.reset()


class Attends(nn.Module):
    """Attention in two parts, with code between them that Dynamo cannot capture; the second part chooses a kernel."""

    def forward(self, q: torch.Tensor) -> torch.Tensor:
        q = nn.functional.scaled_dot_product_attention(q, q, q)
        torch._dynamo.graph_break()
        with sdpa_kernel(SDPBackend.MATH):
            q = nn.functional.scaled_dot_product_attention(q, q, q)
            torch._dynamo.graph_break()
            return nn.functional.scaled_dot_product_attention(q, q, q)


def test_a_switch_of_the_kernels_of_attention_is_noticed_and_needs_one_more_capture() -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    model, values = Attends(), torch.randn(2, 4, 40, 16)
    compiled = rv.compile(model, total="8 MiB")
    results = []
    for step in range(6):
        with sdpa_kernel(SDPBackend.MATH) if step % 2 else contextlib.nullcontext():
            mine, theirs = (values.clone().requires_grad_() for _ in range(2))
            output = compiled(mine)
            wanted = model(theirs)
        output.square().sum().backward()
        wanted.square().sum().backward()
        assert torch.equal(output, wanted)
        assert torch.equal(mine.grad, theirs.grad)
        results.append(output)
    assert not torch.equal(results[0], results[1])  # the kernels round differently
    assert len(budget_of(compiled).regions) <= 6  # three parts of the model, each with at most two choices of kernels
    torch._dynamo.reset()


class PartlyUsed(nn.Module):
    """Uses one parameter without a gradient, returns views of another, and reads a value that has a hook."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.scale, self.shown = nn.Linear(8, 8), nn.Parameter(torch.ones(8)), nn.Parameter(torch.ones(8))

    def forward(self, x: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.body(x) * (self.scale * value).detach(), self.shown[:4]


@pytest.mark.parametrize("compiled", [True, False])
def test_hooks_of_tensors_without_gradient_are_not_called(compiled: bool) -> None:
    torch.manual_seed(0)
    model = PartlyUsed()
    called = rv.compile(model, total="1 MiB") if compiled else model
    calls: list[str] = []

    def hook(name: str) -> object:
        return lambda gradient: calls.append(name) or gradient * 2

    for name, parameter in model.named_parameters():
        parameter.register_hook(hook(name))
    for _ in range(3):
        calls.clear()
        model.zero_grad()
        given = torch.ones(8, requires_grad=True)
        value = given * 2
        value.register_hook(hook("value"))
        output, view = called(torch.ones(2, 8), value)
        (output.sum() + view.sum() + given.sum()).backward()
        assert sorted(calls) == ["body.bias", "body.weight", "shown"]
        assert model.scale.grad is None
        assert model.shown.grad.tolist() == [2.0] * 4 + [0.0] * 4
        assert given.grad.tolist() == [1.0] * 8
