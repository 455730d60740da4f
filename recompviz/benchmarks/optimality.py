"""Compare the overhead of canonical plans with the optimum over all ways of recomputation, on small graphs.

In the graphs every value has a gradient of its own size, as in the paper's model (``core/steps/paper_model.py``). Each
row is a graph and a budget, and compares four overheads:

  formula    the time-centric optimum by the paper's formula, which discards values at the ends of segments
  curves     the best plan of both exact curves, or keep-all; simulated with values freed at their last use
  canonical  the best of all lower-set sequences, simulated in the same way
  optimum    the optimum of Checkmate's mixed-integer program, which may recompute values and gradients many times

The two gaps are how much *curves* and *canonical* exceed *optimum*, in percent of a forward pass. If the solver stops
before it has a proof, the optimum is printed as "bound … best", and the gaps are upper bounds.

    python -m recompviz.benchmarks.optimality                      # all graphs, about a minute
    python -m recompviz.benchmarks.optimality chain unet           # some of them
    python -m recompviz.benchmarks.optimality --seconds 60         # a longer time limit for each program
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from recompviz.benchmarks.checkmate import least_overhead
from recompviz.core.exact.solver import solve
from recompviz.core.graphs.bitsets import bit_matrix
from recompviz.core.graphs.graph import Graph
from recompviz.core.plans.curve import Objective
from recompviz.core.steps.joint import JointGraph
from recompviz.core.steps.paper_model import paper_step
from recompviz.core.steps.schedule import make_schedule
from recompviz.core.steps.simulation import simulate_schedule

OBJECTIVES: tuple[Objective, ...] = ("time", "memory")
HEADER = (
    f"{'graph':>10} {'#V':>3} {'T(V)':>5} {'budget':>6} {'formula':>8} {'curves':>7} {'canonical':>9} {'optimum':>10} "
    f"{'gap':>8} {'gap':>8}  {'proven':<6} {'seconds':>7}"
)


@dataclass(frozen=True)
class Row:
    """The overheads for one graph and one budget, in the unit of the graph's costs; infinite if no plan fits.

    Attributes
    ----------
    name : str
        Name of the graph.
    nodes : int
        Number of nodes.
    budget : int
        The most bytes that may be alive at the same time, in the paper's model.
    forward : float
        The cost of a forward pass.
    formula, curves, canonical : float
        Overheads of three kinds of plans; see the docstring of the module.
    best : float
        The least overhead that was found.
    bound : float
        A lower bound on the overhead of all strategies.
    proven : bool
        Whether ``best`` is proven to be the optimum.
    seconds : float
        Time that the solver took.
    """

    name: str
    nodes: int
    budget: int
    forward: float
    formula: float
    curves: float
    canonical: float
    best: float
    bound: float
    proven: bool
    seconds: float

    @property
    def gap(self) -> float:
        """How much ``curves`` exceeds ``best`` (``bound`` if that is not proven), in percent of a forward pass."""
        return self._above(self.curves)

    @property
    def canonical_gap(self) -> float:
        """How much ``canonical`` exceeds ``best`` (``bound`` if that is not proven), in percent of a forward pass."""
        return self._above(self.canonical)

    def _above(self, overhead: float) -> float:
        reference = self.best if self.proven else self.bound
        return inf if overhead == inf else 100 * (overhead - reference) / self.forward

    @property
    def text(self) -> str:
        """The row of the printed table, as one line of text."""
        optimum = number(self.best) if self.proven else f"{number(self.bound)} … {number(self.best)}"
        gaps = [
            "—" if gap == inf else f"{'' if self.proven else '≤ '}{gap:.1f}%" for gap in (self.gap, self.canonical_gap)
        ]
        return (
            f"{self.name:>10} {self.nodes:>3} {self.forward:>5g} {self.budget:>6} {number(self.formula):>8} "
            f"{number(self.curves):>7} {number(self.canonical):>9} {optimum:>10} {gaps[0]:>8} {gaps[1]:>8}  "
            f"{'yes' if self.proven else 'no':<6} {self.seconds:>7.1f}"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, run the comparison, and print the table and its summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graphs", nargs="*", help=f"some of {', '.join(GRAPHS)}")
    parser.add_argument("--seconds", type=float, default=20.0, help="time limit of each program")
    parser.add_argument("--budgets", type=int, default=4, help="budgets per graph; one smaller budget is added")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.graphs if name not in GRAPHS]
    if unknown:
        parser.error(f"no graph is called {unknown[0]!r}; choose from {', '.join(GRAPHS)}")
    print(HEADER)
    rows = []
    for name in options.graphs or GRAPHS:
        for row in compare_on(name, GRAPHS[name](), options.seconds, options.budgets):
            print(row.text, flush=True)
            rows.append(row)
    print(summary(rows))


def summary(rows: Sequence[Row]) -> str:
    """Return the summary of the table, in four lines."""
    lines = [f"{sum(row.proven for row in rows)} of {len(rows)} optima proven"]
    for what, gaps in (
        ("the curves' plans", [row.gap for row in rows]),
        ("the best canonical plans", [row.canonical_gap for row in rows]),
    ):
        fitting = [gap for gap in gaps if gap < inf]
        lines.append(
            f"{what} fit in {len(fitting)} rows and are optimal in {fitting.count(0)}; mean gap "
            f"{sum(fitting) / max(1, len(fitting)):.1f}%, worst {max(fitting, default=0):.1f}% of a forward pass"
        )
    beyond = sum(row.canonical == inf and row.best < inf for row in rows)
    lines.append(f"only another strategy fits in {beyond} rows")
    return "\n".join(lines)


def compare_on(name: str, graph: Graph, seconds: float, budgets: int) -> list[Row]:
    """Return the rows of one graph, by falling budget.

    Parameters
    ----------
    name : str
        Name of the graph, for the rows.
    graph : Graph
    seconds : float
        Time limit of the solver for each budget.
    budgets : int
        Number of budgets at which a plan fits. One smaller budget may be added.
    """
    joint, curve = paper_step(graph), solve(graph, "all")
    plans = [curve.plan_at(i, objective) for objective in OBJECTIVES for i in range(len(curve.front(objective)))]
    keep_all = np.ones(len(graph), np.bool_)
    of_curves = with_liveness(joint, [keep_all, *(plan.keep_mask for plan in plans)], graph)
    of_all = with_liveness(joint, [keep_all, *bit_matrix(keep_sets(graph), len(graph))], graph)
    # backward calls cost as much as forward calls: recomputing a gradient is not free
    costs = [float(graph.time[v]) for v in graph.order]
    costs += reversed(costs)
    rows = []
    for budget in spread(of_curves, joint, budgets):
        curves, canonical = (
            min((overhead for overhead, peak in reached if peak <= budget), default=inf)
            for reached in (of_curves, of_all)
        )
        formula = curve.plan(budget).overhead if budget >= curve.least_budget else inf
        start = time.perf_counter()
        found = least_overhead(joint, costs, budget, seconds, at_most=canonical)
        spent = time.perf_counter() - start
        # a canonical plan that fits is a solution too, which matters if the solver finds none in time
        best = min(found.value, canonical)
        proven = found.proven or found.bound >= best
        forward = float(graph.time.sum())
        rows.append(
            Row(name, len(graph), budget, forward, formula, curves, canonical, best, found.bound, proven, spent)
        )
    return rows


def keep_sets(graph: Graph) -> list[int]:
    """Return, as bit masks, the distinct sets of kept values of all lower-set sequences.

    Examples
    --------
    >>> keep_sets(Graph.from_edges([(0, 1), (1, 2)], memory=[1, 1, 1]))
    [0, 1, 2, 3]
    """
    lower_sets = sorted(graph.lower_set_masks(), key=int.bit_count)
    found: dict[int, set[int]] = {lower: set() for lower in lower_sets}
    found[0] = {0}
    for end in lower_sets:
        boundary = graph.boundary_mask(end)
        for start in lower_sets:
            if start != end and start & ~end == 0:
                found[end] |= {kept | boundary for kept in found[start]}
    return sorted(found[graph.everything])


def with_liveness(joint: JointGraph, keep_masks: Iterable[NDArray[np.bool_]], graph: Graph) -> list[tuple[float, int]]:
    """Simulate sets of kept values; return the distinct pairs (overhead, peak in bytes), by rising overhead."""
    reached = set()
    for kept in keep_masks:
        schedule = make_schedule(joint, kept.tolist())
        overhead = sum(float(graph.time[joint.calls[c].node]) for c in schedule.recomputed)
        reached.add((overhead, simulate_schedule(schedule).transient_peak))
    return sorted(reached)


def spread(reached: Sequence[tuple[float, int]], joint: JointGraph, count: int) -> list[int]:
    """Return at most ``count`` falling peaks of the Pareto front, then usually one budget below the least peak.

    ``reached`` is the result of :func:`with_liveness`.
    """
    front: list[int] = []
    for _, peak in sorted(reached):
        if not front or peak < front[-1]:
            front.append(peak)
    last = len(front) - 1
    picked = sorted({front[round(i * last / max(1, count - 1))] for i in range(count)}, reverse=True)
    # every strategy needs at least the inputs and the output of each call
    floor = max(sum(joint.sizes[s] for s in (*call.reads, *call.makes)) for call in joint.calls)
    return [*picked, (floor + front[-1]) // 2] if floor < front[-1] else picked


def number(overhead: float) -> str:
    """Return an overhead as text, and a dash for infinity."""
    return "—" if overhead == inf else f"{overhead:g}"


# -------------------------------------------------------------------- graphs


def chain(count: int = 9) -> Graph:
    """Return a chain of ``count`` values of 1 byte and cost 1."""
    return Graph.from_edges([(i, i + 1) for i in range(count - 1)], memory=[1] * count)


def convolutions(layers: int = 4) -> Graph:
    """Return a chain of convolutions, each followed by an activation, whose sizes fall with the depth."""
    sizes = [8 >> (layer // 2) for layer in range(layers) for _ in range(2)]
    return Graph.from_edges([(i, i + 1) for i in range(len(sizes) - 1)], sizes, [10, 1] * layers)


def residual(blocks: int = 3) -> Graph:
    """Return a graph of a stem and residual blocks."""
    edges, last = [], 0
    for block in range(blocks):
        a = 3 * block + 1
        edges += [(last, a), (a, a + 1), (a + 1, a + 2), (last, a + 2)]
        last = a + 2
    return Graph.from_edges(edges, [2] * (last + 1), [10, *[10, 1, 1] * blocks])


def inception() -> Graph:
    """Return a graph of a stem, three branches of different depth, their concatenation, and a head."""
    edges = [(0, 1), (0, 2), (2, 3), (0, 4), (4, 5), (5, 6), (1, 7), (3, 7), (6, 7), (7, 8)]
    return Graph.from_edges(edges, [4, 2, 1, 2, 1, 2, 2, 6, 1], [10, 10, 10, 10, 1, 10, 10, 1, 1])


def unet() -> Graph:
    """Return a U-Net of two levels, with a skip connection at each."""
    edges = [(i, i + 1) for i in range(8)] + [(1, 7), (3, 5)]
    return Graph.from_edges(edges, [8, 8, 4, 4, 2, 6, 4, 16, 1], [10, 1, 10, 1, 10, 1, 10, 1, 1])


def random_dag(seed: int, count: int = 9) -> Graph:
    """Return a random DAG whose only sink is the last node."""
    chance = random.Random(seed)
    edges = {(i, chance.randrange(i + 1, min(i + 4, count))) for i in range(count - 1)}
    edges |= {(i, j) for i in range(count) for j in range(i + 1, count) if chance.random() < 0.12}
    return Graph.from_edges(
        sorted(edges), [chance.randint(1, 6) for _ in range(count)], [chance.choice([1, 1, 10]) for _ in range(count)]
    )


GRAPHS: dict[str, Callable[[], Graph]] = {
    "chain": chain,
    "conv chain": convolutions,
    "residual": residual,
    "inception": inception,
    "unet": unet,
    "random 0": lambda: random_dag(0),
    "random 1": lambda: random_dag(1),
    "random 2": lambda: random_dag(2),
}


if __name__ == "__main__":
    main()
