"""Search for sequences of computations on graphs of other planners, and print overhead, bound and gap.

Each file of the folder is one graph, as JSON: ``memory`` and ``time`` have a number for each value, ``edges`` the pairs
(producer, consumer), and ``order`` the order of the first computations (by default 0, 1, 2, …). Graphs of Checkmate
(Jain et al. 2020) and Moccasin (Bartan et al. 2023) can be written in this form. A budget is a share of the peak that
results if each value is computed once, in this order. Columns:

  +time   cost of the repeated computations, as a share of the cost of computing each value once
  bound   a proven lower bound on *+time*
  gap     *+time* minus *bound*
  extra   number of repeated computations
  seconds processor time of search and bound

    python -m recompviz.benchmarks.sequences GRAPHS                     # a minute for each graph and budget
    python -m recompviz.benchmarks.sequences GRAPHS --seconds 10 --only resnet50 --budgets 0.9 0.8
    python -m recompviz.benchmarks.sequences --random 200 --seconds 10  # a random graph of 200 values
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from recompviz.core.base.errors import InfeasibleBudget
from recompviz.core.base.units import format_bytes
from recompviz.core.graphs.graph import Graph, Name
from recompviz.core.sequences.ordered_graph import OrderedGraph
from recompviz.core.sequences.sequence_search import PROVEN, shortest_sequence

BUDGETS = (0.9, 0.8, 0.7, 0.6, 0.5)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, run the searches and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="folder of graphs as JSON files")
    parser.add_argument("--only", nargs="*", help="names of the files, without suffix; default: all")
    parser.add_argument("--random", nargs="*", type=int, default=[], help="numbers of values of random graphs")
    parser.add_argument("--budgets", nargs="*", type=float, default=BUDGETS, help="shares of the peak")
    parser.add_argument("--seconds", type=float, default=60.0, help="processor time for each graph and budget")
    options = parser.parse_args(arguments)
    print(f"{'graph':16} {'values':>6} {'budget':>6} {'+time':>9} {'bound':>9} {'gap':>8} {'extra':>6} {'seconds':>8}")
    for name, graph, order in _graphs(options.folder, options.only, options.random):
        peak = int(OrderedGraph.from_graph(graph, order).profile(range(len(graph))).max())
        for share in options.budgets:
            print(
                f"{name:16} {len(graph):6} {share:6.0%} {row(graph, order, int(share * peak), options.seconds)}",
                flush=True,
            )


def row(graph: Graph, order: Sequence[Name], budget: int, seconds: float) -> str:
    """Search for a sequence within a budget in bytes; return the last columns of a row of the table."""
    start = time.process_time()
    try:
        found = shortest_sequence(graph, budget, order, seconds=seconds)
    except InfeasibleBudget as error:
        took = time.process_time() - start
        why = f"needs more than {format_bytes(error.least - 1)}" if error.estimated == PROVEN else "no sequence found"
        return f"{why:>42} {took:8.1f}"
    took, extra = time.process_time() - start, len(found.values) - len(graph)
    shares = f"{found.overhead / found.total:9.3%} {found.bound / found.total:9.3%} {found.gap:8.3%}"
    return f"{shares} {extra:6} {took:8.1f}"


def random_layers(values: int, seed: int = 0) -> Graph:
    """Return a random graph of ``values`` values.

    Examples
    --------
    >>> len(random_layers(30))
    30
    """
    rng = np.random.default_rng(seed)
    edges = {
        (int(rng.integers(max(0, v - 12), v)), v) for v in range(1, values) for _ in range(int(rng.integers(1, 4)))
    }
    edges |= {(int(rng.integers(0, v)), v) for v in range(1, values) if rng.random() < 0.1}
    return Graph.from_edges(
        sorted(edges), rng.integers(1, 5000, values).tolist(), rng.integers(1, 1000, values).tolist()
    )


def _graphs(
    folder: Path | None, only: Sequence[str] | None, random: Sequence[int]
) -> Iterator[tuple[str, Graph, Sequence[Name]]]:
    for file in sorted(folder.glob("*.json")) if folder else []:
        if only and file.stem not in only:
            continue
        data = json.loads(file.read_text(encoding="utf-8"))
        graph = Graph.from_edges([(u, v) for u, v in data["edges"]], data["memory"], data["time"])
        yield file.stem, graph, data.get("order") or range(len(graph))
    for values in random:
        graph = random_layers(values)
        yield f"random {values}", graph, range(values)


if __name__ == "__main__":
    main()
