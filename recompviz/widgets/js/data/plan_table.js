// Looking up plans in a plan table by budget. Mirrors recompviz/core/plans/plan_table.py.

import { bytesStep, bytesWith } from "../shared/units.js";

const MOST_FIGURES = 2; // more than the usual three
const LEAST_STEPS = 20; // the totals of a view are written with so many figures that there are this many steps between their ends

/** The row for a budget in total bytes, or −1 if no row fits. */
export function rowFor(table, budget) {
  const { totalPeaks, rows, objective } = table;
  if (objective !== "memory") {
    for (let row = 0; row < rows; row++) if (totalPeaks[row] <= budget) return row;
  } else {
    for (let row = rows - 1; row >= 0; row--) if (totalPeaks[row] <= budget) return row;
  }
  return -1;
}

/** The rows that some budget selects, by decreasing total peak: the distinct positions of the slider. */
export function reachableRows(table) {
  const order = Array.from({ length: table.rows }, (_, i) => (table.objective === "memory" ? table.rows - 1 - i : i));
  let least = Infinity;
  return order.filter((row) => table.totalPeaks[row] < least && ((least = table.totalPeaks[row]), true));
}

/**
 * Give all tables of a view the same `figures`: how many more than three a budget and a total peak have. It is 0, unless all
 * totals are so close that three figures would hardly tell one from another.
 */
export function shareFigures(tables) {
  const known = tables.filter(Boolean);
  const least = Math.min(...known.map(leastTotal));
  const most = Math.max(...known.map((table) => table.totalPeaks.reduce((a, b) => Math.max(a, b), 0)));
  let figures = 0;
  while (most > least && figures < MOST_FIGURES && most - least < (LEAST_STEPS * bytesStep(most)) / 10 ** figures) figures++;
  for (const table of known) table.figures = figures;
  return tables;
}

/**
 * A budget or a total peak as a text. All have the same figures in a view, so that a peak never looks larger than its budget.
 * `write(bytes, more)` writes it with `more` figures than usual.
 */
export function totalText(table, bytes, write = bytesWith) {
  return totalWriter(table, write)(bytes);
}

/** The function that writes the budgets and the total peaks of a view. */
export function totalWriter(table, write = bytesWith) {
  if (table.figures === undefined) shareFigures([table]);
  return (bytes) => write(bytes, table.figures);
}

/** The least total peak of all rows. */
export function leastTotal(table) {
  return table.totalPeaks.reduce((least, peak) => Math.min(least, peak), Infinity);
}

/** The keep mask of a row, one byte per node. */
export function keepMask(table, row, count) {
  const stride = Math.ceil(count / 8);
  const mask = new Uint8Array(count);
  for (let v = 0; v < count; v++) mask[v] = (table.kept[row * stride + (v >> 3)] >> (v & 7)) & 1;
  return mask;
}

/** The first row with a packed keep mask, or −1. */
export function rowWithMask(table, packed) {
  for (let row = 0; row < table.rows; row++) {
    if (packed.every((byte, i) => table.kept[row * packed.length + i] === byte)) return row;
  }
  return -1;
}

/** The segment of each node in a row, counted from 1. */
export function segmentsOf(table, row, count) {
  return table.segments.subarray(row * count, (row + 1) * count);
}

/** The outline of a row's timeline, total bytes. */
export function outlineOf(table, row) {
  return table.outlines.subarray(row * table.outlinePoints, (row + 1) * table.outlinePoints);
}
