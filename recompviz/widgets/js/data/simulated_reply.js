// The timeline of a plan as the kernel would send it in `_reply`, simulated in the page.

import { CATEGORY } from "./categories.js";
import { makeSchedule } from "./schedule.js";
import { eventsOf, readBlocks } from "./simulation.js";

const ARRIVE = 3;
const OPTIMIZE = 4;

/** The joint graph from gzipped JSON in a DataView. */
export async function unpackJoint(view) {
  const stream = new Blob([view]).stream().pipeThrough(new DecompressionStream("gzip"));
  return readJoint(JSON.parse(await new Response(stream).text()));
}

/** The joint graph from its message. */
export function readJoint(message) {
  return {
    ...message,
    results: new Set(message.results),
    calls: message.calls.map(([node, reads, makes, pinned, random, views, follows]) => ({ node, reads, makes, pinned, random, views, follows })),
  };
}

const viewOf = (values) => new DataView(values.buffer, values.byteOffset, values.byteLength);

/** The part of `_reply` with the timeline of a plan. Labels are numbered as in `joint.labels`. */
export function simulateReply(joint, kept, schedule = makeSchedule(joint, kept)) {
  // after the last call the gradients arrive, and the optimizer steps where there is one
  const after = joint.optimizerScratch ? [ARRIVE, OPTIMIZE] : [ARRIVE];
  const count = schedule.calls.length;
  const steps = count + after.length;
  const { blocks, peak, peakStep } = readBlocks(eventsOf(joint, schedule), steps);
  const fixed = new Map(joint.static);
  const moving = new Set(blocks.categories);
  const arrival = joint.calls.length + joint.sizes.length + 4;
  const phases = new Uint8Array(steps);
  phases.set(schedule.phases);
  phases.set(after, count);
  const stepNodes = new Int32Array(steps).fill(-1);
  const stepLabels = new Uint32Array(steps);
  for (let i = 0; i < count; i++) {
    stepNodes[i] = joint.callNodes[schedule.calls[i]];
    stepLabels[i] = schedule.calls[i];
  }
  for (let i = count; i < steps; i++) stepLabels[i] = arrival + i - count;
  return {
    steps,
    categories: joint.categoryLabels
      .map((label, number) => [number, label, number <= CATEGORY.optimizer, fixed.get(number) ?? 0])
      .filter(([number]) => fixed.get(number) || moving.has(number)),
    block_labels: viewOf(blocks.storages.map((s) => joint.calls.length + s)),
    block_categories: viewOf(blocks.categories),
    block_bytes: viewOf(blocks.bytes),
    block_first: viewOf(blocks.first),
    block_stop: viewOf(blocks.stop),
    phases: viewOf(phases),
    step_nodes: viewOf(stepNodes),
    step_labels: viewOf(stepLabels),
    peak: peak + joint.static.reduce((sum, [, bytes]) => sum + bytes, 0),
    peak_step: peakStep,
  };
}
