"""Advice with numbers, from the planner on the user's own trace: what to checkpoint, how large a batch, which dtype.

Checkpointing a module is a plan that recomputes what the module computes inside and keeps what leaves it; it is
simulated like any other, and timed by calibrated calls. A batch size or a dtype is traced anew on shapes alone.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from recompviz.core.base.errors import RecompvizError
from recompviz.core.base.text import shortened
from recompviz.core.base.units import format_bytes, parse_bytes
from recompviz.core.plans.baselines import LOSS
from recompviz.core.plans.plan import Plan
from recompviz.core.reports.findings import Advice
from recompviz.core.steps.joint import Category
from recompviz.pytorch.internals.fake_tensors import FakeTensorMode
from recompviz.pytorch.measuring.entry import trace
from recompviz.pytorch.tracing.traced_step import Trace, simulate

# so many modules are named
MOST_NAMED = 4
# a module that saves less of the peak is not worth a line
LEAST_SHARE = 0.01
# traces that the search for the largest batch may take
MOST_TRACES = 8
# of an error's message in a note
MOST_CHARACTERS = 120


def checkpoint_advice(traced: Trace) -> list[Advice]:
    """What checkpointing each module of the model would save and cost, the largest saving first.

    Parameters
    ----------
    traced : Trace
        Calibrated, where milliseconds are wanted.
    """
    graph = traced.graph
    whole = simulate(traced).peak
    found = []
    for module, members in _modules(traced):
        inside = np.zeros(len(graph), np.bool_)
        inside[members] = True
        kept = ~inside
        for u, v in graph.edges.tolist():
            kept[u] |= inside[u] and not inside[v]
        if kept.all():
            continue
        plan = Plan.from_keep_mask(graph, kept, f"checkpoint {module}")
        peak = simulate(traced, plan).peak
        if whole - peak >= LEAST_SHARE * whole:
            found.append(Advice(f"checkpointing `{module}`", whole - peak, _milliseconds(traced, plan), peak))
    found.sort(key=lambda advice: (-advice.saves, advice.milliseconds or 0))
    distinct: dict[int, Advice] = {}
    for advice in found:
        distinct.setdefault(advice.saves, advice)
    return [*distinct.values()][:MOST_NAMED]


def planner_advice(traced: Trace) -> list[Advice]:
    """The least peak, and the one half-way to it, that a plan of recomputation reaches."""
    table = traced.plans("live")
    whole = simulate(traced).peak
    found: list[Advice] = []
    for total in ((whole + table.least_total) // 2, table.least_total):
        plan = table.plan(total)
        peak = simulate(traced, plan).peak
        if whole - peak >= LEAST_SHARE * whole and all(peak != other.peak for other in found):
            what = f'`rv.fit_in(…, total="{_at_least(peak)}")`'
            found.append(Advice(what, whole - peak, _milliseconds(traced, plan), peak))
    found.sort(key=lambda advice: (advice.milliseconds or 0, -advice.saves))
    best: dict[str, Advice] = {}
    for advice in found:
        best.setdefault(advice.what, advice)
    return [*best.values()]


def _at_least(size: int) -> str:
    """A size to write into a call, rounded up: rounded down, it would leave out the plan that it is of.

    Examples
    --------
    >>> _at_least(10 << 20), _at_least((10 << 20) + 1)
    ('10 MiB', '10.01 MiB')
    """
    mebi = size / 2**20
    unit = 10.0 ** (math.floor(math.log10(mebi)) - 3) if mebi else 1.0
    return f"{math.ceil(mebi / unit) * unit:.4g} MiB"


def _milliseconds(traced: Trace, plan: Plan) -> float | None:
    """The time of what a plan recomputes, by calibrated calls."""
    seconds = traced.joint.seconds
    if not seconds:
        return None
    schedule = traced.schedule(plan)
    once = traced.schedule(None)
    return 1000 * (sum(seconds[c] for c in schedule.calls) - sum(seconds[c] for c in once.calls))


def _modules(traced: Trace) -> Iterator[tuple[str, list[int]]]:
    """Module paths of one and two parts with the nodes inside, where there is more than one."""
    members: dict[str, list[int]] = {}
    for v, info in enumerate(traced.graph.info):
        parts = info.module.split(".")
        if not info.module or parts[0] == LOSS:
            continue
        for depth in range(1, min(len(parts), 2) + 1):
            members.setdefault(".".join(parts[:depth]), []).append(v)
    for name, nodes in members.items():
        if len(nodes) > 1:
            yield name, nodes


# -------------------------------------------------------------------- other batches and dtypes


def peak_at(traced: Trace, batch: int | None = None, dtype: torch.dtype | None = None) -> int:
    """The simulated peak of the step at another batch size or in another dtype, total bytes; nothing is allocated.

    Parameters
    ----------
    traced : Trace
    batch : int, optional
        The first dimension of every tensor among the inputs that now has the batch's size there.
    dtype : torch.dtype, optional
        Of parameters, buffers and inputs that are floating-point.
    """
    inputs, kwargs, targets = traced.arguments
    now = batch_size(traced)
    mode = FakeTensorMode()
    memo: dict[int, Any] = {}

    def fake(value: torch.Tensor, given: bool) -> torch.Tensor:
        wanted = dtype if dtype is not None and value.is_floating_point() else value.dtype
        shape = list(value.shape)
        if given and batch is not None and shape and shape[0] == now:
            shape[0] = batch
        with mode:
            made = (
                torch.empty_strided(value.shape, value.stride(), dtype=wanted)
                if shape == list(value.shape)
                else torch.empty(shape, dtype=wanted)
            )
            if isinstance(value, torch.nn.Parameter):
                return torch.nn.Parameter(made, value.requires_grad)
            return made.requires_grad_(value.requires_grad)

    for value in (*traced.step.parameters(), *traced.step.buffers()):
        memo.setdefault(id(value), fake(value, False))
    leaves, spec = pytree.tree_flatten((inputs, kwargs, targets))
    new_leaves = [fake(leaf, True) if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]
    step = copy.deepcopy(traced.step, memo)
    inputs, kwargs, targets = pytree.tree_unflatten(new_leaves, spec)
    device = "cuda" if traced.device.startswith("cuda") else "cpu"
    other = trace(step.model, *inputs, kwargs=kwargs, targets=targets, loss=step.loss, device=device)
    return simulate(_with_state_of(traced, other, dtype)).peak


def _with_state_of(traced: Trace, other: Trace, dtype: torch.dtype | None) -> Trace:
    """The other trace with this one's optimiser: it has as many values, each as wide as a parameter's."""
    given = {p.element_size() for p in traced.step.parameters() if p.is_floating_point()}
    scale = dtype.itemsize / max(given, default=dtype.itemsize) if dtype is not None else 1.0
    state = [
        replace(storage, size=round(storage.size * scale))
        for storage in traced.joint.storages
        if storage.category is Category.OPTIMIZER
    ]
    scratch = round(traced.joint.optimizer_scratch * scale)
    joint = replace(other.joint, storages=(*other.joint.storages, *state), optimizer_scratch=scratch)
    return other.with_joint(joint)


def batch_size(traced: Trace) -> int:
    """The first dimension of the first tensor of the batch."""
    leaves = pytree.tree_leaves(traced.arguments)
    return next((int(leaf.shape[0]) for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.dim()), 1)


def largest_batch(traced: Trace, total: int | float | str) -> int:
    """The largest batch whose step, keeping everything, fits into so many total bytes; 0 if not even 1 does.

    The peak is all but linear in the batch: a secant finds where it crosses the budget, and a trace on each
    side confirms the answer.

    Examples
    --------
    >>> import torch, recompviz as rv
    >>> t = rv.trace(torch.nn.Linear(8, 1), torch.zeros(4, 8), targets=(torch.zeros(4, 1),),
    ...              loss=torch.nn.functional.mse_loss)
    >>> n = largest_batch(t, "10 kB")
    >>> peak_at(t, n) <= 10_000 < peak_at(t, n + 1)
    True
    """
    budget = parse_bytes(total)
    known: dict[int, int] = {}

    def peak(batch: int) -> int:
        if batch not in known:
            known[batch] = peak_at(traced, batch)
        return known[batch]

    low, high = 0, 2 * batch_size(traced)
    for _ in range(MOST_TRACES):  # until one does not fit
        if peak(high) > budget:
            break
        low, high = high, max(high + 1, _secant(known, budget) + 1)
    for _ in range(MOST_TRACES):
        if high - low <= 1 or peak(high) <= budget:
            break
        guess = min(max(_secant(known, budget), low + 1), high - 1) if len(known) > 1 else (low + high) // 2
        for batch in (guess, min(guess + 1, high - 1)):
            if low < batch < high:
                low, high = (batch, high) if peak(batch) <= budget else (low, batch)
    return low if low == 0 or peak(low) <= budget else 0


def _secant(known: dict[int, int], budget: int) -> int:
    """Where the line through the two peaks nearest to the budget crosses it."""
    nearest = sorted(known.items(), key=lambda item: abs(item[1] - budget))[:2]
    (a, peak_a), (b, peak_b) = nearest if len(nearest) > 1 else (nearest[0], (0, 0))
    slope = (peak_b - peak_a) / (b - a) if a != b else 0
    return int(a + (budget - peak_a) / slope) if slope > 0 else 2 * max(a, b)


def what_ifs(traced: Trace, total: int | None) -> list[str]:
    """Sentences on other batch sizes and dtypes."""
    said = []
    now = simulate(traced).peak
    try:
        if total is not None:
            said.append(
                f"batch what-if: the largest batch that fits {format_bytes(total)} is "
                f"{largest_batch(traced, total):,} (now {batch_size(traced):,})"
            )
        half, double = max(batch_size(traced) // 2, 1), 2 * batch_size(traced)
        said.append(
            f"batch what-if: batch {half} would peak at {format_bytes(peak_at(traced, half))}, "
            f"batch {double} at {format_bytes(peak_at(traced, double))} (now {batch_size(traced)}: {format_bytes(now)})"
        )
    except (RecompvizError, RuntimeError, ValueError) as error:
        said.append(f"batch what-if: not told, the step cannot be traced at another batch size ({_short(error)})")
    if any(p.dtype == torch.float32 for p in traced.step.parameters()):
        try:
            said.append(
                f"dtype what-if: in bfloat16 it would peak at {format_bytes(peak_at(traced, dtype=torch.bfloat16))}"
            )
        except (RecompvizError, RuntimeError, ValueError) as error:
            said.append(f"dtype what-if: not told, the step cannot be traced in bfloat16 ({_short(error)})")
    return said


def _short(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return shortened(lines[0], MOST_CHARACTERS) if lines else type(error).__name__
