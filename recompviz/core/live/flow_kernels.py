"""Maximum flow, compiled by numba. This module is imported only when a flow is computed."""

from __future__ import annotations

import numpy as np

from recompviz.core.base.cached_kernels import kernel


@kernel
def minimum_cut(start, edges, head, capacity):
    """Return for each vertex whether it is on the side of the source in a minimum cut (Dinic's algorithm).

    Vertex 0 is the source and vertex 1 the sink. The edges that leave or enter vertex v have the numbers
    ``edges[start[v]:start[v + 1]]``. Edge e goes to vertex ``head[e]``, and edge e ^ 1 is its reverse. ``capacity`` is
    overwritten. If there are several minimum cuts, the one with the fewest vertices on the side of the source is
    returned.
    """
    n = len(start) - 1
    level, queue = np.empty(n, np.int64), np.empty(n, np.int64)
    path, following = np.empty(n, np.int64), np.empty(n, np.int64)
    while True:
        level[:] = -1
        level[0], queue[0] = 0, 0
        first, last = 0, 1
        while first < last:
            v = queue[first]
            first += 1
            for k in range(start[v], start[v + 1]):
                e = edges[k]
                if capacity[e] > 0 and level[head[e]] < 0:
                    level[head[e]] = level[v] + 1
                    queue[last] = head[e]
                    last += 1
        if level[1] < 0:
            return level >= 0
        following[:] = start[:-1]
        depth, v = 0, 0
        while True:
            if v == 1:  # augment along the path, and continue before its first full edge
                flow = capacity[path[0]]
                for i in range(1, depth):
                    flow = min(flow, capacity[path[i]])
                full = depth
                for i in range(depth - 1, -1, -1):
                    capacity[path[i]] -= flow
                    capacity[path[i] ^ 1] += flow
                    if capacity[path[i]] == 0:
                        full = i
                depth = full
                v = head[path[full] ^ 1]
            if following[v] == start[v + 1]:
                if v == 0:
                    break
                level[v] = -1  # no path to the sink
                depth -= 1
                v = head[path[depth] ^ 1]
                continue
            e = edges[following[v]]
            if capacity[e] > 0 and level[head[e]] == level[v] + 1:
                path[depth] = e
                depth += 1
                v = head[e]
            else:
                following[v] += 1
