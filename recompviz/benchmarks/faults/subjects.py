"""Small models with everything that a training step can change: buffers, gradients, optimizers, attributes, hooks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn, optim

from recompviz.benchmarks.faults.injection import user_code


@dataclass(eq=False)
class Subject:
    """A model in the middle of its training, with its batch, loss, optimizer and scheduler.

    Attributes
    ----------
    model : torch.nn.Module
    inputs, targets : tuple of torch.Tensor
    loss : callable or torch.nn.Module
    optimizer : torch.optim.Optimizer or None
    others : list
        Other objects whose state must not change.
    """

    model: nn.Module
    inputs: tuple[Any, ...]
    targets: tuple[Any, ...]
    loss: Any
    optimizer: optim.Optimizer | None = None
    others: list[Any] = field(default_factory=list)

    @property
    def layers(self) -> list[Layer]:
        """The layers that can raise an exception."""
        return [module for module in self.model.modules() if isinstance(module, Layer)]

    def values(self) -> dict[str, Any]:
        """Return all objects whose state must not change, by name."""
        return {
            "model": self.model, "inputs": self.inputs, "targets": self.targets, "loss": self.loss,
            "optimizer": self.optimizer, "others": self.others,
        }  # fmt: skip

    def train(self, steps: int) -> None:
        """Run training steps, and keep the sum of their gradients."""
        for _ in range(steps):
            torch.autograd.backward(F.mse_loss(self.model(*self.inputs), *self.targets))
            if self.optimizer is not None:
                self.optimizer.step()
        # the gradients of the last step stay


class Layer(nn.Linear):
    """A linear layer that can raise an exception, also while PyTorch captures it.

    Attributes
    ----------
    error : type of exception or None
        The exception that the next calls raise; None for no exception.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.error: type[BaseException] | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the output of the layer, or raise ``error``."""
        if self.error is not None:
            raise self.error("a layer of the user")
        user_code("forward")
        return super().forward(x)


def mse(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the mean squared error."""
    user_code("loss")
    return F.mse_loss(output, target)


class WatchedSgd(optim.SGD):
    """SGD whose ``step`` can raise an exception."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Take a step."""
        user_code("optimizer")
        return super().step(closure)


class FloatMomentum(optim.Optimizer):
    """SGD with momentum whose state is in float32 for every dtype of the parameters."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {"lr": 0.01})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:  # noqa: ARG002 (PyTorch's signature)
        """Take a step."""
        user_code("optimizer")
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    state = self.state[p]
                    momentum = state.setdefault("momentum", torch.zeros_like(p, dtype=torch.float32))
                    state.setdefault("steps", []).append(len(state.get("steps", [])))
                    momentum.mul_(0.9).add_(p.grad.float())
                    p.add_(momentum.to(p.dtype), alpha=-group["lr"])


class _MomentumEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key = Layer(8, 8), nn.Linear(8, 8).requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            for mine, theirs in zip(self.key.parameters(), self.query.parameters(), strict=True):
                mine.mul_(0.9).add_(theirs, alpha=0.1)
        out: torch.Tensor = self.query(x) * self.key(x)
        return out


class _ReplacedBuffer(nn.Module):
    mean: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear = Layer(8, 8)
        self.register_buffer("mean", torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.linear(x)
        self.mean = self.mean * 0.9 + out.detach().mean() * 0.1
        return out


class _Attributes(nn.Module):
    """Assigns attributes when it first runs, counts its calls, and grows a list."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Layer(8, 16), Layer(16, 8)
        self.calls = 0
        self.shapes: list[Any] = []
        self.table = torch.zeros(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.shapes.append(tuple(x.shape))
        self.last = x.shape[0]
        with torch.no_grad():
            self.table.add_(1)
        out: torch.Tensor = self.second(F.gelu(self.first(x)))
        return out


class _Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = Layer(8, 8), Layer(8, 8)
        self.decoder.weight = self.encoder.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.decoder(torch.tanh(self.encoder(x)))
        return out


def _with_scheduler() -> Subject:
    model = nn.Sequential(Layer(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), Layer(16, 8))
    optimizer = WatchedSgd(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = optim.lr_scheduler.StepLR(optimizer, 1)
    return Subject(model, _x(), _y(), mse, optimizer, [scheduler])


def _with_hooks() -> Subject:
    first, second = Layer(8, 8), Layer(8, 8)
    model = nn.Sequential(first, nn.ReLU(), second)
    inner = optim.Adam([first.weight], lr=0.01)

    def step_inside(_parameter: torch.Tensor) -> None:
        user_code("hook after a gradient")
        inner.step()

    def of_gradient(gradient: torch.Tensor) -> torch.Tensor:
        user_code("hook on a gradient")
        return gradient * 0.5

    first.weight.register_post_accumulate_grad_hook(step_inside)
    second.weight.register_hook(of_gradient)
    model[1].register_forward_hook(lambda _module, _inputs, output: output * 1.0)
    optimizer = WatchedSgd(second.parameters(), lr=0.1)
    optimizer.register_step_pre_hook(lambda *_: None)
    return Subject(model, _x(), _y(), mse, optimizer, [inner])


def _with_frozen_layers() -> Subject:
    model = nn.Sequential(Layer(8, 16), nn.BatchNorm1d(16), nn.ReLU(), Layer(16, 8))
    model[0].requires_grad_(False)
    model[1].eval()
    return Subject(model, _x(), _y(), mse, WatchedSgd(model[3].parameters(), lr=0.1, momentum=0.9))


def _with_adam() -> Subject:
    model = nn.Sequential(Layer(8, 8), nn.Sigmoid(), Layer(8, 8))
    return Subject(model, _x(), _y(), nn.MSELoss(), optim.Adam(model.parameters(), lr=torch.tensor(0.01)))


def _bfloat16() -> Subject:
    model = nn.Sequential(Layer(8, 8), nn.GELU(), Layer(8, 8)).to(torch.bfloat16)
    x, y = (_x()[0].to(torch.bfloat16),), (_y()[0].to(torch.bfloat16),)
    return Subject(model, x, y, mse, FloatMomentum(model.parameters()))


def _of(model: Callable[[], nn.Module]) -> Callable[[], Subject]:
    def make() -> Subject:
        made = model()
        trained = [parameter for parameter in made.parameters() if parameter.requires_grad]
        return Subject(made, _x(), _y(), mse, WatchedSgd(trained, lr=0.1, momentum=0.9))

    return make


def _x() -> tuple[torch.Tensor]:
    return (torch.randn(16, 8),)


def _y() -> tuple[torch.Tensor]:
    return (torch.randn(16, 8),)


# name → a function that makes the subject
SUBJECTS: dict[str, Callable[[], Subject]] = {
    "scheduler": _with_scheduler,
    "momentum encoder": _of(_MomentumEncoder),
    "replaced buffer": _of(_ReplacedBuffer),
    "float32 state of bfloat16": _bfloat16,
    "tied parameters": _of(_Tied),
    "attributes": _of(_Attributes),
    "hooks": _with_hooks,
    "frozen layers": _with_frozen_layers,
    "Adam": _with_adam,
}


def made(name: str) -> Subject:
    """Return the subject of this name after three training steps; the values are the same at each call."""
    torch.manual_seed(0)
    subject = SUBJECTS[name]()
    subject.train(3)
    return subject
