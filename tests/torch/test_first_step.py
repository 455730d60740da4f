"""Models whose first forward pass creates state: the trace is of the steps that follow, and the state is restored."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import recompviz as rv
from recompviz.pytorch.budgeting.planned_budget import PlanWarning
from recompviz.pytorch.internals.state import state_restored
from recompviz.pytorch.measuring.eager_forward import eager_forward

X, Y = torch.ones(2, 6, 8) / 3, torch.zeros(2, 6, 8)


def distances(size: int) -> torch.Tensor:
    positions = torch.arange(size)
    return -(positions[None] - positions[:, None]).abs().float()


class Attention(nn.Module):
    """Attention with a table of distances, which subclasses keep in different places."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(8, 8), nn.Linear(8, 8)

    def table(self, size: int) -> torch.Tensor:
        return distances(size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.tanh(self.first(x))
        return self.last(torch.softmax(h @ h.transpose(1, 2) + self.table(x.shape[1]), -1) @ h)


class Attribute(Attention):
    kept: torch.Tensor | None = None

    def table(self, size: int) -> torch.Tensor:
        if self.kept is None:
            self.kept = distances(size)
        return self.kept


class ReplacedBuffer(Attention):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kept", torch.zeros(1, 1), persistent=False)

    def table(self, size: int) -> torch.Tensor:
        if self.kept.shape[0] != size:
            self.kept = distances(size)
        return self.kept


class NewBuffer(Attention):
    def table(self, size: int) -> torch.Tensor:
        if not hasattr(self, "kept"):
            self.register_buffer("kept", distances(size), persistent=False)
        return self.kept


class BySize(Attention):
    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[int, torch.Tensor] = {}

    def table(self, size: int) -> torch.Tensor:
        if size not in self.kept:
            self.kept[size] = distances(size)
        return self.kept[size]


class Filled(Attention):
    def __init__(self) -> None:
        super().__init__()
        self.kept: list[torch.Tensor] = []

    def table(self, size: int) -> torch.Tensor:
        if not self.kept:
            self.kept.append(distances(size))
        return self.kept[0]


GLOBAL: dict[int, torch.Tensor] = {}


class Global(Attention):
    def table(self, size: int) -> torch.Tensor:
        if size not in GLOBAL:
            GLOBAL[size] = distances(size)
        return GLOBAL[size]


@functools.lru_cache
def cached_distances(size: int) -> torch.Tensor:
    return distances(size)


class Cached(Attention):
    def table(self, size: int) -> torch.Tensor:
        return cached_distances(size)


class Initialised(Attention):
    """Sets a parameter from the first batch."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.ready = nn.Parameter(torch.ones(8)), False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.ready:
            with torch.no_grad():
                self.scale.copy_(x.amax((0, 1)) + 1)
            self.ready = True
        return super().forward(x * self.scale)


class Counting(Attention):
    calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return super().forward(x)


class Previous(Attention):
    """Adds the output of the step before."""

    kept: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = super().forward(x)
        if self.kept is not None:
            out = out + 0.1 * self.kept
        self.kept = out.detach()
        return out


class Weighted(nn.Module):
    """A loss that makes its weights at its first call."""

    weights: torch.Tensor | None = None

    def forward(self, out: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if self.weights is None:
            self.weights = torch.linspace(0, 1, out.shape[-1])
        return ((out - target).square() * self.weights).mean()


MODELS = [Attribute, ReplacedBuffer, NewBuffer, BySize, Filled, Global, Cached, Initialised, Counting, Previous]


@pytest.fixture(autouse=True)
def empty_caches() -> Iterator[None]:
    GLOBAL.clear()
    cached_distances.cache_clear()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*lru_cache")  # Dynamo's own, for Cached
        yield


def losses(model: nn.Module, step: Any, count: int = 4) -> list[float]:
    """Train some steps, and return the losses."""
    optimizer, found = torch.optim.SGD(model.parameters(), 0.1), []
    for number in range(count):
        torch.manual_seed(number)
        loss = step(torch.randn(2, 6, 8), torch.randn(2, 6, 8))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


def made(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(7)
    GLOBAL.clear()
    return kind()


def of_each_kind(*fast: type[nn.Module]) -> Any:
    """Parametrize a test over the kinds of models; those that are not ``fast`` are slow tests."""
    kinds = [kind if kind in fast else pytest.param(kind, marks=pytest.mark.slow) for kind in MODELS]
    return pytest.mark.parametrize("kind", kinds, ids=[kind.__name__ for kind in MODELS])


def check_verbs(model: nn.Module) -> None:
    """Trace, calibrate, measure and certify a model."""
    trace = rv.calibrate(rv.trace(model, X, targets=(Y,), loss=F.mse_loss))
    plan = trace.plan(int(trace.plans("time").total_peaks.min()))
    assert rv.measure(rv.apply(trace, plan), X, targets=(Y,)).peak == rv.simulate(trace, plan).peak
    certificate = rv.certify(trace, plan)
    assert certificate.ok, certificate.text
    assert certificate.gradients == "bitwise"
    keep_all = trace.schedule(trace.baseline("keep-all"))
    assert isinstance(model, Cached) or eager_forward(trace).saved_bytes == keep_all.saved_bytes


@of_each_kind(BySize, Initialised)
def test_every_verb_runs_the_step_that_repeats_and_restores_what_the_first_one_assigns(kind: type[nn.Module]) -> None:
    model = made(kind)
    parameters = [parameter.detach().clone() for parameter in model.parameters()]
    before, kept = dict(vars(model)), getattr(model, "kept", None)
    size, buffers = len(kept) if isinstance(kept, list | dict) else 0, dict(model.named_buffers())
    check_verbs(model)
    assert {name: id(value) for name, value in vars(model).items()} == {k: id(v) for k, v in before.items()}
    assert not isinstance(kept, list | dict) or len(kept) == size
    assert dict(model.named_buffers()).keys() == buffers.keys()
    assert all(buffer is buffers[name] for name, buffer in model.named_buffers())
    assert all(torch.equal(p, old) for p, old in zip(model.parameters(), parameters, strict=True))


@of_each_kind(ReplacedBuffer)
def test_a_loop_in_a_total_has_the_losses_of_eager(kind: type[nn.Module]) -> None:
    model = made(kind)
    wanted = losses(model, lambda x, y: F.mse_loss(model(x), y))
    model = made(kind)
    assert losses(model, rv.fit_in(model, X, targets=(Y,), loss=F.mse_loss, total="1 MB")) == wanted


def test_a_loss_may_create_state_too() -> None:
    trace = rv.trace(nn.Linear(8, 8), X, targets=(Y,), loss=Weighted())
    plan = trace.baseline("keep-all")
    assert rv.certify(trace, plan).ok
    assert trace.step.loss.weights is None  # type: ignore[union-attr]


def test_the_first_step_is_not_reported_as_another_and_a_later_one_is() -> None:
    trace = rv.trace(made(BySize), X, targets=(Y,), loss=F.mse_loss)
    step = rv.apply(trace, trace.baseline("keep-all"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", PlanWarning)
        for _ in range(3):
            step(X, Y).backward()
    with pytest.warns(PlanWarning, match="differs from the traced one"):
        step(X[:, :4], Y[:, :4]).backward()


def test_a_step_that_assigns_nothing_does_not_run_when_it_is_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise AssertionError("the forward pass ran")

    monkeypatch.setattr("recompviz.pytorch.tracing.tracer.forward_only", fails)
    assert not rv.trace(made(Attention), X, targets=(Y,), loss=F.mse_loss).after_first


class Auxiliary(Attention):
    """Keeps its output with its gradient function, as models keep losses of their layers."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.kept = super().forward(x)
        return self.kept.square().sum()


def test_the_gradient_of_an_assigned_tensor_is_freed_after_its_last_use() -> None:
    trace = rv.calibrate(rv.trace(made(Auxiliary), X))
    assert not trace.returns_outputs
    plan = trace.baseline("keep-all")
    simulated, measured = rv.simulate(trace, plan), rv.measure(rv.apply(trace, plan), X)
    assert measured.peak == simulated.peak
    assert rv.certify(trace, plan).gradients == "bitwise"


def test_lazy_layers_get_the_parameters_that_the_first_forward_pass_would_give_them() -> None:
    def new() -> nn.Module:
        torch.manual_seed(3)
        return nn.Sequential(nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.LazyLinear(1))

    eager, traced, x = new(), new(), torch.ones(4, 8)
    torch.manual_seed(5)
    eager(x)
    state = torch.get_rng_state()
    torch.manual_seed(5)
    rv.trace(traced, x, loss=torch.sum)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(eager.parameters(), traced.parameters(), strict=True))
    assert int(traced[1].num_batches_tracked) == 0


def test_a_model_without_memory_is_traced_without_a_warning_of_dynamo() -> None:
    with torch.device("meta"):
        model, x, y = Attribute(), torch.empty(2, 6, 8), torch.empty(2, 6, 8)
    assert rv.trace(model, x, targets=(y,), loss=F.mse_loss, device="cuda").estimated


@pytest.mark.slow
def test_every_verb_runs_lazy_layers() -> None:
    def lazy() -> nn.Module:
        return nn.Sequential(nn.LazyLinear(8), nn.Tanh(), nn.LazyLinear(8))

    check_verbs(lazy())
    assert rv.measure(lazy(), X, targets=(Y,), loss=F.mse_loss).peak > 0
    assert rv.debug(lazy(), X, targets=(Y,), loss=F.mse_loss).peak > 0


def test_a_compiled_lazy_model_trains_with_an_optimizer_made_before() -> None:
    def loop(compiled: bool) -> list[float]:
        torch.manual_seed(3)
        model = nn.Sequential(nn.LazyLinear(8), nn.Tanh(), nn.LazyLinear(8))
        optimizer = torch.optim.Adam(model.parameters())
        run = rv.compile(model, total="1 MB", optimizer=optimizer) if compiled else model
        found = []
        for _ in range(4):
            loss = F.mse_loss(run(X), Y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        return found

    assert loop(True) == loop(False)


class Halves(nn.Module):
    """Two lazy layers with a graph break between them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.LazyLinear(8), nn.LazyLinear(1)

    def forward(self, x: torch.Tensor, *, scale: float = 1.0) -> torch.Tensor:
        y = self.first(x).tanh()
        torch._dynamo.graph_break()  # type: ignore[no-untyped-call]
        return self.second(y) * scale


@pytest.mark.parametrize("dynamic", [None, True])
def test_lazy_layers_of_equal_classes_and_other_sizes_are_compiled(dynamic: bool | None) -> None:
    for features in (5, 7):
        layer = nn.LazyLinear(8)
        compiled = rv.compile(nn.Sequential(layer, nn.LazyLinear(1)), total="1 MB", dynamic=dynamic)
        for batch in (4, 5):
            compiled(torch.ones(batch, features)).sum().backward()
        assert layer.weight.shape == (8, features)


def test_lazy_layers_after_a_graph_break_are_compiled_or_refused_with_the_next_step() -> None:
    x = torch.ones(4, 5)
    model = rv.compile(Halves(), total="1 MB")
    model(x, scale=2.0).sum().backward()
    assert model.second.weight.grad is not None
    model = rv.compile(Halves(), total="1 MB", dynamic=True)
    refused = ""
    try:
        model(x).sum().backward()  # works from torch 2.15 on
    except rv.TraceError as error:
        refused = str(error)
    assert "run the model once in eager mode" in refused if refused else model.second.weight.grad is not None


def test_contents_of_nested_containers_are_restored() -> None:
    model = nn.Module()
    model.log = {"losses": [1.0], "seen": {3}}
    inner = model.log["losses"]
    with state_restored(model, ()):
        model.log["losses"].append(2.0)
        model.log["seen"].add(4)
        model.log["new"] = None
    assert model.log == {"losses": [1.0], "seen": {3}}
    assert model.log["losses"] is inner
