// What the colour of a box shows: state in the plan, segment, or a quantity in five classes. A pattern (segments) or the
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
export const LEVELS = 5;
export const HUES = 4;
const SMALL_SHARE = 0.01; // of the sum of all values

/** The quantity of a box for a colouring; null if the colouring shows no quantity. */
export function quantityOf(colouring, state) {
  if (colouring === "bytes") return state.bytes;
  if (colouring === "time") return state.time;
  if (colouring === "density") return state.time ? state.bytes / state.time : 0;
  return null;
}

/**
 * Upper ends of five classes of equal ratio up to the largest of some values. They begin where the values start to matter:
 * all smaller ones together are at most 1 % of the sum, and belong to the first class.
 */
export function classEnds(values) {
  const positive = Float64Array.from(values.filter((value) => value > 0)).sort();
  if (!positive.length) return [0];
  const sum = positive.reduce((all, value) => all + value, 0);
  let smaller = 0;
  const low = positive.find((value) => (smaller += value) > SMALL_SHARE * sum);
  const high = positive[positive.length - 1];
  if (high / low < 1.001) return [high];
  return Array.from({ length: LEVELS }, (_, i) => (i === LEVELS - 1 ? high : low * (high / low) ** ((i + 1) / LEVELS)));
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
