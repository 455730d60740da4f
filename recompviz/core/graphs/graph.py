"""The graph G = (V, E) of a forward pass, its lower sets and their boundaries.

The nodes V are the *intermediate values* of a forward pass. Each node v has a forward cost T_v and a size M_v in bytes.
Inputs and parameters are not in V. A *lower set* is a set of nodes that no edge enters from outside.
Inside the package, a set of nodes is a *bit mask*: a Python int whose bit i is 1 if node i is in the set. Methods for
users take node names in any iterable and return frozensets of names. ``mask`` and ``set_of`` convert names to bit masks
and back.

Source: Kusumoto et al. 2019 (arXiv 1905.11722), sections 2 and 3.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from recompviz.core.base.arguments import expect, named, shown
from recompviz.core.base.errors import GraphError, TooManyLowerSets
from recompviz.core.graphs.bitsets import bit_matrix, bits
from recompviz.core.graphs.cost_arrays import by_name, checked_costs, some
from recompviz.core.graphs.edges import checked_edges
from recompviz.core.graphs.node_info import NodeInfo
from recompviz.core.graphs.topology import ancestor_masks, lower_set_masks, topological_order

if TYPE_CHECKING:
    import graphviz
    import networkx as nx
    from numpy.typing import NDArray

Name = Hashable


# with more nodes, sums over sets are computed by NumPy
MANY = 512


@dataclass(frozen=True, eq=False)
class Graph:
    """A directed acyclic graph of the intermediate values of a forward pass.

    In the notation of the paper (Kusumoto et al. 2019), V is the set of all nodes, and #V is their number. M(S) and
    T(S) are the sums of M_v and T_v over a set S of nodes. A graph cannot be changed after it was made, and its arrays
    are read-only. See :meth:`from_edges` and :meth:`from_networkx` for other ways to make one. Each attribute is also a
    parameter.

    Attributes
    ----------
    names : tuple of hashable
        The name of each node; names are unique. Node number i has the name ``names[i]``.
    memory : numpy.ndarray of int64, shape (#V,)
        M_v, the size of each value in bytes.
    time : numpy.ndarray of float64, shape (#V,)
        T_v, the cost of computing each value, in any unit. (The paper takes 10 for a convolution, otherwise 1.)
    edges : numpy.ndarray of int32, shape (#E, 2)
        Pairs (producer, consumer) of node numbers, sorted and without repetitions.
    info : tuple of NodeInfo
        Facts about each node, such as its operator and module. By default every entry is an empty ``NodeInfo()``.

    Raises
    ------
    GraphError
        If the graph has a cycle, an edge to an unknown node, or a name twice; if a cost is negative or not finite; if
        a size is not a whole number; if M(V) is more than 2⁶⁰ bytes; if T(V) is neither 0 nor between 1e-200 and
        1e200; or if ``memory``, ``time`` or ``info`` does not have one entry for each node.
    TypeError
        If a name cannot be hashed.

    Examples
    --------
    >>> g = Graph.from_edges([("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")],
    ...                      memory=dict(a=4, b=2, c=2, d=1), time=dict(a=1, b=1, c=1, d=1))
    >>> g.count_lower_sets()
    6
    >>> sorted(g.boundary({"a", "b"}))
    ['a', 'b']
    """

    names: tuple[Name, ...]
    memory: NDArray[np.int64]
    time: NDArray[np.float64]
    edges: NDArray[np.int32]
    info: tuple[NodeInfo, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        n = len(self.names)
        _set = object.__setattr__
        _set(self, "memory", checked_costs("memory", self.memory, n, np.dtype(np.int64)))
        _set(self, "time", checked_costs("time", self.time, n, np.dtype(np.float64)))
        _set(self, "edges", checked_edges(self.edges, n))
        _set(self, "info", tuple(self.info) or (NodeInfo(),) * n)
        if len(self.info) != n:
            raise GraphError(f"{len(self.info)} node infos for {n} nodes; give one per node, or none")
        if len(set(self.names)) != n:
            twice = Counter(self.names).most_common(1)[0][0]
            raise GraphError(f"node name {named(twice)} appears twice; names must be unique")
        _ = self.order  # raises on a cycle

    # ---------------------------------------------------------------- conversion

    @classmethod
    def from_edges(
        cls,
        edges: Iterable[tuple[Name, Name]],
        memory: Mapping[Any, int] | Sequence[int],
        time: Mapping[Any, float] | Sequence[float] | None = None,
        names: Sequence[Name] | None = None,
    ) -> Graph:
        """Make a graph from its edges and costs.

        Parameters
        ----------
        edges : iterable of (producer, consumer)
            Pairs of node names.
        memory : mapping from name to bytes, or sequence of bytes
            M_v ≥ 0 for each node, in whole bytes.
        time : mapping from name to cost, or sequence of costs, optional
            T_v ≥ 0 for each node, in any unit. Default: 1 for each node.
        names : sequence of hashable, optional
            The names of the nodes. A sequence of costs has the order of the names. Default: the keys of ``memory`` if
            it is a mapping, otherwise 0, 1, ….

        Returns
        -------
        Graph

        Raises
        ------
        GraphError
            If the graph has a cycle, an edge to an unknown node, an edge that is not a pair, or a name twice; if a name
            cannot be hashed; if a cost is missing, negative, not finite, not a number, or given for an unknown node; if
            a size is not a whole number; or if M(V) or T(V) is outside the limits that :class:`Graph` states.
        TypeError
            If ``edges`` is not iterable, ``names`` is not a sequence, or the costs are neither a mapping nor a
            sequence.

        Examples
        --------
        >>> Graph.from_edges([(0, 1), (1, 2)], memory=[3, 2, 1])
        Graph(#V=3, #E=2)
        """
        expect(edges, Iterable, "edges", "pairs of node names", 'write [("a", "b"), ("b", "c")]')
        if names is None:
            expect(memory, Sized, "memory", "bytes by node name, or a sequence of bytes", "write memory=[4, 2]")
            names = tuple(memory) if isinstance(memory, Mapping) else tuple(range(len(memory)))
        expect(names, Sequence, "names", "a sequence of node names", 'write names=["a", "b"]')
        try:
            index = {name: i for i, name in enumerate(names)}
        except TypeError as error:
            raise GraphError(f"names are {shown(names)}, expected names that can be hashed ({error})") from None
        try:
            pairs = [(index[u], index[v]) for u, v in edges]
        except KeyError as error:
            raise GraphError(f"an edge names {named(error.args[0])}, but the nodes are {some(names)}") from None
        except (TypeError, ValueError):
            raise GraphError(f"edges are {shown(edges)}, expected pairs of node names: (producer, consumer)") from None
        return cls(
            tuple(names),
            by_name("memory", memory, names),
            by_name("time", time if time is not None else [1.0] * len(names), names),
            np.array(pairs, dtype=np.int32).reshape(-1, 2),
        )

    @classmethod
    def from_networkx(cls, G: nx.DiGraph, memory: str = "memory", time: str = "time") -> Graph:
        """Make a graph from a ``networkx.DiGraph`` whose nodes have their costs as attributes.

        Parameters
        ----------
        G : networkx.DiGraph
            The nodes of G become the names. All attributes but the two costs are ignored.
        memory : str
            The name of the node attribute with M_v, in whole bytes.
        time : str
            The name of the node attribute with T_v. A node without it has T_v = 1.

        Returns
        -------
        Graph

        Raises
        ------
        GraphError
            If G is undirected or has a cycle; if a node has no attribute for M_v; if a cost is negative or not finite;
            if a size is not a whole number; or if M(V) or T(V) is outside the limits that :class:`Graph` states.
        TypeError
            If G is not a graph of networkx.

        Examples
        --------
        >>> import networkx as nx
        >>> G = nx.DiGraph([("a", "b")]); nx.set_node_attributes(G, 8, "memory")
        >>> Graph.from_networkx(G).memory.tolist()
        [8, 8]
        """
        if not callable(getattr(G, "edges", None)) or not callable(getattr(G, "nodes", None)):
            raise TypeError(f"G is {shown(G)}, expected a networkx.DiGraph; for lists of edges, use Graph.from_edges")
        if callable(getattr(G, "is_directed", None)) and not G.is_directed():
            raise GraphError(
                f"G is {shown(G)} without directions, expected a networkx.DiGraph: each edge from a value to one that "
                "is computed from it"
            )
        for name, data in G.nodes(data=True):
            if memory not in data:
                raise GraphError(f"node {named(name)} has no attribute {memory!r}; set it to the node's bytes")
        return cls.from_edges(
            list(G.edges()),
            {name: data[memory] for name, data in G.nodes(data=True)},
            {name: data.get(time, 1) for name, data in G.nodes(data=True)},
        )

    def to_networkx(self) -> nx.DiGraph:
        """Return the graph as a ``networkx.DiGraph`` whose nodes are the names.

        Each node has the attributes ``memory`` (M_v in bytes), ``time`` (T_v), ``op`` and ``key`` (see
        :class:`NodeInfo`).

        Returns
        -------
        networkx.DiGraph

        Examples
        --------
        >>> Graph.from_edges([(0, 1)], memory=[3, 2]).to_networkx().nodes[0]["memory"]
        3
        """
        import networkx as nx

        G = nx.DiGraph()
        for name, m, t, info in zip(self.names, self.memory, self.time, self.info, strict=True):
            G.add_node(name, memory=int(m), time=float(t), op=info.op, key=info.key)
        G.add_edges_from((self.names[u], self.names[v]) for u, v in self.edges)
        return G

    def to_graphviz(self) -> graphviz.Digraph:
        """Return the graph as a ``graphviz.Digraph``, which Graphviz can render.

        The id of a node is its number, and its label is its name. The tooltip has the attribute ``key`` of
        :class:`NodeInfo`, M_v in bytes, and T_v. If ``key`` is empty, the tooltip has the name instead.

        Returns
        -------
        graphviz.Digraph

        Examples
        --------
        >>> print(Graph.from_edges([("a", "b")], memory={"a": 3, "b": 2}).to_graphviz().source)
        digraph {
            node [shape=box]
            0 [label=a tooltip="a, M=3, T=1"]
            1 [label=b tooltip="b, M=2, T=1"]
            0 -> 1
        }
        """
        import graphviz

        drawing = graphviz.Digraph(node_attr={"shape": "box"})
        for v, (name, m, t, info) in enumerate(zip(self.names, self.memory, self.time, self.info, strict=True)):
            label = graphviz.escape(str(name))
            drawing.node(str(v), label=label, tooltip=graphviz.escape(f"{info.key or name}, M={m}, T={t:g}"))
        drawing.edges((str(u), str(v)) for u, v in self.edges.tolist())
        return drawing

    # ---------------------------------------------------------------- shape

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return f"Graph(#V={len(self)}, #E={len(self.edges)})"

    @cached_property
    def predecessors(self) -> tuple[int, ...]:
        """For each node v, the bit mask of its predecessors: the nodes with an edge to v."""
        masks = [0] * len(self)
        for u, v in self.edges.tolist():
            masks[v] |= 1 << u
        return tuple(masks)

    @cached_property
    def successors(self) -> tuple[int, ...]:
        """For each node v, the bit mask of its successors: the nodes to which v has an edge."""
        masks = [0] * len(self)
        for u, v in self.edges.tolist():
            masks[u] |= 1 << v
        return tuple(masks)

    @cached_property
    def order(self) -> tuple[int, ...]:
        """The node numbers in a topological order.

        The order is 0, 1, 2, … if every edge goes from a lower to a higher number.
        """
        order = topological_order(self.predecessors, self.successors)
        if len(order) < len(self):
            stuck = [name for v, name in enumerate(self.names) if v not in set(order)]
            raise GraphError(f"the graph has a cycle through or before {some(stuck)}; a forward pass is acyclic")
        return tuple(order)

    @cached_property
    def position(self) -> NDArray[np.int64]:
        """The position of each node in :attr:`order`, counted from 0, shape (#V,)."""
        position = np.empty(len(self), np.int64)
        position[list(self.order)] = np.arange(len(self))
        position.setflags(write=False)
        return position

    @cached_property
    def last_read(self) -> NDArray[np.int64]:
        """For each node, the largest position in :attr:`order` that one of its successors has, shape (#V,).

        For a node without successors, it is the position of the node itself.
        """
        last = self.position.copy()
        np.maximum.at(last, self.edges[:, 0], self.position[self.edges[:, 1]])
        last.setflags(write=False)
        return last

    @cached_property
    def ancestors(self) -> tuple[int, ...]:
        """For each node v, the bit mask of L^v = {w : v is reachable from w}: v itself and all its ancestors."""
        return ancestor_masks(self.order, self.predecessors)

    @cached_property
    def everything(self) -> int:
        """The bit mask of V, the set of all nodes."""
        return (1 << len(self)) - 1

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 hash of the edges, sizes M_v, operators, shapes and dtypes, as 64 hexadecimal digits.

        A plan made for one graph can be used with any graph of the same fingerprint. Names, costs T_v, keys and source
        lines are not part of the hash.
        """
        digest = hashlib.sha256(b"recompviz graph 2")
        for array in (self.edges.astype("<i4"), self.memory.astype("<i8")):
            digest.update(f"|{array.shape}|".encode())
            digest.update(array.tobytes())
        for info in self.info:
            digest.update(f"|{info.op}|{info.shape}|{info.dtype}".encode())
        return digest.hexdigest()

    def same_as(self, other: Graph) -> bool:
        """Return whether another graph has the same fingerprint and the same costs T_v.

        Examples
        --------
        >>> g = Graph.from_edges([(0, 1)], memory=[1, 1], time=[1, 1])
        >>> other = Graph.from_edges([(0, 1)], memory=[1, 1], time=[1, 2])
        >>> g.fingerprint == other.fingerprint, g.same_as(other)
        (True, False)
        """
        return self is other or (self.fingerprint == other.fingerprint and np.array_equal(self.time, other.time))

    # ---------------------------------------------------------------- sets as bit masks

    def mask(self, nodes: Iterable[Name]) -> int:
        """Return the bit mask of a set of node names.

        Parameters
        ----------
        nodes : iterable of node names

        Returns
        -------
        int
            Bit i is 1 if ``names[i]`` is in the set.

        Raises
        ------
        GraphError
            If a name is unknown.
        TypeError
            If ``nodes`` is not iterable.
        """
        expect(nodes, Iterable, "nodes", "a set of node names", f"the nodes are {some(self.names)}")
        mask = 0
        for name in nodes:
            try:
                mask |= 1 << self._index[name]
            except (KeyError, TypeError):
                one = f"; for one node, write [{named(nodes)}]" if isinstance(nodes, str) else ""
                raise GraphError(f"{named(name)} is no node; the nodes are {some(self.names)}{one}") from None
        return mask

    def set_of(self, mask: int) -> frozenset[Name]:
        """Return the names of the nodes in a bit mask, the inverse of :meth:`mask`.

        Raises
        ------
        TypeError, GraphError
            As for :meth:`checked_mask`.
        """
        return frozenset(self.names[i] for i in bits(self.checked_mask(mask)))

    def checked_mask(self, mask: int) -> int:
        """Check a bit mask of nodes of this graph, and return it as a Python int.

        Raises
        ------
        TypeError
            If the bit mask is neither an int nor a NumPy integer.
        GraphError
            If the bit mask is negative, or if it has a bit that stands for no node.
        """
        if isinstance(mask, np.integer):
            mask = int(mask)
        if not isinstance(mask, int) or isinstance(mask, bool):
            raise TypeError(f"the bit mask is {shown(mask)}, expected an int; graph.mask(names) makes one")
        if not 0 <= mask <= self.everything:
            wrong = "it is negative" if mask < 0 else f"bit {mask.bit_length() - 1} is not a node"
            raise GraphError(f"{shown(mask)} is not a bit mask of this graph: {wrong}; it has {len(self)} nodes")
        return mask

    @cached_property
    def _index(self) -> dict[Name, int]:
        return {name: i for i, name in enumerate(self.names)}

    @cached_property
    def _costs_as_lists(self) -> tuple[list[int], list[float]]:
        return self.memory.tolist(), self.time.tolist()

    def boundary_mask(self, lower: int) -> int:
        """Return ∂(L), the boundary of a lower set L, as a bit mask: the nodes of L with a successor outside L.

        ``lower`` is the bit mask of L. Unlike :meth:`boundary`, this method does not check that L is a lower set.
        """
        outside = self.everything & ~self.checked_mask(lower)
        return sum(1 << v for v in bits(lower) if self.successors[v] & outside)

    def memory_of(self, mask: int) -> int:
        """Return M(S), the sum of M_v over a set S given as a bit mask, in bytes."""
        mask = self.checked_mask(mask)
        if len(self) > MANY:
            return int(self.memory[bit_matrix([mask], len(self))[0]].sum())
        return sum(map(self._costs_as_lists[0].__getitem__, bits(mask)))

    def time_of(self, mask: int) -> float:
        """Return T(S), the sum of T_v over a set S given as a bit mask, in the unit of ``time``."""
        return float(sum(map(self._costs_as_lists[1].__getitem__, bits(self.checked_mask(mask)))))

    # ---------------------------------------------------------------- sets of names

    def is_lower_set(self, S: Iterable[Name]) -> bool:
        """Return whether S is a lower set: no edge leads from a node outside S to a node in S.

        Parameters
        ----------
        S : iterable of node names

        Raises
        ------
        GraphError
            If a name is unknown.
        TypeError
            If ``S`` is not iterable.

        Examples
        --------
        >>> g = Graph.from_edges([(0, 1), (1, 2)], memory=[1, 1, 1])
        >>> g.is_lower_set({0, 1}), g.is_lower_set({1})
        (True, False)
        """
        mask = self.mask(S)
        return all(self.predecessors[v] & ~mask == 0 for v in bits(mask))

    def closure(self, S: Iterable[Name]) -> frozenset[Name]:
        """Return the smallest lower set that contains the nodes S: these nodes and all their ancestors.

        Parameters
        ----------
        S : iterable of node names

        Returns
        -------
        frozenset of node names

        Raises
        ------
        GraphError
            If a name is unknown.
        TypeError
            If ``S`` is not iterable.

        Examples
        --------
        >>> g = Graph.from_edges([(0, 1), (1, 2)], memory=[1, 1, 1])
        >>> sorted(g.closure({1}))
        [0, 1]
        """
        mask = 0
        for v in bits(self.mask(S)):
            mask |= self.ancestors[v]
        return self.set_of(mask)

    def boundary(self, L: Iterable[Name]) -> frozenset[Name]:
        """Return ∂(L), the boundary of a lower set L: the nodes of L that have a successor outside L.

        Parameters
        ----------
        L : iterable of node names

        Returns
        -------
        frozenset of node names

        Raises
        ------
        GraphError
            If a name is unknown, or if L is not a lower set.
        TypeError
            If ``L`` is not iterable.

        Examples
        --------
        >>> g = Graph.from_edges([(0, 1), (1, 2)], memory=[1, 1, 1])
        >>> sorted(g.boundary({0, 1}))
        [1]
        """
        mask = self.mask(L)
        for v in bits(mask):
            for u in bits(self.predecessors[v] & ~mask):
                raise GraphError(
                    f"not a lower set: the edge {self.names[u]!r} → {self.names[v]!r} enters it; "
                    "take .closure(…) of it first"
                )
        return self.set_of(self.boundary_mask(mask))

    def lower_sets(self) -> Iterator[frozenset[Name]]:
        """Iterate over all lower sets (see :meth:`is_lower_set`), as frozensets of node names.

        The empty set and the set of all nodes are included. A graph with parallel branches can have very many lower
        sets, so they are not stored. :meth:`count_lower_sets` counts them up to a limit.

        Returns
        -------
        iterator of frozenset

        Examples
        --------
        >>> g = Graph.from_edges([(0, 1), (1, 2)], memory=[1, 1, 1])
        >>> [sorted(L) for L in g.lower_sets()]
        [[], [0], [0, 1], [0, 1, 2]]
        """
        return map(self.set_of, self.lower_set_masks())

    def lower_set_masks(self) -> Iterator[int]:
        """Iterate over all lower sets, each once, as bit masks, as :meth:`lower_sets` does over sets of names."""
        return lower_set_masks(self.order, self.predecessors)

    def count_lower_sets(self, limit: int | None = 10_000_000) -> int:
        """Return the number of lower sets (see :meth:`is_lower_set`), the empty set and the set of all nodes included.

        Parameters
        ----------
        limit : int, optional
            The largest number to count to. None counts without a limit, which can take very long.

        Returns
        -------
        int

        Raises
        ------
        TooManyLowerSets
            If there are more than ``limit`` lower sets.

        Examples
        --------
        >>> Graph.from_edges([], memory=[1] * 10).count_lower_sets()
        1024
        """
        count = 0
        for count, _ in enumerate(self.lower_set_masks(), start=1):
            if limit is not None and count > limit:
                raise TooManyLowerSets(limit)
        return count
