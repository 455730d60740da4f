// The simulator: the allocations and frees of a schedule, and the blocks between them. Mirrors
// recompviz/core/steps/simulation.py and recompviz/core/steps/transient_blocks.py. It runs at each tick of the slider,
// so it uses typed arrays.

import { CATEGORY } from "./categories.js";

const CATEGORIES = 16; // more than there are
const BACK = 2;
const AGAIN = 1;

/** A list of events: `steps`, `storages`, `categories` and `bytes`, each with `count` entries. An event of no bytes is left out. */
function eventList(capacity) {
  const list = {
    count: 0,
    steps: new Int32Array(capacity),
    storages: new Int32Array(capacity),
    categories: new Uint8Array(capacity),
    bytes: new Float64Array(capacity),
  };
  list.add = (step, storage, category, bytes) => {
    if (bytes === 0) return;
    const i = list.count++;
    list.steps[i] = step;
    list.storages[i] = storage;
    list.categories[i] = category;
    list.bytes[i] = bytes;
  };
  return list;
}

/** The number of events that a schedule can have at most. */
function mostEvents(joint, schedule) {
  let made = 0;
  for (const c of schedule.calls) made += joint.calls[c].makes.length;
  return 2 * made + 5 * schedule.calls.length + 2 * joint.clones.length + 8;
}

/** Every allocation and free. Four more storages follow those of the joint graph: generator, workspace, tangent, optimizer. */
export function eventsOf(joint, schedule) {
  const { calls, sizes, categories, forwardCount } = joint;
  const events = eventList(mostEvents(joint, schedule));
  const { add } = events;
  const held = new Int8Array(sizes.length).fill(-1); // the category of each storage that is alive
  const generator = sizes.length;
  const scratch = sizes.length + 1;
  const tangent = sizes.length + 2;
  const optimizer = sizes.length + 3;
  const rounded = (bytes) => Math.ceil(bytes / joint.alignment) * joint.alignment;
  const { frees, phases, saved, recomputed } = schedule;
  for (let i = 0; i < schedule.calls.length; i++) {
    const c = schedule.calls[i];
    const call = calls[c];
    const phase = phases[i];
    for (const s of call.makes) {
      held[s] = phase === AGAIN ? CATEGORY.recomputed : categories[s] === CATEGORY.kept && !saved[s] ? CATEGORY.transient : categories[s];
      add(i, s, held[s], sizes[s]);
    }
    const state = call.random && recomputed[c] && phase !== BACK ? rounded(joint.rngBytes) : 0;
    if (state) add(i, generator, CATEGORY.kept, state);
    const extra = rounded(joint.workspace[c] ?? 0);
    if (extra) {
      add(i, scratch, CATEGORY.workspace, extra);
      add(i, scratch, CATEGORY.workspace, -extra);
    }
    if (state && phase === AGAIN) {
      add(i, generator, CATEGORY.kept, -state);
      add(i, generator, CATEGORY.kept, -state);
    }
    for (let k = frees.start[i]; k < frees.stop[i]; k++) {
      const s = frees.storages[k];
      if (held[s] < 0) continue;
      add(i, s, held[s], -sizes[s]);
      held[s] = -1;
    }
    if (i === forwardCount - 1 && joint.tangentBytes) add(i, tangent, CATEGORY.gradient, rounded(joint.tangentBytes));
  }
  const last = schedule.calls.length;
  for (const [s, bytes] of joint.clones) {
    add(last, s, CATEGORY.parameterGradient, rounded(bytes));
    if (held[s] >= 0) add(last, s, held[s], -sizes[s]);
    held[s] = -1;
  }
  if (joint.tangentBytes) add(last, tangent, CATEGORY.gradient, -rounded(joint.tangentBytes));
  const step = joint.optimizerScratch;
  add(last + 1, optimizer, CATEGORY.optimizer, step);
  add(last + 1, optimizer, CATEGORY.optimizer, -step);
  return events;
}

/** For each allocation the event that frees it, or −1. Of two equal blocks the younger is freed first. */
function endsOf({ count, storages, categories, bytes }) {
  const ends = new Int32Array(count).fill(-1);
  let most = 0;
  for (let i = 0; i < count; i++) most = Math.max(most, storages[i]);
  const open = new Int32Array((most + 1) * CATEGORIES).fill(-1); // the youngest open block of a storage and category
  const under = new Int32Array(count); // the next older one
  for (let i = 0; i < count; i++) {
    const key = storages[i] * CATEGORIES + categories[i];
    if (bytes[i] > 0) {
      under[i] = open[key];
      open[key] = i;
    } else if (open[key] >= 0) {
      ends[open[key]] = i;
      open[key] = under[open[key]];
    }
  }
  return ends;
}

/**
 * The blocks with the steps at whose maximum they are alive, and the transient peak and its step.
 * @returns { blocks: { storages, categories, bytes, first, stop }, peak, peakStep }
 */
export function readBlocks(events, steps) {
  const { count, bytes } = events;
  const ends = endsOf(events);
  const stepOf = new Int32Array(count).fill(steps); // the first step whose maximum is at or after an event
  let event = 0;
  let placed = 0;
  let now = 0;
  let peak = 0;
  let peakStep = -1;
  for (let s = 0; s < steps; s++) {
    let best = event - 1;
    let most = now;
    while (event < count && events.steps[event] <= s) {
      now += bytes[event];
      if (now > most) {
        best = event;
        most = now;
      }
      if (now > peak || peakStep < 0) {
        peak = Math.max(peak, now);
        peakStep = events.steps[event];
      }
      event++;
    }
    while (placed <= best) stepOf[placed++] = s;
  }
  const which = new Int32Array(count);
  let blocks = 0;
  for (let i = 0; i < count; i++) {
    if (bytes[i] > 0 && stepOf[i] < (ends[i] < 0 ? steps : stepOf[ends[i]])) which[blocks++] = i;
  }
  const of = (Type, value) => {
    const values = new Type(blocks);
    for (let k = 0; k < blocks; k++) values[k] = value(which[k]);
    return values;
  };
  return {
    blocks: {
      storages: of(Uint32Array, (i) => events.storages[i]),
      categories: of(Uint8Array, (i) => events.categories[i]),
      bytes: of(Float64Array, (i) => bytes[i]),
      first: of(Uint32Array, (i) => stepOf[i]),
      stop: of(Uint32Array, (i) => (ends[i] < 0 ? steps : stepOf[ends[i]])),
    },
    peak,
    peakStep,
  };
}
