// The patch that shows a chosen set and a sequence in the playground. Sets contain node numbers. Mirrors
// recompviz/widgets/lessons/playground_scene.py.

/** The edges that enter a set from outside. */
export function violations(edges, chosen) {
  return edges.filter(([u, v]) => chosen.has(v) && !chosen.has(u));
}

/** The least lower set that contains a set; `ancestors[v]` lists v and its ancestors. */
export function closure(ancestors, chosen) {
  return new Set([...chosen].flatMap((v) => ancestors[v]));
}

/** The members of a lower set with a successor outside it. */
export function boundary(edges, lower) {
  return new Set(edges.filter(([u, v]) => lower.has(u) && !lower.has(v)).map(([u]) => u));
}

/** A text that identifies a set. */
export function keyOf(nodes) {
  return [...nodes].sort((a, b) => a - b).join(",");
}

/** A set as text: `{a, b}`, or ∅ if it is empty. */
export function setWords(names, nodes) {
  const inOrder = [...nodes].sort((a, b) => a - b);
  return inOrder.length ? `{${inOrder.map((v) => names[v]).join(", ")}}` : "∅";
}

/** A sentence that says whether a set is a lower set. */
export function verdict(graph, chosen) {
  const entering = violations(graph.edges, chosen);
  const text = setWords(graph.names, chosen);
  if (!entering.length) {
    return `${text} is a lower set; its boundary is ∂(L) = ${setWords(graph.names, boundary(graph.edges, chosen))}.`;
  }
  const one = entering.length === 1;
  const named = entering.map(([u, v]) => `${graph.names[u]} → ${graph.names[v]}`).join(", ");
  return `${text} is not a lower set: the edge${one ? "" : "s"} ${named} enter${one ? "s" : ""} it from outside.`;
}

/** The patch of a chosen set and a sequence of sets; `graph.sets` and `graph.at` are null if no lattice is drawn. */
export function playgroundPatch(graph, chosen, sequence) {
  const entering = violations(graph.edges, chosen);
  const lower = entering.length === 0;
  const edge = lower ? boundary(graph.edges, chosen) : new Set();
  const patch = {};
  for (const v of chosen) {
    patch[`n${v}`] = { style: edge.has(v) ? "keep" : "in-set" };
    if (edge.has(v)) patch[`t${v}`] = { style: "name-keep" };
  }
  for (const [u, v] of entering) {
    patch[`e${graph.edges.findIndex(([a, b]) => a === u && b === v)}`] = { style: "violation" };
  }
  if (!graph.sets) return patch;
  const place = new Map(graph.sets.map((nodes, i) => [keyOf(nodes), i]));
  const now = keyOf(chosen);
  if (lower) patch[`h${place.get(now)}`] = { style: "cell-now" };
  const path = sequence.length ? [[], ...sequence] : [];
  for (const nodes of path) {
    const here = keyOf(nodes) === now;
    const i = place.get(keyOf(nodes));
    patch[`h${i}`] = { style: here ? "cell-path-now" : "cell-path" };
    patch[`s${i}`] = { style: "cell-text-path" };
  }
  if (path.length) {
    const points = path.map((nodes) => graph.at[place.get(keyOf(nodes))].map((x) => x.toFixed(1)).join(" "));
    patch.path = { style: "link-lit", d: `M${points.join("L")}` };
  }
  return patch;
}
