// The search: words match name, operator, module, shape or dtype; ">10 MiB" and "<1 KiB" match sizes. All terms must match.

const UNITS = { "": 1, b: 1, k: 1024, kb: 1e3, kib: 1024, m: 1048576, mb: 1e6, mib: 1048576, g: 1073741824, gb: 1e9, gib: 1073741824 };
const SIZE = /([<>]=?)\s*([\d.]+)\s*([kmgt]?i?b?)(?=\s|$)/gi;

/** A query as { words, sizes: [[sign, bytes], …] }. */
export function parseQuery(text) {
  const sizes = [];
  const rest = text.replace(SIZE, (_, sign, number, unit) => {
    sizes.push([sign, Number(number) * (UNITS[unit.toLowerCase()] ?? 1)]);
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
