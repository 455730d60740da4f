// The model of an exported page, which has no kernel: it answers choices from the data in the page. It has the same
// `get`, `set`, `on` and `send` as the model of a widget, so that the views are the same.

import { makeSchedule } from "../data/schedule.js";
import { eventsOf, readBlocks } from "../data/simulation.js";
import { readTable } from "../data/wire.js";
import { keepMask } from "../data/plan_table.js";

/** A copy of a value in which {"$": base64} is replaced by a DataView of the bytes. */
export function withBuffers(value) {
  if (Array.isArray(value)) return value.map(withBuffers);
  if (value === null || typeof value !== "object") return value;
  if (typeof value.$ === "string") return new DataView(Uint8Array.from(atob(value.$), (letter) => letter.charCodeAt(0)).buffer);
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, withBuffers(inner)]));
}

/** The joint graph from its message in the page. */
export function readJoint(message) {
  return {
    ...message,
    results: new Set(message.results),
    calls: message.calls.map(([node, reads, makes, pinned, random, views, follows]) => ({ node, reads, makes, pinned, random, views, follows })),
  };
}

/** The part of `_reply` with the timeline of a plan, as the kernel would send it. */
export function simulateReply(joint, kept) {
  const schedule = makeSchedule(joint, kept);
  // after the last call the gradients arrive, and the optimizer steps where there is one
  const after = joint.optimizerScratch ? [3, 4] : [3];
  const steps = schedule.calls.length + after.length;
  const { blocks, peak, peakStep } = readBlocks(eventsOf(joint, schedule), steps);
  const view = (Type, values) => new DataView(Type.from(values).buffer);
  const fixed = new Map(joint.static);
  const moving = new Set(blocks.map((block) => block.category));
  const arrival = joint.calls.length + joint.sizes.length + 4;
  return {
    steps,
    categories: joint.categoryLabels
      .map((label, number) => [number, label, number <= 4, fixed.get(number) ?? 0])
      .filter(([number]) => fixed.get(number) || moving.has(number)),
    block_labels: view(Uint32Array, blocks.map((block) => joint.calls.length + block.storage)),
    block_categories: view(Uint8Array, blocks.map((block) => block.category)),
    block_bytes: view(Float64Array, blocks.map((block) => block.bytes)),
    block_first: view(Uint32Array, blocks.map((block) => block.first)),
    block_stop: view(Uint32Array, blocks.map((block) => block.stop)),
    phases: view(Uint8Array, [...schedule.phases, ...after]),
    step_nodes: view(Int32Array, [...schedule.calls.map((c) => joint.callNodes[c]), ...after.map(() => -1)]),
    step_labels: view(Uint32Array, [...schedule.calls, ...after.map((_, i) => arrival + i)]),
    peak: peak + joint.static.reduce((sum, [, bytes]) => sum + bytes, 0),
    peak_step: peakStep,
  };
}

/** The model; `data` is the unpacked data of the page. */
export function offlineModel(data) {
  const values = { ...data.traits };
  const joint = readJoint(data.joint);
  values._labels = [...joint.labels];
  const handlers = new Map();
  const count = values._graph.count;
  const tables = [...values._tables, ...values._more].map((message) => (message.rows ? readTable(message) : null));

  function setTrait(name, value) {
    values[name] = value;
    for (const handler of handlers.get(`change:${name}`) ?? []) handler();
  }

  function answer() {
    const { request, table, row, budget } = values._asked;
    const kept = keepMask(tables[table], row, count);
    setTrait("_reply", { request, fingerprint: values._graph.fingerprint, table, row, budget, ...simulateReply(joint, kept) });
  }

  // the kernel numbers labels in the order of their first use; from here on labels have the numbers of the joint graph
  values._asked = { ...values._reply };
  answer();
  let changed = new Set();
  let waiting = 0;
  return {
    offline: true,
    get: (name) => values[name],
    set: (name, value) => {
      values[name] = value;
      changed.add(name);
    },
    save_changes: () => {
      if (changed.has("_asked")) {
        clearTimeout(waiting);
        waiting = setTimeout(answer, 30);
      }
      if (changed.has("_mode") && data.layouts[values._mode]) setTrait("_layout", data.layouts[values._mode]);
      changed = new Set();
    },
    on: (event, handler) => handlers.set(event, [...(handlers.get(event) ?? []), handler]),
    off: (event, handler) => handlers.set(event, (handlers.get(event) ?? []).filter((other) => other !== handler)),
    send: () => {},
  };
}
