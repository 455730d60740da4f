// The search: words match name, operator, module, shape or dtype; ">10 MiB" and "<1 KiB" match sizes. All terms must match.

import { BYTE_UNITS } from "../shared/units.js";

/** The bytes of one unit; a bare letter is short for the binary unit. */
const unitBytes = (unit) => BYTE_UNITS[unit || "b"] ?? BYTE_UNITS[`${unit.replace(/i$/, "")}ib`] ?? 1;
const SIZE = /([<>]=?)\s*([\d.]+)\s*([kmgt]?i?b?)(?=\s|$)/gi;

/** A query as { words, sizes: [[sign, bytes], …] }. */
export function parseQuery(text) {
  const sizes = [];
  const rest = text.replace(SIZE, (_, sign, number, unit) => {
    sizes.push([sign, Number(number) * unitBytes(unit.toLowerCase())]);
    return " ";
  });
  return { words: rest.toLowerCase().split(/\s+/).filter(Boolean), sizes };
}

/** The nodes that match, in order; none for an empty query. */
export function findNodes(graph, text) {
  const { words, sizes } = parseQuery(text);
  if (!words.length && !sizes.length) return [];
  const found = [];
  for (let v = 0; v < graph.count; v++) {
    const { key, op, module, shape, dtype, label } = graph.nodes[v];
    const all = `${key} ${op} ${module} ${shape} ${dtype} ${label}`.toLowerCase();
    const bytes = graph.memory[v];
    const fits = ([sign, limit]) => (sign[0] === ">" ? bytes > limit || (sign[1] && bytes === limit) : bytes < limit || (sign[1] && bytes === limit));
    if (words.every((word) => all.includes(word)) && sizes.every(fits)) found.push(v);
  }
  return found;
}
