// The visible stretch of a step, as fractions of all its steps: zooming and moving. Pure functions.

export const WHOLE_STEP = { from: 0, to: 1 };
const LEAST = 4; // steps

/** A stretch of at least a few steps, inside the step. */
export function limited({ from, to }, steps) {
  const length = Math.min(1, Math.max(to - from, LEAST / Math.max(LEAST, steps)));
  const start = Math.min(1 - length, Math.max(0, (from + to - length) / 2));
  return { from: start, to: start + length };
}

/** The stretch after zooming by a factor; the place `at`, a fraction of the stretch, stays where it is. */
export function zoomed(stretch, factor, at, steps) {
  const length = (stretch.to - stretch.from) / factor;
  const fixed = stretch.from + at * (stretch.to - stretch.from);
  return limited({ from: fixed - at * length, to: fixed + (1 - at) * length }, steps);
}

/** The stretch between two places of a stretch, in either order. */
export function between(stretch, one, other, steps) {
  const place = (at) => stretch.from + at * (stretch.to - stretch.from);
  return limited({ from: place(Math.min(one, other)), to: place(Math.max(one, other)) }, steps);
}

/** The stretch moved so that a fraction of the step is inside. */
export function including(stretch, at) {
  const length = stretch.to - stretch.from;
  const start = at < stretch.from ? at - length / 4 : at > stretch.to ? at - (3 * length) / 4 : stretch.from;
  const from = Math.min(1 - length, Math.max(0, start));
  return { from, to: from + length };
}

/** The values of a stretch, from an array over the whole step: [values, from, to], where from and to are the fractions that they cover. */
export function cut(values, stretch) {
  const n = values.length;
  const from = Math.max(0, Math.floor(stretch.from * n + 1e-9));
  const to = Math.min(n, Math.ceil(stretch.to * n - 1e-9));
  return [values.subarray ? values.subarray(from, to) : values.slice(from, to), n ? from / n : 0, n ? to / n : 1];
}

/** The steps of a stretch: first and one after the last. */
export function stepsOf(stretch, steps) {
  return [Math.floor(stretch.from * steps + 1e-9), Math.max(1, Math.ceil(stretch.to * steps - 1e-9))];
}
