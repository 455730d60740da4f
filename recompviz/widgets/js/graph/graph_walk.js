// The box that an arrow key leads to: along the lines to a predecessor or a successor, across them to the box beside.
// Pure functions of a scene.

// pixels; two boxes lie beside each other if their extents along the lines overlap or are nearer than this
const NEARLY = 10;

/** The predecessors and the successors of each box, each once. */
export function boxLinks(scene, boxOf, edges) {
  const before = scene.items.map(() => new Set());
  const after = scene.items.map(() => new Set());
  for (let e = 0; e < edges.length; e += 2) {
    const [from, to] = [boxOf[edges[e]], boxOf[edges[e + 1]]];
    if (from === to) continue;
    before[to].add(from);
    after[from].add(to);
  }
  return { before: before.map((boxes) => [...boxes]), after: after.map((boxes) => [...boxes]) };
}

/** The nearest of some boxes to box b; −1 if there are none. */
export function nearestBox(scene, boxes, b) {
  const far = (other) => Math.hypot(scene.x[other] - scene.x[b], scene.y[other] - scene.y[b]);
  return boxes.reduce((best, other) => (best < 0 || far(other) < far(best) ? other : best), -1);
}

/** The next box across the lines, on the side of `sign`; −1 if there is none. */
export function besideBox(scene, b, sign) {
  const down = scene.mode === "down";
  const [along, across, length] = down ? [scene.y, scene.x, scene.h] : [scene.x, scene.y, scene.w];
  let best = -1;
  let least = [Infinity, Infinity];
  for (let other = 0; other < scene.items.length; other++) {
    const away = sign * (across[other] - across[b]);
    const shift = Math.abs(along[other] - along[b]);
    if (other === b || away <= 0 || shift >= (length[other] + length[b]) / 2 + NEARLY) continue;
    if (away < least[0] || (away === least[0] && shift < least[1])) [best, least] = [other, [away, shift]];
  }
  return best;
}

/** The box that a key leads to from box b, or −1; `links` of boxLinks. */
export function boxTowards(scene, links, b, key) {
  const down = scene.mode === "down";
  if (key === (down ? "ArrowDown" : "ArrowRight")) return nearestBox(scene, links.after[b], b);
  if (key === (down ? "ArrowUp" : "ArrowLeft")) return nearestBox(scene, links.before[b], b);
  return besideBox(scene, b, key === "ArrowUp" || key === "ArrowLeft" ? -1 : 1);
}
