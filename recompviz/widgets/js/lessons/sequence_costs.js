// Overhead and peak of a sequence of lower sets, for pages without a kernel. Mirrors recompviz/core/plans/formula.py and
// the text of `Playground` in recompviz/widgets/lessons/set_playground.py.

import { boundary, keyOf, setWords } from "./playground_patch.js";

const ends = (edges, from, to) => new Set(edges.filter(([u, v]) => from(u) && to(v)).map(([, v]) => v));

/** The overhead and the peak of a sequence; V is appended if the sequence does not end with it. */
export function sequenceCosts(graph, sequence) {
  const { edges, memory, time } = graph;
  const size = (nodes) => [...nodes].reduce((sum, v) => sum + memory[v], 0);
  const everything = graph.names.map((_, v) => v);
  const last = sequence.at(-1) ?? [];
  const sets = last.length === everything.length ? sequence : [...sequence, everything];
  const cache = new Set();
  let [before, overhead, peak] = [new Set(), 0, 0];
  for (const nodes of sets) {
    const lower = new Set(nodes);
    const outside = (v) => !lower.has(v);
    const segment = nodes.filter((v) => !before.has(v));
    const edge = boundary(edges, lower);
    const gradients = ends(edges, (u) => lower.has(u), outside);
    const needed = new Set(edges.filter(([u, v]) => gradients.has(v) && outside(u)).map(([u]) => u));
    overhead += segment.filter((v) => !edge.has(v)).reduce((sum, v) => sum + time[v], 0);
    peak = Math.max(peak, size(cache) + 2 * size(segment) + size(gradients) + size(needed));
    for (const v of edge) cache.add(v);
    before = lower;
  }
  return { overhead, peak, sets };
}

/** A sentence with the sequence, its overhead and its peak; empty without a sequence. */
export function costsText(graph, sequence) {
  if (!sequence.length) return "";
  const { overhead, peak, sets } = sequenceCosts(graph, sequence);
  const names = ["∅", ...sets.map((nodes) => setWords(graph.names, nodes))].join(" ⊊ ");
  const implied = sets.length > sequence.length ? " (V is added at the end)" : "";
  return `${names}${implied}: overhead ${Number(overhead.toPrecision(6))}, peak ${peak}`;
}

/** A text that identifies a sequence of sets. */
export function sequenceKey(sequence) {
  return sequence.map(keyOf).join(" ");
}
