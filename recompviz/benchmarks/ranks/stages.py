"""The stages of a pipeline: a GPT-2 divided by its blocks, one process for each stage, as a program of one process.

    python -m recompviz.benchmarks.ranks.stages '[{"kind": "1f1b", "layers": 8, "micro_batches": 8}]'

It prints the figures of this stage as a line of JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

import recompviz as rv
from recompviz.benchmarks.ranks.case_runner import run_cases
from recompviz.core.ranks.unit_plan import UnitPlan
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
        """Map tokens or the values of the part before to values or logits."""
        if self.first:
            x = self.wte(x) + self.wpe(torch.arange(x.shape[1]))
        for block in self.h:
            x = block(x)
        if self.last:
            x = self.lm_head(self.ln_f(x))
        return x


def part(stage: int, stages: int, layers: int, split: Sequence[int] = ()) -> Part:
    """Return a stage of the model; ``split`` has the number of blocks of each stage, about equal ones by default."""
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
) -> rv.StageStep:
    """Return the predicted step of a stage; ``batch`` is the number of sequences of a micro-batch."""
    module = part(stage, stages, layers, split)
    tokens = torch.randint(0, VOCABULARY, (batch, LENGTH))
    given = tokens if stage == 0 else torch.randn(batch, LENGTH, WIDTH, requires_grad=True)
    targets, loss = ((tokens,), next_token) if stage == stages - 1 else ((), None)
    trace = rv.trace(module, given, targets=targets, loss=loss)
    return rv.stage_step(rv.calibrate(trace) if calibrated else trace, stage, stages, micro_batches, ["h.*"], kind=kind)


def figures(
    kind: str, layers: int, micro_batches: int, share: float | None = None, steps: int = 0, split: Sequence[int] = ()
) -> dict[str, Any]:
    """Train the stage of this process, and return one row: predicted and measured peak, budget and recomputation.

    Parameters
    ----------
    kind : "1f1b" or "gpipe"
    layers, micro_batches : int
    share : float, optional
        Where the budget of the plan lies: 0 for the least peak, 1 for the peak without recomputation. If left out, the
        stage runs as written.
    steps : int
        The number of batches to train on, with and without the plan. All losses are compared, and the parameters and
        gradients after the last batch. With 0, nothing is compared.
    split : sequence of int
        The number of blocks of each stage.
    """
    stage, stages = dist.get_rank(), dist.get_world_size()
    step = stage_of(stage, stages, layers, micro_batches, kind, split, calibrated=True)
    plan, budget = None, None
    if share is not None:
        least, most = step.curve[-1][1], step.simulate().peak
        budget = int(least + share * (most - least))
        plan = step.plan(budget)
    unit_plans = () if plan is None else step.unit_plans(plan)
    if plan is None:  # nothing runs under a plan, so autograd gets every gradient as soon as it is there
        step = rv.stage_step(step.trace, stage, stages, micro_batches, kind=step.place.kind)
    timeline = step.simulate(plan)
    row: dict[str, Any] = {"rank": stage, "predicted": timeline.peak, "budget": budget}
    row["overhead"] = 0.0 if plan is None else plan.overhead
    if steps:
        eager = Stage(kind, layers, micro_batches, split, ()).train(steps)
        planned = Stage(kind, layers, micro_batches, split, unit_plans).train(steps)
        row["equal"] = all(same_bits(a, b) for a, b in zip(planned, eager, strict=True))
    run = Stage(kind, layers, micro_batches, split, unit_plans)
    for _ in range(2):
        run.clear()
        run.batch()
    peaks = []
    for _ in range(REPEATS):
        run.clear()
        dist.barrier()
        measured = measure_rank(
            run.batch, run.module.parameters(), buffers=run.module.buffers(), inputs=run.held(), targets=run.targets
        )
        peaks.append(measured.peak)
    return row | {"measured": min(peaks), "most": max(peaks), "static": measured.static, "expected": timeline.static}


class Stage:
    """The training loop of one stage."""

    def __init__(
        self, kind: str, layers: int, micro_batches: int, split: Sequence[int], plans: tuple[UnitPlan, ...]
    ) -> None:
        from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe

        stage, stages = dist.get_rank(), dist.get_world_size()
        self.module = part(stage, stages, layers, split)
        torch.manual_seed(1)
        tokens = torch.randint(0, VOCABULARY, (2 * micro_batches, LENGTH))
        self.inputs = (tokens,) if stage == 0 else ()
        self.targets = (tokens,) if stage == stages - 1 else ()
        if plans:
            rv.plan_units(self.module, plans)
        self.stage: Any = PipelineStage(self.module, stage, stages, torch.device("cpu"))
        made = Schedule1F1B if kind == "1f1b" else ScheduleGPipe
        self.schedule: Any = made(self.stage, micro_batches, loss_fn=next_token)
        self.losses: list[Tensor] = []

    def batch(self) -> None:
        """Run the forward and backward passes of one batch."""
        options = {"target": self.targets[0], "losses": self.losses} if self.targets else {}
        self.schedule.step(*self.inputs, return_outputs=False, **options)

    def clear(self) -> None:
        """Drop all gradients and losses."""
        self.losses.clear()
        for parameter in self.module.parameters():
            parameter.grad = None

    def held(self) -> list[Tensor]:
        """Return the inputs of this stage, and the buffers in which it receives."""
        received = [*self.stage.args_recv_info.values(), *self.stage.grad_recv_info.values()]
        buffers = [getattr(info, "buffer", None) for infos in received for info in infos]
        return [*self.inputs, *(buffer for buffer in buffers if isinstance(buffer, Tensor))]

    def train(self, steps: int) -> list[Tensor]:
        """Train on ``steps`` batches; return all losses, and the parameters and gradients after the last batch."""
        optimizer = torch.optim.SGD(self.module.parameters(), lr=1e-2, momentum=0.9)
        found = []
        for _ in range(steps):
            self.clear()
            self.batch()
            optimizer.step()
            found += [loss.detach() for loss in self.losses]
        for parameter in self.module.parameters():
            assert parameter.grad is not None
            found += [parameter.detach().clone(), parameter.grad.clone()]
        return found


if __name__ == "__main__":
    run_cases(figures)
