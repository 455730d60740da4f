// A scene is what the graph pane draws: boxes, frames of open modules, and lines. It shows either every value, in the
// layout from Python, or modules, composed in the page. The state of a box follows from the nodes that it shows.

import { STATE } from "../data/value_states.js";
import { timesText } from "./module_tree.js";

const NODE_SIZE = [38, 22];
const MOST_NODE_WIDTH = 88; // of about ten letters; longer labels are cut
const BOX_HEIGHT = 38;

/** The size of a node or of a closed box, with room for its name. */
export function itemSize(tree, item, name) {
  if (item < tree.count) return [Math.min(MOST_NODE_WIDTH, Math.max(NODE_SIZE[0], Math.round(12 + 7.6 * name.length))), NODE_SIZE[1]];
  const times = timesText(tree, item - tree.count);
  return [Math.max(138, 16 + 7.6 * name.length + (times ? Math.max(30, 9 + 7 * times.length) : 0)), BOX_HEIGHT];
}

/** The scene of every value, in the layout from Python. */
export function flatScene(layout, graph) {
  const n = graph.count;
  const [width, height] = layout.node;
  return {
    mode: layout.mode,
    engine: layout.engine,
    items: Array.from({ length: n }, (_, v) => v),
    x: Array.from({ length: n }, (_, v) => layout.nodes[2 * v]),
    y: Array.from({ length: n }, (_, v) => layout.nodes[2 * v + 1]),
    w: Array(n).fill(width),
    h: Array(n).fill(height),
    frames: [],
    points: layout.points,
    offsets: layout.offsets,
    lineEdges: Array.from({ length: layout.offsets.length - 1 }, (_, e) => [e]),
    width: layout.width,
    height: layout.height,
    flat: true,
  };
}

/** For each node the box that shows it, and for each box its nodes. */
export function boxesOfNodes(scene, tree, count) {
  const boxOf = new Int32Array(count).fill(-1);
  const nodes = scene.items.map((item, b) => {
    const members = item < count ? [item] : tree.nodes[item - count];
    for (const v of members) boxOf[v] = b;
    return members;
  });
  return { boxOf, nodes };
}

/**
 * Sums over the nodes of a box: number of kept, of recomputed and of all values, bytes, time, first and last segment. `held`
 * are the bytes that memory holds until the backward pass if everything is kept (data/held_bytes.js), and `keptBytes` those
 * of this plan, which may be more: a recomputation reads other values. Bytes of the values while they are unknown.
 * @param states of value_states.js
 */
export function boxState(nodes, graph, states, segments) {
  let count = 0;
  let recomputed = 0;
  const memory = graph.held ?? graph.memory;
  let bytes = 0;
  let held = 0;
  let keptBytes = 0;
  let time = 0;
  let first = Infinity;
  let last = 0;
  for (const v of nodes) {
    bytes += graph.memory[v];
    held += memory[v];
    if (states[v] === STATE.recomputed) recomputed += 1;
    if (states[v] === STATE.kept) {
      count += 1;
      keptBytes += memory[v] + (graph.unread?.[v] ?? 0); // the latter for a recomputation only
    }
    time += graph.time[v];
    first = Math.min(first, segments[v]);
    last = Math.max(last, segments[v]);
  }
  return { count, recomputed, of: nodes.length, bytes, held, keptBytes, share: held ? keptBytes / held : keptBytes ? 1 : 0, time, first, last };
}

/** The box at a point of the world, −1 for none. */
export function boxAt(scene, x, y) {
  for (let b = 0; b < scene.items.length; b++) {
    if (Math.abs(x - scene.x[b]) <= scene.w[b] / 2 && Math.abs(y - scene.y[b]) <= scene.h[b] / 2) return b;
  }
  return -1;
}
