"""Run a training loop eagerly, with every value kept, and compiled for a smaller total; compare the results."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from recompviz.core.base.errors import InfeasibleBudget
from recompviz.pytorch.budgeting.step_budget import StepBudget
from recompviz.pytorch.internals.dynamo import forget_graphs
from recompviz.pytorch.internals.tensors import same_bits
from recompviz.pytorch.running.compiled import backend, budget_for, forget_budgets

# More than any loop here takes.
UNLIMITED = 1 << 40


@dataclass
class LoopRow:
    """The result of :func:`run_loop`. Sizes are total bytes of a training step, parameters and inputs included.

    Attributes
    ----------
    name : str
        The name of the loop.
    regions : int
        The number of captured graphs with a backward pass.
    least : int
        The least total that suffices for every recorded training step; 0 if nothing was planned.
    total : int
        The total for which the loop was compiled.
    keep_all : int
        The total that keeps every value.
    overhead : float
        Time of the planned recomputation in the last training step, divided by the time of the forward passes.
    wrong : list of str
        Differences from eager PyTorch, and errors; empty if there are none.
    messages : list of str
        Warnings of the compiled loop that eager PyTorch does not give.
    """

    name: str
    regions: int = 0
    least: int = 0
    total: int = 0
    keep_all: int = 0
    overhead: float = 0.0
    wrong: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)


def compiled_for(total: int | None) -> Callable[[Any], Any]:
    """Return a function that compiles a model for a total in bytes, or leaves it unchanged if the total is None."""
    if total is None:
        return lambda model: model
    return lambda model: torch.compile(model, backend=backend, options={"total": total})


def run_loop(name: str, loop: Callable[[int | None], list[Tensor]], position: float = 0.4) -> LoopRow:
    """Run a loop three times: eagerly, with every value kept, and under a total; compare the tensors that it returns.

    Parameters
    ----------
    name : str
        The name of the loop in the result.
    loop : callable (total or None) → list of tensor
        A training loop. It runs eagerly for None, and compiles its models for a total in bytes.
    position : float
        Where the total of the third run lies: 0 for the least total, 1 for the total that keeps every value.

    Returns
    -------
    LoopRow
        The sizes and the differences. If nothing was planned or the total was too small, ``wrong`` says so.
    """
    row = LoopRow(name)
    forget_budgets()
    eager, before = _run(loop, None)
    loose, after = _run(loop, UNLIMITED)
    row.messages = [message for message in after if message not in before]
    row.wrong += [f"keep-all: {text}" for text in different(loose, eager)]
    budget = budget_for(UNLIMITED)
    row.regions = len(budget.regions)
    if not budget.models:
        row.wrong.append(f"nothing was planned: {budget.text}")
        return row
    row.least, row.keep_all = budget.range_of_totals
    row.total = int(row.least + position * (row.keep_all - row.least))
    try:
        tight, _ = _run(loop, row.total)
    except InfeasibleBudget as error:
        row.wrong.append(f"budget: {error}")
        return row
    row.wrong += [f"budget: {text}" for text in different(tight, eager)]
    row.overhead = _overhead(budget_for(row.total))
    return row


def _overhead(budget: StepBudget) -> float:
    planned = budget.planned
    return planned.model.plans.overhead[planned.point] / max(planned.model.keep_all, 1e-9) if planned else 0.0


def _run(loop: Callable[[int | None], list[Tensor]], total: int | None) -> tuple[list[Tensor], list[str]]:
    forget_graphs()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = loop(total)
    return found, list(dict.fromkeys(str(warning.message).splitlines()[0] for warning in caught))


def different(mine: list[Any], theirs: list[Any]) -> list[str]:
    """Compare two lists of tensors bit by bit. Return a list with one sentence; empty if all are equal."""
    if len(mine) != len(theirs):
        return [f"{len(mine)} tensors, expected {len(theirs)}"]
    wrong = [i for i, (a, b) in enumerate(zip(mine, theirs, strict=True)) if not same_bits(a, b)]
    return [f"{len(wrong)} of {len(mine)} tensors, the first at {wrong[0]}"] if wrong else []
