"""``solve``: the trade-off curve of a graph, over all lower sets or over a family.

The solver over all lower sets uses open segments, the solver over a family uses pairs of its sets. Both are compiled.
Without numba the slower NumPy solver gives the same results, and the curve's ``note`` says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from recompviz.core.base.compiled import has_numba, is_compiled
from recompviz.core.base.errors import ImpossiblePin, TooManyLowerSets
from recompviz.core.base.progress import Progress
from recompviz.core.exact.lazy_front import LazyParetoFront
from recompviz.core.exact.oracle import pairwise_front
from recompviz.core.graphs.families import all_lower_sets, paper_family, prefix_family
from recompviz.core.graphs.graph import Graph, Name
from recompviz.core.graphs.pins import Pins, pins_of
from recompviz.core.plans.curve import Objective, ParetoFront, Tradeoff

if TYPE_CHECKING:
    from recompviz.core.exact.lattice import Lattice

Family = Literal["all", "paper", "prefixes", "auto"]

# with more lower sets the pairwise recursion in NumPy takes minutes
AFFORDABLE_PAIRWISE = 2_000
# with more lower sets, or lower sets × nodes, the compiled open segments take more than some seconds
AFFORDABLE_COMPILED = 30_000
AFFORDABLE_EFFORT = 10_000_000
# with at most this many lower sets the pairwise recursion in NumPy takes about a second
FEW = 400
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
    """The trade-off curve of a graph for both objectives and every budget.

    The time-centric curve is solved now, the memory-centric one on first use.

    Parameters
    ----------
    graph : Graph
    family : "all", "paper", "prefixes" or "auto"
        Which lower sets a sequence may use: all (exact), the paper's L^v, L^v with prefixes of
        topological orders, or the largest of these that is affordable.
    limit : int
        The most lower sets that ``"all"`` may enumerate.
    progress : callable (done, total), optional
        Called during the search; raise :class:`recompviz.Cancelled` in it to stop.
    keep, recompute : iterable of node names
        What-if pins: nodes that must be in U_k, and nodes that must not.

    Returns
    -------
    Tradeoff
        The optimal plans of every budget. Overheads are in the units of ``graph.time``, peaks in formula bytes. Its
        ``note`` names the family that ``"auto"`` chose, and says if numba is missing.

    Raises
    ------
    ValueError
        If ``family`` is unknown.
    TooManyLowerSets
        If ``family="all"`` and the graph has more than ``limit``.
    ImpossiblePin
        If no sequence of the family obeys the pins.

    Notes
    -----
    One backward recursion without the budget in its state solves all budgets; see
    :mod:`recompviz.core.exact.oracle` and :mod:`recompviz.core.exact.open_segments`.
    Source: Kusumoto et al. 2019, sections 4.1 to 4.4.

    Examples
    --------
    >>> g = Graph.from_edges([(0, 1), (1, 2)], memory=[2, 2, 2])
    >>> solve(g, "all").least_budget
    8
    >>> solve(g, "all", recompute=[0]).time_centric.overheads.tolist()
    [2.0]
    """
    if family not in ("all", "paper", "prefixes", "auto"):
        raise ValueError(f'family {family!r} is unknown; choose "all", "paper", "prefixes" or "auto"')
    pins = pins_of(graph, keep, recompute)
    compiled = has_numba() and len(graph) > 0
    choose = _choose_compiled if compiled else _choose_plain
    front, taken, count, note = (compiled and _choose_first_time(graph, family, limit, pins)) or choose(
        graph, family, limit, pins
    )
    time_centric = front("time", progress)
    if len(time_centric) == 0:
        raise ImpossiblePin(
            f'no sequence of the {count:,} lower sets of family "{taken}" obeys the pins; search more '
            'of them (family="all" or "prefixes") or drop a pin'
        )
    memory_centric = LazyParetoFront(lambda progress: front("memory", progress))
    return Tradeoff(graph, taken, time_centric, memory_centric, count, note)


FrontSolver = Callable[[Objective, "Progress | None"], ParetoFront]


class Search(NamedTuple):
    """The solver for each objective, the family that it searches, its number of lower sets, and the curve's note."""

    front: FrontSolver
    family: str
    lower_set_count: int
    note: str


def _choose_compiled(graph: Graph, family: Family, limit: int, pins: Pins) -> Search:
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
            return Search(_over_family(graph, masks, pins), taken, len(masks), note)
        else:
            note = f"all {len(lattice):,} lower sets: exact" if family == "auto" else ""
            return Search(_over_lattice(graph, lattice, pins), "all", len(lattice), note)
    else:
        masks = _with_ends(graph, paper_family(graph) if family == "paper" else prefix_family(graph))
    return Search(_over_family(graph, masks, pins), family, len(masks), note)


def _choose_first_time(graph: Graph, family: Family, limit: int, pins: Pins) -> Search | None:
    """The oracle for a small graph if the kernels were never compiled on this machine.

    Compiling takes most of a minute, once. The oracle takes at most a second for a small family, and is exact.
    """
    if is_compiled("exact/open_segments_kernels"):
        return None
    try:
        every = all_lower_sets(graph, min(limit, FEW)) if family in ("all", "auto") else []
    except TooManyLowerSets:
        return None
    masks = _with_ends(graph, every or (paper_family(graph) if family == "paper" else prefix_family(graph)))
    if len(masks) > FEW:
        return None
    note = f"all {len(masks):,} lower sets: exact" if family == "auto" else ""
    taken = "all" if family == "auto" else family
    return Search(lambda objective, p: pairwise_front(graph, masks, objective, p, pins), taken, len(masks), note)


def _over_lattice(graph: Graph, lattice: Lattice, pins: Pins) -> FrontSolver:
    """All lower sets by open segments; on a wide graph the memory-centric search starts from a known curve."""
    from recompviz.core.exact.compiled_pairs import compiled_pairwise_front
    from recompviz.core.exact.open_segments import open_segment_front

    solved: list[ParetoFront] = []

    def front(objective: Objective, progress: Progress | None) -> ParetoFront:
        if objective == "time":
            solved[:] = [open_segment_front(graph, lattice, "time", progress, pins)]
            return solved[0]
        if len(lattice) < WIDE or not solved:
            return open_segment_front(graph, lattice, "memory", progress, pins)
        near = compiled_pairwise_front(graph, prefix_family(graph), "memory", None, pins)
        return open_segment_front(graph, lattice, "memory", progress, pins, known=[solved[0], near])

    return front


def _over_family(graph: Graph, masks: Sequence[int], pins: Pins) -> FrontSolver:
    """A family over its pairs, or by open segments that end at its members if the graph has few other lower sets."""
    from recompviz.core.exact.compiled_pairs import compiled_pairwise_front
    from recompviz.core.exact.lattice import enumerate_lattice
    from recompviz.core.exact.open_segments import open_segment_front

    try:
        lattice = enumerate_lattice(graph, 4 * len(masks))
    except TooManyLowerSets:
        return lambda objective, progress: compiled_pairwise_front(graph, masks, objective, progress, pins)
    return lambda objective, progress: open_segment_front(graph, lattice, objective, progress, pins, ends=masks)


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
    """The larger of the two families if it has at most ``most`` sets, otherwise the smaller; and a note."""
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
