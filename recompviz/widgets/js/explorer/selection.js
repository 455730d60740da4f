// The selection: one node, one step, one category and one source line, shown in every view at once.

import { aliveMask } from "../data/blocks.js";

/** The nodes to light: those of a source line, else those alive at the chosen step; null for no lighting. */
export function litNodes(graph, reply, selection) {
  if (selection.line !== null) return Uint8Array.from(graph.nodes, (node) => (node.source === selection.line ? 1 : 0));
  if (selection.step >= 0 && reply && selection.step < reply.steps) return aliveMask(reply, selection.step, graph.count);
  return null;
}
