// What the colour of a box shows: state in the plan, segment, or a quantity in classes. A pattern (segments) or the
// length of a bar (quantities) shows the same without colour; the border always distinguishes the states.

import { costWithUnit } from "../data/base_time.js";
import { formatBytes } from "../shared/units.js";

// [value, name in the paper's view, name without it]
export const COLOURINGS = [
  ["state", "kept or recomputed"],
  ["segment", "segment"],
  ["bytes", "bytes Mᵥ", "bytes"],
  ["time", "time Tᵥ", "time"],
  ["density", "bytes per time"],
];
export const LEVELS = 8;
export const HUES = 4;
const LEAST_BAR = 0.04; // of the length of the longest one

/** The quantity of a box for a colouring; null if the colouring shows no quantity. */
export function quantityOf(colouring, state) {
  if (colouring === "bytes") return state.bytes;
  if (colouring === "time") return state.time;
  if (colouring === "density") return state.time ? state.bytes / state.time : 0;
  return null;
}

/**
 * Upper ends of the classes, up to the largest of some values. The classes have equal steps of the square root: shares of
 * the largest value of one half and of one quarter are two classes apart, and many small values are in the lowest one.
 */
export function classEnds(values) {
  const high = values.reduce((most, value) => Math.max(most, value), 0);
  const least = values.reduce((few, value) => (value > 0 ? Math.min(few, value) : few), high);
  if (high / least < 1.001 || !high) return [high];
  return Array.from({ length: LEVELS }, (_, i) => high * ((i + 1) / LEVELS) ** 2);
}

/** The length of the bar of a value: its share of the largest one. The bar of a small value can still be seen. */
export function barOf(value, ends) {
  return value > 0 ? Math.max(LEAST_BAR, value / ends.at(-1)) : 0;
}

/** The class of a value, from 1; 0 for the value 0. A single class counts as the highest. */
export function levelOf(value, ends) {
  if (!(value > 0)) return 0;
  const i = ends.findIndex((end) => value <= end * (1 + 1e-9));
  return LEVELS - ends.length + (i < 0 ? ends.length : i + 1);
}

/** A quantity as text; `timeUnit` is the unit of the costs, which may end with where they come from: "ms (measured)". */
export function quantityText(colouring, value, timeUnit) {
  if (colouring === "bytes") return formatBytes(value);
  if (colouring === "density") return `${formatBytes(value)}/${timeUnit.replace(/ \(\w+\)$/, "")}`;
  return costWithUnit(value, timeUnit);
}
