"""One process of the benchmark: it trains each case with its strategy, and prints the figures as a line of JSON.

    python -m recompviz.benchmarks.ranks.worker '[{"model": "gpt2", "layers": 3, "strategy": "fsdp2", …}, …]'

Rank 0 traces and plans for all ranks, and sends predictions and unit plans to the others.
"""

from __future__ import annotations

import copy
import os
from typing import Any

import torch
import torch.distributed as dist

import recompviz as rv
from recompviz.benchmarks.ranks.case_runner import run_cases
from recompviz.benchmarks.ranks.cases import STRATEGIES, RankCase, case, reshards
from recompviz.core.ranks.unit_plan import UnitPlan, from_text, to_text
from recompviz.core.steps.timeline import Timeline
from recompviz.pytorch.internals.fsdp_tracker import tracked_peak
from recompviz.pytorch.internals.sharded_parameters import local_part
from recompviz.pytorch.internals.tensors import same_bits
from recompviz.pytorch.ranks.measured_rank import measure_rank

WARM_UP = 2
# The measured step is repeated, because a thread of gloo sometimes holds a buffer for a moment longer than needed. The
# least of the runs counts.
REPEATS = 3
# a part of the label of a block → what it is
KINDS = {
    "(gathered)": "gathered parameters",
    "all-gather": "buffers of collectives",
    "reduce-scatter": "buffers of collectives",
    "this rank's part": "reduced gradients",
}


def figures(
    model: str, strategy: str, layers: int = 3, share: float | None = None, steps: int = 0, tracker: bool = False
) -> dict[str, Any]:
    """Return the row of this rank.

    Parameters
    ----------
    model, strategy : str
        A name of :func:`recompviz.benchmarks.ranks.cases.case` and of ``STRATEGIES``.
    layers : int
    share : float, optional
        Where the budget of the plan lies: 0 for the least total, 1 for the total without recomputation. If None, the
        model runs eagerly.
    steps : int
        The number of training steps whose results are compared with an eager run; 0 for no comparison.
    tracker : bool
        Whether the row has the peak that PyTorch's ``FSDPMemTracker`` counts.
    """
    rank, world = dist.get_rank(), dist.get_world_size()
    shards, replicas = STRATEGIES[strategy](world)
    made = case(model, layers, rank)
    sent: list[Any] = [None]
    if rank == 0:
        sent = [_predictions(made, strategy, shards, replicas, world, share)]
    dist.broadcast_object_list(sent)
    predicted = sent[0][rank]
    plans = from_text(predicted["plans"]) if predicted["plans"] else ()
    row: dict[str, Any] = {"rank": rank, "predicted": predicted["peak"], "budget": predicted["budget"]}
    row["at_peak"] = predicted["at_peak"]
    row["overhead"] = predicted["overhead"]
    if steps:
        eager = train(copy.deepcopy(made), strategy, (), steps)
        row["equal"] = _equal(train(copy.deepcopy(made), strategy, plans, steps), eager)
    run = Rank(made, strategy, plans)
    for _ in range(WARM_UP):
        run.step()
    timelines = []
    for _ in range(REPEATS):
        run.clear()
        dist.barrier()
        timelines.append(run.measured())
    peaks = [timeline.peak for timeline in timelines]
    row |= {"measured": min(peaks), "most": max(peaks), "static": timelines[0].static}
    row["runs"] = [chooser.runs for chooser in run.choosers]
    if tracker and not strategy.startswith("ddp"):
        run.clear()
        row["tracker"] = tracked_peak(run.model, run.forward_backward, (made.inputs, made.targets))
    return row


def _predictions(
    made: RankCase, strategy: str, shards: int, replicas: int, world: int, share: float | None
) -> list[dict[str, Any]]:
    """Return the prediction of each rank, made from one trace."""
    model, stored = made.model, None
    if "bfloat16" in strategy:
        model, stored = copy.deepcopy(model).to(torch.bfloat16), torch.float32
    trace = rv.calibrate(rv.trace(model, *made.inputs, targets=made.targets, loss=made.loss))
    found: dict[int, dict[str, Any]] = {}
    rows = []
    plan = None
    for rank in range(world):
        part = rank % shards
        if part not in found:
            if strategy.startswith("ddp"):
                step = rv.replicate_step(trace, units=made.units, bucket_view="views" in strategy)
            else:
                flags = reshards(strategy, len(list(made.model.get_submodule(made.blocks).children())))
                reshard = {unit: flag for i, flag in enumerate(flags) for unit in made.block_units(i)}
                step = rv.shard_step(
                    trace, shards, made.units,
                    replicas=replicas, reshard=reshard, rank=part, stored=stored, reduced=stored,
                )  # fmt: skip
            budget = None
            if share is not None and plan is None:
                table = step.planner.plans("live")
                least, most = int(min(table.total_peaks)), step.simulate().peak
                budget = int(least + share * (most - least))
                plan = step.plan(budget)
            timeline = step.simulate(plan)
            found[part] = {
                "peak": timeline.peak,
                "budget": budget,
                "plans": "" if plan is None else to_text(step.unit_plans(plan)),
                "overhead": 0.0 if plan is None else plan.overhead,
                "at_peak": predicted_blocks(timeline),
            }
        rows.append(found[part])
    return rows


class Rank:
    """The model of one rank, wrapped by a strategy. Its methods run single forward and backward passes.

    Parameters
    ----------
    made : RankCase
    strategy : str
        A name in ``STRATEGIES``.
    plans : sequence of UnitPlan
        Empty for an eager run.
    """

    def __init__(self, made: RankCase, strategy: str, plans: tuple[UnitPlan, ...]) -> None:
        self.made, self.strategy = made, strategy
        self.model: Any = made.model
        self.choosers = rv.plan_units(self.model, plans).choosers if plans else ()
        self.called = wrapped(made, strategy)

    def forward_backward(self) -> torch.Tensor:
        """Run one forward and backward pass, and return the loss."""
        loss = self.made.loss(self.called(*self.made.inputs), *self.made.targets)
        loss.backward()
        return loss

    def step(self) -> torch.Tensor:
        """Drop all gradients, then run one forward and backward pass; return the loss."""
        self.clear()
        return self.forward_backward()

    def clear(self) -> None:
        """Drop all gradients."""
        for parameter in self.model.parameters():
            parameter.grad = None

    def measured(self) -> Timeline:
        """Measure one step of this rank. All ranks must call this method together."""
        held = list(self.model.buffers())
        if self.strategy.startswith("ddp"):  # the buckets, which DDP does not show
            held.append(
                torch.empty(sum(p.nbytes for p in self.model.parameters() if p.requires_grad), dtype=torch.uint8)
            )
        return measure_rank(
            self.forward_backward,
            self.model.parameters(),
            buffers=held,
            inputs=self.made.inputs,
            targets=self.made.targets,
        )


def wrapped(made: RankCase, strategy: str) -> Any:
    """Return the model of a case, wrapped as the strategy says."""
    model: Any = made.model
    if strategy.startswith("ddp"):
        return torch.nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view="views" in strategy)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    world = dist.get_world_size()
    shards, replicas = STRATEGIES[strategy](world)
    shape, names = ((shards,), ("shard",)) if replicas == 1 else ((replicas, shards), ("replicate", "shard"))
    mesh = init_device_mesh("cpu", shape, mesh_dim_names=names)
    options: dict[str, Any] = {"mesh": mesh}
    if "bfloat16" in strategy:
        options["mp_policy"] = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    for i, reshard in enumerate(reshards(strategy, len(model.get_submodule(made.blocks)))):
        for unit in made.block_units(i):
            fully_shard(model.get_submodule(unit), reshard_after_forward=reshard, **options)
    return fully_shard(model, **options)


def train(made: RankCase, strategy: str, plans: tuple[UnitPlan, ...], steps: int) -> list[torch.Tensor]:
    """Train some steps; return the losses, and this rank's part of the gradients and parameters at the end."""
    run = Rank(made, strategy, plans)
    torch.manual_seed(2 + dist.get_rank())  # for dropout
    optimizer = torch.optim.SGD(run.model.parameters(), lr=1e-2, momentum=0.9)
    found = []
    for _ in range(steps):
        found.append(run.step().detach())
        optimizer.step()
    for parameter in run.model.parameters():
        found += [local_part(parameter).detach().clone(), local_part(parameter.grad).clone()]
    return found


def predicted_blocks(timeline: Timeline) -> dict[str, int]:
    """Return the predicted bytes at the peak by kind of memory, such as ``"static"`` or ``"values and gradients"``."""
    found = {"static": timeline.static}
    for block in timeline.at_peak():
        kind = next((kind for part, kind in KINDS.items() if part in block.label), "values and gradients")
        found[kind] = found.get(kind, 0) + block.size
    return found


def _equal(mine: list[torch.Tensor], theirs: list[torch.Tensor]) -> bool:
    return len(mine) == len(theirs) and all(same_bits(a, b) for a, b in zip(mine, theirs, strict=True))


if __name__ == "__main__":
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    run_cases(figures)
