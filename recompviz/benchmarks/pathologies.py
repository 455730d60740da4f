"""Training steps that waste memory, on which ``rv.debug`` is tested. The module ``leaks`` has more of them."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from recompviz.benchmarks import leaks
from recompviz.benchmarks.planted import PATHOLOGIES, Arguments, Pathology, layers, planted

__all__ = ["PATHOLOGIES", "Pathology", "leaks"]


@planted("retain_graph", "graph retained after backward", "one/addmm")
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


@planted("Adam's state at its first step", "optimizer state made at its first step", "exp_avg")
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
