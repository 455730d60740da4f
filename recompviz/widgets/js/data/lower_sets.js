// L^v and its boundary. Mirrors Graph.closure and Graph.boundary (recompviz/core/graphs/graph.py).

/** The predecessors and the successors of every node. */
export function neighbours(graph) {
  const before = Array.from({ length: graph.count }, () => []);
  const after = Array.from({ length: graph.count }, () => []);
  for (let e = 0; e < graph.edges.length; e += 2) {
    const u = graph.edges[e];
    const v = graph.edges[e + 1];
    before[v].push(u);
    after[u].push(v);
  }
  return { before, after };
}

/** L^v: for every node 1 if it is v or an ancestor of v. */
export function lowerSetOf(v, near, count) {
  const inside = new Uint8Array(count);
  const stack = [v];
  inside[v] = 1;
  while (stack.length) {
    for (const u of near.before[stack.pop()]) {
      if (!inside[u]) {
        inside[u] = 1;
        stack.push(u);
      }
    }
  }
  return inside;
}

/** ∂(L): the members of a lower set with a successor outside it. */
export function boundaryOf(inside, near) {
  const boundary = [];
  for (let u = 0; u < inside.length; u++) if (inside[u] && near.after[u].some((v) => !inside[v])) boundary.push(u);
  return boundary;
}
