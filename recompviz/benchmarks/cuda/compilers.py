"""The compilers: ``fit_in``, ``rv.compile``, the backend by its name, and a plan inside Inductor."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch

import recompviz as rv
from recompviz.benchmarks.beside_pytorch.steps import UNLIMITED, MeasuredStep
from recompviz.benchmarks.cuda.cases import Case, Row, Setting, cases, eager_losses, example, furthest, trained
from recompviz.benchmarks.cuda.predictions import REAL, SMALL
from recompviz.pytorch.internals.dynamo import forget_graphs
from recompviz.pytorch.running.compiled import budget_of

# steps before the measurement: one while Dynamo compiles, the recorded one, and two under the plan
STEPS = 4
# largest relative difference of losses after some steps, with the same kernels and with Inductor's
SAME, ALIKE = 1e-4, 2e-2


def fit_in(setting: Setting) -> Iterator[Row]:
    """Check that the peak of a step of ``fit_in`` is within the total, and that one byte is refused."""

    def rows(setting: Setting, case: Case) -> Iterator[Row]:
        step = example(case, setting.device)
        optimizer = torch.optim.Adam(step.model.parameters())
        given: dict[str, Any] = {"targets": step.targets, "loss": step.loss, "optimizer": optimizer}
        try:
            rv.fit_in(step.model, *step.inputs, total=1, **given)
            least = 0
        except rv.InfeasibleBudget as error:
            least = error.least
        yield {"total": 1, "least": least, "ok": least > 0}
        for total in [int(1.02 * least), int(1.3 * least)][: 1 if setting.rehearsal else 2]:
            module = rv.fit_in(step.model, *step.inputs, total=total, **given)
            found = rv.measure(module, *step.inputs, targets=step.targets, optimizer=optimizer)
            yield {"total": total, "measured": found.peak, "reserved": found.reserved_peak, "ok": found.peak <= total}

    yield from cases(setting, rows, SMALL[:1] if setting.rehearsal else (SMALL[1], REAL[0], REAL[1]))


def compiled(setting: Setting) -> Iterator[Row]:
    """Check peaks and losses of ``rv.compile`` and of ``torch.compile(backend="recompviz")``."""
    yield from cases(setting, compiled_rows, SMALL[:2] if setting.rehearsal else (SMALL[0], REAL[0], REAL[1], SMALL[3]))


def compiled_rows(setting: Setting, case: Case) -> Iterator[Row]:
    """Yield a row for each of three totals, and one for ``torch.compile(backend="recompviz")``."""
    forget_graphs()
    step = example(case, setting.device)
    module: Any = rv.compile(step.model, total=UNLIMITED)
    measured = MeasuredStep(step, module)
    measured.warm_up(STEPS)
    budget = budget_of(module)
    if budget.planned is None:
        yield {"total": UNLIMITED, "planned": False, "flaw": str(budget.attempts.flaw), "ok": False}
        return
    least, most = budget.range_of_totals
    for total in (most, (least + most) // 2, least):
        budget.total = total
        measured.warm_up(1)
        peak = measured.peak()
        planned = budget.planned
        predicted = planned.resident + planned.model.plans.peak[planned.point]
        yield {
            "total": total,
            "predicted": predicted,
            "measured": peak,
            "off": peak / predicted - 1,
            "regions": len(planned.model.regions),
            "failed recordings": budget.failed_recordings,
            "ok": peak <= total,
        }
    forget_graphs()
    step = example(case, setting.device)
    expected = eager_losses(step, STEPS + 1)
    torch.manual_seed(1)
    options: dict[str, Any] = {"total": (least + most) // 2}
    named: Any = torch.compile(step.model, backend="recompviz", options=options)
    difference = furthest(trained(step, named, step.model, STEPS + 1), expected)
    yield {"total": options["total"], "by name": True, "losses differ": difference, "ok": difference <= SAME}


def inductor(setting: Setting) -> Iterator[Row]:
    """Check peaks and losses of plans that Inductor runs, with ``rv.Partitioner``."""
    yield from cases(setting, inductor_rows, SMALL[1:2] if setting.rehearsal else (SMALL[1], REAL[1], REAL[0]))


def inductor_rows(setting: Setting, case: Case) -> Iterator[Row]:
    """Yield a row for a total that keeps every value, and one for 85 % of the peak measured under that total."""
    step = example(case, setting.device)
    expected = eager_losses(step, 2)
    totals: list[int] = [UNLIMITED]
    for _ in range(2):
        torch.compiler.reset()
        model = copy.deepcopy(step.model)
        partitioner = rv.Partitioner(total=totals[-1])
        run: Any = torch.compile(model, options={"custom_partitioner_fn": partitioner})

        def train(run: Any = run, model: Any = model) -> None:
            loss: Any = step.loss(run(*step.inputs), *step.targets)
            loss.backward()
            model.zero_grad()

        train()
        measured = partitioner.calibrate(train)
        predicted = partitioner.predicted
        torch.manual_seed(1)
        difference = furthest(trained(step, run, model, 2), expected)
        yield {
            "total": totals[-1],
            "predicted": predicted,
            "measured": measured,
            "losses differ": difference,
            "ok": measured <= totals[-1] and difference <= ALIKE,
        }
        totals.append(int(0.85 * measured))
