"""The optimizer's state and step are part of a step's memory, known before it ever stepped."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
import torch
from torch import nn, optim

import recompviz as rv
from recompviz import networks
from recompviz.core.steps.joint import Category
from recompviz.pytorch.internals.devices.cpu import CpuRuntime
from recompviz.pytorch.tracing.optimizer_state import optimizer_bytes, state_bytes
from tests.torch.test_execution import plans_of

Maker = Callable[[Iterable[nn.Parameter]], optim.Optimizer]

OPTIMIZERS: dict[str, Maker] = {
    "SGD": lambda p: optim.SGD(p, 0.1),
    "SGD with momentum": lambda p: optim.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "Adam": optim.Adam,
    "Adam through all at once": lambda p: optim.Adam(p, foreach=True),
    "Adam, fused": lambda p: optim.Adam(p, fused=True),
    "AdamW, amsgrad": lambda p: optim.AdamW(p, amsgrad=True),
    "RMSprop": lambda p: optim.RMSprop(p, centered=True, momentum=0.9),
    "Adagrad": optim.Adagrad,
    "Adadelta": optim.Adadelta,
    "Adafactor": optim.Adafactor,
    "NAdam": optim.NAdam,
    "RAdam": optim.RAdam,
    "Rprop": optim.Rprop,
}


def bytes_held(optimizer: optim.Optimizer) -> int:
    values = [v for state in optimizer.state.values() for v in state.values() if isinstance(v, torch.Tensor)]
    return sum(value.untyped_storage().nbytes() for value in values)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_and_scratch_memory_are_those_of_a_real_step(name: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 8))
    optimizer = OPTIMIZERS[name](model.parameters())
    before = bytes_held(optimizer)
    trace = rv.trace(model, torch.randn(4, 32), loss=torch.sum, optimizer=optimizer)
    assert bytes_held(optimizer) == before, "planning steps nothing"
    simulated = rv.simulate(trace)
    measured = rv.measure(rv.apply(trace, rv.Plan.keep_all(trace.graph)), torch.randn(4, 32), optimizer=optimizer)
    assert measured.static == simulated.static
    if trace.joint.optimizer_scratch:
        assert simulated.step_labels == measured.step_labels
        # a number in an operator takes 12 bytes on the CPU, which may miss the fullest moment
        assert 0 <= simulated.step_peaks[-1] - measured.step_peaks[-1] <= 12
    model(torch.randn(4, 32)).sum().backward()
    optimizer.step()
    assert bytes_held(optimizer) == simulated.static_bytes.get(Category.OPTIMIZER, 0)
    again = rv.trace(model, torch.randn(4, 32), loss=torch.sum, optimizer=optimizer)
    assert rv.simulate(again).static == simulated.static, "one that has stepped is known as well"
    assert again.joint.optimizer_scratch == trace.joint.optimizer_scratch


@pytest.mark.slow
def test_a_total_with_adam_is_kept_to_under_every_plan_of_a_small_residual_network() -> None:
    torch.manual_seed(0)
    example = networks.example("resnet50", small=True)
    optimizer = optim.Adam(example.model.parameters())
    trace = rv.trace(example.model, *example.inputs, targets=example.targets, loss=example.loss, optimizer=optimizer)
    trace = rv.calibrate(trace)
    for plan in plans_of(trace, 2):
        measured = rv.measure(rv.apply(trace, plan), *example.inputs, targets=example.targets, optimizer=optimizer)
        assert 0 <= rv.simulate(trace, plan).peak - measured.peak <= 12
    table = trace.plans("live")
    assert table.total_peaks.tolist() == [rv.simulate(trace, plan).peak for plan in table.plans]


def test_the_explorer_shows_the_optimizers_step_and_measures_it() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 8))
    explorer = rv.explore(model, torch.randn(4, 32), loss=torch.sum, optimizer=optim.Adam(model.parameters()))
    assert explorer.timeline.static_bytes[Category.OPTIMIZER] > 0
    assert explorer.timeline.step_labels[-1] == "optimizer"
    explorer.run()
    explorer.wait(120)
    (report,) = explorer.runs
    assert report.measured.static == explorer.timeline.static
    assert 0 <= explorer.timeline.peak - report.measured.peak <= 12
    times = report.times
    assert times is not None
    assert len(times.eager) == len(times.planned) >= 1
    assert min(times.eager + times.planned) > 0
    assert str(times) in repr(report)
    assert times.predicted_extra == pytest.approx(explorer.plan.overhead)


def test_a_frozen_parameter_and_an_unused_one_have_no_state() -> None:
    class Partly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.frozen, self.unused = (nn.Linear(8, 8, bias=False) for _ in range(3))
            self.frozen.requires_grad_(False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.frozen(self.used(x)).sum()

    model = Partly()
    trace = rv.trace(model, torch.randn(2, 8), optimizer=optim.SGD(model.parameters(), 0.1, momentum=0.9))
    assert rv.simulate(trace).static_bytes[Category.OPTIMIZER] == 8 * 8 * 4


def test_the_optimizer_of_a_model_without_memory_is_known_too() -> None:
    with torch.device("meta"):
        model, x = nn.Linear(10**5, 10**5), torch.empty(8, 10**5)
    trace = rv.trace(model, x, loss=torch.sum, device="cuda", optimizer=optim.AdamW(model.parameters()))
    parameters = 4 * (10**10 + 10**5)
    static = rv.simulate(trace).static_bytes
    assert parameters * 2 <= static[Category.OPTIMIZER] < parameters * 2 + 2000
    assert trace.joint.optimizer_scratch >= parameters, "on a GPU it steps through all parameters at once"


def test_an_optimizer_that_needs_a_closure_is_refused_with_the_next_step() -> None:
    model = nn.Linear(8, 1)
    with pytest.raises(rv.TraceError, match=r"LBFGS.step\(\) does not run on fake .* without optimizer="):
        rv.trace(model, torch.zeros(4, 8), loss=torch.sum, optimizer=optim.LBFGS(model.parameters()))


def test_a_users_hooks_are_not_run() -> None:
    parameter = nn.Parameter(torch.zeros(100))
    optimizer = optim.SGD([parameter], 0.1)
    optimizer.register_step_post_hook(lambda *_: pytest.fail("the user's hook ran"))
    optimizer_bytes(optimizer, lambda _: True, torch.device("cpu"))
    assert torch.equal(parameter, torch.zeros(100))


def test_each_tensor_of_the_state_is_rounded_as_the_allocator_rounds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen = nn.Parameter(torch.zeros(1000), requires_grad=False)
    optimizer = optim.SGD([nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(200)), frozen], 0.1, momentum=0.9)
    assert state_bytes(optimizer) == 4 * (1 + 200)
    monkeypatch.setattr(CpuRuntime, "alignment", 512)
    assert state_bytes(optimizer) == 512 + 1024


def test_an_optimizer_that_calls_the_step_itself_is_refused_before_a_measurement() -> None:
    model = nn.Linear(8, 2)
    optimizer = optim.LBFGS(model.parameters())
    with pytest.raises(TypeError, match=r"LBFGS, whose step\(\) calls a closure .* leave it out"):
        rv.measure(model, torch.zeros(4, 8), loss=torch.sum, optimizer=optimizer)


class OwnAttributes(optim.Optimizer):
    """An optimizer that changes its own attributes and the options of its groups, in place."""

    def __init__(self, params: Iterable[nn.Parameter]) -> None:
        super().__init__(params, {"lr": torch.tensor(0.5)})
        self.steps, self.moments = torch.zeros(1), [torch.zeros(8)]
        self.named = {"moment": torch.zeros(8)}

    def step(self, _closure: object = None) -> None:  # type: ignore[override]
        self.steps += 1
        self.moments[0].add_(1)
        self.named["moment"].add_(1)
        self.param_groups[0]["lr"].mul_(0.5)


def test_tracing_changes_no_attribute_of_an_optimizer() -> None:
    model = nn.Linear(8, 2)
    optimizer = OwnAttributes(model.parameters())
    rv.trace(model, torch.zeros(4, 8), loss=torch.sum, optimizer=optimizer)
    for value in (optimizer.steps, optimizer.moments[0], optimizer.named["moment"]):
        assert type(value) is torch.Tensor
        assert not value.any()
    assert float(optimizer.param_groups[0]["lr"]) == 0.5
