"""Change a compiled model at random between training steps, to find results that ignore the change.

A second model gets the same changes and runs eagerly. After each change, losses, gradients and buffers of both must be
exactly equal.

There is one exception. Under autocast, the gradient of a parameter that is used twice may differ in the last bits.
Eager PyTorch casts the parameter once and adds the gradients in bfloat16. AOTAutograd casts the parameter at each use.
"""

from __future__ import annotations

import contextlib
import copy
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import recompviz as rv
from recompviz.benchmarks.loops.configured_model import CHANGES as CONFIGURED_CHANGES
from recompviz.benchmarks.loops.configured_model import WIDTH, Configured, reset_process
from recompviz.pytorch.internals.dynamo import forget_graphs
from recompviz.pytorch.internals.tensors import same_bits

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
        A text about the change after which a result differed from eager PyTorch; empty if none did.
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


@dataclass
class Calls:
    """How the models are called and trained.

    Attributes
    ----------
    rows : int
        The number of rows of the batch.
    dtype : torch.dtype
        The dtype of the batch.
    seed : int
        The seed of the first training step after a change.
    layout : "contiguous", "transposed", "expanded" or "sliced"
        How the batch lies in memory.
    gradients : "removed", "zeroed" or "kept"
        What happens to the gradients before a step.
    mode : "trained", "autocast", "no_grad" or "inference"
        The context in which the model is called. In ``"no_grad"`` and ``"inference"`` there is no backward pass.
    input_needs_gradient : bool
        Whether the batch requires a gradient.
    optimizer : callable, or None
        A class of optimizers. With None, the parameters do not change.
    arguments : dict of str to object
        Keyword arguments of the model. A number for ``bias`` stands for a tensor filled with this number.
    """

    rows: int = 8
    dtype: torch.dtype = torch.float32
    seed: int = 0
    layout: str = "contiguous"
    gradients: str = "removed"
    mode: str = "trained"
    input_needs_gradient: bool = False
    optimizer: Callable[..., torch.optim.Optimizer] | None = None
    arguments: dict[str, Any] = field(default_factory=dict)

    def batch(self) -> Tensor:
        """Return a random input of the model."""
        shape = self.rows, WIDTH
        if self.layout == "transposed":
            batch = torch.randn(shape[::-1], dtype=self.dtype).t()
        elif self.layout == "expanded":
            batch = torch.randn(1, WIDTH, dtype=self.dtype).expand(shape)
        elif self.layout == "sliced":
            batch = torch.randn(2 * self.rows, WIDTH + 1, dtype=self.dtype)[::2, 1:]
        else:
            batch = torch.randn(shape, dtype=self.dtype)
        return batch.requires_grad_(self.input_needs_gradient)

    def surroundings(self) -> contextlib.AbstractContextManager[Any]:
        """Return the context manager in which the model is called, for example ``torch.no_grad()``."""
        if self.mode == "autocast":
            return torch.autocast("cpu", torch.bfloat16)
        if self.mode == "no_grad":
            return torch.no_grad()
        return torch.inference_mode() if self.mode == "inference" else contextlib.nullcontext()


def _argument(calls: Calls, name: str, value: Any) -> None:
    calls.arguments.pop(name, None)
    if value is not None:
        calls.arguments[name] = value


def _scale(_calls: Calls, generator: random.Random) -> None:
    sys.modules[__name__].SCALE = generator.choice([0.5, 1.0, 2.0])  # type: ignore[attr-defined]  # this module's own


OF_CALLS: dict[str, Callable[[Calls, random.Random], None]] = {
    "global": _scale,
    "batch size": lambda calls, generator: setattr(calls, "rows", generator.randint(2, 12)),
    "seed": lambda calls, generator: setattr(calls, "seed", generator.randrange(1000)),
    "dtype": lambda calls, generator: setattr(calls, "dtype", generator.choice([torch.float32, torch.float64])),
    "layout of the batch": lambda calls, generator: setattr(
        calls, "layout", generator.choice(["contiguous", "transposed", "expanded", "sliced"])
    ),
    "gradients kept": lambda calls, generator: setattr(
        calls, "gradients", generator.choice(["removed", "zeroed", "kept"])
    ),
    "mode": lambda calls, generator: setattr(
        calls, "mode", generator.choice(["trained", "autocast", "no_grad", "inference"])
    ),
    "gradient of the input": lambda calls, generator: setattr(
        calls, "input_needs_gradient", generator.choice([True, False])
    ),
    "optimizer": lambda calls, generator: setattr(
        calls, "optimizer", generator.choice([None, torch.optim.SGD, torch.optim.AdamW])
    ),
}
# For Configured only.
OF_ARGUMENTS: dict[str, Callable[[Calls, random.Random], None]] = {
    "optional input": lambda calls, generator: _argument(calls, "bias", generator.choice([None, 0.5, 1.0])),
    # in inference mode Dynamo's guard of a NumPy array fails, under every backend
    "mode": lambda calls, generator: setattr(calls, "mode", generator.choice(["trained", "autocast", "no_grad"])),
    "keyword of the call": lambda calls, generator: _argument(calls, "power", generator.choice([None, 1, 2])),
}


@dataclass
class _Trained:
    """A model in training, compiled or not."""

    called: Any
    model: nn.Module
    optimizer: torch.optim.Optimizer | None = None

    def step(self, calls: Calls, seed: int) -> list[Tensor | str | None]:
        """Run one training step; return the loss, the gradients, and copies of the buffers, or the error's type."""
        for set_seed in (torch.manual_seed, random.seed, np.random.seed):
            set_seed(seed)
        for parameter in self.model.parameters():
            if calls.gradients == "removed":
                parameter.grad = None
            elif calls.gradients == "zeroed" and parameter.grad is not None:
                parameter.grad = torch.zeros_like(parameter.grad)
        x = calls.batch()
        given = {k: torch.full((WIDTH,), v, dtype=x.dtype) if k == "bias" else v for k, v in calls.arguments.items()}
        if calls.mode == "inference":
            x = x.detach()
        try:
            with calls.surroundings():
                output = self.called(x, **given)
                loss = output.pow(2).mean() * getattr(self.model, "weight_of_loss", 1.0)
            if loss.requires_grad:
                loss.backward()
        except Exception as error:  # the type of the error is what the two models are compared by
            return [type(error).__name__]
        gradients = [copy.deepcopy(value.grad) for value in (x, *self.model.parameters()) if value.is_leaf]
        if self.optimizer is not None:
            self.optimizer.step()
        return [loss.detach().clone(), *gradients, *(buffer.clone() for buffer in self.model.buffers())]


def random_changes(seed: int, changes: int, total: int | str = "1 MiB", kinds: Sequence[str] = ()) -> Outcome:
    """Make the same random changes to a compiled and an eager model, until their results differ.

    Parameters
    ----------
    seed : int
        The seed of the model and the changes.
    changes : int
        The largest number of changes.
    total : int or str
        The total of the compiled model, in bytes or with a unit.
    kinds : sequence of str, optional
        The kinds of changes to make; by default all.
    """
    generator, outcome, calls = random.Random(seed), Outcome(), Calls()
    forget_graphs()
    reset_process()
    torch.manual_seed(seed)
    sys.modules[__name__].SCALE = 1.0  # type: ignore[attr-defined]  # this module's own
    of_model: dict[str, Callable[[Any, random.Random], None]] = dict(CONFIGURED_CHANGES if seed % 2 else CHANGES)
    of_calls = {**OF_CALLS, **(OF_ARGUMENTS if seed % 2 else {})}
    make = Configured if seed % 2 else Layered
    model, twin = make(random.Random(seed)), make(random.Random(seed))
    twin.load_state_dict(model.state_dict())
    mine, theirs = _Trained(rv.compile(model, total=total), model), _Trained(twin, twin)
    try:
        for number in range(changes):
            kind = generator.choice([k for k in (*of_model, *of_calls) if not kinds or k in kinds])
            outcome.kinds[kind] = outcome.kinds.get(kind, 0) + 1
            state = generator.getstate()
            for side in (mine, theirs):
                generator.setstate(state)
                if kind in of_model:
                    of_model[kind](side.model, generator)
                elif side is mine:
                    of_calls[kind](calls, generator)
                side.model.to(calls.dtype)
                if kind in ("optimizer", "dtype"):  # the state of an optimizer keeps its dtype
                    parameters = side.model.parameters()
                    side.optimizer = calls.optimizer(parameters, lr=1e-3) if calls.optimizer else None
            outcome.changes += 1
            for step in range(generator.choice([1, 1, 3])):
                if not _equal(mine.step(calls, calls.seed + step), theirs.step(calls, calls.seed + step)):
                    outcome.stale.append(f"seed {seed}, change {number}: {kind}")
                    return outcome  # from here on, the two models differ
    finally:
        reset_process()
    return outcome


def _equal(mine: list[Any], theirs: list[Any]) -> bool:
    """Whether two steps gave the same."""
    if len(mine) != len(theirs):
        return False
    pairs = zip(mine, theirs, strict=True)
    return all(a == b if isinstance(a, str) or isinstance(b, str) else same_bits(a, b) for a, b in pairs)
