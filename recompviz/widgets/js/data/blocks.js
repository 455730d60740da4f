// The blocks that are alive at a step, and why, from the blocks of a reply. Mirrors
// recompviz/core/steps/transient_blocks.py.

import { CATEGORY } from "./categories.js";

/** Bytes of each category at the maximum of each step: one row for each category shown. */
export function bandsOf(reply) {
  const { steps, categories, blocks } = reply;
  const bands = new Float64Array(categories.length * steps);
  const place = new Map(categories.map((category, c) => [category.number, c]));
  categories.forEach((category, c) => bands.fill(0, c * steps, (c + 1) * steps));
  for (let i = 0; i < blocks.bytes.length; i++) {
    const start = place.get(blocks.categories[i]) * steps;
    bands[start + blocks.first[i]] += blocks.bytes[i];
    if (blocks.stop[i] < steps) bands[start + blocks.stop[i]] -= blocks.bytes[i];
  }
  categories.forEach((category, c) => {
    let now = category.bytes;
    for (let s = c * steps; s < (c + 1) * steps; s++) bands[s] = now += bands[s];
  });
  return bands;
}

/** The node of the step that made a block. */
export function nodeOfBlock(reply, i) {
  return reply.stepNodes[reply.blocks.first[i]];
}

/** The positions of the blocks alive at a step, largest first. */
export function aliveAt(reply, step) {
  const { first, stop, bytes } = reply.blocks;
  const alive = [];
  for (let i = 0; i < bytes.length; i++) if (first[i] <= step && step < stop[i]) alive.push(i);
  return alive.sort((a, b) => bytes[b] - bytes[a] || first[a] - first[b]);
}

/** For every node 1 if its value (not its gradient) is alive at a step. */
export function aliveMask(reply, step, count) {
  const mask = new Uint8Array(count);
  const { first, stop, categories } = reply.blocks;
  for (let i = 0; i < first.length; i++) {
    const value = [CATEGORY.kept, CATEGORY.transient, CATEGORY.recomputed, CATEGORY.loss].includes(categories[i]);
    const v = value && first[i] <= step && step < stop[i] ? nodeOfBlock(reply, i) : -1;
    if (v >= 0) mask[v] = 1;
  }
  return mask;
}

/** Why a block is alive, as text; `name(step)` gives the name of a step. */
export function whyAlive(reply, i, name) {
  const last = reply.blocks.stop[i] - 1;
  const outlives = reply.blocks.stop[i] >= reply.steps;
  const user = name(last);
  switch (reply.blocks.categories[i]) {
    case CATEGORY.kept:
      return outlives ? "kept to the end of the step" : `kept for the backward pass, until ${user}`;
    case CATEGORY.transient:
      return `transient: the forward pass needs it until ${user}`;
    case CATEGORY.recomputed:
      return `recomputed for the backward pass, until ${user}`;
    case CATEGORY.gradient:
      return outlives ? "a gradient, to the end of the step" : `a gradient, until ${user}`;
    case CATEGORY.parameterGradient:
      return "a result of the step, for the optimizer";
    case CATEGORY.loss:
      return "the loss: the caller holds it";
    case CATEGORY.workspace:
      return "workspace inside this operator";
    default:
      return "not attributed to a value";
  }
}

/**
 * The blocks that are alive at a step as rows of a table, largest first.
 * @returns [{ block, node, category, label, bytes, born, last, why }]; `block` is −1 for memory allocated before the step
 */
export function aliveRows(reply, step, labels) {
  const name = (s) => (s < reply.steps ? labels[reply.stepLabels[s]] : "the end");
  const rows = aliveAt(reply, step).map((i) => ({
    block: i,
    node: nodeOfBlock(reply, i),
    category: reply.blocks.categories[i],
    label: labels[reply.blocks.labels[i]],
    bytes: reply.blocks.bytes[i],
    born: reply.blocks.first[i],
    last: reply.blocks.stop[i] - 1,
    outlives: reply.blocks.stop[i] >= reply.steps,
    why: whyAlive(reply, i, name),
  }));
  for (const { number, label, bytes } of reply.categories) {
    if (bytes) rows.push({ block: -1, node: -1, category: number, label, bytes, born: -1, last: -1, outlives: true, why: "allocated before the step and after it" });
  }
  return rows.sort((a, b) => b.bytes - a.bytes);
}

/** The blocks made by the steps of a node, as [category, first, stop]: the lifetimes of its value and of its gradients. */
export function livesOf(reply, node) {
  const lives = [];
  for (let i = 0; node >= 0 && i < reply.blocks.bytes.length; i++) {
    if (nodeOfBlock(reply, i) === node && reply.blocks.categories[i] !== CATEGORY.workspace) {
      lives.push([reply.blocks.categories[i], reply.blocks.first[i], reply.blocks.stop[i]]);
    }
  }
  return lives;
}
