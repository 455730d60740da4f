"""Compare live plans (found by the search in simulated bytes) with plans by the formula, and with the optimum.

For each network there is a table of live plans, from least overhead to least peak, and of the plans by the formula with
the lowest simulated peak. The columns are the overhead, and the simulated and measured total peak in bytes. The lines
below the table say whether the measured peaks fall along the curve. They also give the lowest measured peaks, and the
overheads of both kinds of plans at the same budgets. The last table compares the search with the best of all keep
masks, on training steps that are small enough to try every mask. A keep mask says which values a plan keeps.

    python -m recompviz.benchmarks.liveness                    # resnet50, googlenet, vgg19 at batch 8
    python -m recompviz.benchmarks.liveness --networks unet --batch 1 --rows 5
"""

from __future__ import annotations

import argparse
import itertools
import platform
import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

import recompviz as rv
from recompviz import networks
from recompviz.benchmarks.side_by_side import device_name
from recompviz.core.base.units import format_bytes
from recompviz.core.exact.solver import solve
from recompviz.core.live.live_search import live_plans
from recompviz.core.live.model import LiveModel
from recompviz.core.plans.plan_table import PlanTable


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, run the benchmark and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="*", default=["resnet50", "googlenet", "vgg19"])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rows", type=int, default=8, help="number of plans measured along each curve")
    options = parser.parse_args(arguments)
    print(f"{device_name(options.device)}, torch {torch.__version__}, Python {platform.python_version()}")
    for name in options.networks:
        along_the_curve(networks.example(name, batch=options.batch, device=options.device), options.rows)
    against_all_masks()


def along_the_curve(step: networks.Example, rows: int) -> None:
    """Print the table of one network, with at most ``rows`` live plans."""
    trace = rv.calibrate(rv.trace(step.model, *step.inputs, targets=step.targets, loss=step.loss, costs="paper"))
    formula = [trace.plans("time"), trace.plans("memory")]
    start = time.perf_counter()
    live = trace.plans("live")
    seconds = time.perf_counter() - start
    print(f"\n{step.name}, batch {len(step.inputs[0])}: {trace.graph}, {len(live)} plans found in {seconds:.1f} s")
    print(f"{'curve':>8} {'overhead':>9} {'simulated total':>16} {'measured total':>15} {'off':>7} {'step':>7}")

    def measured(table: PlanTable, row: int) -> int:
        planned = rv.apply(trace, table.plans[row])
        timeline = rv.measure(planned, *step.inputs, targets=step.targets)
        simulated = int(table.total_peaks[row])
        print(
            f"{table.objective:>8} {table.plans[row].overhead:>9g} {simulated:>16,} {timeline.peak:>15,} "
            f"{timeline.peak / simulated - 1:>7.2%} {timeline.seconds or 0:>5.2f} s",
            flush=True,
        )
        return timeline.peak

    front = np.unique(np.linspace(0, len(live) - 1, rows).round().astype(int)).tolist()
    peaks = [measured(live, row) for row in front]
    lowest = [measured(table, int(table.total_peaks.argmin())) for table in formula]
    falls = all(a > b for a, b in itertools.pairwise(peaks))
    print(f"measured peaks {'fall' if falls else 'DO NOT FALL'} along the curve; lowest measured: live "
          f"{format_bytes(min(peaks))}, by the formula {format_bytes(min(lowest))}")  # fmt: skip
    print("budget → overhead of the calls that really run twice (time-centric formula | live):")
    model = LiveModel(trace.graph, trace.joint)
    for budget in np.linspace(live.least_total, int(live.total_peaks.max()), 6).astype(int).tolist():
        by_formula = [
            _real_overhead(model, formula[0], row) for row in np.flatnonzero(formula[0].total_peaks <= budget).tolist()
        ]
        best = f"{min(by_formula):g}" if by_formula else "infeasible"
        print(f"  {format_bytes(budget):>10}: {best:>10} | {live.plan(budget).overhead:g}")


def _real_overhead(model: LiveModel, table: PlanTable, row: int) -> float:
    """Return the cost T of the calls that run twice. Discarded values that no backward call reads are not counted."""
    return model.simulate(table.plans[row].keep_mask).overhead


# -------------------------------------------------------------------- comparison with all keep masks


def against_all_masks() -> None:
    """Print a comparison of the search with the best of all keep masks, on small training steps."""
    print("\ncompared with all 2^#V keep masks (budgets: the peaks of the true Pareto front)")
    print(f"{'step':>24} {'#V':>4} {'budgets':>8} {'hit':>4} {'worst: overhead found, and least':>36}")
    for name, model, x in small_steps():
        targets = torch.randint(0, 3, (len(x),))
        trace = rv.trace(model, x, targets=(targets,), loss=torch.nn.functional.cross_entropy, costs="paper")
        truth = every_mask(LiveModel(trace.graph, trace.joint))
        curve = solve(trace.graph)
        seeds = [*curve.plans("time"), *curve.plans("memory")]
        probe = LiveModel(trace.graph, trace.joint)
        found = [(probe.peak(plan.keep_mask), plan.overhead) for plan in live_plans(trace.graph, trace.joint, seeds)]
        answers = [(min((o for p, o in found if p <= budget), default=float("inf")), least) for budget, least in truth]
        hits = sum(answer == least for answer, least in answers)
        worst = max(answers, key=lambda pair: (pair[0] - pair[1], pair[0]))
        print(f"{name:>24} {len(trace.graph):>4} {len(truth):>8} {hits:>4} {worst[0]:>24g}, and {worst[1]:g}")


def every_mask(model: LiveModel) -> list[tuple[int, float]]:
    """Return the Pareto front of all keep masks of a training step.

    Returns
    -------
    list of (int, float)
        Pairs (peak in bytes, overhead), by rising overhead and falling peak.
    """
    n = len(model.graph)
    least: dict[float, int] = {}
    for bits in range(1 << n):
        kept = (bits >> np.arange(n) & 1).astype(np.bool_)
        run = model.simulate(kept)
        if np.array_equal(run.recomputed, ~kept):  # otherwise, a larger mask has the same result
            least[run.overhead] = min(run.peak, least.get(run.overhead, run.peak))
    front: list[tuple[int, float]] = []
    for overhead in sorted(least):
        if not front or least[overhead] < front[-1][0]:
            front.append((least[overhead], overhead))
    return front


class _Residual(nn.Module):
    """A network of three residual blocks, each with a convolution, a batch norm and an activation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.GELU()) for _ in range(3)
        )
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        logits: torch.Tensor = self.head(x.mean((2, 3)))
        return logits


def small_steps() -> list[tuple[str, nn.Module, torch.Tensor]]:
    """Return a list of (name, model, input) whose training steps have at most 17 nodes."""
    torch.manual_seed(0)
    images = torch.randn(2, 3, 16, 16)

    def convolutions(*widths: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for before, width in zip((3, *widths), widths, strict=False):
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 3))

    perceptron: list[nn.Module] = []
    for before, width in zip((64, 32, 128, 16, 64, 8), (32, 128, 16, 64, 8, 3), strict=True):
        perceptron += [nn.Linear(before, width), nn.GELU()]
    return [
        ("three convolutions", convolutions(8, 16, 8), images),
        ("four convolutions", convolutions(4, 16, 32, 16), images),
        ("perceptron", nn.Sequential(*perceptron), torch.randn(64, 64)),
        ("residual", _Residual(), images),
    ]


if __name__ == "__main__":
    main()
