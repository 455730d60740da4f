"""A small model that reads state of many kinds, and the changes that people make to such state between steps."""

from __future__ import annotations

import collections
import contextvars
import enum
import functools
import os
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

WIDTH, ENTRIES = 16, 6
VARIABLE = "RECOMPVIZ_BENCHMARK_FACTOR"
CONTEXT_FACTOR = contextvars.ContextVar("factor", default=1.0)
HISTORY = [1.0]


def transformed(x: Tensor) -> Tensor:
    """Return the sine of ``x``; a change may replace this function."""
    return x.sin()


def _cosine(x: Tensor) -> Tensor:
    return x.cos()


class Mode(enum.Enum):
    """How the model combines a value with its embedding: as a sum or as a product."""

    ADD = 1
    MULTIPLY = 2


@dataclass
class Limits:
    """The bounds to which the model clamps a value."""

    low: float = -2.0
    high: float = 2.0


@dataclass
class Settings:
    """The configuration of a :class:`Configured` model."""

    limits: Limits = field(default_factory=Limits)
    mode: Mode = Mode.ADD


class Slotted:
    """An object with ``__slots__`` and without ``__dict__``, from which the model reads a factor."""

    __slots__ = ("factor",)

    def __init__(self, factor: float) -> None:
        self.factor = factor


class Configured(nn.Module):
    """A model that reads a configuration, containers, NumPy values, random numbers and state of the process."""

    of_class = 1.0

    def __init__(self, generator: random.Random) -> None:
        super().__init__()
        self.embedding = nn.Embedding(ENTRIES, WIDTH)
        self.first, self.second, self.head = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.norm = nn.BatchNorm1d(WIDTH)
        self.drop = nn.Dropout(0.1)
        self.offset: Tensor
        self.register_buffer("offset", torch.zeros(WIDTH))
        self.settings, self.slotted, self._ratio = Settings(), Slotted(1.0), 1.0
        self.array, self.number = np.ones(WIDTH, np.float32), np.float64(0.5)
        self.parts = {"first": 1.0, "second": 2.0}
        self.chosen, self.pair, self.queue = {"offset"}, (1.0, 0.5), collections.deque([1.0])
        self.activation: Callable[[Tensor], Tensor] = F.gelu
        self.limited = functools.partial(torch.clamp, min=-1.0)
        self.approximate, self.count = "none", generator.randint(0, 3)
        self.detached = self.without_gradient = False
        self.random_source = "none"
        self.weight_of_loss = 1.0
        self.extra: Any
        self.handles: list[torch.utils.hooks.RemovableHandle] = []

    @property
    def ratio(self) -> float:
        """A factor that the model reads."""
        return self._ratio * 0.5

    def joined(self, x: Tensor, rows: Tensor) -> Tensor:
        """Return the sum of ``x`` and ``rows`` in the mode ``ADD``, otherwise their product."""
        return x + rows if self.settings.mode is Mode.ADD else x * rows

    def factor(self) -> float:
        """Return a random number, or 1.0 if no source of random numbers is chosen."""
        if self.random_source == "random":
            return random.random()
        if self.random_source == "numpy":
            return float(np.random.rand())  # noqa: NPY002 (as people write it)
        return 1.0

    def forward(self, x: Tensor, bias: Tensor | None = None, *, power: int = 1) -> Tensor:
        for name, factor in self.parts.items():
            x = getattr(self, name)(x) * factor
        x = self.joined(x, self.embedding(torch.arange(x.shape[0]) % ENTRIES))
        x = x.clamp(self.settings.limits.low, self.settings.limits.high)
        x = x * (self.slotted.factor * self.ratio * self.of_class * self.pair[1] * self.queue[-1] * HISTORY[0])
        x = x * torch.from_numpy(self.array).to(x.dtype) * float(self.number)
        if self.detached:
            x = x + x.detach()
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.without_gradient):
            side = self.norm(x)
        x = self.limited(transformed(self.activation(x + side)))
        x = self.drop(F.gelu(x, approximate=self.approximate)) * self.factor()
        if "offset" in self.chosen:
            x = x + self.offset
        if hasattr(self, "extra"):
            x = x + (self.extra.to(x.dtype) if isinstance(self.extra, Tensor) else self.extra)
        x = x * float(os.environ.get(VARIABLE, "1.0")) * CONTEXT_FACTOR.get()
        self.count += 1
        if self.count % 3 == 0:
            x = x * 0.5
        if bias is not None:
            x = x + bias
        return self.head(x).pow(power) * torch.full((WIDTH,), 1 / 3)


Change = Callable[[Configured, random.Random], None]
_LINEAR = ("first", "second", "head")


def reset_process() -> None:
    """Undo the changes of global state, for example of the default dtype."""
    module: Any = sys.modules[__name__]
    module.transformed = _ORIGINALS["transformed"]
    Configured.of_class, HISTORY[0] = 1.0, 1.0
    Configured.joined = _ORIGINALS["joined"]  # type: ignore[method-assign]  # as people do
    CONTEXT_FACTOR.set(1.0)
    os.environ.pop(VARIABLE, None)
    torch.set_default_dtype(torch.float32)


_ORIGINALS: dict[str, Any] = {"transformed": transformed, "joined": Configured.joined}


def _set(name: str, *values: Any) -> Change:
    return lambda model, generator: setattr(model, name, generator.choice(values))


def _limits(model: Configured, generator: random.Random) -> None:
    model.settings.limits.high = generator.choice([0.5, 1.0, 2.0])


def _settings(model: Configured, generator: random.Random) -> None:
    model.settings = Settings(Limits(-generator.choice([0.5, 1.0]), 1.5), model.settings.mode)


def _mode(model: Configured, generator: random.Random) -> None:
    model.settings.mode = generator.choice(list(Mode))


def _slot(model: Configured, generator: random.Random) -> None:
    model.slotted.factor = generator.choice([0.5, 1.0, 2.0])


def _array_in_place(model: Configured, generator: random.Random) -> None:
    model.array[generator.randrange(WIDTH)] = generator.choice([0.25, 4.0])


def _array(model: Configured, generator: random.Random) -> None:
    model.array = np.full(WIDTH, generator.choice([0.5, 2.0]), generator.choice([np.float32, np.float64]))


def _number(model: Configured, generator: random.Random) -> None:
    model.number = np.float64(generator.choice([0.25, 0.75, 1.0]))


def _order(model: Configured, _generator: random.Random) -> None:
    model.parts = dict(reversed(model.parts.items()))


def _order_in_place(model: Configured, _generator: random.Random) -> None:
    name = next(iter(model.parts))
    model.parts[name] = model.parts.pop(name)


def _part(model: Configured, generator: random.Random) -> None:
    if generator.random() < 0.5 and len(model.parts) > 1:
        model.parts.popitem()
    else:
        model.parts[generator.choice(["first", "second"])] = generator.choice([0.5, 1.0, 3.0])


def _member(model: Configured, _generator: random.Random) -> None:
    model.chosen ^= {"offset"}


def _queue(model: Configured, generator: random.Random) -> None:
    model.queue.append(generator.choice([0.5, 1.0, 2.0]))
    if len(model.queue) > 2:
        model.queue.popleft()


def _limited(model: Configured, generator: random.Random) -> None:
    model.limited = functools.partial(torch.clamp, min=generator.choice([-1.0, -0.5, 0.0]))


def _optional(model: Configured, generator: random.Random) -> None:
    if hasattr(model, "extra"):
        del model.extra
    else:
        model.extra = generator.choice([0.5, torch.full((WIDTH,), 0.25)])


def _variable(_model: Configured, generator: random.Random) -> None:
    os.environ[VARIABLE] = generator.choice(["0.5", "1.5", "2.0"])


def _context(_model: Configured, generator: random.Random) -> None:
    CONTEXT_FACTOR.set(generator.choice([0.5, 1.0, 2.0]))


def _default_dtype(_model: Configured, generator: random.Random) -> None:
    torch.set_default_dtype(generator.choice([torch.float32, torch.float64]))


def _of_class(model: Configured, generator: random.Random) -> None:
    type(model).of_class = generator.choice([0.5, 1.0, 2.0])


def _history(_model: Configured, generator: random.Random) -> None:
    HISTORY[0] = generator.choice([0.5, 1.0, 2.0])


def _function(_model: Configured, generator: random.Random) -> None:
    module: Any = sys.modules[__name__]
    module.transformed = generator.choice([_ORIGINALS["transformed"], _cosine, torch.tanh])


def _half_joined(_model: Configured, x: Tensor, rows: Tensor) -> Tensor:
    return x + rows * 0.5


def _method(model: Configured, generator: random.Random) -> None:
    method = generator.choice([_ORIGINALS["joined"], _half_joined])
    if generator.random() < 0.5:
        type(model).joined = method  # type: ignore[method-assign]  # as people do
    else:
        model.joined = functools.partial(method, model)  # type: ignore[method-assign]  # as people do


def _layer(model: Configured, generator: random.Random) -> nn.Linear:
    layer = getattr(model, generator.choice(_LINEAR))
    assert isinstance(layer, nn.Linear)
    return layer


def _layer_frozen(model: Configured, generator: random.Random) -> None:
    part = generator.choice([model.first, model.second, model.norm, model.embedding])
    part.requires_grad_(generator.choice([True, False]))


def _parameter_replaced(model: Configured, generator: random.Random) -> None:
    torch.manual_seed(generator.randrange(1000))
    layer = _layer(model, generator)
    if not parametrize.is_parametrized(layer):
        layer.weight = nn.Parameter(torch.randn(WIDTH, WIDTH) * 0.3, requires_grad=generator.random() < 0.8)


def _embedding_grown(model: Configured, generator: random.Random) -> None:
    torch.manual_seed(generator.randrange(1000))
    rows = model.embedding.weight
    new = nn.Embedding(len(rows) + generator.randint(1, 4), WIDTH).to(rows.dtype)
    with torch.no_grad():
        new.weight[: len(rows)] = rows
    model.embedding = new


def _tied(model: Configured, _generator: random.Random) -> None:
    if parametrize.is_parametrized(model.first) or parametrize.is_parametrized(model.head):
        return
    if model.head.weight is model.first.weight:
        model.head.weight = nn.Parameter(model.first.weight.detach().clone())
    else:
        model.head.weight = model.first.weight


def _buffer(model: Configured, generator: random.Random) -> None:
    model.offset = torch.full((WIDTH,), generator.choice([0.0, 0.5, 1.0]))


def _buffer_in_place(model: Configured, generator: random.Random) -> None:
    model.offset.fill_(generator.choice([0.0, 0.5, 1.0]))


def _state_loaded(model: Configured, generator: random.Random) -> None:
    factor = generator.choice([0.9, 1.1])
    state = {k: v * factor if v.is_floating_point() else v for k, v in model.state_dict().items()}
    model.load_state_dict(state, assign=generator.random() < 0.5)


def _pre_hook(model: Configured, generator: random.Random) -> None:
    factor = generator.choice([0.5, 2.0])
    layer = _layer(model, generator)
    model.handles.append(layer.register_forward_pre_hook(lambda _module, arguments: (arguments[0] * factor,)))


def _hook_of_model(model: Configured, generator: random.Random) -> None:
    factor = generator.choice([0.5, 2.0])
    model.handles.append(model.register_forward_hook(lambda _module, _arguments, output: output * factor))


def _hooks_removed(model: Configured, _generator: random.Random) -> None:
    while model.handles:
        model.handles.pop().remove()


def _gradient_hook(model: Configured, generator: random.Random) -> None:
    factor = generator.choice([0.5, 2.0])
    trainable = [p for p in model.parameters() if p.requires_grad]
    trainable[generator.randrange(len(trainable))].register_hook(lambda gradient: gradient * factor)


def _accumulated_hook(model: Configured, generator: random.Random) -> None:
    factor = generator.choice([0.5, 2.0])

    def scale(parameter: Tensor) -> None:
        if parameter.grad is not None:
            parameter.grad.mul_(factor)

    trainable = [p for p in model.parameters() if p.requires_grad]
    trainable[generator.randrange(len(trainable))].register_post_accumulate_grad_hook(scale)


def _parametrized(model: Configured, generator: random.Random) -> None:
    layer = _layer(model, generator)
    if parametrize.is_parametrized(layer):
        parametrize.remove_parametrizations(layer, "weight")
    elif model.head.weight is not model.first.weight:
        parametrizations.weight_norm(layer)


def _wrapped(model: Configured, generator: random.Random) -> None:
    """Put a low-rank addition around a layer, or take it off."""
    if isinstance(model.norm, nn.BatchNorm1d):
        torch.manual_seed(generator.randrange(1000))
        model.norm = nn.Sequential(model.norm, nn.Linear(WIDTH, 2), nn.Linear(2, WIDTH))  # type: ignore[assignment]  # another kind of layer
    else:
        model.norm = model.norm[0]


def _batch_norm(model: Configured, generator: random.Random) -> None:
    norm = model.norm if isinstance(model.norm, nn.BatchNorm1d) else model.norm[0]
    norm.momentum, norm.eps = generator.choice([0.1, 0.5, None]), generator.choice([1e-5, 1e-2])


def _part_of_training(model: Configured, generator: random.Random) -> None:
    generator.choice([model.norm, model.drop]).train(generator.choice([True, False]))


def _identity(model: Configured, generator: random.Random) -> None:
    model.drop = generator.choice([nn.Dropout(0.2), nn.Identity(), nn.AlphaDropout(0.2)])  # type: ignore[assignment]  # another kind of layer


CHANGES: dict[str, Change] = {
    "nested configuration": _limits, "configuration replaced": _settings, "enumeration": _mode, "slot": _slot,
    "attribute behind a property": _set("_ratio", 0.5, 1.0, 2.0), "NumPy array overwritten": _array_in_place,
    "NumPy array replaced": _array, "NumPy number": _number, "order of a dictionary": _order,
    "order of a dictionary, in place": _order_in_place, "entry of a dictionary": _part, "member of a set": _member,
    "tuple": _set("pair", (1.0, 0.25), (1.0, 1.0)), "queue": _queue,
    "function attribute": _set("activation", F.gelu, F.relu, torch.tanh, F.silu), "partial function": _limited,
    "keyword of a function": _set("approximate", "none", "tanh"), "detached": _set("detached", True, False),
    "part without gradients": _set("without_gradient", True, False),
    "source of random numbers": _set("random_source", "none", "random", "numpy"),
    "attribute added or deleted": _optional, "environment variable": _variable, "context variable": _context,
    "default dtype": _default_dtype, "attribute of the class": _of_class, "global list": _history,
    "global function": _function, "method replaced": _method, "counter": _set("count", 0, 1, 2, 7),
    "loss weight": _set("weight_of_loss", 0.5, 1.0), "layer frozen": _layer_frozen,
    "parameter replaced": _parameter_replaced, "embedding grown": _embedding_grown, "weights tied": _tied,
    "buffer replaced": _buffer, "buffer overwritten": _buffer_in_place, "state loaded": _state_loaded,
    "forward pre-hook": _pre_hook, "hook of the model": _hook_of_model, "hooks removed": _hooks_removed,
    "hook of a parameter": _gradient_hook, "hook after accumulation": _accumulated_hook,
    "parametrization": _parametrized, "adapter": _wrapped, "option of a normalisation": _batch_norm,
    "training flag of a part": _part_of_training, "layer of another class": _identity,
}  # fmt: skip
