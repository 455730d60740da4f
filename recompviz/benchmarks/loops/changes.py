"""Change a compiled model at random between training steps, to find results that ignore the change.

A second model gets the same changes and runs eagerly. After each change, losses, gradients and buffers of both must be
exactly equal.
"""

from __future__ import annotations

import copy
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import recompviz as rv
from recompviz.pytorch.internals.dynamo import forget_graphs
from recompviz.pytorch.internals.tensors import same_bits

WIDTH = 16
# Read by the models; changed between steps.
SCALE = 1.0


class Layered(nn.Module):
    """A small model that reads plain attributes, containers, a configuration, a closure and a global variable."""

    def __init__(self, generator: random.Random) -> None:
        super().__init__()
        self.layers = nn.ModuleList(self.layer(generator) for _ in range(generator.randint(2, 4)))
        self.factor, self.repeat, self.flag = 0.5, 1, True
        self.weights = [1.0, 2.0]
        self.options = {"shift": 0.1, "mode": "gelu"}
        self.settings = SimpleNamespace(clamp=3.0)
        self.table = torch.ones(WIDTH)
        cell = [1.0]
        self.cell, self.scaled = cell, lambda x: x * cell[0]
        self.drop = nn.Dropout(0.1)

    @staticmethod
    def layer(generator: random.Random) -> nn.Module:
        """Return one layer of a random kind."""
        kind = generator.choice(["linear", "norm", "batch norm", "two"])
        if kind == "norm":
            return nn.LayerNorm(WIDTH)
        if kind == "batch norm":
            return nn.BatchNorm1d(WIDTH)
        linear = nn.Linear(WIDTH, WIDTH)
        return linear if kind == "linear" else nn.Sequential(linear, nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.repeat):
            for number, layer in enumerate(self.layers):
                x = layer(x) * self.weights[number % 2] + self.options["shift"]
        x = F.gelu(x) if self.options["mode"] == "gelu" else torch.tanh(x)
        if self.flag:
            x = self.drop(x) * self.factor
        return self.scaled(x.clamp(-self.settings.clamp, self.settings.clamp)) * self.table * SCALE


@dataclass
class Outcome:
    """The result of :func:`random_changes`.

    Attributes
    ----------
    changes : int
        The number of changes made.
    stale : list of str
        One text for each change after which a result differed from eager PyTorch: the seed, number and kind.
    kinds : dict of str to int
        How often each kind of change was made.
    """

    changes: int = 0
    stale: list[str] = field(default_factory=list)
    kinds: dict[str, int] = field(default_factory=dict)


Change = Callable[[Layered, random.Random], None]


def _swap_layer(model: Layered, generator: random.Random) -> None:
    place = generator.randrange(len(model.layers))
    torch.manual_seed(generator.randrange(1000))
    model.layers[place] = model.layer(generator)


def _hook(model: Layered, generator: random.Random) -> None:
    factor = generator.choice([0.5, 2.0])
    model.layers[generator.randrange(len(model.layers))].register_forward_hook(lambda _m, _i, out: out * factor)


def _backward_hook(model: Layered, generator: random.Random) -> None:
    layer = model.layers[generator.randrange(len(model.layers))]
    layer.register_full_backward_hook(_halved)


def _halved(_module: nn.Module, inner: Any, _outer: Any) -> tuple[Tensor | None, ...]:
    return tuple(None if gradient is None else gradient * 0.5 for gradient in inner)


def _set(name: str, *values: Any) -> Change:
    return lambda model, generator: setattr(model, name, generator.choice(values))


def _shift(model: Layered, generator: random.Random) -> None:
    model.options["shift"] = generator.choice([0.0, 0.2, 0.3])


def _mode(model: Layered, generator: random.Random) -> None:
    model.options["mode"] = generator.choice(["gelu", "tanh"])


def _weights(model: Layered, generator: random.Random) -> None:
    model.weights[generator.randrange(2)] = generator.choice([0.5, 1.0, 1.5])


def _clamp(model: Layered, generator: random.Random) -> None:
    model.settings.clamp = generator.choice([1.0, 2.0, 4.0])


def _cell(model: Layered, generator: random.Random) -> None:
    model.cell[0] = generator.choice([0.5, 1.0, 2.0])


def _table(model: Layered, generator: random.Random) -> None:
    model.table = torch.full((WIDTH,), generator.choice([0.5, 1.0, 2.0]))


def _table_in_place(model: Layered, generator: random.Random) -> None:
    model.table.fill_(generator.choice([0.5, 1.0, 2.0]))


def _training(model: Layered, generator: random.Random) -> None:
    model.train(generator.choice([True, False]))


def _frozen(model: Layered, generator: random.Random) -> None:
    trainable = list(model.parameters())
    trainable[generator.randrange(len(trainable) - 1)].requires_grad_(generator.choice([True, False]))


def _dropout(model: Layered, generator: random.Random) -> None:
    model.drop.p = generator.choice([0.1, 0.3, 0.5])


def _parameter(model: Layered, generator: random.Random) -> None:
    some = generator.choice(list(model.parameters()))
    with torch.no_grad():
        some.mul_(generator.choice([0.9, 1.1]))


def _append(model: Layered, generator: random.Random) -> None:
    torch.manual_seed(generator.randrange(1000))
    model.layers.append(model.layer(generator))


def _remove(model: Layered, generator: random.Random) -> None:
    if len(model.layers) > 2:
        del model.layers[generator.randrange(len(model.layers))]


def _forward(model: Layered, generator: random.Random) -> None:
    place, factor = generator.randrange(len(model.layers)), generator.choice([0.5, 2.0])
    layer, original = model.layers[place], type(model.layers[place]).forward
    layer.forward = lambda x: original(layer, x) * factor


CHANGES: dict[str, Change] = {
    "float attribute": _set("factor", 0.25, 0.5, 1.0), "int attribute": _set("repeat", 1, 2),
    "bool attribute": _set("flag", True, False), "number in a dictionary": _shift, "text in a dictionary": _mode,
    "number in a list": _weights, "attribute of a configuration": _clamp, "closure": _cell,
    "tensor attribute replaced": _table, "tensor attribute overwritten": _table_in_place, "training flag": _training,
    "requires_grad": _frozen, "option of a layer": _dropout, "value of a parameter": _parameter,
    "layer replaced": _swap_layer, "layer added": _append, "layer removed": _remove, "forward hook": _hook,
    "backward hook": _backward_hook, "forward() replaced": _forward,
}  # fmt: skip
OUTSIDE = ("global", "batch size", "dtype", "seed")


def random_changes(seed: int, changes: int, total: int | str = "1 MiB") -> Outcome:
    """Change a compiled and an eager model in the same way, and compare one or three training steps after each change.

    Parameters
    ----------
    seed : int
        The seed of the models and the changes.
    changes : int
        The number of changes.
    total : int or str
        The total of the compiled model, in bytes or with a unit.
    """
    here = sys.modules[__name__]
    generator, outcome = random.Random(seed), Outcome()
    forget_graphs()
    torch.manual_seed(seed)
    here.SCALE = 1.0  # type: ignore[attr-defined]
    model, twin = Layered(random.Random(seed)), Layered(random.Random(seed))
    twin.load_state_dict(model.state_dict())
    compiled = rv.compile(model, total=total)
    rows, dtype, start = 8, torch.float32, 0
    for number in range(changes):
        kind = generator.choice([*CHANGES, *OUTSIDE])
        outcome.kinds[kind] = outcome.kinds.get(kind, 0) + 1
        if kind == "global":
            here.SCALE = generator.choice([0.5, 1.0, 2.0])  # type: ignore[attr-defined]
        elif kind == "batch size":
            rows = generator.randint(2, 12)
        elif kind == "seed":
            start = generator.randrange(1000)
        elif kind == "dtype":
            dtype = generator.choice([torch.float32, torch.float64])
            model.to(dtype), twin.to(dtype)
        else:
            state = generator.getstate()
            CHANGES[kind](model, generator)
            generator.setstate(state)
            CHANGES[kind](twin, generator)
            model.to(dtype), twin.to(dtype)
        outcome.changes += 1
        for step in range(generator.choice([1, 1, 3])):
            mine = _step(compiled, model, rows, dtype, start + step)
            theirs = _step(twin, twin, rows, dtype, start + step)
            if len(mine) != len(theirs) or not all(same_bits(a, b) for a, b in zip(mine, theirs, strict=True)):
                outcome.stale.append(f"seed {seed}, change {number}: {kind}")
                break
    return outcome


def _step(called: Any, model: nn.Module, rows: int, dtype: torch.dtype, seed: int) -> list[Tensor | None]:
    """Run one training step without an optimizer; return the loss, the gradients, and copies of the buffers."""
    torch.manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = None
    x = torch.randn(rows, WIDTH, dtype=dtype)
    loss = called(x).pow(2).mean()
    if loss.requires_grad:
        loss.backward()
    gradients = [copy.deepcopy(parameter.grad) for parameter in model.parameters()]
    return [loss.detach(), *gradients, *(buffer.clone() for buffer in model.buffers())]
