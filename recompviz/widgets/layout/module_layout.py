"""The layout of every module box: ranks and places of its items. It does not change when boxes are opened or closed.

An item is a node, or the box of a module. A box has two *ports*, where lines from outside enter the box and leave it.
Each box is laid out separately, with its items, its ports and its lines. The page computes the sizes of the items, so
opening a box only shifts the items beside it. Boxes with the same edges between their items share one computation.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.graphs.graph import Graph
from recompviz.widgets.layout.layered import Arrangement, arrange, fill_ranks
from recompviz.widgets.layout.modules import Modules, ancestors
from recompviz.widgets.layout.nested_skips import nested_skips

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_DUMMIES = 5_000  # per box; the first picture waits for all boxes
# the wanted number of items in a rank divided by the number of ranks; closed boxes are wider than high
BOX_SHAPE = 1.2
LEAST_LIMIT = 8  # a rank with fewer items is never split
IN, OUT = -1, -2  # the ports as ends of a line


@dataclass(frozen=True, eq=False)
class ModuleLayout:
    """The rank and the place of each item in its box. An item is a node or a module's box, as in :class:`Modules`.

    A place is a coordinate within a rank, as in :class:`Arrangement`. Lines from outside enter a box at its port
    *in*. Lines to the outside leave the box at its port *out*.

    Attributes
    ----------
    rank : numpy.ndarray of uint16, shape (#V + #boxes,)
        The rank of each item in its box. The port *in* has rank 0.
    across : numpy.ndarray of float32, shape (#V + #boxes,)
        The place of each item.
    ports : numpy.ndarray of float32, shape (#boxes, 3)
        For each box, three numbers: the place of the port *in*, the place of the port *out*, and the rank of *out*.
    lines : numpy.ndarray of int32, shape (#lines, 3)
        For each line, three numbers: the box that contains the line, and the items at which the line starts and ends.
        Instead of an item, −1 is the port *in* and −2 is the port *out*. Several edges of the graph may share a line.
    passed : numpy.ndarray of float32, shape (#passed, 2)
        The rank and the place of each point that a line passes between its ends.
    offsets : numpy.ndarray of uint32, shape (#lines + 1,)
        The points that line i passes are ``passed[offsets[i]:offsets[i + 1]]``.
    skips : numpy.ndarray of uint32, shape (#skips,)
        For each box that is drawn as a U, the numbers of the lines of its nested skip connections, the outermost first;
        see :mod:`recompviz.widgets.layout.nested_skips`.
    """

    rank: NDArray[np.uint16]
    across: NDArray[np.float32]
    ports: NDArray[np.float32]
    lines: NDArray[np.int32]
    passed: NDArray[np.float32]
    offsets: NDArray[np.uint32]
    skips: NDArray[np.uint32]


def lines_of(graph: Graph, modules: Modules) -> list[list[tuple[int, int]]]:
    """Return the lines in each box as pairs (start, end). Start and end are items, or −1 for port *in*, −2 for *out*.

    An edge of the graph becomes one line in each box that the edge leaves or enters. It also becomes one line in the
    innermost box that contains both of its ends.
    """
    count = len(graph)
    around = [ancestors(modules, v) for v in range(count)]
    found: list[dict[tuple[int, int], None]] = [{} for _ in modules.names]
    for u, v in graph.edges.tolist():
        shared = set(around[u])
        at = u
        for box in around[u]:
            if box in around[v]:
                break
            found[box][at, OUT] = None
            at = count + box
        start, at = at, v
        for box in around[v]:
            if box in shared:
                found[box][start, at] = None
                break
            found[box][IN, at] = None
            at = count + box
    return [list(pairs) for pairs in found]


def lay_out_modules(graph: Graph, modules: Modules) -> ModuleLayout:
    """Compute the ranks and places of the items in every box.

    If the graph has no modules, all ranks and places are 0, and there are no lines.

    Examples
    --------
    >>> from recompviz.core.steps.examples import residual_step
    >>> from recompviz.widgets.layout.modules import module_tree
    >>> graph = residual_step((2, 2))[0]
    >>> layout = lay_out_modules(graph, module_tree(graph))
    >>> layout.rank[:5].tolist()
    [0, 1, 2, 3, 1]
    """
    total = len(graph) + len(modules)
    rank = np.zeros(total, np.uint16)
    across = np.zeros(total, np.float32)
    ports = np.zeros((len(modules), 3), np.float32)
    lines: list[tuple[int, int, int]] = []
    passed: list[tuple[float, float]] = []
    offsets = [0]
    skips: list[int] = []
    known: dict[Hashable, tuple[list[int], Arrangement, list[int]]] = {}
    # a graph without modules is shown in its layout as a whole and needs no module layout
    for box, pairs in enumerate(lines_of(graph, modules) if len(modules) > 1 else ()):
        items = modules.children[box]
        local = {item: i for i, item in enumerate(items)} | {IN: len(items), OUT: len(items) + 1}
        edges = tuple((local[u], local[v]) for u, v in pairs)
        key = (len(items), edges)
        if key not in known:
            ranks = _ranks(len(items), edges)
            inner = range(len(items))
            chain = nested_skips(ranks, edges, [u in inner and v in inner for u, v in edges])
            known[key] = ranks, arrange(ranks, edges, MOST_DUMMIES), chain
        ranks, arrangement, chain = known[key]
        skips += [len(lines) + e for e in chain]
        for item, i in local.items():
            if item >= 0:
                rank[item], across[item] = ranks[i], arrangement.across[i]
        ports[box] = arrangement.across[-2], arrangement.across[-1], ranks[-1]
        for e, (u, v) in enumerate(pairs):
            lines.append((box, u, v))
            passed += arrangement.lines.get(e, ())
            offsets.append(len(passed))
    return ModuleLayout(
        rank,
        across,
        ports,
        np.array(lines, np.int32).reshape(-1, 3),
        np.array(passed, np.float32).reshape(-1, 2),
        np.array(offsets, np.uint32),
        np.array(skips, np.uint32),
    )


def _ranks(items: int, edges: tuple[tuple[int, int], ...]) -> list[int]:
    """Return the ranks of the items of a box, then those of its ports *in* and *out*.

    The rank of an item is the length of its longest path from a source of the box, plus 1 if lines enter the box. The
    port *in* has rank 0. The port *out* comes after all items if lines leave the box. The items must be in a
    topological order. If many items have the same rank, the later ones get later ranks.
    """
    before: dict[int, list[int]] = defaultdict(list)
    entered = left = False
    for u, v in edges:
        entered = entered or u == items
        left = left or v == items + 1
        before[v].append(u)
    first = 1 if entered else 0
    rank = [0] * (items + 2)
    for i in range(items):
        rank[i] = max((rank[u] + 1 for u in before[i] if u != items), default=first)
    most = max(LEAST_LIMIT, round((items * BOX_SHAPE) ** 0.5))
    if max(Counter(rank[:items]).values(), default=0) > most:
        inside = [[u for u in before[i] if u != items] for i in range(items)]
        rank[:items] = fill_ranks(range(items), inside, [first] * items, most)
    rank[items + 1] = max(rank[:items], default=0) + (1 if left else 0)
    return rank
