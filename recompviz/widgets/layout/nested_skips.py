"""Skip connections that lie inside each other, as in a U-Net, and the rows of a picture that shows this shape.

Such a graph is drawn as a U. Its ranks before the innermost skip connection are the left side, from top to bottom. Its
ranks after it are the right side, from bottom to top. The two ends of a skip connection share a row, so that the
connection is one straight line. A graph has this shape if few other values cross its middle.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence

# the least distance between the ends of the innermost skip connection, in ranks
LEAST_SPAN = 2
# a graph with fewer nested skip connections is drawn without a U
LEAST_SKIPS = 3
# the outermost skip connection spans at least this share of the ranks
LEAST_SHARE = 0.4


def nested_skips(
    rank: Sequence[int], edges: Sequence[tuple[int, int]], chosen_from: Sequence[bool] | None = None
) -> list[int]:
    """Return the positions in ``edges`` of edges that lie inside each other, the outermost first.

    The result is empty if the graph is no U; see the docstring of the module.

    Parameters
    ----------
    rank : sequence of int
        The rank of each node.
    edges : sequence of (u, v)
        Edges between node numbers; v must have a higher rank than u.
    chosen_from : sequence of bool, optional
        For each edge whether it may be in the result. By default, every edge may.

    Examples
    --------
    >>> chain = [(v, v + 1) for v in range(9)]
    >>> nested_skips(range(10), [*chain, (0, 9), (1, 8), (2, 7)])
    [9, 10, 11]
    >>> nested_skips(range(10), chain)
    []
    """
    spans = [
        (rank[u], -rank[v], e)
        for e, (u, v) in enumerate(edges)
        if rank[v] - rank[u] >= LEAST_SPAN and (chosen_from is None or chosen_from[e])
    ]
    # the longest chain with rising starts and falling ends: ends, negated, rise strictly
    ends: list[int] = []
    tails: list[int] = []
    before: dict[int, int] = {}
    by_start: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for start, end, e in sorted(spans):
        by_start[start].append((end, e))
    for start in sorted(by_start):
        places = [(bisect_left(ends, end), end, e) for end, e in by_start[start]]
        for place, end, e in reversed(places):  # the last place first: two edges of one start cannot follow each other
            if place < len(ends) and ends[place] <= end:
                continue
            before[e] = tails[place - 1] if place else -1
            ends[place : place + 1] = [end]
            tails[place : place + 1] = [e]
    chain: list[int] = []
    e = tails[-1] if tails else -1
    while e >= 0:
        chain.append(e)
        e = before[e]
    chain.reverse()
    chain = _tightened(rank, edges, chain, {e for _, _, e in spans})
    if len(chain) < LEAST_SKIPS or not _crossed_by_few(rank, edges, chain):
        return []
    u, v = edges[chain[0]]
    return chain if rank[v] - rank[u] >= LEAST_SHARE * (max(rank) + 1) else []


def _tightened(
    rank: Sequence[int], edges: Sequence[tuple[int, int]], chain: Sequence[int], allowed: set[int]
) -> list[int]:
    """Return a chain whose edges begin as late as possible, and end where those of the given chain end.

    A level of a U-Net may have several skip connections to two levels of the way up. The last one leads to the values
    of its own size.
    """
    into: dict[int, list[int]] = defaultdict(list)
    for e in allowed:
        into[edges[e][1]].append(e)
    found: list[int] = []
    latest = max(rank, default=0) + 1
    for e in reversed(chain):
        fitting = [other for other in into[edges[e][1]] if rank[edges[other][0]] < latest]
        best = max(fitting, key=lambda other: (rank[edges[other][0]], -other))
        found.append(best)
        latest = rank[edges[best][0]]
    return found[::-1]


def _crossed_by_few(rank: Sequence[int], edges: Sequence[tuple[int, int]], chain: Sequence[int]) -> bool:
    """Return whether few edges besides those of the chain cross the middle of its innermost edge.

    At most two values that do not begin an edge of the chain may cross it, or half as many as the chain has edges. At
    most a third of the chain's values may cross it more than twice.
    """
    u, v = edges[chain[-1]]
    middle = (rank[u] + rank[v]) // 2
    used: dict[int, int] = defaultdict(int)
    for a, b in edges:
        if rank[a] < middle < rank[b]:
            used[a] += 1
    sources = {edges[e][0] for e in chain}
    others = sum(1 for a in used if a not in sources)
    often = sum(1 for a in sources if used[a] > 2)
    return others <= max(2, len(chain) // 2) and often <= len(chain) // 3


def spread(chain: Sequence[int], count: int) -> list[int]:
    """Return ``count`` elements of a list of edges, evenly spread. The last element is always among them.

    Examples
    --------
    >>> spread([4, 5, 6, 7], 2)
    [5, 7]
    """
    return [chain[(i + 1) * len(chain) // count - 1] for i in range(count)]
