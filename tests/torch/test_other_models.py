"""What other planned models hold when a model starts counts in its total: saved values, outputs, parameters."""

from __future__ import annotations

import contextlib
import gc
import itertools
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import recompviz as rv
from recompviz.core.steps.allocations import AllocationEvent
from recompviz.pytorch.budgeting.recorded_models import RecordedModels
from recompviz.pytorch.budgeting.recorded_step import OtherRun, PassRecord, read_recording
from recompviz.pytorch.budgeting.recording_attempts import UnplannedStep
from recompviz.pytorch.executing.live_outputs import live_outputs
from recompviz.pytorch.internals.memory_window import memory_window
from recompviz.pytorch.internals.profiler import allocation_events
from recompviz.pytorch.internals.tensors import StorageWeakRef
from recompviz.pytorch.running.compiled import budget_of

WIDTH, BATCH = 48, 256
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # Dynamo reads it of an input
Step = Callable[[], Tensor]


@pytest.fixture(autouse=True)
def _quick_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RecordedModels, "search_seconds", 0.0)
    gc.collect()  # outputs of earlier tests


def _layers(count: int = 3) -> nn.Sequential:
    return nn.Sequential(*[layer for _ in range(count) for layer in (nn.Linear(WIDTH, WIDTH), nn.Tanh())])


class Encoder(nn.Module):
    """Returns two outputs, which the loss reads as well."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.mean, self.scale = _layers(), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.body(x)
        return self.mean(h), self.scale(h)


def _autoencoder(compiled: Callable[[nn.Module], Any], known: list[Tensor]) -> Step:
    encoder, decoder, x = Encoder(), _layers(), torch.randn(BATCH, WIDTH)
    encode, decode = compiled(encoder), compiled(decoder)
    parameters = [*encoder.parameters(), *decoder.parameters()]
    known += [*parameters, x]
    optimizer = torch.optim.SGD(parameters, lr=0.1)

    def step() -> Tensor:
        mean, scale = encode(x)
        loss: Any = F.mse_loss(decode(mean + torch.exp(scale / 2) / 3), x) + (mean**2 + scale.exp() - scale).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return cast("Tensor", loss.detach())

    return step


def _adversaries(compiled: Callable[[nn.Module], Any], known: list[Tensor]) -> Step:
    generator, critic, x, z = _layers(), _layers(), torch.randn(BATCH, WIDTH), torch.randn(BATCH, WIDTH)
    make, judge = compiled(generator), compiled(critic)
    known += [*generator.parameters(), *critic.parameters(), x, z]
    optimizers = [torch.optim.SGD(model.parameters(), lr=0.1) for model in (generator, critic)]

    def step() -> Tensor:
        fake = make(z)
        loss: Any = F.softplus(-judge(x)).mean() + F.softplus(judge(fake.detach())).mean()
        loss.backward()
        optimizers[1].step()
        optimizers[1].zero_grad()
        other: Any = F.softplus(-judge(fake)).mean()
        other.backward()
        optimizers[0].step()
        for optimizer in optimizers:
            optimizer.zero_grad()
        return cast("Tensor", loss.detach() + other.detach())

    return step


def _siamese(compiled: Callable[[nn.Module], Any], known: list[Tensor]) -> Step:
    model, x, y = _layers(4), torch.randn(BATCH, WIDTH), torch.randn(BATCH, WIDTH)
    called = compiled(model)
    known += [*model.parameters(), x, y]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step() -> Tensor:
        loss: Any = F.cosine_similarity(called(x), called(y)).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return cast("Tensor", loss.detach())

    return step


def _trained(
    make: Callable[[Callable[[nn.Module], Any], list[Tensor]], Step], total: int | str | None
) -> tuple[list[Tensor], int]:
    """The losses of seven steps, and the measured peak of the last one with all that exists before it."""
    torch.manual_seed(0)
    known: list[Tensor] = []
    step = make(lambda model: model if total is None else rv.compile(model, total=total), known)
    losses = [step() for _ in range(6)]
    with memory_window(torch.device("cpu")) as window:
        losses.append(step())
    now = most = 0
    for event in allocation_events(window.profiled, "cpu"):
        now += event.size
        most = max(most, now)
    return losses, most + sum(tensor.nbytes for tensor in known)


@pytest.mark.slow
@pytest.mark.parametrize("make", [_autoencoder, _adversaries, _siamese])
@pytest.mark.filterwarnings("ignore::recompviz.pytorch.budgeting.recording_attempts.UnplannedStep")
def test_models_of_one_step_stay_within_a_total(make: Any) -> None:
    eager, _ = _trained(make, None)
    _, most = _trained(make, "1 GiB")
    for share in (1.0, 0.9, 0.8):
        total = int(share * most)
        losses, peak = _trained(make, total)
        assert peak <= total
        assert [loss.item() for loss in losses] == [loss.item() for loss in eager]


def test_models_that_run_in_one_step_share_the_smaller_total() -> None:
    first, second, x = rv.compile(_layers(), total="1 GiB"), rv.compile(_layers(), total="1 MiB"), torch.randn(8, WIDTH)
    for _ in range(2):
        second(first(x)).sum().backward()
    assert [budget_of(model)._limit for model in (first, second)] == [1 << 20, 1 << 20]
    third = rv.compile(_layers(), total="1 GiB")
    third(x).sum().backward()  # after the others, not inside their step
    assert budget_of(third)._limit == 1 << 30


def test_a_model_without_a_total_counts() -> None:
    free, planned, x = rv.compile(_layers()), rv.compile(_layers(), total="1 GiB"), torch.randn(BATCH, WIDTH)
    counted = []
    for inputs in (lambda: x, lambda: x.clone().requires_grad_(), lambda: free(x)):
        planned(inputs()).sum().backward()
        counted.append((1 << 30) - budget_of(planned).room_left)
        planned.zero_grad()
        free.zero_grad()
    # the values after two layers; the last one is the input of the other model. Its parameters and input, too
    assert counted[2] - counted[1] == 2 * BATCH * WIDTH * 4 + sum(p.nbytes for p in free.parameters()) + x.nbytes


def test_outputs_are_known_as_long_as_they_are_alive() -> None:
    compiled = rv.compile(_layers(), total="1 GiB")
    before = len(live_outputs("cpu"))
    kept = [compiled(torch.randn(BATCH, WIDTH)) for _ in range(3)]
    assert len(live_outputs("cpu")) - before == 3
    view = kept[0][0].detach()
    kept.clear()
    assert [live.size for live in live_outputs("cpu")][before:] == [BATCH * WIDTH * 4]
    del view
    assert len(live_outputs("cpu")) == before


def test_outputs_of_earlier_steps_count_and_the_last_one_only_in_the_forward_pass() -> None:
    compiled, x, kept = rv.compile(_layers(), total="1 GiB"), torch.randn(BATCH, WIDTH), []
    size, counted = BATCH * WIDTH * 4, []
    for step in range(7):
        output = compiled(x)  # the output of the step before is freed here
        counted.append((1 << 30) - budget_of(compiled).room_left)
        output.sum().backward()
        compiled.zero_grad()
        if step > 3:
            kept.append(output.detach())
    planned = budget_of(compiled).planned
    assert planned is not None
    model = planned.model
    assert model.freed_outputs == size
    assert model.outside[0].forward == size
    assert [b - a for a, b in itertools.pairwise(counted[2:])] == [0, 0, 0, size]


def test_a_recording_counts_what_code_holds_when_another_model_starts() -> None:
    record = PassRecord(outputs={1: 5})
    storage = StorageWeakRef(torch.ones(1).untyped_storage())
    other = OtherRun({3: (storage, 64), 9: (storage, 8)}, saved=10)
    rows = [(0, 0, "rv:0:f"), (1, 8, "rv:0:f:0"), (2, 4, "rv:0:f:1"), (3, 64, ""), (4, 32, ""), (0, 0, "rv:other:0")]
    read_recording([AllocationEvent(at, *row) for at, row in enumerate(rows)], [record], [other])
    assert other.held == 32 - 10
    assert other.older_inputs == {9}


def _train_until_refused(compiled: Any, x: Tensor) -> None:
    with contextlib.suppress(rv.InfeasibleBudget):
        for _ in range(4):
            outputs = compiled(x)
            loss = sum((outputs.sin() * k).exp() for k in range(6)).sum()
            loss.backward()


def test_a_first_step_above_the_total_is_reported_once_with_its_number() -> None:
    model, x = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh()), torch.randn(BATCH, WIDTH)
    compiled = rv.compile(model, total=400_000)
    with pytest.warns(UnplannedStep, match=r"training step 2 took .* more than the total of") as caught:
        _train_until_refused(compiled, x)
    assert len(caught) == 1


@pytest.mark.filterwarnings("ignore:Using `torch.compile")  # the mode adds hooks to all modules
def test_a_model_that_is_called_inside_a_dispatch_mode_is_planned_after_it() -> None:
    model, x = _layers(), torch.randn(4, WIDTH)
    compiled = rv.compile(model, total="1 MiB")
    with FlopCounterMode(display=False) as first, pytest.warns(UnplannedStep, match="inside a dispatch mode"):
        compiled(x).sum().backward()
    budget = budget_of(compiled)
    assert budget.runs == 0
    for _ in range(4):
        compiled(x).sum().backward()
    assert budget.planned is not None
    with FlopCounterMode(display=False) as later:
        compiled(x).sum().backward()
    assert later.get_total_flops() == first.get_total_flops() > 0
    compiled(x).sum().backward()
    assert budget.runs == 5


def test_a_model_that_returns_a_generator_says_that_it_is_not_planned() -> None:
    class Yields(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = _layers()

        def forward(self, x: Tensor) -> Iterator[Tensor]:
            for layer in self.layers:
                x = layer(x)
                yield x

    model, x = Yields(), torch.randn(4, WIDTH)
    compiled = rv.compile(model, total="1 MiB")
    with pytest.warns(UnplannedStep, match=r"returns a generator.*let the model return a list") as caught:
        pairs = [pair for _ in range(3) for pair in zip(compiled(x), model(x), strict=True)]
    assert all(torch.equal(one, other) for one, other in pairs)
    assert len(caught) == 1


def test_a_model_that_is_called_inside_a_transform_says_that_it_is_not_planned() -> None:
    compiled, x = rv.compile(_layers(), total="1 MiB"), torch.randn(4, WIDTH)
    parameters = {name: value.detach() for name, value in compiled.named_parameters()}

    def loss(values: dict[str, Tensor], sample: Tensor) -> Tensor:
        return cast("Tensor", torch.func.functional_call(compiled, values, (sample,)).sum())

    try:
        with pytest.warns(UnplannedStep, match=r"inside a transform of torch\.func") as caught:
            _gradients_of_samples(loss, parameters, x)
    finally:
        torch._dynamo.reset()  # Dynamo does not capture again what failed inside the transform, in any model
    assert len(caught) == 1


def _gradients_of_samples(loss: Any, parameters: dict[str, Tensor], x: Tensor) -> None:
    for _ in range(2):
        torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, x)
