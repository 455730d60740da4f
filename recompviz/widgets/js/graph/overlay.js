// Overlays on the state of the boxes, as bits: a lower set, the values alive, pins, differences, search results. Each
// has a border or a sign besides its colour.

export const FLAG = {
  outside: 1, // not in the lower set shown
  boundary: 2, // in its boundary ∂(L)
  picked: 4, // selected
  step: 8, // runs at the step under the pointer of the timeline
  alive: 16, // alive at the scrubbed step
  notAlive: 32, // not alive at it
  pinKeep: 64, // forced to be kept
  pinRecompute: 128, // forced to be recomputed
  onlyFirst: 256, // kept by the first of two plans only
  onlySecond: 512, // kept by the second only
  segment: 1024, // in V_i of the sequence shown
  cached: 2048, // in U_i of the sequence shown
  hit: 4096, // found by the search
  hovered: 8192, // under the pointer, here or in the landscape
};
// a closed module has these flags if all of its nodes have them, and the others if any node has them
const ALL = FLAG.outside | FLAG.notAlive;
const CLASSES = [
  [FLAG.outside, "rv-outside"],
  [FLAG.boundary, "rv-boundary"],
  [FLAG.picked, "rv-picked"],
  [FLAG.step, "rv-step"],
  [FLAG.alive, "rv-alive"],
  [FLAG.notAlive, "rv-not-alive"],
  [FLAG.pinKeep, "rv-pin-keep"],
  [FLAG.pinRecompute, "rv-pin-recompute"],
  [FLAG.onlyFirst, "rv-only-first"],
  [FLAG.onlySecond, "rv-only-second"],
  [FLAG.segment, "rv-in-segment"],
  [FLAG.cached, "rv-cached"],
  [FLAG.hit, "rv-hit"],
  [FLAG.hovered, "rv-hovered"],
];

/** The flags of every node. */
export function nodeFlags(count, { alive, pins, difference, lower, segmentOf, cached, hits, picked, hovered = -1, step }) {
  const flags = new Uint16Array(count);
  for (let v = 0; v < count; v++) {
    let f = 0;
    if (alive) f |= alive[v] ? FLAG.alive : FLAG.notAlive;
    if (pins && pins[v]) f |= pins[v] > 0 ? FLAG.pinKeep : FLAG.pinRecompute;
    if (difference && difference[v]) f |= difference[v] > 0 ? FLAG.onlyFirst : FLAG.onlySecond;
    if (lower && !lower.inside[v]) f |= FLAG.outside;
    if (segmentOf && segmentOf[v]) f |= FLAG.segment;
    if (cached && cached[v]) f |= FLAG.cached;
    if (hits && hits[v]) f |= FLAG.hit;
    flags[v] = f;
  }
  if (lower) for (const v of lower.boundary) flags[v] |= FLAG.boundary;
  if (picked >= 0) flags[picked] |= FLAG.picked;
  if (hovered >= 0) flags[hovered] |= FLAG.hovered;
  if (step >= 0) flags[step] |= FLAG.step;
  return flags;
}

/**
 * The flags of a box with several nodes. A box has one outline: if each of two plans alone keeps some of its nodes, the box
 * has the flag of the plan that alone keeps more bytes. @param bytes of every node
 */
export function flagsTogether(flags, nodes, bytes) {
  let any = 0;
  let all = ALL;
  const sums = [0, 0];
  for (const v of nodes) {
    any |= flags[v];
    all &= flags[v];
    if (flags[v] & FLAG.onlyFirst) sums[0] += bytes[v];
    if (flags[v] & FLAG.onlySecond) sums[1] += bytes[v];
  }
  const both = FLAG.onlyFirst | FLAG.onlySecond;
  if ((any & both) === both) any &= ~(sums[0] < sums[1] ? FLAG.onlyFirst : FLAG.onlySecond);
  return (any & ~ALL) | all;
}

/** The class names of some flags, with a space before each. */
export function flagClasses(flags) {
  let name = "";
  if (flags) for (const [bit, className] of CLASSES) if (flags & bit) name += ` ${className}`;
  return name;
}

/** How many of the nodes of a box only the first and only the second of two plans keeps, as [first, second]. */
export function differing(difference, nodes) {
  const counts = [0, 0];
  if (difference) for (const v of nodes) if (difference[v]) counts[difference[v] > 0 ? 0 : 1]++;
  return counts;
}

/**
 * The signs in the corner of a box: pinned to be kept (K) or recomputed (R), as the keys that pin; kept only by the first plan, only by the second, cached.
 * @param counts of `differing`, for a box of several nodes: both signs are there if both plans alone keep some, whichever flag the box has
 */
export function cornerSigns(flags, counts = null) {
  const [first, second] = counts ?? [flags & FLAG.onlyFirst ? "" : 0, flags & FLAG.onlySecond ? "" : 0];
  return (
    (flags & FLAG.pinKeep ? "K" : "") +
    (flags & FLAG.pinRecompute ? "R" : "") +
    (first !== 0 ? `①${first}` : "") +
    (second !== 0 ? `${first ? " " : ""}②${second}` : "") +
    (flags & FLAG.cached ? "●" : "")
  );
}
