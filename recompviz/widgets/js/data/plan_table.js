// Looking up plans in a plan table by budget. Mirrors recompviz/core/plans/plan_table.py.

import { bytesWith, formatPercent } from "../shared/units.js";

const MOST_FIGURES = 2; // more than the usual three
const orders = new WeakMap(); // table → its reachable rows

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
 * A budget or a total peak as a text that differs from the text of the next plan below and above it, if the extra times
 * of these plans differ in what is shown, as shares of the time `whole`. A budget close to the peak of its plan has no fewer
 * figures than the peak: "127 MiB" would look exceeded by "127.2 MiB". `write(bytes, more)` writes it with `more` figures than usual.
 */
export function totalText(table, bytes, whole, write = bytesWith) {
  return totalWriter(table, bytes, whole, write)(bytes);
}

/** A function that writes bytes with the figures that `totalText` gives to a budget or total peak, so that both can be compared. */
export function totalWriter(table, bytes, whole, write = bytesWith) {
  const row = reachable(table).find((each) => table.totalPeaks[each] <= bytes);
  const peak = row === undefined ? bytes : table.totalPeaks[row];
  const own = figuresMore(table, bytes, whole, write);
  const figures = write(bytes, own) === write(peak, own) ? Math.max(own, figuresMore(table, peak, whole, write)) : own;
  return (each) => write(each, figures);
}

/** The reachable rows of a table, which are found once. */
function reachable(table) {
  if (!orders.has(table)) orders.set(table, reachableRows(table));
  return orders.get(table);
}

/** How many more figures than usual tell a total from those of the next plans. */
function figuresMore(table, bytes, whole, write) {
  const rows = reachable(table);
  const above = rows.findLast((row) => table.totalPeaks[row] > bytes);
  const below = rows.find((row) => table.totalPeaks[row] < bytes);
  const time = (row) => (whole ? formatPercent(table.overheads[row] / whole) : table.overheads[row]);
  const here = rows.find((row) => table.totalPeaks[row] <= bytes);
  const others = [above, below].filter((row) => row !== undefined && row !== here && time(row) !== time(here ?? row));
  let more = 0;
  while (more < MOST_FIGURES && others.some((row) => write(table.totalPeaks[row], more) === write(bytes, more))) more++;
  return more;
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
