"""What a step changes is restored, and the user's optimizer is never stepped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn, optim

import recompviz as rv
from recompviz.pytorch.internals.state import state_restored

X, Y = torch.ones(4, 8), torch.zeros(4, 8)


class Momentum(optim.Optimizer):
    """Keeps a momentum of a chosen type, and a list of the steps it took."""

    def __init__(self, parameters: Any, dtype: torch.dtype) -> None:
        super().__init__(parameters, {"lr": 0.01})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # noqa: ARG002
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    state = self.state[p]
                    momentum = state.setdefault("momentum", torch.zeros_like(p, dtype=self.dtype))
                    state.setdefault("steps", []).append(len(state.get("steps", [])))
                    momentum.mul_(0.9).add_(p.grad.to(self.dtype))
                    p.add_(momentum.to(p.dtype), alpha=-group["lr"])


class MomentumEncoder(nn.Module):
    """Overwrites a frozen layer in the forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(8, 8)
        self.key = nn.Linear(8, 8).requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            for mine, theirs in zip(self.key.parameters(), self.query.parameters(), strict=True):
                mine.mul_(0.9).add_(theirs, alpha=0.1)
        return F.mse_loss(self.query(x), self.key(x))


class MovingAverage(nn.Module):
    """Assigns a new tensor to a buffer in the forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.register_buffer("mean", torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.linear(x)
        self.mean = self.mean * 0.9 + out.detach().mean() * 0.1
        return out.sum()


def optimizers() -> dict[str, Callable[[Any], optim.Optimizer]]:
    return {
        "momentum in double precision": lambda p: Momentum(p, torch.float64),
        "Adam": lambda p: optim.Adam(p, lr=0.01),
        "Adam with a learning rate tensor": lambda p: optim.Adam(p, lr=torch.tensor(0.01)),
        "SGD with momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9),
    }


def frozen_copy(optimizer: optim.Optimizer) -> list[Any]:
    """Options and state with every tensor as (identity, type, values)."""

    def plain(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return id(value), value.dtype, value.tolist()
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items() if k != "params"}
        return [plain(v) for v in value] if isinstance(value, list) else value

    return [plain(optimizer.param_groups), [(id(p), plain(entry)) for p, entry in optimizer.state.items()]]


def a_step(model: nn.Module, optimizer: optim.Optimizer) -> None:
    F.mse_loss(model(X), Y).backward()
    optimizer.step()


@pytest.mark.parametrize("steps", [0, 3])
@pytest.mark.parametrize("name", optimizers())
def test_measure_restores_the_optimizer_and_the_parameters(name: str, steps: int) -> None:
    model = nn.Linear(8, 8)
    optimizer = optimizers()[name](model.parameters())
    for _ in range(steps):
        a_step(model, optimizer)
    before, weights = frozen_copy(optimizer), [p.clone() for p in model.parameters()]
    gradients = [p.grad for p in model.parameters()]
    rv.measure(model, X, targets=(Y,), loss=F.mse_loss, optimizer=optimizer)
    assert frozen_copy(optimizer) == before
    assert all(torch.equal(p, old) for p, old in zip(model.parameters(), weights, strict=True))
    assert all(p.grad is old for p, old in zip(model.parameters(), gradients, strict=True))


@pytest.mark.parametrize("verb", ["trace", "measure"])
def test_neither_a_scheduler_nor_a_hook_sees_a_step(verb: str) -> None:
    model = nn.Linear(8, 8)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    optim.lr_scheduler.StepLR(optimizer, 10)
    seen: list[str] = []
    optimizer.register_step_pre_hook(lambda *_: seen.append("hook"))
    F.mse_loss(model(X), Y).backward()
    before, weight = dict(vars(optimizer)), model.weight.detach().clone()
    getattr(rv, verb)(model, X, targets=(Y,), loss=F.mse_loss, optimizer=optimizer)
    assert torch.equal(model.weight, weight)
    assert seen == []
    assert vars(optimizer) == before  # the scheduler's wrapper notes there that the optimizer stepped


def test_measure_restores_frozen_parameters_that_forward_overwrites() -> None:
    model = MomentumEncoder()
    before = model.key.weight.clone()
    rv.measure(model, X)
    assert torch.equal(model.key.weight, before)


def test_measure_puts_back_a_buffer_that_forward_replaces() -> None:
    model = MovingAverage()
    buffer = model.mean
    rv.measure(model, X)
    assert model.mean is buffer
    assert model.mean.item() == 0


def test_the_state_is_restored_after_an_error_too() -> None:
    model = nn.BatchNorm1d(8)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    generator = torch.get_rng_state()

    def step_that_fails() -> None:
        with state_restored(model, (X,)):
            model(torch.randn(4, 8)).sum().backward()
            raise KeyError("from the step")

    with pytest.raises(KeyError):
        step_that_fails()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), generator)


def test_what_did_not_change_is_not_written_to() -> None:
    model, x = nn.BatchNorm1d(8).eval(), torch.ones(4, 8)
    before = [tensor._version for tensor in (x, *model.buffers())]
    with state_restored(model, (x,)):
        model(x)
    assert [tensor._version for tensor in (x, *model.buffers())] == before


class WeightedLoss(nn.Module):
    """Has a parameter, a buffer that it overwrites, and a list that it grows."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8))
        self.register_buffer("mean", torch.zeros(1))
        self.seen: list[float] = []

    def forward(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        loss = (self.weight * (output - target).square()).mean()
        with torch.no_grad():
            self.mean.mul_(0.9).add_(loss)
        self.seen.append(1.0)
        return loss


@pytest.mark.parametrize("verb", ["measure", "debug"])
def test_the_state_of_a_loss_module_is_restored(verb: str) -> None:
    loss = WeightedLoss()
    more = {"advise": False} if verb == "debug" else {}
    getattr(rv, verb)(nn.Linear(8, 8), X, targets=(Y,), loss=loss, **more)
    assert loss.mean.item() == 0
    assert loss.seen == []
    assert loss.weight.grad is None


def test_zeros_keep_their_sign_and_a_replaced_storage_is_put_back() -> None:
    model = nn.Linear(2, 2)
    model.register_buffer("zero", torch.tensor([-0.0]))
    address = model.weight.data_ptr()
    with state_restored(model, ()):
        model.zero.zero_()
        model.weight.data = torch.ones(2, 2)
    assert torch.signbit(model.zero).all()
    assert model.weight.data_ptr() == address
