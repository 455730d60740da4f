"""Compare the overhead of live plans with proven lower bounds, and both with the optimum on small training steps.

Part 1, small random steps: all keep masks are simulated. There is a row for each of three cost models. It has the share
of budgets at which the search finds the optimum, and the largest excess of the search over the optimum. It also has the
number of budgets at which a bound is above the optimum (an error). The last four columns have the mean distance of the
two bounds *any* and *once* (see part 2) below the optimum, from linear and from integer programs. Excess and distance
are shares of the forward pass. The budgets are the peaks of the Pareto front of all keep masks.

Part 2, networks: the gap (plan − bound) / forward at nine budgets from the least peak of the plans to keep-all. *any*
is the bound for all strategies that keep the traced order, and *once* the bound for plans, which run each call at most
once more, just in time. Rows named *linear* use linear programs alone. Rows named *integer* also use an integer
program for each budget. The last columns are the least peak of the plans, the least peak that the bound allows, and the
processor time of the bounds.

With ``--effort``, a row follows for each budget at which the gap *any, integer* is above 3 %, after a larger effort for
both sides (:mod:`recompviz.benchmarks.larger_effort`). *gap before* and *after* are the gaps of the plan to the bound
*any*. *plan* and *bound* say by how much the plan and the bound have improved. *to plans* is the gap of the best plan
to the bound for plans. *strategy* says how much less than the best plan a strategy recomputes that fits, but is no
plan. The last column has the loose sides: ``search`` (a better plan was found), ``plans`` (a strategy is better than
the best plan), ``bound`` (the bound rose), or ``unknown``.

    python -m recompviz.benchmarks.bounds                                # 70 small steps per cost model, all networks
    python -m recompviz.benchmarks.bounds --steps 0 --networks resnet50  # one network
    python -m recompviz.benchmarks.bounds --points 80 --seconds 60       # a larger effort for the bounds
    python -m recompviz.benchmarks.bounds --steps 0 --effort 60          # which side of the larger gaps is loose
    python -m recompviz.benchmarks.bounds --steps 0 --effort 60 --small  # the same on networks of fewer blocks
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

import recompviz as rv
from recompviz import networks
from recompviz.benchmarks.larger_effort import LargerEffort
from recompviz.benchmarks.liveness import every_mask
from recompviz.benchmarks.optimality import random_dag
from recompviz.core.base.units import format_bytes
from recompviz.core.bounds.bound_curve import POINTS, SECONDS, BoundCurve, bound_curve
from recompviz.core.graphs.graph import Graph
from recompviz.core.live.live_search import live_plans
from recompviz.core.live.model import LiveModel
from recompviz.core.plans.plan_table import PlanTable
from recompviz.core.steps.paper_model import paper_step
from recompviz.pytorch.tracing.costs import Costs

SHARES = (0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 1)
# a gap above this share of the forward pass is examined by a larger effort
LARGE = 0.03
MODELS = ("paper", "unit", "real")


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, run the benchmark and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=70, help="number of small steps for each cost model")
    parser.add_argument("--networks", nargs="*", default=[*networks.PAPER, "gpt2", "llama_7b"])
    parser.add_argument("--small", action="store_true", help="the small variants of the networks")
    parser.add_argument("--costs", default="time", help="cost model of the networks; see recompviz.trace")
    parser.add_argument("--points", type=int, default=POINTS, help="calls at which a bound counts memory, in each pass")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="time limit of an integer program; 0: none")
    parser.add_argument("--effort", type=float, default=0.0, help="time limit of each part of the larger effort, in s")
    options = parser.parse_args(arguments)
    if options.steps:
        on_small_steps(options.steps)
    if options.networks:
        on_networks(options.networks, options.small, options.costs, options.points, options.seconds, options.effort)


def with_costs(graph: Graph, model: str, seed: int) -> Graph:
    """Return the graph with the costs of a cost model: ``"paper"`` (its own), ``"unit"`` (1) or ``"real"`` (random)."""
    rng = np.random.default_rng(seed)
    times = {"paper": graph.time, "unit": np.ones(len(graph)), "real": rng.lognormal(0, 1, len(graph))}
    return replace(graph, time=times[model])


def on_small_steps(count: int) -> None:
    """Print the table of ``count`` small random training steps for each cost model."""
    print(
        f"{'costs':>6} {'steps':>6} {'budgets':>8} {'hit':>7} {'worst':>7} {'above':>6} {'any':>7} {'once':>7} "
        f"{'any, integer':>13} {'once, integer':>14}"
    )
    for model in MODELS:
        budgets = hits = above = 0
        excess, distances = 0.0, []
        for seed in range(count):
            graph = with_costs(random_dag(seed, 6 + seed % 5), model, seed)
            joint = paper_step(graph)
            live = LiveModel(graph, joint)
            curve = rv.solve(graph)
            plans = live_plans(graph, joint, [*curve.plans("time"), *curve.plans("memory")])
            found = [(live.peak(plan.keep_mask), plan.overhead) for plan in plans]
            bounds = [bound_curve(graph, joint, once=once) for once in (False, True)]
            static, forward = sum(joint.static.values()), float(graph.time.sum())
            for budget, least in every_mask(live):
                best = min((overhead for peak, overhead in found if peak <= budget), default=float("inf"))
                values = [bound.overhead(budget + static) for bound in bounds]
                values += [
                    bound.tighten(budget + static, known=best if best < float("inf") else None) for bound in bounds
                ]
                budgets += 1
                hits += best <= least + 1e-9 * forward
                excess = max(excess, (best - least) / forward)
                above += max(values) > least
                distances.append([(least - value) / forward for value in values])
        means = np.mean(distances, axis=0)
        print(f"{model:>6} {count:>6} {budgets:>8} {hits / budgets:>7.1%} {excess:>7.1%} {above:>6} "
              + " ".join(f"{mean:>{width}.1%}" for mean, width in zip(means, (7, 7, 13, 14), strict=True)),
              flush=True)  # fmt: skip


def on_networks(
    names: Sequence[str], small: bool, costs: Costs, points: int, limit: float, effort: float = 0.0
) -> None:
    """Print the table of networks, and the median and the largest gap.

    ``points``, ``limit`` and ``effort`` are the options ``--points``, ``--seconds`` and ``--effort``.
    """
    print(f"\n{'network':>14} {'#V':>5} {'bound':>13} " + " ".join(f"{share:>6.0%}" for share in SHARES)
          + f" {'least peak':>11} {'bound':>11} {'seconds':>8}")  # fmt: skip
    gaps: dict[str, list[float]] = {}
    for name in names:
        step = networks.example(name, small=small, device="meta")
        trace = rv.trace(step.model, *step.inputs, targets=step.targets, loss=step.loss, costs=costs)
        table = trace.plans("live")
        most = int(table.total_peaks.max())
        budgets = [int(table.least_total + share * (most - table.least_total)) for share in SHARES]
        curves: dict[bool, BoundCurve] = {}
        for once in (False, True):
            start = time.process_time()
            curve = curves[once] = bound_curve(trace.graph, trace.joint, once=once, points=points)
            for kind in ("linear", "integer") if limit else ("linear",):
                if kind == "integer":
                    for budget in budgets:
                        if table.plan(budget).overhead:
                            curve.tighten(budget, limit, table.plan(budget).overhead)
                seconds = time.process_time() - start
                found = [curve.gap(table.plan(budget).overhead, budget) for budget in budgets]
                label = f"{'once' if once else 'any'}, {kind}"
                gaps.setdefault(label, []).extend(found)
                print(f"{name:>14} {len(trace.graph):>5} {label:>13} " + " ".join(f"{gap:>6.1%}" for gap in found)
                      + f" {format_bytes(table.least_total):>11} {format_bytes(curve.least_total):>11}"
                      + f" {seconds:>8.1f}", flush=True)  # fmt: skip
        if effort:
            print_larger_effort(name, trace, table, budgets, curves, effort)
    for label, found in gaps.items():
        print(f"{label}: median gap {np.median(found):.1%}, largest {max(found):.1%}")


def print_larger_effort(
    name: str, trace: rv.Trace, table: PlanTable, budgets: Sequence[int], curves: dict[bool, BoundCurve], seconds: float
) -> None:
    """Print a row for each budget at which the gap to the bound *any* is above 3 %, after a larger effort.

    ``curves`` has the bound *once* (key True) and the bound *any* (False). ``seconds`` is the time limit of each
    integer program, and of annealing at one budget.
    """
    curve = curves[False]
    effort = LargerEffort(trace.graph, trace.joint, [plan.keep_mask for plan in table.plans], seconds)
    static = sum(trace.joint.static.values())
    print(f"{'':>14} {'budget':>7} {'gap before':>10} {'plan':>6} {'bound':>6} {'after':>6} {'to plans':>8} "
          f"{'strategy':>8}  loose")  # fmt: skip
    for share, budget in zip(SHARES, budgets, strict=True):
        overhead = table.plan(budget).overhead
        gap = curve.gap(overhead, budget)
        if gap <= LARGE:
            continue
        found = effort.at(budget - static, overhead, curve.overhead(budget), curves[True].overhead(budget))
        less = f"-{found.plan - found.strategy:.1%}" if found.strategy < found.plan else "-"
        print(f"{name:>14} {share:>7.0%} {gap:>10.1%} {found.plan - found.before:>6.1%} "
              f"{found.any_after - found.any_before:>6.1%} {max(0.0, found.plan - found.any_after):>6.1%} "
              f"{max(0.0, found.plan - found.plans_after):>8.1%} {less:>8}  {found.sides}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
