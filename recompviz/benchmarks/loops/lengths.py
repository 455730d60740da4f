"""Train on batches of one hundred different lengths in random order, as in language modelling, under one total.

The peak of every training step is measured, except in steps that compile a graph or are recorded. The total does not
include the targets, because only the loss outside the model reads them.
"""

from __future__ import annotations

import random
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import recompviz as rv
from recompviz.benchmarks.loops.comparison import highest, resident
from recompviz.core.base.errors import InfeasibleBudget
from recompviz.pytorch.internals.dynamo import forget_graphs, mark_dynamic
from recompviz.pytorch.internals.memory_window import memory_window
from recompviz.pytorch.internals.profiler import allocation_events
from recompviz.pytorch.internals.tensors import same_bits
from recompviz.pytorch.running.compiled import budget_of

MODES = ("automatic", "mark_dynamic", "dynamic=True")
WORDS, LONGEST, BATCH, WIDTH = 99, 256, 4, 32
# Steps of the loop that finds the range of totals.
SHORT = 8


class Block(nn.Module):
    """A layer of a transformer with causal attention."""

    def __init__(self, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.second_norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        query, key, value = (
            self.qkv(self.norm(x)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind()
        )
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.out(attended.transpose(1, 2).reshape(batch, length, WIDTH))
        return x + self.mlp(self.second_norm(x))


class LanguageModel(nn.Module):
    """A small transformer that returns scores for the next word."""

    def __init__(self, layers: int = 3) -> None:
        super().__init__()
        self.words, self.positions = nn.Embedding(WORDS, WIDTH), nn.Parameter(torch.zeros(LONGEST, WIDTH))
        self.blocks = nn.ModuleList(Block() for _ in range(layers))
        self.head = nn.Linear(WIDTH, WORDS)

    def forward(self, words: Tensor) -> Tensor:
        x = self.words(words) + self.positions[: words.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.head(x)


@dataclass
class LengthRow:
    """The result of :func:`run_lengths`.

    Attributes
    ----------
    mode : str
        How Dynamo is told that lengths vary; one of ``MODES``.
    lengths : int
        The number of different lengths.
    steps : int
        The number of training steps.
    captures : int
        The number of captured graphs with a backward pass.
    total : int
        The total for which the model was compiled, in bytes.
    highest : int
        The largest measured peak of a training step, in total bytes.
    above : int
        The number of training steps whose measured peak was above the total.
    measured : int
        The number of training steps whose peak was measured.
    refused : int
        The number of training steps that raised ``InfeasibleBudget``.
    too_strict : int
        The number of refused training steps whose reported least total was at most the total.
    messages : list of str
        The first line of each warning.
    milliseconds : list of float
        Processor time of choosing plans, in ms, for each measured or refused training step without a search.
    searches : int
        The number of measured or refused training steps with a search for plans.
    search_seconds : float
        Processor time of choosing plans in the steps with a search, in seconds.
    equal : bool
        Whether every loss is exactly that of eager PyTorch.
    """

    mode: str
    lengths: int = 0
    steps: int = 0
    captures: int = 0
    total: int = 0
    highest: int = 0
    above: int = 0
    measured: int = 0
    refused: int = 0
    too_strict: int = 0
    messages: list[str] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)
    searches: int = 0
    search_seconds: float = 0.0
    equal: bool = True

    @property
    def ok(self) -> bool:
        """Whether the run has the results that recompviz promises, such as exact losses and no peak above the total."""
        return self.captures <= 3 and not self.above and len(self.messages) <= 1 and self.equal and not self.too_strict

    @property
    def mean(self) -> float:
        """Mean of ``milliseconds``; 0 if there are none."""
        return statistics.fmean(self.milliseconds) if self.milliseconds else 0.0

    def note_time(self, seconds: float, searched: bool) -> None:
        """Add the processor time that one training step took to choose plans, with or without a search."""
        if searched:
            self.searches, self.search_seconds = self.searches + 1, self.search_seconds + seconds
        else:
            self.milliseconds.append(1000 * seconds)


def lengths_of(steps: int, count: int = 100) -> list[int]:
    """Return a random length for each training step, one of ``count`` different lengths."""
    draw = random.Random(0)
    choice = draw.sample(range(16, LONGEST + 1), count)
    return [draw.choice(choice) for _ in range(steps)]


def run_lengths(mode: str, steps: int = 300, position: float = 0.3) -> LengthRow:
    """Train on many lengths, compiled and eagerly; measure the peaks and compare the losses.

    Parameters
    ----------
    mode : str
        How Dynamo is told that lengths vary; one of ``MODES``.
    steps : int
        The number of training steps.
    position : float
        Where the total lies for the longest batch: 0 for its least total, 1 for the total that keeps every value.
        Below 0, the longest batches do not fit.
    """
    lengths = lengths_of(steps)
    warm_up = [*lengths[: SHORT - 1], max(lengths)]
    probe = _Loop(mode, "1 TiB")
    for step, length in enumerate(warm_up):
        probe.step(step, length)
    planned = probe.budget.planned
    assert planned is not None
    least, keep_all = (planned.resident + size for size in (planned.model.plans.least, planned.model.plans.peak[0]))

    row = LengthRow(mode, len(set(lengths)), steps, total=int(least + position * (keep_all - least)))
    loop, eager = _Loop(mode, row.total), _Loop(mode, None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step, length in enumerate(lengths):
            known, models = len(loop.budget.regions), list(loop.budget.models.values())
            try:
                loss, peak = loop.step(step, length)
            except InfeasibleBudget as error:
                row.refused += 1
                row.too_strict += error.least <= row.total
                row.note_time(loop.seconds, models != list(loop.budget.models.values()))
                continue
            if peak is not None and len(loop.budget.regions) == known:
                row.measured, row.highest = row.measured + 1, max(row.highest, peak)
                row.above += peak > row.total
                row.note_time(loop.seconds, models != list(loop.budget.models.values()))
            row.equal &= same_bits(loss, eager.step(step, length)[0])
    row.captures = len(loop.budget.regions)
    row.messages = [str(warning.message).splitlines()[0] for warning in caught]
    return row


class _Loop:
    """A model in training, eager or compiled."""

    def __init__(self, mode: str, total: int | str | None) -> None:
        torch.manual_seed(0)
        self.model, self.mode = LanguageModel(), mode
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3)
        self.called: Callable[[Tensor], Tensor] = self.model
        self.seconds = 0.0
        if total is not None:
            forget_graphs()
            self.called = rv.compile(self.model, total=total, dynamic=True if mode == "dynamic=True" else None)
            self.budget = budget_of(self.called)
            self._choose, self.budget.choose = self.budget.choose, self._timed  # type: ignore[method-assign]  # its method, timed

    def _timed(self, run: Any) -> Any:
        before = time.process_time()
        try:
            return self._choose(run)
        finally:
            self.seconds += time.process_time() - before

    def step(self, number: int, length: int) -> tuple[Tensor, int | None]:
        """Run one training step; return the loss, and the measured peak in total bytes or None."""
        torch.manual_seed(number)
        words, targets = torch.randint(0, WORDS, (2, BATCH, length)).unbind()
        words = words.clone()
        if self.mode == "mark_dynamic" and self.called is not self.model:
            mark_dynamic(words, 1)
        self.seconds, peak = 0.0, None
        if self.called is not self.model and self.budget.models:
            before = resident(self.model, self.optimizer, [words])
            with memory_window(torch.device("cpu")) as window:
                loss = self._train(words, targets)
            peak = before + highest(allocation_events(window.profiled, "cpu", ()))
        else:
            loss = self._train(words, targets)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss, peak

    def _train(self, words: Tensor, targets: Tensor) -> Tensor:
        loss = F.cross_entropy(self.called(words).transpose(1, 2), targets)
        loss.backward()
        return loss.detach()
