"""``solve``: from a graph to its trade-off curve, by the solver and the family asked for."""

from __future__ import annotations

from typing import Literal

from recompviz.core.errors import TooManyLowerSets
from recompviz.core.families import all_lower_sets, paper_family, prefix_family
from recompviz.core.graph import Graph
from recompviz.core.pairwise import Progress, pairwise_front
from recompviz.core.tradeoff import Tradeoff

Family = Literal["all", "paper", "prefixes", "auto"]

# beyond this many lower sets the pairwise recursion takes minutes
AFFORDABLE_PAIRWISE = 2_000


def solve(
    graph: Graph,
    family: Family = "auto",
    *,
    limit: int = 200_000,
    progress: Progress | None = None,
) -> Tradeoff:
    """The trade-off curve of a graph for both objectives and every budget.

    Parameters
    ----------
    graph : Graph
    family : "all", "paper", "prefixes" or "auto"
        Which lower sets a sequence may use: all (exact), the paper's L^v, L^v with prefixes of
        topological orders, or the largest of these that is affordable.
    limit : int
        The most lower sets that ``"all"`` may enumerate.
    progress : callable (done, total), optional
        Called now and then; raise :class:`recompviz.Cancelled` in it to stop.

    Raises
    ------
    TooManyLowerSets
        If ``family="all"`` and the graph has more than ``limit``.

    Notes
    -----
    One backward recursion with the budget taken out of the state serves every budget; see
    :mod:`recompviz.core.pairwise`. Source: Kusumoto et al. 2019, sections 4.1 to 4.4.

    Examples
    --------
    >>> g = Graph.from_edges([(0, 1), (1, 2)], memory=[2, 2, 2])
    >>> solve(g, "all").least_budget
    8
    """
    note = ""
    if family == "auto":
        try:
            masks = all_lower_sets(graph, AFFORDABLE_PAIRWISE)
            family = "all"
            note = f"all {len(masks):,} lower sets: exact"
        except TooManyLowerSets:
            masks = prefix_family(graph)
            family = "prefixes"
            note = (
                f"more than {AFFORDABLE_PAIRWISE:,} lower sets: searched the {len(masks):,} of "
                '"prefixes" instead, an upper bound of the exact curve'
            )
    elif family == "all":
        masks = all_lower_sets(graph, limit)
    elif family == "paper":
        masks = paper_family(graph)
    elif family == "prefixes":
        masks = prefix_family(graph)
    else:
        raise ValueError(f'family {family!r} is unknown; choose "all", "paper", "prefixes" or "auto"')
    return Tradeoff(
        graph,
        family,
        pairwise_front(graph, masks, "time", progress),
        pairwise_front(graph, masks, "memory", progress),
        len(set(masks) | {0, graph.everything}),
        note,
    )
