"""The program of one process of a pipeline. Each stage of the pipeline has some of the blocks of a GPT-2.

    python -m recompviz.benchmarks.ranks.stages '[{"kind": "1f1b", "layers": 8, "micro_batches": 8}]'

The program prints the figures of its stage as a line of JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

import recompviz as rv
from recompviz.benchmarks.ranks.case_runner import run_cases
from recompviz.core.ranks.unit_plan import UnitPlan
from recompviz.core.steps.timeline import Timeline
from recompviz.networks import gpt2
from recompviz.networks._losses import next_token
from recompviz.pytorch.internals.tensors import same_bits
from recompviz.pytorch.ranks.measured_rank import measure_rank

VOCABULARY, LENGTH, WIDTH = 400, 64, 96
REPEATS = 3


class Part(nn.Module):
    """Consecutive blocks of a GPT-2; the first part embeds tokens, and the last one makes logits.

    Parameters
    ----------
    whole : torch.nn.Module
        The model. Embedding and output layer have weights of their own, because they are on different ranks.
    blocks : sequence of int
        The positions of the part's blocks in the model.
    first, last : bool
        Whether this is the first or the last part.
    """

    def __init__(self, whole: Any, blocks: Sequence[int], first: bool, last: bool) -> None:
        super().__init__()
        self.first, self.last = first, last
        if first:
            self.wte, self.wpe = whole.wte, whole.wpe
        self.h = nn.ModuleList(whole.h[i] for i in blocks)
        if last:
            self.ln_f = whole.ln_f
            self.lm_head = nn.Linear(WIDTH, VOCABULARY, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return values [N, T, width], or the logits [N, T, vocabulary] in the last part."""
        if self.first:
            x = self.wte(x) + self.wpe(torch.arange(x.shape[1]))
        for block in self.h:
            x = block(x)
        if self.last:
            x = self.lm_head(self.ln_f(x))
        return x


def part(stage: int, stages: int, layers: int, split: Sequence[int] = ()) -> Part:
    """Return a stage of the model. ``split`` has the number of blocks of each stage; if empty, about equal numbers."""
    torch.manual_seed(0)
    whole = gpt2(layers, WIDTH, 4, vocabulary=VOCABULARY, context=LENGTH, dropout=0.0)
    sizes = list(split) or [layers // stages + (i < layers % stages) for i in range(stages)]
    begin = sum(sizes[:stage])
    return Part(whole, range(begin, begin + sizes[stage]), stage == 0, stage == stages - 1)


def stage_of(
    stage: int,
    stages: int,
    layers: int,
    micro_batches: int,
    kind: Any = "1f1b",
    split: Sequence[int] = (),
    batch: int = 2,
    calibrated: bool = False,
    return_outputs: bool = False,
    optimizer: bool = False,
) -> rv.StageStep:
    """Return the predicted step of a stage.

    The parameters are those of :func:`figures`. ``batch`` is the number of sequences in a micro-batch, and
    ``calibrated`` says whether the times of operators are measured.
    """
    module = part(stage, stages, layers, split)
    tokens = torch.randint(0, VOCABULARY, (batch, LENGTH))
    given = tokens if stage == 0 else torch.randn(batch, LENGTH, WIDTH, requires_grad=True)
    targets, loss = ((tokens,), next_token) if stage == stages - 1 else ((), None)
    adam = _adam(module) if optimizer else None
    trace = rv.trace(module, given, targets=targets, loss=loss, optimizer=adam)
    trace = rv.calibrate(trace) if calibrated else trace
    return rv.stage_step(trace, stage, stages, micro_batches, ["h.*"], kind=kind, return_outputs=return_outputs)


def _adam(module: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(module.parameters(), lr=1e-3, foreach=True)  # with scratch memory for all parameters


def figures(
    kind: str,
    layers: int,
    micro_batches: int,
    share: float | None = None,
    steps: int = 0,
    split: Sequence[int] = (),
    return_outputs: bool = True,
    optimizer: bool = False,
) -> dict[str, Any]:
    """Train the stages of this process, and return a row: predicted and measured peak, budget and recomputation.

    Parameters
    ----------
    kind : "1f1b", "gpipe" or "interleaved"
        With ``"interleaved"``, each rank has two stages.
    layers, micro_batches : int
    share : float, optional
        Where the budget of the plan lies: 0 for the least peak, 1 for the peak without recomputation. If left out, the
        stage runs as written.
    steps : int
        The number of batches after which the results with and without the plan are compared; 0 for no comparison.
    split : sequence of int
        The number of blocks of each stage. If empty, the numbers are about equal.
    return_outputs : bool
        Whether the step of the schedule returns the outputs of the last stage, as it does by default.
    optimizer : bool
        Whether the optimizers of the rank's stages, each an AdamW, run after each batch that is measured.
    """
    options: dict[str, Any] = {"return_outputs": return_outputs, "optimizer": optimizer}
    predicted = _predicted(kind, layers, micro_batches, share, split, **options)
    timeline = predicted.timeline
    row: dict[str, Any] = {"rank": dist.get_rank(), "predicted": timeline.peak, "budget": predicted.budget}
    row["overhead"] = predicted.overhead
    if steps:
        eager = Stages(kind, layers, micro_batches, split, (), **options).train(steps)
        planned = Stages(kind, layers, micro_batches, split, predicted.plans, **options).train(steps)
        row["equal"] = all(same_bits(a, b) for a, b in zip(planned, eager, strict=True))
    run = Stages(kind, layers, micro_batches, split, predicted.plans, **options)
    for _ in range(2):
        run.clear()
        run.batch()
    peaks = []
    for _ in range(REPEATS):
        run.clear()
        dist.barrier()
        measured = measure_rank(
            run.batch,
            run.modules.parameters(),
            buffers=(*run.modules.buffers(), *run.state()),
            inputs=run.held(),
            targets=run.targets,
        )
        peaks.append(measured.peak)
    return row | {"measured": min(peaks), "most": max(peaks), "static": measured.static, "expected": timeline.static}


@dataclass(frozen=True, eq=False)
class _Predicted:
    """The predicted memory of this rank: timeline, budget, recomputation of a micro-batch, and plans for each stage."""

    timeline: Timeline
    budget: int | None
    overhead: float
    plans: tuple[tuple[UnitPlan, ...], ...]


def _predicted(
    kind: str, layers: int, micro_batches: int, share: float | None, split: Sequence[int], **options: Any
) -> _Predicted:
    steps = [stage_of(i, n, layers, micro_batches, kind, split, calibrated=True, **options) for i, n in _numbers(kind)]
    if share is None:  # nothing runs under a plan, so autograd gets every gradient as soon as it is there
        returned = options["return_outputs"]
        again = [
            rv.stage_step(
                s.trace, s.place.stage, s.place.stages, micro_batches, kind=s.place.kind, return_outputs=returned
            )
            for s in steps
        ]
        return _Predicted(_rank_of(again).simulate(), None, 0.0, ())
    rank = _rank_of(steps)
    least, most = rank.curve[-1][1], rank.simulate().peak
    budget = int(least + share * (most - least))
    found = rank.plan(budget)
    plans = found if isinstance(found, tuple) else (found,)
    unit_plans = tuple(step.unit_plans(plan) for step, plan in zip(steps, plans, strict=True))
    return _Predicted(rank.simulate(found), budget, sum(plan.overhead for plan in plans), unit_plans)


def _rank_of(steps: Sequence[rv.StageStep]) -> Any:
    """Return what this rank runs: its stage, or its stages in turn."""
    return rv.pipeline_rank(steps, dist.get_world_size()) if steps[0].place.kind == "interleaved" else steps[0]


def _numbers(kind: str) -> list[tuple[int, int]]:
    """Return the stages of this rank, as pairs of their number and the number of stages."""
    rank, ranks = dist.get_rank(), dist.get_world_size()
    return [(rank, 2 * ranks), (rank + ranks, 2 * ranks)] if kind == "interleaved" else [(rank, ranks)]


class Stages:
    """The training loop of the stages of one rank. ``plans`` has the unit plans of each stage, or is empty."""

    def __init__(
        self,
        kind: str,
        layers: int,
        micro_batches: int,
        split: Sequence[int],
        plans: Sequence[tuple[UnitPlan, ...]],
        return_outputs: bool = True,
        optimizer: bool = False,
    ) -> None:
        from torch.distributed.pipelining import (
            PipelineStage,
            Schedule1F1B,
            ScheduleGPipe,
            ScheduleInterleaved1F1B,
        )

        numbers = _numbers(kind)
        self.return_outputs = return_outputs
        self.modules = nn.ModuleList(part(i, n, layers, split) for i, n in numbers)
        torch.manual_seed(1)
        tokens = torch.randint(0, VOCABULARY, (2 * micro_batches, LENGTH))
        self.inputs = (tokens,) if numbers[0][0] == 0 else ()
        self.targets = (tokens,) if numbers[-1][0] == numbers[-1][1] - 1 else ()
        for module, of_stage in zip(self.modules, plans, strict=False):
            rv.plan_units(module, of_stage)
        pairs = zip(self.modules, numbers, strict=True)
        self.stages: list[Any] = [PipelineStage(module, i, n, torch.device("cpu")) for module, (i, n) in pairs]
        self.schedule: Any
        if kind == "interleaved":
            self.schedule = ScheduleInterleaved1F1B(self.stages, micro_batches, loss_fn=next_token)
        else:
            made = Schedule1F1B if kind == "1f1b" else ScheduleGPipe
            self.schedule = made(self.stages[0], micro_batches, loss_fn=next_token)
        self.optimizers = [_adam(module) for module in self.modules] if optimizer else []
        self.losses: list[Tensor] = []

    def batch(self) -> None:
        """Run the forward and backward passes of one batch, and the optimizers if there are any."""
        options = {"target": self.targets[0], "losses": self.losses} if self.targets else {}
        self.schedule.step(*self.inputs, return_outputs=self.return_outputs, **options)
        for optimizer in self.optimizers:
            optimizer.step()

    def clear(self) -> None:
        """Drop all gradients and losses."""
        self.losses.clear()
        for parameter in self.modules.parameters():
            parameter.grad = None

    def held(self) -> list[Tensor]:
        """Return the inputs of this rank, and the buffers in which it receives values and gradients."""
        received = [
            info for stage in self.stages for info in (*stage.args_recv_info.values(), *stage.grad_recv_info.values())
        ]
        buffers = [getattr(info, "buffer", None) for infos in received for info in infos]
        return [*self.inputs, *(buffer for buffer in buffers if isinstance(buffer, Tensor))]

    def state(self) -> list[Tensor]:
        """Return the state of the optimizers."""
        states = [state for optimizer in self.optimizers for state in optimizer.state.values()]
        return [value for state in states for value in state.values() if isinstance(value, Tensor)]

    def train(self, steps: int) -> list[Tensor]:
        """Train on ``steps`` batches; return all losses, and the parameters and gradients after the last batch."""
        optimizer = torch.optim.SGD(self.modules.parameters(), lr=1e-2, momentum=0.9)
        found = []
        for _ in range(steps):
            self.clear()
            self.batch()
            optimizer.step()
            found += [loss.detach() for loss in self.losses]
        for parameter in self.modules.parameters():
            assert parameter.grad is not None
            found += [parameter.detach().clone(), parameter.grad.clone()]
        return found


if __name__ == "__main__":
    run_cases(figures)
