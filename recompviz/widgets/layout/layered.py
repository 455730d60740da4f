"""The built-in layered layout: ranks, orders within the ranks, and coordinates.

It has five steps:

1. Each node gets a rank. The rank is at least the number of edges on the longest path from a source to the node.
2. An edge that spans several ranks gets a *dummy* on each rank between its ends.
3. Barycenter sweeps reorder the items (nodes and dummies) of each rank. The order with the fewest crossings is used.
4. Each item gets a coordinate in its rank. The coordinates are fitted to those in the neighbouring ranks by weighted
   least squares, with a least distance between items (isotonic regression). The weights keep the longest path and long
   edges straight.
5. The items of each path move as one, so that parallel branches lie in straight rows, and push their neighbours.

Source: Sugiyama, Tagawa, Toda 1981; Gansner et al. 1993.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from itertools import pairwise
from math import inf

from recompviz.core.graphs.graph import Graph

SWEEPS = 6
FITS = 8
# a node that could lie at least this many ranks later is moved to the rank before its first successor
WAITS = 5
# the limit on the nodes of a rank is never smaller
LEAST_LIMIT = 8
# this many long edges with the same end share their dummies, so that they are drawn as one line that branches
TRUNK = 3
# with more dummies than this, the longest edges are drawn as direct lines
MOST_DUMMIES = 20_000
# least distance across the ranks between nodes, between a node and a line, and between lines
NODE_GAP, MIXED_GAP, LINE_GAP = 29.0, 18.0, 6.0
# straight rows may make the picture larger by this factor
GROWS = 1.3
# how often rows are drawn to the rows that they are connected with
PULLS = 3


@dataclass(frozen=True)
class Arrangement:
    """Positions of nodes and edges within their ranks.

    In a layout from left to right, a rank is a column, and the positions are y coordinates.

    A *dummy* is the point where an edge crosses a rank between the ranks of its ends.

    Attributes
    ----------
    across : tuple of float
        The position of each node in pixels; the least position of all nodes and dummies is 0.
    lines : dict of int to tuple of (rank, across)
        The dummies of an edge, by the number of the edge. Edges without dummies are absent.
    extent : float
        The largest coordinate of a node or a dummy.
    """

    across: tuple[float, ...]
    lines: dict[int, tuple[tuple[int, float], ...]]
    extent: float


def ranks_of(graph: Graph) -> list[int]:
    """Return the rank of each node. It is the number of edges on the longest path from a source to the node.

    There is one exception. A node that could lie five or more ranks later is moved to the rank before its first
    successor, unless it has more predecessors than successors. Without this exception, values that layers use all along
    a network, such as projections of one embedding, would all have the same rank.

    Examples
    --------
    >>> ranks_of(Graph.from_edges([(0, 1), (1, 2), (0, 2)], memory=[1, 1, 1]))
    [0, 1, 2]
    """
    before: list[list[int]] = [[] for _ in range(len(graph))]
    after: list[list[int]] = [[] for _ in range(len(graph))]
    for u, v in graph.edges.tolist():
        before[v].append(u)
        after[u].append(v)
    rank = [0] * len(graph)
    for v in graph.order:
        rank[v] = 1 + max((rank[u] for u in before[v]), default=-1)
    for v in reversed(graph.order):
        latest = min((rank[w] for w in after[v]), default=0) - 1
        if latest - rank[v] >= WAITS and len(before[v]) <= len(after[v]):
            rank[v] = latest
    return rank


def ranks_within(graph: Graph, shape: float) -> list[int]:
    """Return the rank of each node as :func:`ranks_of` does, but with a limit on the nodes of a rank.

    Parallel branches, such as the experts of a mixture, would all have the same ranks, and the picture would be a high
    and narrow column. If a rank would have more nodes than the limit, later branches get later ranks. A branch that is
    a module of a list, such as one expert, gets later ranks as a whole, so that all experts are drawn alike.

    Parameters
    ----------
    graph : Graph
    shape : float
        The wanted number of nodes in a rank divided by the wanted number of ranks.

    Examples
    --------
    >>> fan = Graph.from_edges([(0, v) for v in range(1, 21)], memory=[1] * 21)
    >>> max(ranks_of(fan)), max(ranks_within(fan, 1.0))
    (1, 3)
    """
    rank = ranks_of(graph)
    most = max(LEAST_LIMIT, round((len(graph) * shape) ** 0.5))
    if max(Counter(rank).values(), default=0) <= most:
        return rank
    before: list[list[int]] = [[] for _ in range(len(graph))]
    for u, v in graph.edges.tolist():
        before[v].append(u)
    return fill_ranks(graph.order, before, rank, most, branches_of(graph))


def branches_of(graph: Graph) -> list[str]:
    """Return for each node the innermost module around it whose name is a number, for example ``experts.1``.

    Items of a ``ModuleList`` and of a ``Sequential`` have such names.

    The text is empty if there is no such module.

    Examples
    --------
    >>> from recompviz.core.graphs.node_info import NodeInfo
    >>> info = tuple(NodeInfo(module=module) for module in ("experts.1.up", "head"))
    >>> branches_of(Graph(("a", "b"), [1, 1], [1, 1], [(0, 1)], info))
    ['experts.1', '']
    """
    found = []
    for info in graph.info:
        parts = info.module.split(".")
        last = max((i for i, part in enumerate(parts) if part.isdigit()), default=-1)
        found.append(".".join(parts[: last + 1]))
    return found


def fill_ranks(
    order: Iterable[int],
    before: Sequence[Sequence[int]],
    earliest: Sequence[int],
    most: int,
    branches: Sequence[str] = (),
) -> list[int]:
    """Return the rank of each node. A node gets the first rank after its predecessors that is not full.

    Parameters
    ----------
    order : iterable of int
        All nodes in a topological order.
    before : sequence of sequences of int
        The predecessors of each node.
    earliest : sequence of int
        The least rank of each node without predecessors.
    most : int
        The largest number of nodes in a rank.
    branches : sequence of str, optional
        The name of the branch of each node; empty if the node is in no branch. The nodes of a branch are moved to later
        ranks as one group, on two conditions: their predecessors outside the branch come before them in the order, and
        the group needs at most ``most`` nodes in each rank. Otherwise each node gets its rank on its own.

    Examples
    --------
    >>> fill_ranks(range(5), [[], [0], [0], [0], [1, 2, 3]], [0] * 5, 2)
    [0, 1, 1, 2, 3]
    """
    rank = [-1] * len(before)
    held: Counter[int] = Counter()
    order = list(order)
    members: dict[str, list[int]] = {}
    for v in order if branches else ():
        members.setdefault(branches[v], []).append(v)

    def natural(unit: Sequence[int]) -> dict[int, int] | None:
        """Return the ranks of nodes directly after their predecessors; None if a predecessor has none yet."""
        found: dict[int, int] = {}
        for v in unit:
            near = [found.get(u, rank[u]) for u in before[v]]
            if min(near, default=0) < 0:
                return None
            found[v] = max(near, default=earliest[v] - 1) + 1
        return found

    for v in order:
        if rank[v] >= 0:
            continue
        found = natural(members[branches[v]]) if branches and branches[v] else None
        if found is None or max(Counter(found.values()).values()) > most:
            found = natural([v])
        assert found is not None, "the order is topological"
        counts = Counter(found.values())
        shift = 0
        while any(held[r + shift] + count > most for r, count in counts.items()):
            shift += 1
        for u, r in found.items():
            rank[u] = r + shift
            held[r + shift] += 1
    return rank


def arrange(rank: Sequence[int], edges: Sequence[tuple[int, int]], most_dummies: int = MOST_DUMMIES) -> Arrangement:
    """Compute coordinates across the ranks, of nodes and of dummies.

    A dummy is the point where an edge crosses a rank between the ranks of its ends.

    Parameters
    ----------
    rank : sequence of int
        The rank of each node.
    edges : sequence of (u, v)
        Edges between node numbers; v must have a higher rank than u.
    most_dummies : int
        The largest number of dummies. Shorter edges get dummies before longer edges. When no dummies are left, the
        remaining edges are drawn as direct lines.

    Returns
    -------
    Arrangement
        The coordinates, from 0 to ``extent``. Without nodes, the result is empty and ``extent`` is 0.
    """
    if not rank:
        return Arrangement((), {}, 0.0)
    n, first = len(rank), min(rank)
    items_rank = [r - first for r in rank]
    chains = _chains(items_rank, edges, most_dummies)
    items = len(items_rank)
    before: list[list[tuple[int, float]]] = [[] for _ in range(items)]
    after: list[list[tuple[int, float]]] = [[] for _ in range(items)]

    main = _main_edges(n, items_rank, edges)
    for e, (u, v) in enumerate(edges):
        path = [u, *chains.get(e, ()), v]
        if len(path) == 2 and items_rank[v] - items_rank[u] > 1:
            continue  # a direct line does not attract its ends
        for a, b in pairwise(path):
            weight = 8.0 if a >= n and b >= n else 60.0 if e in main else 0.3 if a < n and b < n else 0.02
            after[a].append((b, weight))
            before[b].append((a, weight))

    layers: list[list[int]] = [[] for _ in range(max(items_rank) + 1)]
    for item in [*range(n, items), *range(n)]:  # lines first: on a tie they lie above the nodes
        layers[items_rank[item]].append(item)
    layers = _reduce_crossings(layers, before, after)
    across = _coordinates(layers, before, after, n)
    links = [edges[e] for e in sorted(main)]
    links += [pair for chain in chains.values() for pair in pairwise(chain)]
    links += [(edges[e][0], chain[0]) for e, chain in chains.items()]
    across = _straightened(across, layers, links, before, after, n)

    low = min(across)
    across = [round(y - low, 2) for y in across]
    lines = {e: tuple((items_rank[d] + first, across[d]) for d in chain) for e, chain in chains.items()}
    return Arrangement(tuple(across[:n]), lines, max(across))


def _chains(items_rank: list[int], edges: Sequence[tuple[int, int]], most: int) -> dict[int, list[int]]:
    """Give dummies to the edges that span several ranks, the shortest edges first.

    Append the ranks of the dummies to ``items_rank``, and return the numbers of each edge's dummies. Long edges with
    the same start, or the same end, share dummies.
    """
    lengths = [items_rank[v] - items_rank[u] - 1 for u, v in edges]
    starts = Counter(u for (u, _), length in zip(edges, lengths, strict=True) if length > 0)
    ends = Counter(v for (_, v), length in zip(edges, lengths, strict=True) if length > 0)
    chains: dict[int, list[int]] = {}
    shared: dict[tuple[str, int, int], int] = {}
    used = 0
    for length, e in sorted((length, e) for e, length in enumerate(lengths) if length > 0):
        u, v = edges[e]
        trunk = ("from", u) if starts[u] >= TRUNK else ("to", v) if ends[v] >= TRUNK else ("alone", e)
        keys = [(*trunk, items_rank[u] + 1 + i) for i in range(length)]
        fresh = [key for key in keys if key not in shared]
        used += len(fresh)
        if used > most:
            break
        for key in fresh:
            shared[key] = len(items_rank)
            items_rank.append(key[2])
        chains[e] = [shared[key] for key in keys]
    return chains


def _main_edges(n: int, rank: Sequence[int], edges: Sequence[tuple[int, int]]) -> set[int]:
    """Return the edges to draw straight, along the longest paths.

    At most one of them leaves each node, and at most one enters each node.
    """
    height = [0] * n
    out: list[list[tuple[int, int]]] = [[] for _ in range(n)]
    for e, (u, v) in enumerate(edges):
        out[u].append((v, e))
    main: set[int] = set()
    taken: set[int] = set()
    for u in sorted(range(n), key=lambda v: -rank[v]):
        height[u] = 1 + max((height[v] for v, _ in out[u]), default=-1)
        for v, e in sorted(out[u], key=lambda pair: -height[pair[0]]):
            if rank[v] == rank[u] + 1 and v not in taken:
                main.add(e)
                taken.add(v)
                break
    return main


def _reduce_crossings(
    layers: list[list[int]], before: list[list[tuple[int, float]]], after: list[list[tuple[int, float]]]
) -> list[list[int]]:
    place = {item: i for layer in layers for i, item in enumerate(layer)}
    best, fewest = [list(layer) for layer in layers], _crossings(layers, after, place)
    for sweep in range(SWEEPS):
        if fewest == 0:
            break
        down = sweep % 2 == 0
        near = before if down else after
        for layer in layers if down else reversed(layers):
            if len(layer) > 1:
                middle = {
                    item: sum(place[other] for other, _ in near[item]) / len(near[item]) if near[item] else place[item]
                    for item in layer
                }
                layer.sort(key=middle.__getitem__)  # stable: equal items keep their order
                for i, item in enumerate(layer):
                    place[item] = i
        crossings = _crossings(layers, after, place)
        if crossings < fewest:
            best, fewest = [list(layer) for layer in layers], crossings
    return best


def _crossings(layers: list[list[int]], after: list[list[tuple[int, float]]], place: dict[int, int]) -> int:
    total = 0
    for layer in layers:
        if len(layer) < 2:
            continue
        seen: list[int] = []
        for item in layer:
            ends = sorted(place[other] for other, _ in after[item])
            total += sum(len(seen) - bisect_right(seen, end) for end in ends)
            for end in ends:
                insort(seen, end)
    return total


def _coordinates(
    layers: list[list[int]], before: list[list[tuple[int, float]]], after: list[list[tuple[int, float]]], n: int
) -> list[float]:
    across = [0.0] * len(before)
    offsets: list[list[float]] = []
    for layer in layers:
        at, row = 0.0, []
        for i, item in enumerate(layer):
            if i:
                lines = (item >= n) + (layer[i - 1] >= n)
                at += (NODE_GAP, MIXED_GAP, LINE_GAP)[lines]
            row.append(at)
            across[item] = at
        offsets.append(row)
    for fit in range(FITS):
        both = fit >= 2
        down = fit % 2 == 0
        for r in range(len(layers)) if down else range(len(layers) - 1, -1, -1):
            layer = layers[r]
            wanted, weights = [], []
            for item in layer:
                near = before[item] + after[item] if both else before[item] if down else after[item]
                weight = sum(w for _, w in near)
                pull = sum(w * across[other] for other, w in near)
                wanted.append(pull / weight if weight else across[item])
                weights.append(weight or 0.01)
            fitted = isotonic([y - s for y, s in zip(wanted, offsets[r], strict=True)], weights)
            for item, y, s in zip(layer, fitted, offsets[r], strict=True):
                across[item] = y + s
    return across


def _straightened(
    across: list[float],
    layers: Sequence[Sequence[int]],
    links: Sequence[tuple[int, int]],
    before: Sequence[Sequence[tuple[int, float]]],
    after: Sequence[Sequence[tuple[int, float]]],
    n: int,
) -> list[float]:
    """Return coordinates in which the items that links join have one coordinate, if the picture does not grow by much.

    A link joins items of neighbouring ranks. Of two links that cross, the first counts. Joined items move as one, and
    push their neighbours.
    """
    place = {item: i for layer in layers for i, item in enumerate(layer)}
    row = _rows(links, layers, place)
    count = max(row, default=-1) + 1
    above: list[dict[int, float]] = [{} for _ in range(count)]  # for each row the rows above it, and the least distance
    below: list[dict[int, float]] = [{} for _ in range(count)]
    for layer in layers:
        for p, q in pairwise(layer):
            gap = (NODE_GAP, MIXED_GAP, LINE_GAP)[(p >= n) + (q >= n)]
            a, b = row[p], row[q]
            above[b][a] = below[a][b] = max(gap, above[b].get(a, 0.0))
    order = list(TopologicalSorter({b: near.keys() for b, near in enumerate(above)}).static_order())
    members: list[list[int]] = [[] for _ in range(count)]
    for item, r in enumerate(row):
        members[r].append(item)
    wanted = [sum(across[item] for item in items) / len(items) for items in members]
    high, low = list(wanted), list(wanted)
    for r in order:
        high[r] = max([wanted[r], *(high[a] + gap for a, gap in above[r].items())])
    for r in reversed(order):
        low[r] = min([wanted[r], *(low[b] - gap for b, gap in below[r].items())])
    y = [(a + b) / 2 for a, b in zip(high, low, strict=True)]  # distances hold in both, so they hold in the mean
    for _ in range(PULLS):
        for r in (*order, *reversed(order)):
            near = [(y[row[o]], w) for item in members[r] for o, w in (*before[item], *after[item]) if row[o] != r]
            weight = sum(w for _, w in near)
            if weight:
                pulled = sum(at * w for at, w in near) / weight
                least = max((y[a] + gap for a, gap in above[r].items()), default=-inf)
                most = min((y[b] - gap for b, gap in below[r].items()), default=inf)
                y[r] = max(min(pulled, most), least)
    straight = [y[r] for r in row]
    grown = max(straight) - min(straight)
    return straight if grown <= GROWS * (max(across) - min(across)) + NODE_GAP else across


def _rows(links: Sequence[tuple[int, int]], layers: Sequence[Sequence[int]], place: Mapping[int, int]) -> list[int]:
    """Return a number for each item; items that links join, without a crossing of links, have the same one."""
    rank = {item: r for r, layer in enumerate(layers) for item in layer}
    taken: list[list[tuple[int, int]]] = [[] for _ in layers]  # for each rank the accepted links, by place
    follows: dict[int, int] = {}
    for u, v in links:
        pair, held = (place[u], place[v]), taken[rank[u]]
        i = bisect_right(held, pair)
        fits = (i == 0 or (held[i - 1][0] < pair[0] and held[i - 1][1] < pair[1])) and (
            i == len(held) or (held[i][0] > pair[0] and held[i][1] > pair[1])
        )
        if fits:
            held.insert(i, pair)
            follows[u] = v
    number = [-1] * len(place)
    rows = 0
    for layer in layers:
        for item in layer:
            if number[item] < 0:
                at: int | None = item
                while at is not None:
                    number[at] = rows
                    at = follows.get(at)
                rows += 1
    return number


def isotonic(values: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Return the non-decreasing sequence nearest to ``values`` in weighted least squares.

    The algorithm is called *pool adjacent violators*.

    Examples
    --------
    >>> isotonic([1, 3, 2], [1, 1, 1])
    [1.0, 2.5, 2.5]
    """
    pools: list[tuple[float, float, int]] = []
    for value, weight in zip(values, weights, strict=True):
        mean, total, count = float(value), weight, 1
        while pools and pools[-1][0] > mean:
            m, w, c = pools.pop()
            mean, total, count = (m * w + mean * total) / (w + total), w + total, c + count
        pools.append((mean, total, count))
    return [mean for mean, _, count in pools for _ in range(count)]
