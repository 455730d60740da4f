"""Compiled simulated annealing over the extra computations of a graph. This module needs numba.

A state of the search is a list of extra computations (stage, value) in the order of the sequence; see
:mod:`recompviz.core.sequences.ordered_graph`. The *energy* of a state is the cost of its extra computations, plus the
price of its *excess*. The excess is the bytes above the budget, summed over all positions. The price rises while the
current state exceeds the budget, and falls while it fits.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from recompviz.core.base.cached_kernels import kernel
from recompviz.core.live.search_kernels import draw, draw_integer

# factor of the price, after each round of proposals
_PRICE_STEP = 1.05
_ROUND = 1000
# largest distance, in stages, by which an extra computation moves
_FARTHEST = 12


class GraphArrays(NamedTuple):
    """An ordered graph as arrays. The computation of value v reads the values ``reads[start[v]:start[v + 1]]``.

    ``memory`` has the size of each value in bytes, and ``time`` the cost of computing it.
    """

    memory: np.ndarray
    time: np.ndarray
    start: np.ndarray
    reads: np.ndarray


class Positions(NamedTuple):
    """The result of a simulation, as arrays that the next simulation overwrites.

    For each position of the sequence: the value computed there, the stage of this computation, the last position that
    reads this copy of the value, and the bytes in memory. For each value: the position at which its latest copy was
    computed, and the last position that reads this copy.
    """

    value: np.ndarray
    stage: np.ndarray
    last_use: np.ndarray
    bytes: np.ndarray
    latest: np.ndarray
    latest_use: np.ndarray


@kernel
def simulate(extra, count, graph, positions, budget):
    """Simulate the sequence with the first ``count`` rows of ``extra``, and write the result to ``positions``.

    Return the length of the sequence and its excess: the bytes above the budget, summed over all positions.
    """
    memory, start, reads = graph.memory, graph.start, graph.reads
    length = len(memory) + count
    positions.bytes[: length + 1] = 0
    positions.latest[:] = -1
    at, i = 0, 0
    for stage in range(len(memory)):
        again = True
        while again:
            again = i < count and extra[i, 0] == stage
            v = extra[i, 1] if again else stage
            for k in range(start[v], start[v + 1]):
                positions.latest_use[reads[k]] = at
            if positions.latest[v] >= 0:
                _end(v, memory, positions)
            positions.latest[v], positions.latest_use[v] = at, at
            positions.value[at], positions.stage[at] = v, stage
            at += 1
            i += again
    for v in range(len(memory)):
        _end(v, memory, positions)
    total, excess = 0, 0.0
    for at in range(length):
        total += positions.bytes[at]
        positions.bytes[at] = total
        if total > budget:
            excess += total - budget
    return length, excess


@kernel
def _end(v, memory, positions):
    """Count the bytes of the latest copy of value v, from its computation to its last read."""
    first, last = positions.latest[v], positions.latest_use[v]
    positions.last_use[first] = last
    positions.bytes[first] += memory[v]
    positions.bytes[last + 1] -= memory[v]


@kernel
def _insert(extra, count, i, stage, v):
    """Insert an extra computation at index i. Return the new length of the list."""
    for j in range(count, i, -1):
        extra[j, 0], extra[j, 1] = extra[j - 1, 0], extra[j - 1, 1]
    extra[i, 0], extra[i, 1] = stage, v
    return count + 1


@kernel
def _remove(extra, count, i):
    for j in range(i, count - 1):
        extra[j, 0], extra[j, 1] = extra[j + 1, 0], extra[j + 1, 1]
    return count - 1


@kernel
def _reads(graph, v, u):
    """Return whether the computation of v reads u."""
    return u in graph.reads[graph.start[v] : graph.start[v + 1]]


@kernel
def _drop(extra, count, length, excess, graph, positions, budget, rng):
    """Drop a value that is alive at a position and not read there; compute it again before its next read.

    If some positions need more bytes than the budget, the position is one of them. The extra computation may read
    values that are not in memory at its own position. Each of them is computed again too, or stays in memory until that
    position, at random. Return the new number of extra computations.
    """
    if count >= len(extra) - 1:
        return count
    at, seen = -1, 0
    if excess > 0:
        for position in range(length):
            if positions.bytes[position] > budget:
                seen += 1
                if draw(rng) * seen < 1:
                    at = position
    else:
        at = draw_integer(rng, 0, length)
    reader = positions.value[at]
    chosen, seen = -1, 0
    for position in range(at):
        if positions.last_use[position] > at and not _reads(graph, reader, positions.value[position]):
            seen += 1
            if draw(rng) * seen < 1:
                chosen = position
    if chosen < 0:
        return count
    u = positions.value[chosen]
    at += 1
    while not _reads(graph, positions.value[at], u):
        at += 1
    # positions.latest_use is free after a simulation; here it is the list of values whose inputs are still to be seen
    stage, waiting = positions.stage[at], positions.latest_use
    first = at - stage  # the number of extra computations before this position
    count = _insert(extra, count, first, stage, u)
    end = first + 1  # the new extra computations are those from first to end, in base order
    waiting[0], size = u, 1
    while size and count < len(extra) - 1:
        size -= 1
        v = waiting[size]
        for k in range(graph.start[v], graph.start[v + 1]):
            w = graph.reads[k]
            position = at - 1
            while positions.value[position] != w:
                position -= 1
            if positions.last_use[position] < at and draw(rng) < 0.5 and count < len(extra) - 1:
                i = end
                while i > first and extra[i - 1, 1] > w:
                    i -= 1
                if (i == first or extra[i - 1, 1] != w) and size < len(waiting) - 1:
                    count = _insert(extra, count, i, stage, w)
                    end += 1
                    waiting[size] = w
                    size += 1
    return count


@kernel
def _remove_some(extra, count, rng):
    """Remove a random extra computation, and at random others of its stage."""
    i = draw_integer(rng, 0, count)
    stage = extra[i, 0]
    count = _remove(extra, count, i)
    while count and draw(rng) < 0.4:
        chosen, seen = -1, 0
        for i in range(count):
            if extra[i, 0] == stage:
                seen += 1
                if draw(rng) * seen < 1:
                    chosen = i
        if chosen < 0:
            break
        count = _remove(extra, count, chosen)
    return count


@kernel
def _exchange(extra, count, graph, rng):
    """Move a random extra computation to another stage, or replace it by one of another value at the same place.

    Return the new length of the list, or −1 if there is no such change.
    """
    i = draw_integer(rng, 0, count)
    stage, v = extra[i, 0], extra[i, 1]
    count = _remove(extra, count, i)
    kind = draw(rng)
    if kind < 0.5:
        distance = int(_FARTHEST * draw(rng) ** 2)
        stage += distance if draw(rng) < 0.5 else -distance
        if stage <= v or stage >= len(graph.memory):
            return -1
        first = 0
        while first < count and extra[first, 0] < stage:
            first += 1
        end = first
        while end < count and extra[end, 0] == stage:
            end += 1
        i = draw_integer(rng, first, end + 1)
    elif kind < 0.8:
        if graph.start[v] == graph.start[v + 1]:
            return -1
        v = graph.reads[draw_integer(rng, graph.start[v], graph.start[v + 1])]
    else:
        v = draw_integer(rng, 0, stage)
    return _insert(extra, count, i, stage, v)


@kernel
def anneal(extra, count, best, graph_fields, positions_fields, budget, proposals, heat, price, rng):
    """Change the extra computations by simulated annealing. Return the length and the cost of the best list.

    Parameters
    ----------
    extra : numpy.ndarray of int64, shape (most, 2)
        The list of extra computations at the start; changed in place.
    count : int
        The length of the list.
    best : numpy.ndarray of int64, shape (most, 2)
        The least expensive list found that fits in the budget is written here.
    graph_fields, positions_fields : tuples of arrays
        The fields of ``GraphArrays`` and ``Positions``.
    budget : int
        Bytes.
    proposals : int
        The number of changes proposed.
    heat : tuple of float
        The temperature at the start and at the end, in the unit of cost.
    price : float
        The price of one byte of excess at the start, in the unit of cost.
    rng : numpy.ndarray of uint64, shape (1,)
        The state of the random generator.

    Returns
    -------
    tuple of (int, float)
        (−1, infinity) if no list of extra computations fitted in the budget.
    """
    graph, positions = GraphArrays(*graph_fields), Positions(*positions_fields)
    length, excess = simulate(extra, count, graph, positions, budget)
    cost = 0.0
    for i in range(count):
        cost += graph.time[extra[i, 1]]
    best_count, best_cost = -1, np.inf
    if excess == 0:
        best[:count] = extra[:count]
        best_count, best_cost = count, cost
    proposed, current = extra.copy(), True
    hot, cold = heat
    for proposal in range(proposals):
        if not current:  # the positions are those of a rejected proposal
            length, excess = simulate(extra, count, graph, positions, budget)
            current = True
        proposed[:count] = extra[:count]
        chance = draw(rng)
        if count == 0 or chance < (0.5 if excess > 0 else 0.1):
            size = _drop(proposed, count, length, excess, graph, positions, budget, rng)
            if size == count:
                continue
        elif chance < 0.75:
            size = _remove_some(proposed, count, rng)
        else:
            size = _exchange(proposed, count, graph, rng)
            if size < 0:
                continue
        new_length, new_excess = simulate(proposed, size, graph, positions, budget)
        new_cost = 0.0
        for i in range(size):
            new_cost += graph.time[proposed[i, 1]]
        change = new_cost - cost + price * (new_excess - excess)
        temperature = hot * (cold / hot) ** (proposal / proposals)
        current = change <= 0 or draw(rng) < np.exp(-change / temperature)
        if current:
            extra[:size] = proposed[:size]
            count, cost, length, excess = size, new_cost, new_length, new_excess
            if excess == 0 and cost < best_cost:
                best[:count] = extra[:count]
                best_count, best_cost = count, cost
        if proposal % _ROUND == _ROUND - 1:
            price = price * _PRICE_STEP if excess > 0 else price / _PRICE_STEP
    return best_count, best_cost
