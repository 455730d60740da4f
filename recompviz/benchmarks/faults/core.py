"""Compare the solver, the baselines and the live search with the paper's definitions, on random graphs.

The module ``definitions`` has the definitions. The live search looks for plans by their simulated peaks.

Sizes reach the limit of what is exact in 64 bits. Calls with arguments of any type must return a right result or raise
a clear error.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import networkx as nx
import numpy as np

from recompviz.benchmarks.faults.cases import Tally, TooLong, limited, run_in_processes, said, unclear
from recompviz.benchmarks.faults.counts import FaultCount
from recompviz.benchmarks.faults.definitions import Dag, Point, front
from recompviz.core.base.arguments import named
from recompviz.core.base.errors import GraphError, ImpossiblePin, InfeasibleBudget
from recompviz.core.exact.compiled_pairs import compiled_pairwise_front
from recompviz.core.exact.solver import FEW, solve
from recompviz.core.graphs.families import prefix_family
from recompviz.core.graphs.graph import Graph
from recompviz.core.graphs.node_info import NodeInfo
from recompviz.core.graphs.pins import NO_PINS
from recompviz.core.planning.planner import Planner
from recompviz.core.plans.baselines import baseline
from recompviz.core.plans.curve import Tradeoff
from recompviz.core.plans.plan import Plan

MOST_NODES = 7
# up to this many nodes, the points of all sequences are enumerated too
ENUMERATED = 4
# share of the graphs for which the search in simulated bytes runs, which takes most of the time
SEARCHED = 0.2
SIZES = ([0, 1, 2, 5], [1], [3, 7, 11, 1000], [2**20, 2**20 + 1], [0], [2**56, 2**57 - 1, 1])
TIMES = ([0, 1, 10], [1], [1, 10], [0.25, 3, 2**20], [0], [2**40, 1])


def run(count: int, seed: int) -> list[FaultCount]:
    """Run :func:`cases` on ``count`` random graphs, in several processes."""
    return run_in_processes("core", count, seed)


def cases(numbers: Iterable[int], seed: int) -> list[FaultCount]:
    """Compare results on random graphs with the paper's definitions, and make random calls.

    ``numbers`` are the numbers of the graphs. The same number and seed give the same graph.
    """
    tally = Tally()
    compile_kernels()
    for number in numbers:
        drawn = random.Random(f"{seed} {number}")
        graph, dag = random_pair(drawn)
        for subject, kind, check in checks(drawn, graph, dag):
            wrong = None
            try:
                with limited():
                    check()
            except (Exception, TooLong) as error:  # any error here is a fault of the core
                wrong = f"graph {number} of seed {seed}: {said(error)}"
            tally.add(subject, kind, wrong)
        for _ in range(3):
            kind, what, made, right = any_arguments(drawn)
            tally.add("arguments", kind, _refusal(f"{what} (number {number} of seed {seed})", made, right))
    return tally.rows()


def compile_kernels() -> None:
    """Compile the functions of the core, so that no case takes long because of a compilation."""
    chain, small = (Graph.from_edges([(i, i + 1) for i in range(n - 1)], [1] * n) for n in (FEW + 10, 3))
    solve(chain).plan_at(0, "memory")  # a graph with fewer lower sets is solved without kernels at first
    compiled_pairwise_front(small, [0, 1, 3, 7], "time", None, NO_PINS)
    Planner(small).plans("live")


class Differs(Exception):
    """A result of recompviz differs from the paper's definitions (:class:`Dag`)."""


def same(what: str, found: Any, expected: Any) -> None:
    """Raise :class:`Differs` unless two values are equal."""
    if found != expected:
        raise Differs(f"{what}: found {found}, expected {expected}")


def random_pair(drawn: random.Random) -> tuple[Graph, Dag]:
    """Return a random graph of recompviz, and the same graph as a :class:`Dag`."""
    n = drawn.randint(0 if drawn.random() < 0.02 else 1, MOST_NODES)
    density = drawn.choice([0.0, 0.2, 0.4, 0.7, 1.0])
    order = drawn.sample(range(n), n)
    edges = [(order[i], order[j]) for i in range(n) for j in range(i + 1, n) if drawn.random() < density]
    sizes, times = drawn.choice(SIZES), drawn.choice(TIMES)
    memory, time = [drawn.choice(sizes) for _ in range(n)], [drawn.choice(times) for _ in range(n)]
    blocks = [drawn.choice(["", "layer.0", "layer.1", "layer.2"]) for _ in range(n)]
    info = tuple(
        NodeInfo(module=name and f"{name}.linear", block="layer.*" if name else "", checkpoint=name) for name in blocks
    )
    graph = Graph(tuple(f"v{v}" for v in range(n)), np.array(memory), np.array(time), np.array(edges), info)
    return graph, Dag(edges, memory, time, graph.order)


def checks(drawn: random.Random, graph: Graph, dag: Dag) -> Iterator[tuple[str, str, Callable[[], None]]]:
    """Yield (subject, kind, function) for each comparison of a graph. The function raises :class:`Differs`."""
    seed = drawn.random()
    yield "graphs", "lower sets and boundaries", lambda: check_sets(graph, dag)
    yield "solver", "all lower sets", lambda: check_curve(graph, dag, "all", dag.lower_sets)
    yield "solver", "the paper's family", lambda: check_curve(graph, dag, "paper", dag.nested())
    yield "solver", "prefixes", lambda: check_curve(graph, dag, "prefixes", _prefixes(graph, dag))
    yield "solver", "pins", lambda: check_pins(random.Random(seed), graph, dag)
    yield "baselines", "keep-all, Chen, checkpoints", lambda: check_baselines(graph, dag)
    searched = drawn.random() < SEARCHED
    kind = "simulated peaks, tables, live search" if searched else "simulated peaks, tables"
    yield "planner", kind, lambda: check_planner(random.Random(seed), graph, dag, searched)


def check_sets(graph: Graph, dag: Dag) -> None:
    """Raise :class:`Differs` if lower sets or their boundaries differ from the definitions."""
    found = [_nodes(graph, mask) for mask in graph.lower_set_masks()]
    same("lower sets", sorted(map(sorted, found)), sorted(map(sorted, dag.lower_sets)))
    for mask in graph.lower_set_masks():
        same("boundary", _nodes(graph, graph.boundary_mask(mask)), dag.boundary(_nodes(graph, mask)))


def check_curve(graph: Graph, dag: Dag, family: Any, sets: Iterable[frozenset[int]], **pins: frozenset[int]) -> None:
    """Raise :class:`Differs` if the fronts of the trade-off curve or their plans differ from the definitions.

    ``family`` is the name of a family of lower sets, and ``sets`` are its sets. ``pins`` are the nodes to ``keep`` and
    to ``recompute``.
    """
    sets = list(sets)
    names = {key: [graph.names[v] for v in nodes] for key, nodes in pins.items()}
    expected = {sign: front(dag.points(sets, sign=sign, **pins), sign) for sign in (1, -1)}
    if not expected[1]:
        try:
            solve(graph, family, keep=names["keep"], recompute=names["recompute"])
        except ImpossiblePin:
            return
        raise Differs("a curve although no sequence obeys the pins")
    if len(graph) <= ENUMERATED and not pins:
        every = {dag.point(sequence) for sequence in dag.sequences({*sets, dag.all} - {frozenset()})}
        for sign, points in expected.items():
            same("enumeration", front(every, sign), points)
    curve = solve(graph, family, keep=names.get("keep", ()), recompute=names.get("recompute", ()))
    for objective, sign in (("time", 1), ("memory", -1)):
        _check_front(graph, dag, curve, objective, expected[sign], {*sets, dag.all}, **pins)


def _check_front(
    graph: Graph, dag: Dag, curve: Tradeoff, objective: Any, expected: list[Point], sets: set[frozenset[int]],
    keep: frozenset[int] = frozenset(), recompute: frozenset[int] = frozenset(),
) -> None:  # fmt: skip
    found = curve.front(objective)
    points = [Point(*point) for point in zip(found.overheads.tolist(), found.peaks.tolist(), strict=True)]
    same(f"{objective}-centric front", points, expected)
    for i, point in enumerate(expected):
        plan = curve.plan_at(i, objective)
        sequence = [_nodes(graph, mask) for mask in plan.masks]
        same("point of the sequence", dag.point(sequence), point)
        same("overhead and peak of the plan", Point(plan.overhead, plan.peak), point)
        kept = frozenset(np.flatnonzero(plan.keep_mask).tolist())
        same("kept values", kept, dag.kept(sequence))
        if not sets.issuperset(sequence) or not keep <= kept or kept & recompute:
            raise Differs(f"the sequence {sequence} is not in the family, or does not obey the pins")
        same("plan from JSON", Plan.from_json(graph, plan.to_json()).masks, plan.masks)
        same("plan for the budget of its peak", curve.plan(point.peak, objective).overhead, point.overhead)
    least = expected[-1].peak
    if least > 0:
        try:
            curve.plan(least - 1, objective)
        except InfeasibleBudget as error:
            same("least budget of the error", error.least, least)
        else:
            raise Differs(f"a plan below the least budget {least}")


def check_pins(drawn: random.Random, graph: Graph, dag: Dag) -> None:
    """Raise :class:`Differs` if the curve under random pins differs from the definitions."""
    nodes = drawn.sample(range(len(graph)), drawn.randint(0, min(3, len(graph))))
    middle = drawn.randint(0, len(nodes))
    keep, recompute = frozenset(nodes[:middle]), frozenset(nodes[middle:])
    check_curve(graph, dag, "all", dag.lower_sets, keep=keep, recompute=recompute)


def check_baselines(graph: Graph, dag: Dag) -> None:
    """Raise :class:`Differs` if a baseline differs from the definitions."""
    everything = baseline(graph, "keep-all")
    same("keep-all", (everything.overhead, everything.peak), (0, 2 * dag.bytes_of(dag.all)))
    chen = baseline(graph, "chen")
    same("chen", Point(chen.overhead, chen.peak), dag.chen())
    same("chen's sequence", dag.point([_nodes(graph, mask) for mask in chen.masks]), Point(chen.overhead, chen.peak))
    checkpoints = {v: graph.info[v].checkpoint for v in dag.all}
    if not any(checkpoints.values()):
        try:
            baseline(graph, "as-written")
        except GraphError:
            return
        raise Differs("a baseline as-written without checkpoints")
    plan = baseline(graph, "as-written")
    kept = dag.checkpointed(checkpoints)
    same("as-written keeps", frozenset(np.flatnonzero(plan.keep_mask).tolist()), kept)
    same("as-written recomputes", plan.overhead, dag.cost_of(dag.all - kept))


def check_planner(drawn: random.Random, graph: Graph, dag: Dag, searched: bool) -> None:
    """Raise :class:`Differs` if a planner's peaks, overheads or plans for budgets differ from the definitions.

    ``searched`` says whether the tables of the live search are compared as well.
    """
    planner = Planner(graph)
    pinned = drawn.sample(range(len(graph)), min(2, len(graph)))
    tables = [planner.plans("time"), planner.plans("memory"), planner.first_plans()]
    if searched:
        tables.append(planner.plans("live"))
        tables.append(planner.what_if("live", recompute=[graph.names[v] for v in pinned]))
    for table in tables:
        peaks = []
        for plan, total in zip(table.plans, table.total_peaks.tolist(), strict=True):
            kept = frozenset(np.flatnonzero(plan.keep_mask).tolist())
            peaks.append(dag.simulated_peak(kept))
            same(f"simulated peak in the table {table.objective!r}, keep {sorted(kept)}", total, peaks[-1])
            same("overhead", plan.overhead, dag.cost_of(dag.all - kept))
        for budget in {*peaks, max(peaks) + 1}:
            fitting = [plan.overhead for plan, peak in zip(table.plans, peaks, strict=True) if peak <= budget]
            best = max(fitting) if table.objective == "memory" else min(fitting)
            same(f"overhead for the budget {budget}", table.plan(budget).overhead, best)
    if searched:
        if any(plan.keep_mask[v] for plan in tables[-1].plans for v in pinned if dag.after[v]):
            raise Differs("a value that is read later is kept, although it is pinned to be recomputed")
        least = min(table.least_total for table in tables[:2])
        if tables[3].least_total > least:
            raise Differs(f"the live search needs {tables[3].least_total}, its seeds {least}")
    kept = frozenset(v for v in dag.all if drawn.random() < 0.5)
    plan = Plan.from_keep_mask(graph, np.array([v in kept for v in range(len(graph))], np.bool_), "random")
    same("simulated peak of a random plan", planner.simulate(plan).peak, dag.simulated_peak(kept))


def _nodes(graph: Graph, mask: int) -> frozenset[int]:
    return frozenset(v for v in range(len(graph)) if mask >> v & 1)


def _prefixes(graph: Graph, dag: Dag) -> list[frozenset[int]]:
    family = [_nodes(graph, mask) for mask in prefix_family(graph)]
    if not set(family) <= set(dag.lower_sets):
        raise Differs("a set of the family is no lower set")
    return family


# -------------------------------------------------------------------- arguments

NUMBERS: tuple[Any, ...] = (
    0, 1, 7, 2**31, 2**59, 2**60, 2**62, 2**63 - 1, 2**63, 2**64 + 1, 10**30, 10**400, -1, -(10**30), 1.0, 1.5, 0.0,
    -0.0, 1e18, 1e19, 1e300, 1.7e308, 5e-324, 1e-12, math.nan, math.inf, -math.inf, True, None, "5", "x", b"5", 1 + 0j,
    [1], {}, np.int8(3), np.uint64(2**64 - 1), np.float32(2), np.bool_(True), np.float64("nan"), np.array(4), object,
)  # fmt: skip


def any_arguments(drawn: random.Random) -> tuple[str, str, Callable[[], Any], Callable[[Any], bool]]:
    """Return a random call of a function of the core, with arguments of random types.

    Returns
    -------
    kind, what : str
        The kind of the call, and the call as text.
    made : callable () → object
        Makes the call.
    right : callable (object) → bool
        Whether a result of the call is right.
    """
    value, other = drawn.choice(NUMBERS), drawn.choice(NUMBERS)
    chain = Graph.from_edges([(0, 1), (1, 2)], [1, 2, 3])
    both = [value, other]
    two = f"{named(value)}, {named(other)}"
    calls: list[tuple[str, str, Callable[[], Any], Callable[[Any], bool]]] = [
        ("sizes", f"memory {two}", lambda: Graph.from_edges([(0, 1)], both), lambda graph: _adds_up(graph, both)),
        ("costs", f"time {two}", lambda: Graph.from_edges([(0, 1)], [1, 1], time=both),
         lambda graph: graph.time.tolist() == list(map(float, both)) and len(solve(graph).time_centric) > 0),
        ("edges", f"edge {two}", lambda: Graph((0, 1), np.ones(2), np.ones(2), [both]),  # type: ignore[arg-type]  # a list for a pair
         lambda graph: graph.edges.tolist() in ([[0, 1]], [[1, 0]])),
        ("names", f"names {two}", lambda: Graph.from_edges([(value, other)], [1, 2], names=both),
         lambda graph: len(solve(graph).plan_at(0).lower_sets) >= 1),
        ("budgets", f"budget {named(value)}", lambda: solve(chain).plan(value), lambda plan: plan.peak <= value),
        ("limits", f"limit {named(value)}", lambda: solve(chain, "all", limit=value),
         lambda curve: curve.lower_set_count == 4 <= value),
        ("pins", f"keep, recompute {two}", lambda: solve(chain, keep=[value], recompute=[other]),
         lambda curve: {value} <= curve.plan_at(0).keep and {other} <= curve.plan_at(0).recompute),
        ("keep masks", f"keep {two}, 0", lambda: Plan.from_keep_mask(chain, [*both, 0], "x"),
         lambda plan: 0 in plan.keep),
        ("networkx", f"memory {named(value)}", lambda: _from_networkx(drawn.random() < 0.5, value),
         lambda graph: graph.memory[0] == value),
        ("plans from JSON", f"text {named(value)}", lambda: Plan.from_json(chain, value), lambda _plan: False),
        ("positions", f"position {named(value)}", lambda: solve(chain).plan_at(value), lambda _plan: abs(value) <= 3),
        ("baselines", f"name {named(value)}", lambda: baseline(chain, value), lambda _plan: False),
    ]  # fmt: skip
    return drawn.choice(calls)


def _adds_up(graph: Graph, sizes: list[Any]) -> bool:
    """Whether sizes and peaks are exact."""
    total = sum(map(int, sizes))
    curve = solve(graph)
    return graph.memory.tolist() == sizes and Plan.keep_all(graph).peak == 2 * total and curve.least_budget >= total


def _from_networkx(directed: bool, size: Any) -> Graph:
    given = nx.DiGraph([("a", "b")]) if directed else nx.Graph([("a", "b")])
    nx.set_node_attributes(given, size, "memory")
    graph = Graph.from_networkx(given)
    if not directed:
        raise Differs("an undirected graph is taken")
    return graph


def _refusal(what: str, made: Callable[[], Any], right: Callable[[Any], bool]) -> str | None:
    """Return what is wrong with a call: it raised an unclear error, or its result is wrong. None if neither is so."""
    try:
        with limited(20):
            result = made()
            return None if right(result) else f"{what}: wrong result {result!r}"
    except (Exception, TooLong) as error:  # ``unclear`` judges its type and message
        why = unclear(error)
        return None if why is None else f"{what}: {why}"
