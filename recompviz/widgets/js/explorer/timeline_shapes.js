// Shapes of the timeline: pure functions from the bytes of the steps to pixel columns, paths and bands.

/** For each pixel column the step with the most bytes, so that the drawing shows every peak. */
export function columnSteps(totals, columns) {
  const n = totals.length;
  const count = Math.min(n, columns);
  const steps = new Uint32Array(count);
  for (let c = 0; c < count; c++) {
    let best = Math.floor((c * n) / count);
    for (let s = best; s < Math.floor(((c + 1) * n) / count); s++) if (totals[s] > totals[best]) best = s;
    steps[c] = best;
  }
  return steps;
}

/** Total bytes of each step: the sum of the bands. */
export function totalsOf(reply) {
  const totals = new Float64Array(reply.steps);
  for (let c = 0; c < reply.categories.length; c++) {
    for (let s = 0; s < reply.steps; s++) totals[s] += reply.bands[c * reply.steps + s];
  }
  return totals;
}

/** An SVG path with one horizontal piece for each value. */
export function stepPath(values, x, y) {
  let path = "";
  for (let i = 0; i < values.length; i++) {
    const height = y(values[i]).toFixed(1);
    path += `${i ? "L" : "M"}${x(i / values.length).toFixed(1)} ${height}L${x((i + 1) / values.length).toFixed(1)} ${height}`;
  }
  return path;
}

/** Consecutive steps of one phase, as [phase, from, to). */
export function phaseRuns(phases) {
  const runs = [];
  for (let s = 0; s < phases.length; s++) {
    const last = runs[runs.length - 1];
    if (last && last[0] === phases[s]) last[2] = s + 1;
    else runs.push([phases[s], s, s + 1]);
  }
  return runs;
}

/** The category whose band holds a number of bytes at a step; null above all bands. */
export function bandAt(reply, step, bytes) {
  let under = 0;
  for (let c = 0; c < reply.categories.length; c++) {
    under += reply.bands[c * reply.steps + step];
    if (bytes <= under) return reply.categories[c].number;
  }
  return null;
}

/** At most `columns` values, each the maximum of its piece. */
export function columnValues(values, columns) {
  if (values.length <= columns) return values;
  return Float64Array.from(columnSteps(values, Math.round(columns)), (s) => values[s]);
}
