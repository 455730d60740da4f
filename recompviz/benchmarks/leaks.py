"""Pathologies for ``rv.debug`` in which a list, attribute, variable or hook holds values of earlier training steps."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recompviz.benchmarks.planted import Arguments, layers, planted


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


@planted("a hook holds activations", "reference held across iterations", "tanh")
def hook_holds() -> Arguments:
    model, seen = layers(), []

    def remember(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        seen.append(output.detach())  # here

    model[3].register_forward_hook(remember)
    return (model, torch.randn(512, 256)), {"loss": lambda output: output.square().mean()}


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
