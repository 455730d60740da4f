"""Predict a trade-off on one rank of FSDP2: to keep parameters gathered, or to gather them again.

    python -m recompviz.benchmarks.ranks.resharding             # GPT-2, attention and MLP of 12 blocks, 8 shards
    python -m recompviz.benchmarks.ranks.resharding vit         # also gpt2 and llama: whole blocks are units
    python -m recompviz.benchmarks.ranks.resharding --measure   # also measures some points in two processes

The rows are both ends (reshard always and never), two common choices between them (keep every second block gathered,
keep the last half of the blocks gathered), and the points of the curve, which also recompute. *time* is the time of the
second all-gathers and of recomputation, in milliseconds, as if nothing overlapped. *beside the curve* compares an end
or a common choice with the curve: it names the fastest point of the curve that needs no more memory and no more time.
The last line says which ends are points of the curve, and which point is better than the choice to keep every second
block gathered.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

import recompviz as rv
from recompviz.benchmarks.ranks.cases import RankCase, case
from recompviz.benchmarks.ranks.processes import run_ranks
from recompviz.core.plans.plan import Plan
from recompviz.core.ranks.resharding import GatherTime, ReshardPoint, reshard_point
from recompviz.pytorch.ranks.rank_step import RankStep

# an all-gather of 20 µs and 10 GB/s, in milliseconds
GATHER = GatherTime(latency=0.02, bandwidth=1e7)
MEASURED = ("fsdp2", "fsdp2, every second gathered", "fsdp2, last half gathered", "fsdp2, no resharding")
POINT = "a point of it"


def fixed_points(step: RankStep, made: RankCase, gather: GatherTime = GATHER) -> dict[str, ReshardPoint]:
    """Return the points of the common choices by name. ``gather`` is the time of an all-gather."""
    assert step.sharding is not None
    assert step.alone is not None
    count = len(list(made.model.get_submodule(made.blocks).children()))
    choices = {
        "reshard always": range(0),
        "reshard never": range(count),
        "every second block gathered": range(1, count, 2),
        "last half gathered": range(count - count // 2, count),
    }
    keep_all = Plan.keep_all(step.graph)
    return {
        text: reshard_point(
            step.graph, step.alone, step.sharding, [u for i in blocks for u in made.block_units(i)], keep_all, gather
        )
        for text, blocks in choices.items()
    }


def beside(point: ReshardPoint, curve: Sequence[ReshardPoint]) -> str:
    """Return as text how a point compares with a curve."""
    best = min((other for other in curve if other.peak <= point.peak), key=lambda other: other.time, default=None)
    if best is None or best.time > point.time:
        return "better than the curve"
    if (best.time, best.peak) == (point.time, point.peak):
        return POINT
    return f"{len(best.kept)} gathered: {best.time - point.time:+.3f} ms, {best.peak - point.peak:+,} bytes"


def summary(points: dict[str, ReshardPoint], curve: Sequence[ReshardPoint]) -> str:
    """Return the last line of the output."""
    places = {text: beside(point, curve) for text, point in points.items()}
    ends = [f"{text}: {'' if places[text] == POINT else 'dominated, '}{places[text]}" for text in list(points)[:2]]
    second = places["every second block gathered"]
    middle = "nothing is better, it is a point" if second == POINT else second
    return f"{'; '.join(ends)}; instead of every second block: {middle}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m recompviz.benchmarks.ranks.resharding",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", nargs="?", default="gpt2-parts", choices=["gpt2", "gpt2-parts", "llama", "vit"])
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--measure", action="store_true", help="measure four choices in two processes")
    options = parser.parse_args(arguments)
    made = case(options.model, options.layers)
    trace = rv.trace(made.model, *made.inputs, targets=made.targets, loss=made.loss)
    step = rv.shard_step(trace, options.shards, made.units)
    print("| choice | units gathered | second all-gathers | recomputation | time | peak | beside the curve |")
    print("|---|---|---|---|---|---|---|")
    curve = step.reshard_curve(GATHER.latency, GATHER.bandwidth)
    fixed = fixed_points(step, made)
    for text, point in [*fixed.items(), *(("on the curve", point) for point in curve)]:
        cells = [text, len(point.kept), f"{point.gathering:.3f}", f"{point.overhead:.3f}", f"{point.time:.3f}"]
        place = "" if point in curve else beside(point, curve)
        print(f"| {' | '.join(map(str, cells))} | {point.peak:,} | {place} |")
    print(f"\n{summary(fixed, curve)}")
    if options.measure:
        cases = [{"model": options.model, "layers": options.layers, "strategy": name} for name in MEASURED]
        print("\n| strategy, two processes | rank | predicted | measured |\n|---|---|---|---|")
        for result in run_ranks("recompviz.benchmarks.ranks.worker", [json.dumps(cases)], 2, 600):
            for case_, row in zip(cases, result["rows"], strict=True):
                print(f"| {case_['strategy']} | {row['rank']} | {row['predicted']:,} | {row['measured']:,} |")


if __name__ == "__main__":
    main()
