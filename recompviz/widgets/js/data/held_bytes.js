// The bytes that memory holds for kept values. They are fewer than the bytes of the values: those that no backward call
// reads are freed in the forward pass, and a value may share its memory with another one.

import { nodeOfBlock } from "./blocks.js";
import { CATEGORY } from "./categories.js";
import { simulateReply } from "./simulated_reply.js";
import { readReply } from "./wire.js";

/** The most bytes of kept values that are alive at one step of a plan. */
export function mostKept(joint, kept) {
  const reply = readReply(simulateReply(joint, kept));
  const c = reply.categories.findIndex(({ number }) => number === CATEGORY.kept);
  return c < 0 ? 0 : reply.bands.subarray(c * reply.steps, (c + 1) * reply.steps).reduce((most, bytes) => Math.max(most, bytes), 0);
}

/** For each node, the bytes that memory holds for it until the backward pass if everything is kept. */
export function heldBytes(joint, count) {
  const reply = readReply(simulateReply(joint, new Uint8Array(count).fill(1)));
  const held = new Float64Array(count);
  reply.blocks.categories.forEach((category, i) => {
    const v = category === CATEGORY.kept ? nodeOfBlock(reply, i) : -1;
    if (v >= 0) held[v] += reply.blocks.bytes[i];
  });
  return held;
}
