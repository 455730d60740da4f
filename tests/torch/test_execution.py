"""A plan computes what eager computes, keeps what it says, and takes what was predicted."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import recompviz as rv
from recompviz import networks
from tests.torch.steps import MARKED_CASES, Case, make


def plans_of(trace: rv.Trace, count: int = 3) -> list[rv.Plan]:
    """Keep-all and some plans along both curves, the least feasible among them."""
    curve = trace.tradeoff()
    last = len(curve.time_centric) - 1
    picked = sorted({round(i * last / (count - 1)) for i in range(count)})
    least = curve.plan_at(len(curve.memory_centric) - 1, "memory")
    return [rv.Plan.keep_all(trace.graph), *(curve.plan_at(i) for i in picked), least]


@pytest.mark.parametrize("name", MARKED_CASES)
def test_gradients_and_buffers_are_bitwise_those_of_eager_and_saved_is_as_planned(name: str) -> None:
    case = make(name)
    trace = case.trace()
    for plan in plans_of(trace):
        certificate = rv.certify(trace, plan)
        assert certificate.ok, (name, plan, certificate.text)
        assert certificate.gradients == "bitwise"


@pytest.mark.parametrize("name", MARKED_CASES)
def test_simulated_memory_is_the_measured_one_at_every_step_boundary(name: str) -> None:
    case = make(name)
    trace = case.trace()
    for plan in plans_of(trace):
        simulated = rv.simulate(trace, plan)
        measured = rv.measure(rv.apply(trace, plan), *case.inputs, kwargs=case.kwargs, targets=case.targets)
        assert measured.step_labels == simulated.step_labels
        assert measured.static == simulated.static
        assert measured.step_ends.tolist() == simulated.step_ends.tolist()
        # within an operator only its own workspace comes on top
        workspace = measured.bands[:, rv.Category.WORKSPACE]
        assert (measured.step_peaks >= simulated.step_peaks).all()
        assert (measured.step_peaks - workspace <= simulated.step_peaks).all()


def test_the_check_would_notice_a_wrong_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    case = make("batch norm")
    trace = case.trace()
    plan = plans_of(trace)[1]
    from recompviz.pytorch.executing import program

    genuine = program.write_program

    def wrong(*args: object, **kwargs: object) -> object:
        made = genuine(*args, **kwargs)  # type: ignore[arg-type]
        backward = made.backward
        object.__setattr__(made, "backward", lambda *a: [g if g is None else g * 1.001 for g in backward(*a)])
        return made

    monkeypatch.setattr("recompviz.pytorch.executing.region.write_program", wrong)
    certificate = rv.certify(trace, plan)
    assert not certificate.ok
    assert certificate.gradients == "different"
    with pytest.raises(rv.RecompvizError, match="gradients"):
        certificate.require()


@pytest.mark.slow
def test_a_narrow_resnet50_on_small_images_peaks_within_two_percent_at_five_budgets() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(2, 3, 64, 64), torch.randint(0, 1000, (2,))
    case = Case(networks.resnet(width=16), (x,), (y,), loss=F.cross_entropy)
    trace = case.trace()
    table = trace.plans()
    for budget in torch.linspace(table.least_total, int(table.total_peaks.max()), 5, dtype=torch.float64).tolist():
        plan = trace.plan(budget + 1)
        simulated = rv.simulate(trace, plan)
        measured = rv.measure(rv.apply(trace, plan), x, targets=(y,))
        assert simulated.peak <= budget + 1
        assert abs(measured.transient_peak / simulated.transient_peak - 1) <= 0.02
        assert rv.certify(trace, plan).ok


def test_a_backward_pass_that_reads_the_loss_itself_is_run_right() -> None:
    class Exponential(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(x).mean().exp()

    case = Case(Exponential(), (torch.randn(3, 4),))
    trace = case.trace()
    for plan in plans_of(trace):
        assert rv.certify(trace, plan).ok


@pytest.mark.slow
def test_several_plans_of_one_trace_train_alike() -> None:
    losses = []
    for position in (None, 0, -1):
        case = make("batch norm")
        trace = case.trace()
        curve = trace.tradeoff()
        count = len(curve.time_centric)
        plan = rv.Plan.keep_all(trace.graph) if position is None else curve.plan_at(position % count)
        planned = rv.apply(trace, plan)
        optimizer = torch.optim.Adam(planned.parameters(), lr=0.01)
        run = []
        for _ in range(5):
            optimizer.zero_grad()
            loss = planned(*case.inputs, *case.targets)
            loss.backward()
            optimizer.step()
            run.append(loss.item())
        losses.append(run)
    case = make("batch norm")
    optimizer = torch.optim.Adam(case.model.parameters(), lr=0.01)
    eager = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = F.cross_entropy(case.model(*case.inputs), *case.targets)
        loss.backward()
        optimizer.step()
        eager.append(loss.item())
    assert losses == [eager] * 3


def test_gradients_accumulate_over_two_backward_passes() -> None:
    case = make("convolutions with dropout")
    trace = case.trace()
    planned = rv.apply(trace, plans_of(trace)[2])
    assert case.loss is not None
    for run in (
        lambda: planned(*case.inputs, *case.targets),
        lambda: case.loss(case.model(*case.inputs), *case.targets),
    ):
        torch.manual_seed(1)
        planned.zero_grad()
        run().backward()
        run().backward()
        gradients = [p.grad.clone() for p in case.model.parameters() if p.grad is not None]
        reference = gradients if "reference" not in locals() else reference  # noqa: F821
    assert all(torch.equal(a, b) for a, b in zip(reference, gradients, strict=True))


def test_retain_graph_gives_the_same_gradients_twice_and_a_second_pass_without_it_is_refused() -> None:
    case = make("batch norm")
    trace = case.trace()
    planned = rv.apply(trace, plans_of(trace)[1])
    loss = planned(*case.inputs, *case.targets)
    loss.backward(retain_graph=True)
    first = case.model[0].weight.grad.clone()
    case.model.zero_grad()
    loss.backward()
    assert torch.equal(first, case.model[0].weight.grad)
    with pytest.raises(RuntimeError, match=r"retain_graph|second time"):
        loss.backward()


@pytest.mark.parametrize("retained", [{0}, {2}, {1, 3}])
def test_any_step_may_retain_its_graph(retained: set[int]) -> None:
    torch._dynamo.reset()  # else an equal model of another test shares its compiled graph
    torch.manual_seed(0)
    eager = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
    compiled = rv.compile(copy.deepcopy(eager), total="1 GiB")
    for step in range(4):
        x = torch.randn(16, 8)
        for model in (eager, compiled):
            loss = model(x).square().mean()
            loss.backward(retain_graph=step in retained)
            if step in retained:
                torch.autograd.grad(loss, next(model.parameters()), retain_graph=True)
                loss.backward()
        assert all(torch.equal(a.grad, b.grad) for a, b in zip(eager.parameters(), compiled.parameters(), strict=True))


def test_state_dict_is_the_models_own() -> None:
    case = make("batch norm")
    planned = rv.apply(trace := case.trace(), rv.Plan.keep_all(trace.graph))
    assert list(planned.state_dict()) == list(case.model.state_dict())
    assert [name for name, _ in planned.named_parameters()] == [name for name, _ in case.model.named_parameters()]
    planned.load_state_dict(make("batch norm").model.state_dict())


def test_measuring_changes_nothing_a_user_made() -> None:
    case = make("convolutions with dropout")
    trace = case.trace()
    planned = rv.apply(trace, plans_of(trace)[1])
    before = {k: v.clone() for k, v in case.model.state_dict().items()}
    weight = case.model[0].weight
    weight.grad = torch.full_like(weight, 7.0)
    state = torch.get_rng_state()
    optimizer = torch.optim.Adam(case.model.parameters())
    rv.measure(planned, *case.inputs, targets=case.targets, optimizer=optimizer)
    assert all(torch.equal(v, before[k]) for k, v in case.model.state_dict().items())
    assert torch.equal(weight.grad, torch.full_like(weight, 7.0))
    assert torch.equal(torch.get_rng_state(), state)
    assert optimizer.state_dict()["state"] == {}


@pytest.mark.slow
def test_eager_and_keep_all_measure_the_same_peak() -> None:
    case = make("small residual network")
    trace = case.trace()
    eager = rv.measure(case.model, *case.inputs, targets=case.targets, loss=case.loss)
    keep_all = rv.measure(rv.apply(trace, rv.Plan.keep_all(trace.graph)), *case.inputs, targets=case.targets)
    assert abs(eager.transient_peak / keep_all.transient_peak - 1) < 0.02


def test_measuring_puts_back_an_input_that_the_step_overwrites() -> None:
    class Overwriting(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            loss = self.linear(x.clone()).sum()
            x.add_(1)
            return loss

    x = torch.zeros(2, 4)
    rv.measure(Overwriting(), x)
    assert torch.equal(x, torch.zeros(2, 4))
