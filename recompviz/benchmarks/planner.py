"""Measure the speed of the exact solver. The table has one row for each network.

Columns:

  all, paper, prefixes  time to compute the whole time-centric curve over each family of lower sets, after warm-up: the
                        least of several runs
  tick                  longest time to get the plan of one budget from the curve
  memory                rise of the resident memory while the curve over all lower sets is computed
  pairwise              time of the plain recursion over pairs of lower sets, in NumPy; skipped where it takes minutes
  widened               how much more the plans of the family "prefixes" recompute than the exact plans, in percent of
                        the exact plans: the maximum at 25, 50 and 75 % between the least budget and the largest peak
  plans, least budget   number of time-centric plans, and the least budget in bytes, by the paper's peak formula

Graphs come from recompviz.networks or from files:

    python -m recompviz.benchmarks.planner                   # the paper's seven networks
    python -m recompviz.benchmarks.planner unet vgg19        # some of them
    python -m recompviz.benchmarks.planner graph.json        # {"memory": […], "time": […], "edges": [[u, v], …]}
    python -m recompviz.benchmarks.planner --costs           # the same networks with real costs
    python -m recompviz.benchmarks.planner --growth          # the live search on graphs of 250 to 10,000 nodes
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from math import log
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.base.compiled_code import has_numba
from recompviz.core.exact.compiled_pairs import compiled_pairwise_front
from recompviz.core.exact.lattice import enumerate_lattice
from recompviz.core.exact.open_segments import open_segment_front
from recompviz.core.exact.recursion import pairwise_front
from recompviz.core.exact.solver import Family, solve
from recompviz.core.graphs.families import all_lower_sets
from recompviz.core.graphs.graph import Graph
from recompviz.core.planning.planner import Planner
from recompviz.core.plans.curve import Tradeoff
from recompviz.core.steps.examples import residual_step

if TYPE_CHECKING:
    from recompviz import Trace

# With more lower sets, the pairwise recursion takes minutes.
MOST_PAIRWISE = 600
FAMILIES: tuple[Family, ...] = ("all", "paper", "prefixes")
LIMIT = 1_000_000
# Numbers of nodes in the table of the growth.
SIZES = (250, 500, 1000, 2500, 5000, 10_000)
Clock = Callable[[], float]
HEADER = (
    f"{'network':>14} {'#V':>5} {'#E':>5} {'lower sets':>10} {'all':>10} {'paper':>10} {'prefixes':>10} "
    f"{'tick':>8} {'memory':>8} {'pairwise':>10} {'widened':>8}  plans, least budget"
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, run the benchmark and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graphs", nargs="*", help="names in recompviz.networks, or JSON files of graphs")
    parser.add_argument("--repeats", type=int, default=3, help="number of runs, of which the least time is shown")
    parser.add_argument("--costs", action="store_true", help="compare cost models: one row per network and cost model")
    parser.add_argument("--cpu", action="store_true", help="measure processor time, for a shared machine")
    parser.add_argument(
        "--growth", type=int, nargs="*", metavar="NODES", help="growth of the live search with the graph"
    )
    options = parser.parse_args(arguments)
    if options.growth is not None:
        growth(options.growth or SIZES)
        return
    clock: Clock = time.process_time if options.cpu else time.perf_counter
    how = "numba" if has_numba() else "without numba: the recursion in NumPy solves"
    print(f"Python {platform.python_version()}, {how}")
    graph = Graph.from_edges([(0, 1)], memory=[1, 1])
    if has_numba():  # compiles the kernels, or loads them: without compiled code, small graphs are solved in NumPy
        open_segment_front(graph, enumerate_lattice(graph, 9), "time")
        compiled_pairwise_front(graph, [0, 1, 3], "time")
    if options.costs:
        cost_models(options.graphs, clock, options.repeats)
        return
    print(HEADER)
    for name, graph in graphs(options.graphs):
        print(row(name, graph, clock, options.repeats), flush=True)


def growth(sizes: Sequence[int]) -> None:
    """Print how time and memory of the live search grow, on residual networks of about ``sizes`` nodes."""
    Planner(*residual_step((1,))).plans("live")  # loads the compiled functions
    print(f"{'#V':>7} {'calls':>7} {'first table':>11} {'live table':>10} {'exponent':>8} {'plans':>5} {'memory':>8}")
    before: tuple[int, float] | None = None
    for size in sizes:
        graph, joint = residual_step((max(1, size // 10),), batch=2, pixels=64)
        costs = graph.time * np.random.default_rng(0).lognormal(0, 0.5, len(graph))
        planner = Planner(replace(graph, time=costs), joint)
        first = best_time(planner.first_plans, time.process_time, 1)
        start = time.process_time()
        memory = peak_memory(partial(planner.plans, "live"))
        seconds = time.process_time() - start
        exponent = f"{log(seconds / before[1]) / log(len(graph) / before[0]):.2f}" if before else ""
        before = len(graph), seconds
        print(f"{len(graph):>7,} {len(joint.calls):>7,} {milliseconds(first):>11} {milliseconds(seconds):>10} "
              f"{exponent:>8} {len(planner.plans('live')):>5} {memory:>8}", flush=True)  # fmt: skip


def cost_models(wanted: Sequence[str], clock: Clock, repeats: int) -> None:
    """Print how long the exact solver takes for costs that are estimates, compared with the paper's costs in integers.

    ``wanted`` has the names of networks; if it is empty, the paper's networks are used. ``clock`` returns a time in
    seconds, and ``repeats`` is the number of timed runs.
    """
    from recompviz import Roofline

    print(f"{'network':>14} {'costs':>8} {'time':>10} {'ratio':>6} {'plans':>6} {'error':>7} {'tick':>8} {'memory':>8}")
    for name, traced in _traces(wanted):
        estimates = traced.with_costs(Roofline(1e12, 5e10)).graph
        factors = np.random.default_rng(0).lognormal(0, 0.3, len(estimates))
        models = {
            "paper": traced.graph,
            "flops": traced.with_costs("flops").graph,
            "roofline": estimates,
            "random": replace(estimates, time=estimates.time * factors),
        }
        first = 0.0
        for model, graph in models.items():
            curve = solve(graph)
            seconds = best_time(partial(solve, graph), clock, repeats)
            first = first or seconds
            print(
                f"{name:>14} {model:>8} {milliseconds(seconds):>10} {seconds / first:>6.2f} "
                f"{len(curve.time_centric):>6} {curve.tolerance:>7.3%} {milliseconds(worst_tick(curve, clock)):>8} "
                f"{peak_memory(partial(solve, graph)):>8}",
                flush=True,
            )


def _traces(names: Sequence[str]) -> Iterator[tuple[str, Trace]]:
    """Iterate over (name, trace) of networks, with the paper's units; default: the paper's seven networks."""
    from recompviz import networks, trace

    for name in names or networks.PAPER:
        step = networks.example(name, device="meta")
        yield (
            name,
            trace(
                step.model,
                *step.inputs,
                targets=step.targets,
                loss=step.loss,
                device="cpu",
                granularity="paper",
                costs="paper",
            ),
        )


def graphs(wanted: Sequence[str]) -> Iterator[tuple[str, Graph]]:
    """Yield (name, graph) for each file or network in ``wanted``; by default the paper's networks."""
    names = [name for name in wanted if not name.endswith(".json")]
    for path in (Path(name) for name in wanted if name.endswith(".json")):
        data = json.loads(path.read_text(encoding="utf-8"))
        yield path.stem, Graph.from_edges(data["edges"], data["memory"], data["time"])
    if names or not wanted:
        yield from ((name, traced.graph) for name, traced in _traces(names))


def row(name: str, graph: Graph, clock: Clock, repeats: int) -> str:
    """Measure one graph and return its row of the table."""
    curve = solve(graph, "all", limit=LIMIT)
    times = {family: best_time(partial(solve, graph, family, limit=LIMIT), clock, repeats) for family in FAMILIES}
    pairwise = "skipped"
    if curve.lower_set_count <= MOST_PAIRWISE:
        masks = all_lower_sets(graph, LIMIT)
        pairwise = milliseconds(best_time(partial(pairwise_front, graph, masks, "time"), clock, 1))
    memory = peak_memory(partial(solve, graph, "all", limit=LIMIT))
    return (
        f"{name:>14} {len(graph):>5} {len(graph.edges):>5} {curve.lower_set_count:>10,} "
        + " ".join(f"{milliseconds(times[family]):>10}" for family in FAMILIES)
        + f" {milliseconds(worst_tick(curve, clock)):>8} {memory:>8} {pairwise:>10} {worst_gap(graph, curve):>8.1%}  "
        + f"{len(curve.time_centric)}, {curve.least_budget:,}"
    )


def worst_gap(graph: Graph, exact: Tradeoff) -> float:
    """Return by which share plans of the family "prefixes" recompute more than exact plans, at most."""
    widened = solve(graph, "prefixes")
    low, high = exact.least_budget, int(exact.time_centric.peaks[0])
    budgets = [int(low + share * (high - low)) for share in (0.25, 0.5, 0.75)]
    return max(widened.plan(budget).overhead / exact.plan(budget).overhead - 1 for budget in budgets)


def best_time(action: Callable[[], object], clock: Clock, repeats: int) -> float:
    """Return the least time of up to ``repeats`` runs of ``action``, in seconds."""
    best = float("inf")
    for _ in range(repeats):
        start = clock()
        action()
        best = min(best, clock() - start)
        if best > 5:
            break
    return best


def worst_tick(curve: Tradeoff, clock: Clock, most: int = 50) -> float:
    """Return the longest time that ``curve.plan`` takes, in seconds, over at most 2 · ``most`` budgets."""
    peaks = curve.time_centric.peaks.tolist()
    worst = 0.0
    for budget in peaks[:: max(1, len(peaks) // most)]:
        worst = max(worst, best_time(partial(curve.plan, budget), clock, 2))
    return worst


def peak_memory(action: Callable[[], object]) -> str:
    """Return the rise of the resident memory during an action in MB, as text; a dash if unknown."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets the high-water mark
        before = _status("VmRSS")
        action()
        return f"{(_status('VmHWM') - before) / 1000:.0f} MB"
    except OSError:
        return "—"


def _status(field: str) -> int:
    match = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    return int(match[1]) if match else 0


def milliseconds(seconds: float) -> str:
    """Return a duration as text with its unit, ms or s."""
    return f"{1000 * seconds:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


if __name__ == "__main__":
    main()
