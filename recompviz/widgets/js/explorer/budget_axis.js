// The axis of budgets in total bytes, and pure functions of a plan table along it.

import { binaryUnit } from "../shared/units.js";
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

const LEAST_TICKS = 3;

/** Round numbers from `low` to `high`, at 1, 2 or 5 times a power of ten: about `count` of them, and at least three. */
export function roundNumbers(low, high, count) {
  const power = 10 ** Math.floor(Math.log10((high - low) / count));
  const steps = [10, 5, 2, 1, 0.5, 0.2].map((k) => k * power);
  const between = (step) => Math.floor(high / step + 1e-9) - Math.ceil(low / step - 1e-9) + 1;
  const at = steps.findLastIndex((step) => (high - low) / step <= count);
  const step = steps.find((each, i) => i >= at && between(each) >= LEAST_TICKS) ?? steps.at(-1);
  return Array.from({ length: between(step) }, (_, i) => Number(((Math.ceil(low / step - 1e-9) + i) * step).toPrecision(12)));
}

/**
 * The ticks of the axis of budgets, and its title: { title, ticks: [[bytes, text], …] }. The title has the unit.
 * @param percent whether they are in per cent of keep-all; @param count about how many
 */
export function budgetTicks({ low, high, most }, percent, count) {
  const { power, unit: name } = binaryUnit(high);
  const unit = percent ? most / 100 : 1024 ** power;
  const ticks = roundNumbers(low / unit, high / unit, count).map((number) => [number * unit, String(number)]);
  return { title: percent ? "budget, % of keep-all" : `budget, total bytes in ${name}`, ticks };
}

/** Round shares of the time that is 100 %, up to `most`. */
export function overheadTicks(most) {
  const step = [0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5, 1, 2, 5].find((s) => most / s <= 4.5) ?? most / 4;
  const ticks = [];
  for (let t = 0; t <= most * 1.1; t += step) ticks.push(t);
  return ticks;
}
