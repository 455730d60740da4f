"""``solve`` computes the trade-off curve of a graph, over all lower sets or over a smaller family.

Real costs are searched by pairs of lower sets if there are few of these. Whole costs, many lower sets, and graphs that
are nearly chains are searched by open segments. A search over a family uses open segments only if the graph has few
other lower sets. Both searches are compiled by numba. Without numba, the slower solver of ``recursion.py`` is used,
which has the recursion in NumPy, and the curve's ``note`` says so. The slower solver is also used for small families as
long as nothing is compiled. Over the same lower sets, all exact searches find the same curve. A search with a tolerance
may have a small, proven error.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from numbers import Integral
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

from recompviz.core.base.arguments import expect, shown
from recompviz.core.base.compiled_code import has_compiled_code, has_numba
from recompviz.core.base.errors import ImpossiblePin, TooManyLowerSets
from recompviz.core.base.progress import Progress
from recompviz.core.exact.lazy_front import LazyParetoFront
from recompviz.core.exact.recursion import pairwise_front
from recompviz.core.exact.tolerances import TOLERANCES, TooManyLabels, has_fine_costs
from recompviz.core.graphs.families import all_lower_sets, paper_family, prefix_family
from recompviz.core.graphs.graph import Graph, Name
from recompviz.core.graphs.pins import Pins, pins_of
from recompviz.core.plans.curve import Objective, ParetoFront, Tradeoff

if TYPE_CHECKING:
    from recompviz.core.exact.lattice import Lattice

Family = Literal["all", "paper", "prefixes", "auto"]

# with more lower sets the pairwise recursion in NumPy takes minutes
AFFORDABLE_PAIRWISE = 2_000
# with more lower sets, or lower sets × nodes, the compiled open segments take more than a few seconds
AFFORDABLE_COMPILED = 30_000
AFFORDABLE_EFFORT = 10_000_000
# with at most this many lower sets the pairwise recursion in NumPy takes about a second
FEW = 400
# bytes of memory that a search with a tolerance may take before it is repeated with a larger tolerance
MOST_BYTES = 800_000_000
# with at most this many lower sets, pairs take less time than open segments
MOST_PAIRED = 2_000
# a graph with fewer lower sets per node is nearly a chain: each of its sets has few open segments with many labels
LEAST_WIDTH = 1.25
# from this many lower sets on, a known curve saves more time in the memory-centric search than it costs
WIDE = 2_000
# with more sets a family has too many pairs for "auto"
AFFORDABLE_FAMILY = 6_000

SLOW = "numba is not installed; the slower NumPy solver was used: pip install recompviz[fast]"


def solve(
    graph: Graph,
    family: Family = "auto",
    *,
    limit: int = 200_000,
    progress: Progress | None = None,
    keep: Iterable[Name] = (),
    recompute: Iterable[Name] = (),
) -> Tradeoff:
    """Compute the trade-off curve of a graph: for every budget, the best plan made of lower sets from a family.

    Budgets and peaks are in the bytes that the paper's peak formula (:attr:`Plan.peak`) counts: intermediate values and
    their gradients. A lower set is a set of nodes that no edge enters from outside.

    The curve has two Pareto fronts of overhead (cost of recomputation) and peak. A time-centric plan has the least
    overhead under a budget, a memory-centric plan the largest. The time-centric front is computed now. The
    memory-centric front is computed when it is first used.

    Parameters
    ----------
    graph : Graph
    family : "all", "paper", "prefixes" or "auto"
        The lower sets that a plan may use. ``"all"``: all lower sets, so the curve is exact. ``"paper"``: for each node
        v the set L^v, which is v with all its ancestors. ``"prefixes"``: the sets of ``"paper"``, prefixes of five
        topological orders, and unions of some L^v. ``"auto"``: all lower sets if they are few enough for a search of a
        few seconds, otherwise ``"prefixes"``, or ``"paper"`` if ``"prefixes"`` has too many sets.
    limit : int
        The largest number of lower sets, the empty set and the set of all nodes included, for a search over all of
        them. If the graph has more, ``"all"`` raises an error and ``"auto"`` takes a smaller family.
    progress : callable (done, total), optional
        Called during the search for the time-centric front; both numbers count lower sets. Raise
        :class:`recompviz.Cancelled` in it to stop.
    keep, recompute : iterable of node names
        Nodes that every plan must keep, and nodes that every plan must recompute.

    Returns
    -------
    Tradeoff
        Overheads are in the unit of ``graph.time``, peaks in bytes. The attribute ``note`` names the family that
        ``"auto"`` chose, and says if numba is missing, or if the curve has a small error. The curve has an error only
        if the costs have no common unit and an exact search would take long and much memory. The error is up to 0.1 %
        of T(V), the cost of a forward pass, or more if a search with this error would take too much memory as well.
        The attribute ``tolerance`` is a proven bound of the error, as a share of T(V).

    Raises
    ------
    TypeError
        If ``graph`` is not a Graph, or ``keep`` or ``recompute`` is not iterable.
    ValueError
        If ``family`` is unknown, or ``limit`` is not a whole number of at least 1.
    GraphError
        If ``keep`` or ``recompute`` has an unknown name.
    TooManyLowerSets
        If ``family`` is ``"all"`` and the graph has more than ``limit`` lower sets.
    ImpossiblePin
        If no plan made of lower sets from the family obeys the pins.

    Notes
    -----
    The budget is not part of the recursion, so one search gives the plans for all budgets.
    :mod:`recompviz.core.exact.recursion` and :mod:`recompviz.core.exact.open_segments` explain the recursion.
    Source: Kusumoto et al. 2019, sections 4.1 to 4.4.

    Examples
    --------
    >>> g = Graph.from_edges([(0, 1), (1, 2)], memory=[2, 2, 2])
    >>> solve(g, "all").least_budget
    8
    >>> solve(g, "all", recompute=[0]).time_centric.overheads.tolist()
    [2.0]
    """
    expect(graph, Graph, "graph", "a Graph", "a trace has its curve: trace.tradeoff()")
    if family not in ("all", "paper", "prefixes", "auto"):
        raise ValueError(f'family {family!r} is unknown; choose "all", "paper", "prefixes" or "auto"')
    if isinstance(limit, bool) or not isinstance(limit, Integral) or limit < 1:
        raise ValueError(f"limit is {shown(limit)}, expected a number of lower sets, at least 1")
    limit = min(int(limit), 2**31)
    pins = pins_of(graph, keep, recompute)
    compiled = has_numba() and len(graph) > 0
    choose = _choose_compiled if compiled else _choose_plain
    small = _choose_first_time(graph, family, limit, pins) if compiled else None
    front, taken, count, note = small or choose(graph, family, limit, pins)
    if compiled and small is None and has_fine_costs(graph):
        front = _tolerant(graph, taken, limit, pins)
    time_centric = front("time", progress)
    if len(time_centric) == 0:
        raise ImpossiblePin(
            f'no sequence of the {count:,} lower sets of family "{taken}" obeys the pins; search more '
            'of them (family="all" or "prefixes") or drop a pin'
        )
    tolerance = time_centric.error / float(graph.time.sum()) if time_centric.error else 0.0
    if tolerance:
        near = f"within {tolerance:.2%} of the forward pass above the optimum"
        note = f"{note}; {near}" if note else near
    return Tradeoff(graph, taken, time_centric, LazyParetoFront(partial(front, "memory")), count, note, tolerance)


def _tolerant(graph: Graph, family: str, limit: int, pins: Pins) -> FrontSolver:
    """Return a solver that allows a small error if the exact search needs many labels.

    If the search needs too many labels even so, it is repeated with a larger tolerance.
    """

    def search(most_bytes: int | None, tolerance: float) -> FrontSolver:
        return _choose_compiled(graph, cast("Family", family), limit, pins, most_bytes, tolerance).front

    def front(objective: Objective, progress: Progress | None) -> ParetoFront:
        for tolerance in TOLERANCES:
            with contextlib.suppress(TooManyLabels):  # a larger tolerance needs fewer labels
                return search(MOST_BYTES, tolerance)(objective, progress)
        return search(None, TOLERANCES[-1])(objective, progress)

    return front


FrontSolver = Callable[[Objective, "Progress | None"], ParetoFront]


class Search(NamedTuple):
    """A solver, and the family of lower sets that it searches.

    Attributes
    ----------
    front : callable (objective, progress) → ParetoFront
        Computes the Pareto front of an objective.
    family : str
        The name of the family that is searched.
    lower_set_count : int
        The number of lower sets in the family.
    note : str
        A message about the choice for the user.
    """

    front: FrontSolver
    family: str
    lower_set_count: int
    note: str


def _choose_compiled(
    graph: Graph, family: Family, limit: int, pins: Pins, most_bytes: int | None = None, tolerance: float = 0.0
) -> Search:
    from recompviz.core.exact.lattice import enumerate_lattice

    note = ""
    if family in ("all", "auto"):
        most = limit if family == "all" else min(limit, AFFORDABLE_COMPILED, AFFORDABLE_EFFORT // len(graph))
        try:
            lattice = enumerate_lattice(graph, most)
        except TooManyLowerSets:
            if family == "all":
                raise
            taken, masks, note = _affordable_family(graph, most, AFFORDABLE_FAMILY)
            return Search(_over_family(graph, masks, pins, most_bytes, tolerance), taken, len(masks), note)
        else:
            note = f"all {len(lattice):,} lower sets: exact" if family == "auto" else ""
            return Search(_over_lattice(graph, lattice, pins, most_bytes, tolerance), "all", len(lattice), note)
    else:
        masks = _with_ends(graph, paper_family(graph) if family == "paper" else prefix_family(graph))
    return Search(_over_family(graph, masks, pins, most_bytes, tolerance), family, len(masks), note)


def _choose_first_time(graph: Graph, family: Family, limit: int, pins: Pins) -> Search | None:
    """Return a search in NumPy if the family is small and its compiled solver is not on this machine, otherwise None.

    Compiling takes up to a minute. The NumPy solver takes about a second for a small family.
    """
    pairs, segments = (has_compiled_code(f"exact/{name}_kernels") for name in ("pair", "open_segments"))
    if pairs and segments:
        return None
    try:
        every = all_lower_sets(graph, min(limit, FEW)) if family in ("all", "auto") else []
    except TooManyLowerSets:
        return None
    masks = _with_ends(graph, every or (paper_family(graph) if family == "paper" else prefix_family(graph)))
    if len(masks) > FEW or (pairs if _suits_pairs(graph, len(masks)) else segments):
        return None
    note = f"all {len(masks):,} lower sets: exact" if family == "auto" else ""
    taken = "all" if family == "auto" else family
    return Search(lambda objective, p: pairwise_front(graph, masks, objective, p, pins), taken, len(masks), note)


def _over_lattice(graph: Graph, lattice: Lattice, pins: Pins, most_bytes: int | None, tolerance: float) -> FrontSolver:
    """Return a solver over all lower sets, by pairs of them or by open segments.

    If there are many lower sets, the memory-centric search starts from known fronts: the time-centric front, and the
    front over a smaller family.
    """
    from recompviz.core.exact.compiled_pairs import compiled_pairwise_front
    from recompviz.core.exact.open_segments import open_segment_front

    if _suits_pairs(graph, len(lattice)):
        masks = [lattice.mask(i) for i in range(len(lattice))]
        return partial(compiled_pairwise_front, graph, masks, pins=pins, most_bytes=most_bytes, tolerance=tolerance)
    open_segments = partial(open_segment_front, graph, lattice, pins=pins, most_bytes=most_bytes, tolerance=tolerance)
    solved: list[ParetoFront] = []

    def front(objective: Objective, progress: Progress | None) -> ParetoFront:
        if objective == "time":
            solved[:] = [open_segments("time", progress)]
            return solved[0]
        if len(lattice) < WIDE or not solved:
            return open_segments("memory", progress)
        near = compiled_pairwise_front(
            graph, prefix_family(graph), "memory", None, pins, most_bytes=most_bytes, tolerance=tolerance
        )
        return open_segments("memory", progress, known=[solved[0], near])

    return front


def _suits_pairs(graph: Graph, count: int) -> bool:
    """Return whether ``count`` lower sets are searched by pairs of them, because this takes less time.

    Costs that are not fine have many plans of equal overhead and peak. Open segments search all such graphs, so that
    one solver chooses among these plans.
    """
    return LEAST_WIDTH * len(graph) <= count <= MOST_PAIRED and has_fine_costs(graph)


def _over_family(
    graph: Graph, masks: Sequence[int], pins: Pins, most_bytes: int | None, tolerance: float
) -> FrontSolver:
    """Return a solver over a family.

    It uses pairs of the sets, or open segments that end at these sets if the graph has few other lower sets.
    """
    from recompviz.core.exact.compiled_pairs import compiled_pairwise_front
    from recompviz.core.exact.lattice import enumerate_lattice
    from recompviz.core.exact.open_segments import open_segment_front

    pairs = partial(compiled_pairwise_front, graph, masks, pins=pins, most_bytes=most_bytes, tolerance=tolerance)
    if _suits_pairs(graph, len(masks)):
        return pairs
    try:
        lattice = enumerate_lattice(graph, 4 * len(masks))
    except TooManyLowerSets:
        return pairs
    return partial(
        open_segment_front, graph, lattice, pins=pins, ends=masks, most_bytes=most_bytes, tolerance=tolerance
    )


def _choose_plain(graph: Graph, family: Family, limit: int, pins: Pins) -> Search:
    note = ""
    if family == "auto":
        try:
            masks = all_lower_sets(graph, min(limit, AFFORDABLE_PAIRWISE))
            family, note = "all", f"all {len(masks):,} lower sets: exact"
        except TooManyLowerSets as error:
            family, masks, note = _affordable_family(graph, error.limit, AFFORDABLE_PAIRWISE)
    elif family == "all":
        masks = all_lower_sets(graph, limit)
    else:
        masks = paper_family(graph) if family == "paper" else prefix_family(graph)
    masks = _with_ends(graph, masks)
    if len(graph):
        note = f"{note}; {SLOW}" if note else SLOW
    return Search(lambda objective, p: pairwise_front(graph, masks, objective, p, pins), family, len(masks), note)


def _affordable_family(graph: Graph, limit: int, most: int) -> tuple[Family, list[int], str]:
    """Return the name of a family, its sets, and a note for the user.

    The family is ``"prefixes"`` if it has at most ``most`` sets, otherwise ``"paper"``. The note says that the graph
    has more than ``limit`` lower sets.
    """
    family: Family = "prefixes"
    masks = _with_ends(graph, prefix_family(graph))
    if len(masks) > most:
        family, masks = "paper", _with_ends(graph, paper_family(graph))
    return family, masks, (
        f'more than {limit:,} lower sets: searched the {len(masks):,} of "{family}" instead, '
        "an upper bound of the exact curve"
    )  # fmt: skip


def _with_ends(graph: Graph, masks: Sequence[int]) -> list[int]:
    return list(dict.fromkeys((0, *masks, graph.everything)))
