"""Training for real: optimizers, accumulation, clipping, a smaller last batch, validation, two processes."""

from __future__ import annotations

import os
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

import recompviz as rv
from recompviz import networks
from recompviz.pytorch.budgeting.planned_budget import PlanWarning
from tests.torch.steps import make


def lean(example: networks.Example) -> rv.PlannedModule:
    """The example's step under the leanest plan of the time-centric curve."""
    trace = rv.trace(example.model, *example.inputs, targets=example.targets, loss=example.loss)
    curve = trace.tradeoff("prefixes")
    return rv.apply(trace, curve.plan_at(len(curve.time_centric) - 1))


def batches(name: str, count: int) -> list[networks.Example]:
    return [networks.example(name, small=True) for _ in range(count)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet50", "gpt2", "vit"])
@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
def test_twenty_steps_on_changing_batches_give_eagers_losses_bitwise(name: str, optimizer: str) -> None:
    losses = []
    for planned in (False, True):
        torch.manual_seed(0)
        example = networks.example(name, small=True)
        data = batches(name, 20)
        step = lean(example) if planned else None
        parameters = example.model.parameters()
        made = (
            torch.optim.SGD(parameters, lr=0.01, momentum=0.9)
            if optimizer == "SGD"
            else torch.optim.AdamW(parameters, lr=0.001)
        )
        torch.manual_seed(1)
        run = []
        for batch in data:
            made.zero_grad()
            loss = (
                step(*batch.inputs, *batch.targets)
                if step
                else batch.loss(example.model(*batch.inputs), *batch.targets)
            )
            loss.backward()
            nn.utils.clip_grad_norm_(step.parameters() if step else example.model.parameters(), 1.0)
            made.step()
            run.append(loss.item())
        losses.append(run)
    assert losses[0] == losses[1]
    assert len(set(losses[0])) == 20


@pytest.mark.slow
def test_accumulation_a_smaller_last_batch_and_validation_in_between_give_eagers_parameters() -> None:
    states = []
    for planned in (False, True):
        torch.manual_seed(0)
        example = networks.example("resnet50", small=True)
        micro = [*batches("resnet50", 3), networks.example("resnet50", batch=1, small=True)]
        module: Any = lean(example) if planned else example.model
        made = torch.optim.SGD(module.parameters(), lr=0.1)

        def loss_of(batch: networks.Example, module: Any = module, planned: bool = planned) -> torch.Tensor:
            return (
                module(*batch.inputs, *batch.targets) if planned else batch.loss(module(*batch.inputs), *batch.targets)
            )

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PlanWarning)
            for _ in range(2):
                made.zero_grad()
                for batch in micro[:3]:
                    (loss_of(batch) / 3).backward()
                made.step()
                module.eval()
                with torch.no_grad():
                    loss_of(micro[0])
                module.train()
            made.zero_grad()
            module.train()
            # batch norm over one image needs more than one value a channel: the last batch is run in evaluation mode
            module.eval()
            loss_of(micro[3]).backward()
            made.step()
        states.append(module.state_dict())
    assert list(states[0]) == list(states[1])
    assert all(torch.equal(a, b) for a, b in zip(states[0].values(), states[1].values(), strict=True))


def test_a_state_dict_goes_from_plain_to_planned_and_back() -> None:
    torch.manual_seed(0)
    example, other = networks.example("vit", small=True), networks.example("vit", small=True)
    planned = lean(example)
    planned.load_state_dict(other.model.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(example.model.parameters(), other.model.parameters(), strict=True))
    fresh = networks.example("vit", small=True).model
    fresh.load_state_dict(planned.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(fresh.parameters(), other.model.parameters(), strict=True))


@pytest.mark.slow
def test_fit_in_plans_within_the_total_it_was_given() -> None:
    case = make("small residual network")
    trace = rv.calibrate(case.trace())
    table = trace.plans()
    budget = (table.least_total + int(table.total_peaks.max())) // 2
    planned = rv.fit_in(case.model, *case.inputs, targets=case.targets, loss=case.loss, total=budget)
    assert rv.simulate(planned.trace, planned.plan).peak <= budget
    assert planned.plan.to_json() == trace.plan(budget).to_json()
    with pytest.raises(rv.InfeasibleBudget):
        rv.fit_in(case.model, *case.inputs, targets=case.targets, loss=case.loss, total="1 kB")


def _process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    # they meet at a file: a free port found here may be another program's by the time it is used, and both would wait
    torch.distributed.init_process_group(
        "gloo", f"file://{folder}/meeting", rank=rank, world_size=2, timeout=timedelta(minutes=2)
    )
    gradients = []
    for planned in (False, True):
        torch.manual_seed(0)
        example = networks.example("vit", small=True)
        torch.manual_seed(rank)
        batch = networks.example("vit", small=True)
        module = DistributedDataParallel(lean(example) if planned else example.model)
        for _ in range(2):
            module.zero_grad()
            loss = (
                module(*batch.inputs, *batch.targets)
                if planned
                else example.loss(module(*batch.inputs), *batch.targets)
            )
            loss.backward()
        gradients.append([p.grad for p in example.model.parameters()])
    torch.save(gradients, f"{folder}/{rank}.pt")
    torch.distributed.barrier()
    # without destructors: gloo's waits for a thread that may wait for the GIL, which the destructor holds (torch 2.13)
    os._exit(0)


@pytest.mark.slow
def test_two_processes_average_the_gradients_of_the_planned_module_as_of_the_plain_one(tmp_path: Path) -> None:
    multiprocessing.spawn(_process, (str(tmp_path),), nprocs=2)
    plain, planned = torch.load(tmp_path / "0.pt")
    other_plain, _ = torch.load(tmp_path / "1.pt")
    assert all(torch.equal(a, b) for a, b in zip(plain, other_plain, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(plain, planned, strict=True))


@pytest.mark.filterwarnings("ignore::recompviz.pytorch.budgeting.planned_budget.PlanWarning")
@pytest.mark.parametrize("by_total", [True, False], ids=["fit_in", "apply"])
def test_a_step_is_measured_also_after_calls_of_other_shapes(by_total: bool) -> None:
    model, loss = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1)), nn.functional.mse_loss

    def batch(size: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.ones(size, 8), torch.zeros(size, 1)

    x, y = batch(4)
    step = rv.fit_in(model, x, targets=(y,), loss=loss, total="10 kB")
    if not by_total:
        step = rv.apply(step.trace, step.plan)
    before = rv.measure(step, x, targets=(y,))
    for size in (6, 3):
        step(*batch(size)).backward()
    after = rv.measure(step, x, targets=(y,))
    assert after.profile.tolist() == before.profile.tolist() == rv.simulate(step.trace, step.plan).profile.tolist()
    x, y = batch(6)
    larger = rv.trace(model, x, targets=(y,), loss=loss)
    assert rv.measure(step, x, targets=(y,)).peak == rv.simulate(larger, step.plan.on(larger.graph)).peak
