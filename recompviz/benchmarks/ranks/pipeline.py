"""Predicted and measured peak of each stage of a pipeline, with a plan for each stage or one rule for all.

    python -m recompviz.benchmarks.ranks.pipeline             # plans for GPT-2 in four stages; no processes
    python -m recompviz.benchmarks.ranks.pipeline --measure   # also two and four processes

The first table compares no recomputation, one policy for all stages, and a plan for each stage. The budget of a stage
is the least at which the ratio of the largest to the smallest stage peak can be near 1. It is the larger of two sizes:
the smallest peak of a stage without recomputation, and the largest of the least peaks of the stages. *one policy*:
every stage recomputes by the same rule: checkpoints of all blocks, or PyTorch's memory budget at one of ten ratios. The
table has the rule of least recomputation with which all stages fit the budget. If no rule fits, it has the rule of
least peak. Recomputation is in estimated milliseconds for one micro-batch, summed over the stages. The step of the
schedule returns no outputs in this table.

The second table has predicted and measured peaks. With *outputs returned*, ``schedule.step`` is called without
``return_outputs=False``, so it returns the outputs of the last stage.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import recompviz as rv
from recompviz.benchmarks.ranks.processes import run_ranks
from recompviz.benchmarks.ranks.stages import stage_of
from recompviz.core.base.errors import RecompvizError
from recompviz.core.plans.plan import Plan
from recompviz.core.ranks.splits import best_split

RATIOS = tuple(round(0.1 * i, 1) for i in range(10))
# with return_outputs=True, PyTorch's default, the schedule's step returns the outputs of the last stage
MEASURED: list[dict[str, Any]] = [
    {"kind": "1f1b", "layers": 8, "micro_batches": 8, "return_outputs": True},
    {"kind": "1f1b", "layers": 8, "micro_batches": 8, "return_outputs": True, "share": 0.3, "steps": 10},
    {"kind": "1f1b", "layers": 8, "micro_batches": 8, "return_outputs": False},
    {"kind": "1f1b", "layers": 8, "micro_batches": 8, "return_outputs": False, "share": 0.3, "steps": 10},
    {"kind": "gpipe", "layers": 8, "micro_batches": 4, "return_outputs": True},
    {"kind": "gpipe", "layers": 8, "micro_batches": 4, "return_outputs": True, "share": 0.0, "optimizer": True},
    {"kind": "interleaved", "layers": 8, "micro_batches": 4, "return_outputs": True},
    {"kind": "interleaved", "layers": 8, "micro_batches": 4, "return_outputs": False, "share": 0.3},
]


@dataclass(frozen=True, eq=False)
class Policy:
    """A way to choose a plan for each stage, with its peaks and overhead.

    Attributes
    ----------
    name : str
    peaks : tuple of int
        The peak of each stage in total bytes.
    overhead : float
        The recomputation for one micro-batch, summed over the stages, in milliseconds.
    """

    name: str
    peaks: tuple[int, ...]
    overhead: float

    @property
    def ratio(self) -> float:
        """The largest stage peak divided by the smallest."""
        return max(self.peaks) / min(self.peaks)


def policy(name: str, stages: Sequence[rv.StageStep], plans: Sequence[Plan]) -> Policy:
    """Return the policy that gives each stage its plan."""
    peaks = tuple(stage.simulate(plan).peak for stage, plan in zip(stages, plans, strict=True))
    return Policy(name, peaks, sum(plan.overhead for plan in plans))


def uniform_policies(stages: Sequence[rv.StageStep]) -> list[Policy]:
    """Return the policies that use the same rule for all stages, by rising recomputation."""
    found = []
    for name in ("keep-all", "per-module", *(f"min-cut {ratio}" for ratio in RATIOS)):
        try:
            plans = [stage.trace.baseline(name) for stage in stages]
        except RecompvizError:
            continue
        found.append(policy(name, stages, plans))
    return sorted(found, key=lambda row: row.overhead)


def compared(stages: Sequence[rv.StageStep]) -> list[Policy]:
    """Return three policies: keep-all, the best rule for all stages, and a plan for each stage."""
    uniform = uniform_policies(stages)
    keep_all = next(row for row in uniform if row.name == "keep-all")
    budget = max(min(keep_all.peaks), *(stage.curve[-1][1] for stage in stages))
    fitting = [row for row in uniform if max(row.peaks) <= budget]
    own = policy("plans per stage", stages, [stage.plan(budget) for stage in stages])
    least = min(uniform, key=lambda row: max(row.peaks))
    one = fitting[0] if fitting else least
    text = f"one policy: {one.name}" if fitting else f"one policy of least peak ({one.name}); none fits the budget"
    return [keep_all, Policy(text, one.peaks, one.overhead), own]


def split_text(layers: int, count: int, micro_batches: int, even: Sequence[rv.StageStep]) -> str:
    """Return a sentence: how to divide the blocks among the stages so that the slowest stage takes the least time.

    ``even`` has the stages of the even division.
    """
    budget = max(min(stage.simulate().peak for stage in even), *(stage.curve[-1][1] for stage in even))
    usual = layers // count
    costs: list[dict[int, float]] = []
    for stage in range(count):
        costs.append({})
        for blocks in range(max(1, usual - 1), usual + 2):
            split = [1] * count
            split[stage] = blocks
            step = even[stage] if blocks == usual else stage_of(stage, count, sum(split), micro_batches, split=split)
            with contextlib.suppress(rv.InfeasibleBudget):  # a stage of so many blocks has no cost, and is not chosen
                costs[stage][blocks] = 3 * float(step.graph.time.sum()) + step.plan(budget).overhead
    best = best_split(layers, costs)
    if best is None:
        return f"no division of {layers} blocks fits {budget:,} bytes on each rank"
    slowest = [max(cost[n] for cost, n in zip(costs, split, strict=True)) for split in (best, [usual] * count)]
    return (
        f"at {budget:,} bytes on each rank, blocks divided as {', '.join(map(str, best))}: the slowest stage takes "
        f"{slowest[0]:.3f} ms for a micro-batch (estimated), divided evenly {slowest[1]:.3f} ms"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m recompviz.benchmarks.ranks.pipeline",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--stages", type=int, default=4)
    parser.add_argument("--micro-batches", type=int, default=8)
    parser.add_argument("--measure", action="store_true", help="also measure, in two and four processes")
    options = parser.parse_args(arguments)
    stages = [stage_of(stage, options.stages, options.layers, options.micro_batches) for stage in range(options.stages)]
    print("| policy | peak of each stage | largest / smallest | recomputation, ms |\n|---|---|---|---|")
    for row in compared(stages):
        peaks = ", ".join(f"{peak:,}" for peak in row.peaks)
        print(f"| {row.name} | {peaks} | {row.ratio:.3f} | {row.overhead:.3f} |", flush=True)
    print()
    print(split_text(options.layers, options.stages, options.micro_batches, stages))
    if options.measure:
        print("\n| schedule | ranks | rank | outputs | optimizer | plan | predicted | measured | gap | most | equal |")
        print("|---|---|---|---|---|---|---|---|---|---|---|")
        for world in (2, 4):
            for result in run_ranks("recompviz.benchmarks.ranks.stages", [json.dumps(MEASURED)], world, 900):
                for case, row in zip(MEASURED, result["rows"], strict=True):
                    cells = [
                        case["kind"], world, row["rank"], "returned" if case["return_outputs"] else "not returned",
                        "AdamW" if case.get("optimizer") else "none",
                        f"{case['share']:.0%}" if "share" in case else "none",
                        f"{row['predicted']:,}", f"{row['measured']:,}",
                        f"{(row['measured'] - row['predicted']) / row['measured']:+.3%}", f"{row['most']:,}",
                        {True: "yes", False: "NO", None: "—"}[row.get("equal")],
                    ]  # fmt: skip
                    print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    main()
