"""Repeated blocks as a table of nodes, so that a move of the search can change corresponding nodes of many blocks.

A *series* is a list of modules with numbered names, such as ``layers.0``, ``layers.1``, … The modules are the *members*
of the series. Two nodes of different members have the same *position* if their keys differ only in the number of the
member. A model of 32 equal layers has a thousand nodes, but only about thirty positions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recompviz.core.graphs.graph import Graph


class Repeated(NamedTuple):
    """The series of repeated blocks of a graph, each as a table of nodes.

    A member of a series is one of its modules. Corresponding nodes of different members have the same position.

    Attributes
    ----------
    start : numpy.ndarray of int64, shape (#series,)
        For each series, the index in ``cells`` at which its table starts.
    positions, members : numpy.ndarray of int64, shape (#series,)
        The number of rows and columns of the table of each series.
    cells : numpy.ndarray of int64
        The tables of all series, one after the other, row by row. Each row is a position, and each column a member. A
        cell is the number of a node. It is −1 if the member has no such node, or if the node may not be changed.
    """

    start: NDArray[np.int64]
    positions: NDArray[np.int64]
    members: NDArray[np.int64]
    cells: NDArray[np.int64]


NO_BLOCKS = Repeated(*(np.zeros(0, np.int64) for _ in range(4)))


def repeated_blocks(graph: Graph, free: NDArray[np.int64]) -> Repeated:
    """Return the series of repeated blocks of a graph.

    Series with one member are left out. A node is left out if no other member has a corresponding node.

    Parameters
    ----------
    graph : Graph
        The series are read from ``graph.info``. A graph made by hand has none.
    free : numpy.ndarray of int
        The nodes that may be changed.

    Examples
    --------
    >>> from recompviz.core.steps.examples import residual_step
    >>> graph, _ = residual_step((3, 3))
    >>> repeated = repeated_blocks(graph, np.arange(len(graph)))
    >>> repeated.members.tolist()
    [3, 3]
    """
    found: dict[str, dict[str, dict[str, int]]] = {}  # series, position, member
    for v in free.tolist():
        info = graph.info[v]
        if info.block:
            position = info.key.removeprefix(info.member)
            found.setdefault(info.block, {}).setdefault(position, {})[info.member] = v
    start, positions, members, cells = (list[int]() for _ in range(4))
    for rows in found.values():
        names = sorted({name for row in rows.values() for name in row}, key=_number)
        shared = [row for row in rows.values() if len(row) > 1]
        if shared:
            start.append(len(cells))
            positions.append(len(shared))
            members.append(len(names))
            cells += [row.get(name, -1) for row in shared for name in names]
    return Repeated(*(np.array(values, np.int64) for values in (start, positions, members, cells)))


def _number(member: str) -> tuple[int, str]:
    """Return the sorting key of a member: its number, or 0 if its path ends with a name."""
    last = member.rpartition(".")[2]
    return (int(last) if last.isdecimal() else 0), member
