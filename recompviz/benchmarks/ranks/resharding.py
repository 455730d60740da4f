"""Keep parameters gathered or gather them again: the trade-off on one rank of FSDP2, predicted from one process.

    python -m recompviz.benchmarks.ranks.resharding            # 12 blocks, 8 shards; under a minute
    python -m recompviz.benchmarks.ranks.resharding --measure  # also measures some points in two processes

The rows are both ends (reshard always and never), two common choices between them (keep every second block gathered,
keep the last half of the blocks gathered), and the points of the curve, which also recompute. *time* is the time of the
second all-gathers and of recomputation, in milliseconds, as if nothing overlapped. *beside the curve* names, for an end
or a common choice, the fastest point of the curve that needs no more memory.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

import recompviz as rv
from recompviz.benchmarks.ranks.cases import case
from recompviz.benchmarks.ranks.processes import run_ranks
from recompviz.core.plans.plan import Plan
from recompviz.core.ranks.resharding import GatherTime, ReshardPoint, reshard_point
from recompviz.pytorch.ranks.rank_step import RankStep

# an all-gather of 20 µs and 10 GB/s, in milliseconds
GATHER = GatherTime(latency=0.02, bandwidth=1e7)
MEASURED = ("fsdp2", "fsdp2, every second gathered", "fsdp2, last half gathered", "fsdp2, no resharding")


def fixed_points(step: RankStep, gather: GatherTime = GATHER) -> dict[str, ReshardPoint]:
    """Return the points of common choices, which recompute nothing."""
    assert step.sharding is not None
    assert step.alone is not None
    names = [unit.name for unit in step.sharding.units[1:]]
    choices = {
        "reshard always": [],
        "reshard never": names,
        "every second gathered": names[1::2],
        "last half gathered": names[len(names) - len(names) // 2 :],
    }
    keep_all = Plan.keep_all(step.graph)
    return {
        text: reshard_point(step.graph, step.alone, step.sharding, kept, keep_all, gather)
        for text, kept in choices.items()
    }


def beside(point: ReshardPoint, curve: Sequence[ReshardPoint]) -> str:
    """Return whether a point lies on the curve, or which point of the curve is better: no more memory, less time."""
    best = min((other for other in curve if other.peak <= point.peak), key=lambda other: other.time, default=None)
    if best is None or best.time > point.time:
        return "better than the curve"
    if (best.time, best.peak) == (point.time, point.peak):
        return "a point of it"
    return f"{len(best.kept)} gathered: {best.time - point.time:+.3f} ms, {best.peak - point.peak:+,} bytes"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m recompviz.benchmarks.ranks.resharding",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", nargs="?", default="gpt2", choices=["gpt2", "llama", "vit"])
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--measure", action="store_true", help="measure four choices in two processes")
    options = parser.parse_args(arguments)
    made = case(options.model, options.layers)
    trace = rv.trace(made.model, *made.inputs, targets=made.targets, loss=made.loss)
    step = rv.shard_step(trace, options.shards, [made.units])
    print("| choice | gathered | second all-gathers | recomputation | time | peak | beside the curve |")
    print("|---|---|---|---|---|---|---|")
    curve = step.reshard_curve(GATHER.latency, GATHER.bandwidth)
    points = [*fixed_points(step).items(), *(("on the curve", point) for point in curve)]
    for text, point in points:
        cells = [text, len(point.kept), f"{point.gathering:.3f}", f"{point.overhead:.3f}", f"{point.time:.3f}"]
        place = "" if point in curve else beside(point, curve)
        print(f"| {' | '.join(map(str, cells))} | {point.peak:,} | {place} |")
    if options.measure:
        cases = [{"model": options.model, "layers": options.layers, "strategy": name} for name in MEASURED]
        print("\n| strategy, two processes | rank | predicted | measured |\n|---|---|---|---|")
        for result in run_ranks("recompviz.benchmarks.ranks.worker", [json.dumps(cases)], 2, 600):
            for case_, row in zip(cases, result["rows"], strict=True):
                print(f"| {case_['strategy']} | {row['rank']} | {row['predicted']:,} | {row['measured']:,} |")


if __name__ == "__main__":
    main()
