// The axis of budgets in total bytes, and pure functions of a plan table along it.

import { leastTotal } from "../data/plan_table.js";
import { keepAllTotal } from "./header.js";

// a smaller range of totals, as a share of the largest, is nothing to trade: the axis then shows it in its size
const LEAST_RANGE = 0.01;

/** The ends of the axis: a part of the infeasible range, all of the feasible range, and a margin. `devices`: bytes of devices that are marked. */
export function budgetDomain(tables, capacity = null, devices = []) {
  const least = Math.min(...tables.map(leastTotal));
  const most = Math.max(...tables.map(keepAllTotal));
  const span = Math.max(most - least < LEAST_RANGE * most ? most : most - least, most * 0.02, 1);
  // memory of a device a little beyond the axis extends it; one far away is written at its edge
  const marks = capacity === null ? devices : [capacity, ...devices];
  const far = Math.max(most, ...marks.filter((mark) => mark > most && mark < most + 0.5 * span));
  const below = marks.filter((mark) => mark < least);
  const near = below.length ? Math.max(Math.max(...below) - 0.04 * span, least - 0.6 * span) : least;
  return { low: Math.max(0, Math.min(least - 0.28 * span, near)), high: far + 0.06 * span, least, most };
}

/** The least overhead for each budget as an SVG path, from the largest budget down. */
export function staircase(table, rows, x, y, right) {
  let path = "";
  rows.forEach((row, i) => {
    const from = i === 0 ? right : x(table.totalPeaks[rows[i - 1]]);
    path += `${i === 0 ? "M" : "L"}${from.toFixed(1)} ${y(table.overheads[row]).toFixed(1)}L${x(table.totalPeaks[row]).toFixed(1)} ${y(table.overheads[row]).toFixed(1)}`;
  });
  return path;
}

/** The row one step of the slider away: −1 to a smaller budget, +1 to a larger one. */
export function neighbourRow(table, rows, row, direction) {
  const total = table.totalPeaks[row];
  const at = rows.findIndex((r) => table.totalPeaks[r] <= total);
  const next = Math.min(rows.length - 1, Math.max(0, (at < 0 ? rows.length - 1 : at) - direction));
  return rows[next];
}

/** Round shares of keep-all within the axis, in bytes. */
export function percentTicks(domain, count) {
  const step = [1, 2, 5, 10, 20, 25, 50].find((s) => (100 * (domain.high - domain.low)) / domain.most / s <= count) ?? 100;
  const ticks = [];
  for (let p = Math.ceil((100 * domain.low) / domain.most / step) * step; p <= (100 * domain.high) / domain.most; p += step) ticks.push((p / 100) * domain.most);
  return ticks;
}

/** Round shares of the time that is 100 %, up to `most`. */
export function overheadTicks(most) {
  const step = [0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5, 1, 2, 5].find((s) => most / s <= 4.5) ?? most / 4;
  const ticks = [];
  for (let t = 0; t <= most * 1.1; t += step) ticks.push(t);
  return ticks;
}
