// The lower sets of a plan and the four terms of the peak formula. Mirrors recompviz/core/plans/formula.py.

import { boundaryOf } from "./lower_sets.js";

/**
 * L_1 ≺ … ≺ L_k of a plan, from its segments.
 * @returns { steps, held, canonical, peak }: sizes and terms for each i; for each node the first i with the node in U_i
 * (0: none); whether the kept values are exactly U_k; the index of the step with the peak
 */
export function sequenceOf(graph, near, segments, kept) {
  const n = graph.count;
  const k = segments.reduce((most, s) => Math.max(most, s), 0);
  const lastUse = new Int32Array(n); // the last segment of a node's successors
  for (let v = 0; v < n; v++) for (const w of near.after[v]) lastUse[v] = Math.max(lastUse[v], segments[w]);
  const held = new Int32Array(n); // v ∈ ∂(L_i) for segment(v) ≤ i < lastUse(v)
  for (let v = 0; v < n; v++) held[v] = lastUse[v] > segments[v] ? segments[v] : 0;
  const canonical = kept.every((bit, v) => Boolean(bit) === held[v] > 0);
  if (!canonical) for (let v = 0; v < n; v++) held[v] = kept[v] ? segments[v] : 0;
  const steps = [];
  let cache = 0;
  const inside = new Uint8Array(n);
  const members = Array.from({ length: k + 1 }, () => []);
  for (let v = 0; v < n; v++) members[segments[v]].push(v);
  let size = 0;
  for (let i = 1; i <= k; i++) {
    let bytes = 0;
    let more = 0;
    for (const v of members[i]) {
      inside[v] = 1;
      bytes += graph.memory[v];
      if (held[v]) more += graph.memory[v];
    }
    size += members[i].length;
    const boundary = boundaryOf(inside, near);
    const after = new Set();
    for (const v of boundary) for (const w of near.after[v]) if (!inside[w]) after.add(w);
    const beside = new Set();
    for (const w of after) for (const u of near.before[w]) if (!inside[u]) beside.add(u);
    const sum = (nodes) => [...nodes].reduce((total, v) => total + graph.memory[v], 0);
    const terms = [cache, 2 * bytes, sum(after), sum(beside)];
    cache += more;
    steps.push({ size, members: members[i].length, boundary: boundary.length, boundaryBytes: sum(boundary), held: cache, terms, total: terms[0] + terms[1] + terms[2] + terms[3] });
  }
  const peak = steps.reduce((best, step, i) => (step.total > steps[best].total ? i : best), 0);
  return { steps, held, canonical, peak };
}
