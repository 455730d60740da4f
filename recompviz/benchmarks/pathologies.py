"""Planted pathologies: small steps that waste memory, each with the line that is to blame marked.

Each function returns what :func:`recompviz.debug` takes. The line to find ends in ``# here``, and is looked up in this
file, so that nothing but the diagnosis itself can name it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class Pathology:
    """What was planted: the step, and the cause and value that its diagnosis is to name."""

    name: str
    make: Callable[[], Arguments]
    cause: str
    value: str

    @property
    def line(self) -> int:
        """The number of the marked line."""
        lines, start = inspect.getsourcelines(self.make)
        return next(start + i for i, text in enumerate(lines) if text.rstrip().endswith("# here"))


PATHOLOGIES: list[Pathology] = []


def planted(name: str, cause: str, value: str) -> Callable[[Callable[[], Arguments]], Callable[[], Arguments]]:
    def add(make: Callable[[], Arguments]) -> Callable[[], Arguments]:
        PATHOLOGIES.append(Pathology(name, make, cause, value))
        return make

    return add


def layers(width: int = 256, depth: int = 4) -> nn.Sequential:
    return nn.Sequential(*(layer for _ in range(depth) for layer in (nn.Linear(width, width), nn.Tanh())))


@planted("a list keeps losses with their graphs", "reference held across iterations", "tanh")
def losses_in_a_list() -> Arguments:
    model, x = layers(), torch.randn(128, 256)
    history = []

    def validate() -> None:
        loss = model(x).square().mean()
        history.append(loss)  # here

    return (validate,), {}


@planted("a running total keeps every graph", "reference held across iterations", "tanh")
def running_total() -> Arguments:
    class Meter:
        total: Any = 0.0

    model, x, meter = layers(), torch.randn(128, 256), Meter()

    def validate() -> None:
        loss = model(x).square().mean()
        meter.total = meter.total + loss  # here

    return (validate,), {}


@planted("retain_graph", "graph retained after backward", "tanh")
def retain_graph() -> Arguments:
    trunk, one, two = layers(256, 6), nn.Linear(256, 256), nn.Linear(256, 256)
    x = torch.randn(512, 256)

    def step() -> None:
        for module in (trunk, one, two):
            module.zero_grad()
        h = trunk(x)
        first, second = one(h).square().mean(), two(h).square().mean()
        first.backward(retain_graph=True)  # here
        second.backward()

    return (step,), {}


@planted("a view pins a huge base", "view keeps base alive", "features")
def view_pins_base() -> Arguments:
    class Pool(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wide, self.head = nn.Linear(64, 4096), nn.Linear(16, 64)

        def forward(self, x: Tensor) -> Any:
            with torch.no_grad():  # a frozen backbone
                features = self.wide(x)
            first = features[:, :16]  # here
            return self.head(first)

    return (Pool(), torch.randn(1024, 64)), {"targets": (torch.randn(1024, 64),), "loss": F.mse_loss}


@planted("an out-of-place ReLU", "out of place where in place would do", "h1")
def relu_out_of_place() -> Arguments:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.head = nn.Linear(64, 2048), nn.Linear(2048, 16), nn.Linear(16, 1)

        def forward(self, x: Tensor) -> Any:
            h1 = self.one(x)
            a1 = torch.relu(h1)  # here
            return self.head(self.two(a1))

    net, x = Net(), torch.randn(1024, 64)

    def predict() -> None:
        with torch.no_grad():
            net(x)

    return (predict,), {}


@planted("leaky ReLUs out of place in training", "out of place where in place would do", "linear")
def leaky_relu_out_of_place() -> Arguments:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linears = nn.ModuleList(nn.Linear(256, 256) for _ in range(8))

        def forward(self, x: Tensor) -> Any:
            for linear in self.linears:
                x = F.leaky_relu(linear(x))  # here
            return x

    return (Net(), torch.randn(1024, 256)), {"targets": (torch.randn(1024, 256),), "loss": F.mse_loss}


@planted("an unneeded float32 copy", "float32 copy", "wide")
def float32_copy() -> Arguments:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(64, 2048), nn.Linear(2048, 8)
            self.to(torch.bfloat16)

        def forward(self, x: Tensor) -> Any:
            hidden = self.up(x)
            wide = hidden.float()  # here
            return self.down(torch.tanh(wide).to(torch.bfloat16)).float()

    x = torch.randn(1024, 64, dtype=torch.bfloat16)
    return (Net(), x), {"targets": (torch.randn(1024, 8),), "loss": F.mse_loss}


@planted("a hook holds activations", "reference held across iterations", "tanh")
def hook_holds() -> Arguments:
    model, seen = layers(), []

    def remember(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        seen.append(output.detach())  # here

    model[3].register_forward_hook(remember)
    return (model, torch.randn(512, 256)), {"loss": lambda output: output.square().mean()}


@planted("attention without sdpa", "attention matrix written out", "weights")
def attention() -> Arguments:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.out = nn.Linear(64, 192), nn.Linear(64, 64)

        def forward(self, x: Tensor) -> Any:
            q, k, v = (t.unflatten(-1, (4, 16)).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
            scores = q @ k.transpose(-2, -1) / 4
            weights = scores.softmax(-1)  # here
            return self.out((weights @ v).transpose(1, 2).flatten(-2))

    return (Attention(), torch.randn(2, 384, 64)), {"loss": lambda output: output.square().mean()}


@planted("an accidental broadcast", "accidental broadcast", "error")
def broadcast() -> Arguments:
    def squared(prediction: Tensor, target: Tensor) -> Tensor:
        error = prediction - target  # here
        return error.square().mean()

    return (nn.Linear(32, 1), torch.randn(1500, 32)), {"targets": (torch.randn(1500),), "loss": squared}


@planted("evaluation without no_grad", "graph built without a backward", "tanh")
def evaluation() -> Arguments:
    model, x, scores = layers(256, 8), torch.randn(512, 256), []

    def evaluate() -> None:
        output = model(x)  # here
        scores.append(output.mean().item())

    return (evaluate,), {}


@planted("Adam's state at its first step", "optimiser state made at its first step", "exp_avg")
def adam_state() -> Arguments:
    model, x = layers(512, 3), torch.randn(8, 512)
    optimizer = torch.optim.Adam(model.parameters())

    def step() -> None:
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()  # here

    return (step,), {"steps": 1}


@planted("a checkpoint that recomputes a whole prefix", "recomputed too early", "tanh")
def checkpointed_prefix() -> Arguments:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = layers(128, 12), nn.Linear(128, 1)

        def forward(self, x: Tensor) -> Any:
            h = checkpoint(self.body, x, use_reentrant=False)  # here
            return self.head(h)

    return (Net(), torch.randn(1024, 128)), {"loss": lambda output: output.square().mean()}


@planted("a reentrant checkpoint over everything", "recomputed too early", "tanh")
def reentrant_prefix() -> Arguments:
    body, head, x = layers(128, 12), nn.Linear(128, 1), torch.randn(1024, 128, requires_grad=True)

    def step() -> None:
        h = checkpoint(body, x, use_reentrant=True)  # here
        head(h).square().mean().backward()
        body.zero_grad()

    return (step,), {}


@planted("the dense gradient of a large embedding", "dense gradient of an embedding", "table.weight")
def embedding() -> Arguments:
    class Bag(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(50_000, 32), nn.Linear(32, 4)

        def forward(self, words: Tensor) -> Any:
            vectors = self.table(words)  # here
            return self.head(vectors.mean(1))

    words = torch.randint(50_000, (16, 20))
    return (Bag(), words), {"targets": (torch.randint(4, (16,)),), "loss": F.cross_entropy}


@planted("a log keeps outputs beside numbers", "reference held across iterations", "tanh")
def outputs_in_a_log() -> Arguments:
    model, x = layers(), torch.randn(512, 256)
    log: dict[int, Any] = {}

    def step() -> None:
        outputs = model(x)
        loss = outputs.square().mean()
        loss.backward()
        log[len(log)] = {"loss": loss.item(), "outputs": outputs}  # here

    return (step,), {}


@planted("a bank of features grows by cat", "reference held across iterations", "bank")
def growing_bank() -> Arguments:
    class Memory(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.bank = layers(), torch.zeros(0, 256)

        def forward(self, x: Tensor) -> Any:
            features = self.encoder(x)
            self.bank = torch.cat([self.bank, features.detach()])  # here
            return features @ self.bank.T

    return (Memory(), torch.randn(512, 256)), {"loss": lambda output: output.square().mean()}


@planted("a recurrent state is carried with its graph", "reference held across iterations", "addmm")
def recurrent_state() -> Arguments:
    cell, x, state = nn.GRUCell(256, 256), torch.randn(512, 256), {"h": torch.zeros(512, 256)}

    def step() -> None:
        h = cell(x, state["h"])
        state["h"] = h  # here

    return (step,), {}


@planted("a trainer keeps its validation losses", "reference held across iterations", "tanh")
def validation_in_a_trainer() -> Arguments:
    class Trainer:
        def __init__(self) -> None:
            self.model, self.x = layers(), torch.randn(512, 256)
            self.losses: list[Tensor] = []
            self.optimizer = torch.optim.SGD(self.model.parameters(), 0.1)

        def validate(self) -> None:
            loss = F.mse_loss(self.model(self.x), self.x)
            self.losses.append(loss)  # here

        def epoch(self) -> None:
            self.optimizer.zero_grad()
            torch.autograd.backward(F.mse_loss(self.model(self.x), self.x))
            self.optimizer.step()
            self.validate()

    return (Trainer().epoch,), {}


@planted("the step before stays in a variable of an object", "reference held across iterations", "tanh")
def last_output() -> Arguments:
    class Trainer:
        def __init__(self) -> None:
            self.model, self.x = layers(256, 6), torch.randn(512, 256)
            self.last: Tensor | None = None

        def step(self) -> None:
            output = self.model(self.x)
            self.last = output  # here

    return (Trainer().step,), {}
