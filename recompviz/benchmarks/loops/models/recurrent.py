"""Cases: recurrent models, and models that sample from distributions."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, distributions, nn

from recompviz.benchmarks.loops.cases import BATCH, WIDTH, case, rows, tower


class Cells(nn.Module):
    """A model that runs a recurrent cell (LSTM or GRU) in a Python loop over the sequence."""

    def __init__(self, kind: type[nn.Module] = nn.LSTMCell) -> None:
        super().__init__()
        self.cell, self.after = kind(WIDTH, WIDTH), tower()

    def forward(self, x: Tensor) -> Tensor:
        state: Any = None
        outputs = []
        for row in x:
            state = self.cell(row, state)
            outputs.append(state[0] if isinstance(state, tuple) else state)
        return self.after(torch.stack(outputs))


@case("loop of LSTM cells")
def _() -> Any:
    return Cells(), rows(6, 32, WIDTH)


@case("loop of GRU cells")
def _() -> Any:
    return Cells(nn.GRUCell), rows(6, 32, WIDTH)


class Stateful(nn.Module):
    """An LSTM that keeps its detached hidden state for the next call (truncated backpropagation through time)."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.after = nn.LSTM(WIDTH, WIDTH), tower()
        self.state: tuple[Tensor, Tensor] | None = None
        self.steps = 0

    def forward(self, x: Tensor) -> Tensor:
        out, state = self.rnn(x, self.state)
        self.state = (state[0].detach(), state[1].detach())
        self.steps += 1
        return self.after(out)


@case("LSTM that keeps its state")
def _() -> Any:
    return Stateful(), rows(6, 32, WIDTH)


class Recurrent(nn.Module):
    """A bidirectional LSTM with dropout between its layers."""

    def __init__(self) -> None:
        super().__init__()
        self.before = tower()
        self.rnn = nn.LSTM(WIDTH, WIDTH, num_layers=2, dropout=0.2, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(self.before(x))[0]


@case("bidirectional LSTM with dropout")
def _() -> Any:
    return Recurrent(), rows(6, 32, WIDTH)


class Variational(nn.Module):
    """A variational autoencoder that returns its loss."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.code, self.decoder = tower(), nn.Linear(WIDTH, 32), nn.Linear(16, WIDTH)
        self.tower = tower()

    def forward(self, x: Tensor) -> Tensor:
        mean, scale = self.code(self.encoder(x)).chunk(2, -1)
        posterior = distributions.Normal(mean, F.softplus(scale) + 1e-3, validate_args=True)
        divergence = distributions.kl_divergence(posterior, distributions.Normal(0.0, 1.0)).mean()
        return F.mse_loss(self.tower(self.decoder(posterior.rsample())), x) + divergence


@case("torch.distributions with validation")
def _() -> Any:
    return Variational(), rows(BATCH, WIDTH), lambda out: out


class Policy(nn.Module):
    """A policy that samples actions, and returns a policy-gradient loss with an entropy bonus."""

    def __init__(self) -> None:
        super().__init__()
        self.tower, self.head = tower(), nn.Linear(WIDTH, 6)

    def forward(self, x: Tensor) -> Tensor:
        actions = distributions.Categorical(logits=self.head(self.tower(x)))
        taken = actions.sample()
        return -(actions.log_prob(taken) * taken.float()).mean() - 0.01 * actions.entropy().mean()


@case("policy gradient with sampled actions")
def _() -> Any:
    return Policy(), rows(BATCH, WIDTH), lambda out: out
