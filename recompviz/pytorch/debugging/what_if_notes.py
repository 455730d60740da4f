"""Predict the peak of a training step with another batch size or dtype.

The training step is traced again with tensors that have shapes but no memory, and the trace is simulated.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from torch.utils import _pytree as pytree

from recompviz.core.base.errors import RecompvizError
from recompviz.core.base.shortened_text import shortened
from recompviz.core.base.units import format_bytes, parse_bytes
from recompviz.core.steps.joint import Category
from recompviz.pytorch.internals.fake_tensors import FakeTensorMode
from recompviz.pytorch.measuring.entry import trace
from recompviz.pytorch.tracing.traced_step import Trace, simulate

# largest number of traces in the search for the largest batch
MOST_TRACES = 8
# length to which an error's message is cut in a note
MOST_CHARACTERS = 120


def peak_at(traced: Trace, batch: int | None = None, dtype: torch.dtype | None = None) -> int:
    """Return the simulated peak of the training step with another batch size or dtype, without recomputation.

    No memory is allocated for parameters, buffers, inputs, targets and results.

    Parameters
    ----------
    traced : Trace
        The present training step.
    batch : int, optional
        The new batch size. It replaces the first dimension of every input and target whose first dimension is the
        present batch size. If left out, the batch size is not changed.
    dtype : torch.dtype, optional
        The new dtype of floating-point parameters, buffers, inputs and targets. If left out, dtypes are not changed.

    Returns
    -------
    int
        Bytes at the peak, with parameters, inputs and the optimizer's state.

    Raises
    ------
    TraceError, RuntimeError
        If the training step cannot be traced with this batch size or dtype.
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
    device = torch.device(traced.device).type
    other = trace(step.model, *inputs, kwargs=kwargs, targets=targets, loss=step.loss, device=device)
    return simulate(_with_state_of(traced, other, dtype)).peak


def _with_state_of(traced: Trace, other: Trace, dtype: torch.dtype | None) -> Trace:
    """Return the other trace with the optimizer state and scratch memory of ``traced``, scaled to the dtype."""
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
    """Return the first dimension of the first input or target tensor that has dimensions; 1 if there is none."""
    leaves = pytree.tree_leaves(traced.arguments)
    return next((int(leaf.shape[0]) for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.dim()), 1)


def largest_batch(traced: Trace, total: int | float | str) -> int:
    """Return the largest batch size found whose training step fits in a memory budget without recomputation.

    The peak is nearly linear in the batch size, so a secant search finds the batch size at which the simulated peak
    reaches the budget. The result always fits. Usually a batch larger by one does not fit, but the search stops after a
    fixed number of rounds.

    Parameters
    ----------
    traced : Trace
        The training step at the current batch size.
    total : int, float or str
        The budget in bytes, or a string such as ``"24 GiB"``. It covers the parameters and the optimizer's state, too.

    Returns
    -------
    int
        The batch size; 0 if not even a batch of 1 fits.

    Raises
    ------
    TypeError
        If ``total`` is neither a number nor a string.
    ValueError
        If ``total`` is not a size.
    TraceError, RuntimeError
        If the training step cannot be traced at another batch size.

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
    for _ in range(MOST_TRACES):  # until a batch does not fit
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
    """Return the batch size at which a line crosses the total, through the two known peaks nearest to the total."""
    nearest = sorted(known.items(), key=lambda item: abs(item[1] - budget))[:2]
    (a, peak_a), (b, peak_b) = nearest if len(nearest) > 1 else (nearest[0], (0, 0))
    slope = (peak_b - peak_a) / (b - a) if a != b else 0
    return int(a + (budget - peak_a) / slope) if slope > 0 else 2 * max(a, b)


def what_ifs(traced: Trace, total: int | None) -> list[str]:
    """Return notes with the simulated peak at half and double the batch size, and in bfloat16.

    If the training step cannot be traced with another batch size or dtype, a note gives the error instead of the peak.
    There is a note about bfloat16 only if the model or the loss has float32 parameters.

    Parameters
    ----------
    traced : Trace
        The present training step.
    total : int or None
        A memory budget in bytes. If given, the first note gives the largest batch size that fits without recomputation.
        If None, there is no such note.
    """
    notes = []
    now = simulate(traced).peak
    try:
        if total is not None:
            notes.append(
                f"batch what-if: the largest batch that fits {format_bytes(total)} is "
                f"{largest_batch(traced, total):,} (now {batch_size(traced):,})"
            )
        half, double = max(batch_size(traced) // 2, 1), 2 * batch_size(traced)
        notes.append(
            f"batch what-if: batch {half} would peak at {format_bytes(peak_at(traced, half))}, "
            f"batch {double} at {format_bytes(peak_at(traced, double))} (now {batch_size(traced)}: {format_bytes(now)})"
        )
    except (RecompvizError, RuntimeError, ValueError) as error:
        notes.append(
            f"batch what-if: unknown, because the step cannot be traced at another batch size ({_short(error)})"
        )
    if any(p.dtype == torch.float32 for p in traced.step.parameters()):
        try:
            notes.append(
                f"dtype what-if: in bfloat16 it would peak at {format_bytes(peak_at(traced, dtype=torch.bfloat16))}"
            )
        except (RecompvizError, RuntimeError, ValueError) as error:
            notes.append(f"dtype what-if: unknown, because the step cannot be traced in bfloat16 ({_short(error)})")
    return notes


def _short(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return shortened(lines[0], MOST_CHARACTERS) if lines else type(error).__name__
