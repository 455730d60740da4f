// The schedule of a plan: the order of the calls, and the storages that are freed after each call. Mirrors
// recompviz/core/steps/schedule.py, so that the page can show every plan without the kernel. It runs at each tick of the
// slider, so it uses typed arrays.

const FORWARD = 0;
const RECOMPUTE = 1;
const BACKWARD = 2;

/** For each call whether its results are kept for the backward pass. */
export function keptCalls(joint, kept) {
  const { calls } = joint;
  const keeps = new Uint8Array(calls.length);
  for (let c = 0; c < calls.length; c++) {
    const { pinned, views, node, follows } = calls[c];
    keeps[c] = pinned || views.some((v) => kept[v]) || (node >= 0 ? kept[node] === 1 : follows.every((v) => kept[v])) ? 1 : 0;
  }
  return keeps;
}

/**
 * The schedule of a keep mask: the `calls` in order with their `phases`; masks of the storages that are `saved` for the
 * backward pass and of the calls that are `recomputed`; and `frees`, as freesOf returns them.
 */
export function makeSchedule(joint, kept) {
  const { calls, makers, forwardCount } = joint;
  const keeps = keptCalls(joint, kept);
  const order = new Int32Array(calls.length + forwardCount);
  const phases = new Uint8Array(order.length);
  const saved = new Uint8Array(makers.length);
  const recomputed = new Uint8Array(calls.length);
  let count = 0;
  for (; count < forwardCount; count++) order[count] = count;
  phases.fill(FORWARD, 0, count);

  function missing(reads, wanted) {
    for (const s of reads) {
      const maker = makers[s];
      if (maker < 0 || maker >= forwardCount || recomputed[maker] || saved[s]) continue;
      if (keeps[maker]) saved[s] = 1;
      else wanted.push(maker);
    }
  }

  const stack = [];
  for (let b = forwardCount; b < calls.length; b++) {
    missing(calls[b].reads, stack);
    const begin = count;
    while (stack.length) {
      const c = stack.pop();
      if (recomputed[c]) continue;
      recomputed[c] = 1;
      phases[count] = RECOMPUTE;
      order[count++] = c;
      missing(calls[c].reads, stack);
    }
    if (count > begin + 1) order.subarray(begin, count).sort();
    phases[count] = BACKWARD;
    order[count++] = b;
  }
  const run = order.subarray(0, count);
  return { calls: run, phases: phases.subarray(0, count), frees: freesOf(joint, run, saved), saved, recomputed };
}

/** The storages freed after each step, those that are used there for the last time: step i frees `storages` from `start[i]` to `stop[i]`. */
export function freesOf(joint, order, saved) {
  const { calls, makers, results, forwardCount } = joint;
  const storages = [];
  const start = new Int32Array(order.length);
  const stop = new Int32Array(order.length);
  const ends = new Uint8Array(makers.length);
  for (const s of results) ends[s] = 1;
  const inForward = Uint8Array.from(ends);
  for (let i = forwardCount; i < order.length; i++) if (order[i] < forwardCount) for (const s of calls[order[i]].makes) ends[s] = 0;
  for (let s = 0; s < makers.length; s++) if (saved[s]) inForward[s] = 1;
  for (const [from, to, seen] of [
    [forwardCount, order.length, ends],
    [0, forwardCount, inForward],
  ]) {
    for (let i = to - 1; i >= from; i--) {
      const call = calls[order[i]];
      start[i] = storages.length;
      for (const used of [call.makes, call.reads]) {
        for (const s of used) {
          if (seen[s] || makers[s] < 0) continue;
          seen[s] = 1;
          storages.push(s);
        }
      }
      stop[i] = storages.length;
    }
  }
  return { storages, start, stop };
}
