// A recorded step with its Pareto front: which plan each region runs at a point, and the bytes alive in each part of the
// step. Mirrors recompviz/core/reports/training_step.py.

import { typed } from "./wire.js";

/** The `_step` trait. */
export function readStep(message) {
  const plans = typed(Float64Array, message.plans);
  const columns = 4;
  let first = 0;
  const regions = message.regions.map(([name, place, code, values, rows, time]) => {
    const part = plans.subarray(columns * first, columns * (first + rows));
    first += rows;
    const column = (c) => Array.from({ length: rows }, (_, row) => part[columns * row + c]);
    return { name, place, code, values, time, overhead: column(0), forward: column(1), saved: column(2), backward: column(3) };
  });
  const outside = typed(Float64Array, message.outside);
  return {
    title: message.title,
    device: message.device,
    summary: message.summary,
    total: message.total,
    resident: message.resident,
    forwardTime: message.forward_time,
    stepTime: message.step_time,
    notes: message.notes,
    regions,
    outside: regions.map((_, i) => ({ forward: outside[4 * i], afterForward: outside[4 * i + 1], backward: outside[4 * i + 2], afterBackward: outside[4 * i + 3] })),
    islands: message.islands.map(([held, most, place, breaks]) => ({ held, most, place, breaks })),
    breaks: message.breaks.map(([place, code, reason, hints]) => ({ place, code, reason, hints })),
    overheads: typed(Float64Array, message.overheads),
    peaks: typed(Float64Array, message.peaks),
    choices: typed(Uint32Array, message.choices),
  };
}

/** The row of a region's plan at a point of the front. */
export function rowAt(step, point, region) {
  return step.choices[point * step.regions.length + region];
}

/** The parts of a step in order of execution, with their bytes above `resident` at a point of the front. */
export function momentsOf(step, point) {
  const count = step.regions.length;
  const moments = [];
  const add = (region, backward, eager, saved, outside, own) => moments.push({ region, backward, eager, saved, outside, own });
  add(-1, false, true, 0, step.outside[0].forward, 0);
  const saved = [0];
  for (let i = 0; i < count; i++) {
    const { forward, saved: kept } = step.regions[i];
    const row = rowAt(step, point, i);
    add(i, false, false, saved[i], step.outside[i].forward, forward[row]);
    saved.push(saved[i] + kept[row]);
    add(i, false, true, saved[i + 1], step.outside[i].afterForward, 0);
  }
  for (let i = count - 1; i >= 0; i--) {
    const row = rowAt(step, point, i);
    const own = step.regions[i].saved[row];
    add(i, true, false, saved[i] + own, step.outside[i].backward, step.regions[i].backward[row] - own);
    add(i, true, true, saved[i], step.outside[i].afterBackward, 0);
  }
  return moments;
}

/** All bytes of a part of a step, above `resident`. */
export function bytesOf(moment) {
  return moment.saved + moment.outside + moment.own;
}

/** The position of the part with the most bytes. */
export function peakOf(moments) {
  return moments.reduce((best, moment, i) => (bytesOf(moment) > bytesOf(moments[best]) ? i : best), 0);
}

/** What a part of a step is, in words. */
export function momentName(step, { region, backward, eager }) {
  if (region < 0) return "before the first region";
  const name = `region ${region + 1}, ${step.regions[region].name}`;
  const pass = backward ? "backward" : "forward";
  return eager ? `after the ${pass} pass of ${name}` : `${pass} pass of ${name}`;
}
