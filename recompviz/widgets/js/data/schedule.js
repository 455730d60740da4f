// The schedule of a plan: the order of the calls, and the storages that are freed after each call. Mirrors
// recompviz/core/steps/schedule.py, so that an exported page can show every plan without a kernel.

const FORWARD = 0;
const RECOMPUTE = 1;
const BACKWARD = 2;

/** For each call whether its results are kept for the backward pass. */
export function keptCalls(joint, kept) {
  return joint.calls.map(
    (call) =>
      call.pinned || call.views.some((v) => kept[v]) || (call.node >= 0 ? kept[call.node] === 1 : call.follows.every((v) => kept[v])),
  );
}

/** { calls, phases, frees, saved, recomputed } of a keep mask. */
export function makeSchedule(joint, kept) {
  const { calls, makers, forwardCount } = joint;
  const keeps = keptCalls(joint, kept);
  const order = Array.from({ length: forwardCount }, (_, c) => c);
  const phases = order.map(() => FORWARD);
  const saved = new Set();
  const recomputed = new Set();

  function missing(reads) {
    const wanted = [];
    for (const s of reads) {
      const maker = makers[s];
      if (maker < 0 || maker >= forwardCount || recomputed.has(maker) || saved.has(s)) continue;
      if (keeps[maker]) saved.add(s);
      else wanted.push(maker);
    }
    return wanted;
  }

  for (let b = forwardCount; b < calls.length; b++) {
    const stack = missing(calls[b].reads);
    const pulled = [];
    while (stack.length) {
      const c = stack.pop();
      if (recomputed.has(c)) continue;
      recomputed.add(c);
      pulled.push(c);
      stack.push(...missing(calls[c].reads));
    }
    pulled.sort((one, other) => one - other);
    for (const c of pulled) {
      order.push(c);
      phases.push(RECOMPUTE);
    }
    order.push(b);
    phases.push(BACKWARD);
  }
  return { calls: order, phases, frees: freesOf(joint, order, saved), saved, recomputed };
}

/** The storages freed after each step: those that are used there for the last time. */
export function freesOf(joint, order, saved) {
  const { calls, makers, results, forwardCount } = joint;
  const frees = order.map(() => []);
  const madeAgain = new Set();
  for (const c of order.slice(forwardCount)) if (c < forwardCount) for (const s of calls[c].makes) madeAgain.add(s);
  const ends = new Set([...results].filter((s) => !madeAgain.has(s)));
  for (const [start, stop, immortal] of [
    [forwardCount, order.length, ends],
    [0, forwardCount, new Set([...results, ...saved])],
  ]) {
    const seen = new Set(immortal);
    for (let i = stop - 1; i >= start; i--) {
      const call = calls[order[i]];
      for (const s of [...call.makes, ...call.reads]) {
        if (seen.has(s) || makers[s] < 0) continue;
        seen.add(s);
        frees[i].push(s);
      }
    }
  }
  return frees;
}
