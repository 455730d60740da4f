"""Training loops in plain PyTorch, for eager and compiled models.

``LOOPS`` maps the name of a loop to the function that runs it. The argument of this function is another function, which
compiles a model or returns the model unchanged. A loop trains from a fixed seed. It returns the losses, and the tensors
of the model at the end.
"""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Compile = Callable[[nn.Module], Any]
STEPS, BATCH, WIDTH = 8, 64, 48


class Block(nn.Module):
    """A residual block with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.dropout(self.down(F.gelu(self.up(self.norm(x)))))


class Network(nn.Module):
    """A network of four residual blocks, batch norm and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(4))
        self.norm, self.head = nn.BatchNorm1d(WIDTH), nn.Linear(WIDTH, 10)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def data(step: int) -> tuple[Tensor, Tensor]:
    """Return the inputs and targets of a training step."""
    generator = torch.Generator().manual_seed(step)
    return torch.randn(BATCH, WIDTH, generator=generator), torch.randint(0, 10, (BATCH,), generator=generator)


LOOPS: dict[str, Callable[[Compile], list[Tensor]]] = {}


def _loop(name: str) -> Callable[[Callable[..., list[Tensor]]], Callable[[Compile], list[Tensor]]]:
    def register(run: Callable[..., list[Tensor]]) -> Callable[[Compile], list[Tensor]]:
        def seeded(compiled: Compile) -> list[Tensor]:
            torch.manual_seed(0)
            return run(compiled)

        LOOPS[name] = seeded
        return seeded

    return register


def _state(model: nn.Module) -> list[Tensor]:
    return [value.detach().clone() for value in model.state_dict().values()]


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad.clone()


@_loop("one step after the other")
def simple(compiled: Compile) -> list[Tensor]:
    model = Network()
    called, losses = compiled(model), []
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(STEPS):
        x, y = data(step)
        optimizer.zero_grad()
        loss = F.cross_entropy(called(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return losses + _state(model)


@_loop("accumulation, clipping and a scheduler")
def accumulation(compiled: Compile) -> list[Tensor]:
    model = Network()
    called, losses = compiled(model), []
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=STEPS)
    for step in range(STEPS):
        for part in range(3):
            x, y = data(3 * step + part)
            loss = F.cross_entropy(called(x), y) / 3
            loss.backward()
            losses.append(loss.detach())
        losses.append(nn.utils.clip_grad_norm_(model.parameters(), 0.5))
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
    return losses + _state(model)


@_loop("bfloat16 autocast")
def autocast(compiled: Compile) -> list[Tensor]:
    model = Network()
    called, losses = compiled(model), []
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    for step in range(STEPS):
        x, y = data(step)
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(called(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.detach())
    return losses + _state(model)


@_loop("gradient scaler")
def scaler(compiled: Compile) -> list[Tensor]:
    model = Network()
    called, losses = compiled(model), []
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    scale = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=2)
    for step in range(STEPS):
        x, y = data(step)
        if step == 5:
            x[0, 0] = float("inf")  # this step is skipped
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(called(x), y)
        scale.scale(loss).backward()
        scale.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scale.step(optimizer)
        scale.update()
        optimizer.zero_grad()
        losses += [loss.detach(), torch.tensor(scale.get_scale())]
    return losses + _state(model)


@_loop("generator and discriminator")
def adversarial(compiled: Compile) -> list[Tensor]:
    torch.manual_seed(1)
    generator, critic = nn.Sequential(Block(), Block()), nn.Sequential(Block(), nn.Linear(WIDTH, 1))
    make, judge, losses = compiled(generator), compiled(critic), []
    first = torch.optim.Adam(generator.parameters(), lr=1e-3)
    second = torch.optim.Adam(critic.parameters(), lr=1e-3)
    for step in range(STEPS):
        real, noise = data(step)[0], data(step + 100)[0]
        second.zero_grad()
        fake = make(noise)
        loss = F.softplus(judge(fake.detach())).mean() + F.softplus(-judge(real)).mean()
        loss.backward()
        second.step()
        first.zero_grad()
        other = F.softplus(-judge(fake)).mean()
        other.backward()
        first.step()
        losses += [loss.detach(), other.detach()]
    return losses + _state(generator) + _state(critic)


@_loop("gradients set to zero")
def zeroed(compiled: Compile) -> list[Tensor]:
    model = Network()
    called, losses = compiled(model), []
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9)
    for step in range(STEPS):
        x, y = data(step)
        optimizer.zero_grad(set_to_none=False)
        loss = F.cross_entropy(called(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return losses + _state(model)


@_loop("validation between steps, train() and eval()")
def validation(compiled: Compile) -> list[Tensor]:
    model = Network()
    called, losses = compiled(model), []
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    for step in range(STEPS):
        called.train()
        x, y = data(step)
        loss = F.cross_entropy(called(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        called.eval()
        with torch.no_grad():
            losses += [loss.detach(), F.cross_entropy(called(x), y)]
        with torch.inference_mode():
            losses.append(F.cross_entropy(called(x), y).clone())
        losses.append(F.cross_entropy(called(x), y).detach())  # with a graph, without a backward pass
    return losses + _state(model)


@_loop("moving average by deepcopy")
def average(compiled: Compile) -> list[Tensor]:
    model = Network()
    called, losses = compiled(model), []
    smooth = copy.deepcopy(model)
    weights = torch.optim.swa_utils.AveragedModel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    for step in range(STEPS):
        x, y = data(step)
        loss = F.cross_entropy(called(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            for mine, theirs in zip(smooth.parameters(), model.parameters(), strict=True):
                mine.lerp_(theirs, 0.1)
            weights.update_parameters(model)
            losses += [loss.detach(), smooth.eval()(x).sum(), weights.eval()(x).sum()]
        if step == 4:
            smooth = copy.deepcopy(model)
    return losses + _state(model) + _state(smooth)


class Parent(nn.Module):
    """A module that contains a compiled model, and scales its output."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner, self.scale = inner, nn.Parameter(torch.ones(10))

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) * self.scale


@_loop("state_dict of a parent saved and loaded")
def parent(compiled: Compile) -> list[Tensor]:
    whole, losses = Parent(compiled(Network())), []
    optimizer = torch.optim.SGD(whole.parameters(), lr=1e-2)
    file = io.BytesIO()
    for step in range(STEPS):
        x, y = data(step)
        loss = F.cross_entropy(whole(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.detach())
        if step == 3:
            torch.save(whole.state_dict(), file)
        if step == 5:
            file.seek(0)
            whole.load_state_dict(torch.load(file))
    return losses + _state(whole)


@_loop("functional_call with other parameters")
def functional(compiled: Compile) -> list[Tensor]:
    model = Network()
    called, losses = compiled(model), []
    prefix = "_orig_mod." if called is not model else ""
    for step in range(STEPS):
        x, y = data(step)
        others = {name: (p.detach() * 0.9).requires_grad_(True) for name, p in model.named_parameters()}
        output = torch.func.functional_call(called, {prefix + name: p for name, p in others.items()}, (x,))
        loss = F.cross_entropy(output, y)
        gradients = torch.autograd.grad(loss, list(others.values()))
        with torch.no_grad():
            for p, gradient in zip(model.parameters(), gradients, strict=True):
                p.sub_(0.01 * gradient)
        losses.append(loss.detach())
    return losses + _state(model)


def _halved(_module: nn.Module, inner: Any, _outer: Any) -> tuple[Tensor]:
    return (inner[0] * 0.5,)


@_loop("hooks that are added and removed")
def hooks(compiled: Compile) -> list[Tensor]:
    model = Network()
    called, losses, seen = compiled(model), [], []
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    handles: list[Any] = [model.blocks[1].register_forward_hook(lambda _m, _i, out: out * 1.1)]
    model.head.weight.register_hook(lambda g: g * 2)
    model.head.bias.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad.clone()))
    for step in range(STEPS):
        x, y = data(step)
        if step == 4:
            handles.pop().remove()
            handles.append(model.blocks[2].register_forward_pre_hook(lambda _m, inputs: (inputs[0] - 1,)))
        if step == 6:
            handles.append(model.norm.register_full_backward_hook(_halved))
        loss = F.cross_entropy(called(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.detach())
    return losses + seen + _state(model)


@_loop("two backward passes of one graph (retain_graph)")
def retained(compiled: Compile) -> list[Tensor]:
    model = Network()
    called, losses = compiled(model), []
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    for step in range(STEPS):
        x, y = data(step)
        output = called(x)
        loss, other = F.cross_entropy(output, y), output.pow(2).mean()
        loss.backward(retain_graph=True)
        other.backward()
        losses += [loss.detach(), other.detach(), _gradient(model.head.weight)]
        optimizer.step()
        optimizer.zero_grad()
    return losses + _state(model)


@_loop("two forward passes, then two backward passes")
def twice(compiled: Compile) -> list[Tensor]:
    model = Network()
    called, losses = compiled(model), []
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    for step in range(STEPS):
        (x, y), (u, v) = data(step), data(step + 50)
        first, second = F.cross_entropy(called(x), y), F.cross_entropy(called(u), v)
        if step % 2:
            first.backward()
            second.backward()
        else:
            (first + second).backward()
        losses += [first.detach(), second.detach()]
        optimizer.step()
        optimizer.zero_grad()
    return losses + _state(model)


@_loop("forward passes without a backward pass")
def abandoned(compiled: Compile) -> list[Tensor]:
    model = Network()
    called, losses, kept = compiled(model), [], []
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    for step in range(STEPS):
        x, y = data(step)
        called(x)
        if step in (1, 2, 5):
            kept.append(called(x))  # its graph stays alive
        loss = F.cross_entropy(called(x), y)
        loss.backward()
        losses.append(loss.detach())
        optimizer.step()
        optimizer.zero_grad()
    return losses + [value.detach() for value in kept] + _state(model)


class Interrupted(Network):
    """A network that raises ``KeyError`` in the middle of its forward pass if ``fails`` is set."""

    fails = False

    def forward(self, x: Tensor) -> Tensor:
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number == 1 and self.fails:
                raise KeyError("the user's own error")
        return self.head(self.norm(x))


@_loop("errors in the middle of a step")
def interrupted(compiled: Compile) -> list[Tensor]:
    model = Interrupted()
    called, losses = compiled(model), []
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    for step in range(STEPS):
        x, y = data(step)
        model.fails = step in (1, 4)
        try:
            loss = F.cross_entropy(called(x), y)
            if step == 6:
                raise ValueError
            loss.backward()
        except KeyError as error:
            if str(error) != '"the user\'s own error"':
                raise
            optimizer.zero_grad()
            continue
        except ValueError:
            continue
        losses.append(loss.detach())
        optimizer.step()
        optimizer.zero_grad()
    return losses + _state(model)


@_loop("another batch size at the end of an epoch")
def last_batch(compiled: Compile) -> list[Tensor]:
    model = Network()
    called, losses = compiled(model), []
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    for step in range(2 * STEPS):
        x, y = data(step)
        if step % 4 == 3:
            x, y = x[:20], y[:20]
        loss = F.cross_entropy(called(x), y)
        loss.backward()
        losses.append(loss.detach())
        optimizer.step()
        optimizer.zero_grad()
    return losses + _state(model)


@_loop("losses kept with their graphs")
def history(compiled: Compile) -> list[Tensor]:
    model = Network()
    called, losses = compiled(model), []
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    for step in range(STEPS):
        x, y = data(step)
        loss = F.cross_entropy(called(x), y)
        loss.backward()
        losses.append(loss)
        optimizer.step()
        optimizer.zero_grad()
    return [loss.detach() for loss in losses] + _state(model)


@_loop("layers frozen and unfrozen")
def unfreezing(compiled: Compile) -> list[Tensor]:
    model = Network()
    called, losses = compiled(model), []
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9)
    model.blocks.requires_grad_(False)
    for step in range(2 * STEPS):
        x, y = data(step)
        if step in (4, 8):
            model.blocks[3 if step == 4 else 2].requires_grad_(True)
        loss = F.cross_entropy(called(x), y)
        loss.backward()
        losses.append(loss.detach())
        optimizer.step()
        optimizer.zero_grad()
    return losses + _state(model)
