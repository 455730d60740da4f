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

/**
 * What memory holds for each node if everything is kept: { bytes until the backward pass; unread, the bytes of a node whose
 * memory is freed in the forward pass, because no backward call reads it }. A plan holds them where a recomputation reads them.
 * A node that shares the memory of another one has no bytes of either kind.
 */
export function heldBytes(joint, count) {
  const reply = readReply(simulateReply(joint, new Uint8Array(count).fill(1)));
  const bytes = new Float64Array(count);
  const unread = new Float64Array(count);
  reply.blocks.categories.forEach((category, i) => {
    const v = nodeOfBlock(reply, i);
    if (v < 0) return;
    if (category === CATEGORY.kept) bytes[v] += reply.blocks.bytes[i];
    else if (category === CATEGORY.transient) unread[v] += reply.blocks.bytes[i];
  });
  return { bytes, unread: unread.map((one, v) => (bytes[v] ? 0 : one)) };
}
