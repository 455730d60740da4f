// The places of steps on the axis of the memory landscape. Mirrors recompviz/core/steps/places.py: steps of the forward
// pass in which nothing is allocated share a place if they follow each other. They update buffers.

const FORWARD_PHASE = 0;

/**
 * The places of a reply.
 * @returns { count, of, first, top }: the place of each step, and of the end; the first step of each place, and the end; the
 *   step of each place with the most bytes
 */
export function stepPlaces({ steps, phases, blocks }, totals) {
  const busy = new Uint8Array(steps);
  for (const s of blocks.first) busy[s] = 1;
  let forward = 0;
  while (forward < steps && phases[forward] === FORWARD_PHASE) forward++;
  const of = new Uint32Array(steps + 1);
  const first = [];
  const top = [];
  for (let s = 0; s < steps; s++) {
    // the gradient of the loss is allocated after the last step of the forward pass
    if (s > 0 && s < forward - 1 && !busy[s] && !busy[s - 1]) {
      if (totals[s] > totals[top[top.length - 1]]) top[top.length - 1] = s;
    } else {
      first.push(s);
      top.push(s);
    }
    of[s] = first.length - 1;
  }
  of[steps] = first.length;
  return { count: first.length, of, first: Uint32Array.from([...first, steps]), top: Uint32Array.from(top) };
}

/** The most of some values at each place: one value for each step of any plan of the same training step. */
export function atPlaces(values, { of, count }) {
  const steps = of.length - 1;
  const most = [];
  for (let s = 0; s < values.length; s++) {
    const place = s < steps ? of[s] : count + s - steps;
    most[place] = Math.max(most[place] ?? 0, values[s]);
  }
  return Float64Array.from(most);
}
