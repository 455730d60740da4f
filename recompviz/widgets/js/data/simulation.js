// The simulator: the allocations and frees of a schedule, and the blocks between them. Mirrors recompviz/core/steps/simulation.py and recompviz/core/steps/blocks.py.

const OPTIMIZER = 4;
const KEPT = 5;
const TRANSIENT = 6;
const RECOMPUTED = 7;
const GRADIENT = 8;
const PARAMETER_GRADIENT = 9;
const SCRATCH = 11;
const BACK = 2;
const AGAIN = 1;

/** Every allocation and free as [step, storage, category, bytes]. Four more storages follow those of the joint graph: generator, workspace, tangent, optimizer. */
export function eventsOf(joint, schedule) {
  const { calls, sizes, categories, forwardCount } = joint;
  const events = [];
  const held = new Map();
  const generator = sizes.length;
  const scratch = sizes.length + 1;
  const tangent = sizes.length + 2;
  const optimizer = sizes.length + 3;
  const rounded = (bytes) => Math.ceil(bytes / joint.alignment) * joint.alignment;
  const categoryOf = (s, phase) => {
    if (phase === AGAIN) return RECOMPUTED;
    return categories[s] === KEPT && !schedule.saved.has(s) ? TRANSIENT : categories[s];
  };
  schedule.calls.forEach((c, i) => {
    const call = calls[c];
    const phase = schedule.phases[i];
    for (const s of call.makes) {
      held.set(s, [categoryOf(s, phase), sizes[s]]);
      events.push([i, s, ...held.get(s)]);
    }
    const state = call.random && schedule.recomputed.has(c) && phase !== BACK ? rounded(joint.rngBytes) : 0;
    if (state) events.push([i, generator, KEPT, state]);
    const extra = rounded(joint.workspace[c] ?? 0);
    if (extra) events.push([i, scratch, SCRATCH, extra], [i, scratch, SCRATCH, -extra]);
    if (state && phase === AGAIN) events.push([i, generator, KEPT, -state], [i, generator, KEPT, -state]);
    for (const s of schedule.frees[i]) {
      if (!held.has(s)) continue;
      const [category, bytes] = held.get(s);
      held.delete(s);
      events.push([i, s, category, -bytes]);
    }
    if (i === forwardCount - 1 && joint.tangentBytes) events.push([i, tangent, GRADIENT, rounded(joint.tangentBytes)]);
  });
  const last = schedule.calls.length;
  for (const [s, bytes] of joint.clones) {
    const [category, freed] = held.get(s) ?? [PARAMETER_GRADIENT, 0];
    held.delete(s);
    events.push([last, s, PARAMETER_GRADIENT, rounded(bytes)], [last, s, category, -freed]);
  }
  if (joint.tangentBytes) events.push([last, tangent, GRADIENT, -rounded(joint.tangentBytes)]);
  const step = joint.optimizerScratch;
  events.push([last + 1, optimizer, OPTIMIZER, step], [last + 1, optimizer, OPTIMIZER, -step]);
  return events.filter((event) => event[3] !== 0);
}

/** The blocks with the steps at whose maximum they are alive, and the transient peak and its step. */
export function readBlocks(events, steps) {
  const ends = new Int32Array(events.length).fill(-1);
  const open = new Map();
  events.forEach(([, storage, category, bytes], i) => {
    const key = storage * 16 + category;
    if (bytes > 0) open.set(key, [...(open.get(key) ?? []), i]);
    else if (open.get(key)?.length) ends[open.get(key).pop()] = i;
  });
  const moments = new Int32Array(steps);
  let event = 0;
  let now = 0;
  let peak = 0;
  let peakStep = -1;
  for (let s = 0; s < steps; s++) {
    let best = event - 1;
    let most = now;
    while (event < events.length && events[event][0] <= s) {
      now += events[event][3];
      if (now > most) {
        best = event;
        most = now;
      }
      if (now > peak || peakStep < 0) {
        peak = Math.max(peak, now);
        peakStep = events[event][0];
      }
      event++;
    }
    moments[s] = best;
  }
  /** The first step whose maximum is at or after an event. */
  const stepOf = (at) => {
    let low = 0;
    let high = steps;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (moments[middle] < at) low = middle + 1;
      else high = middle;
    }
    return low;
  };
  const blocks = [];
  events.forEach(([, storage, category, bytes], i) => {
    if (bytes <= 0) return;
    const first = stepOf(i);
    const stop = ends[i] < 0 ? steps : stepOf(ends[i]);
    if (first < stop) blocks.push({ storage, category, bytes, first, stop });
  });
  return { blocks, peak, peakStep };
}
