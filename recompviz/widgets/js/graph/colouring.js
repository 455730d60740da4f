// What the colour of a box shows: state in the plan, segment, or a quantity in five classes. A pattern (segments) or the
// length of a bar (quantities) shows the same without colour; the border always distinguishes kept from recomputed.

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

/** The quantity of a box for a colouring; null if the colouring shows no quantity. */
export function quantityOf(colouring, state) {
  if (colouring === "bytes") return state.bytes;
  if (colouring === "time") return state.time;
  if (colouring === "density") return state.time ? state.bytes / state.time : 0;
  return null;
}

/** Upper ends of five classes of equal ratio between the least (above 0) and the largest of some values. */
export function classEnds(values) {
  const positive = values.filter((value) => value > 0);
  if (!positive.length) return [0];
  const high = Math.max(...positive);
  const low = Math.max(Math.min(...positive), high / 1e5);
  if (high / low < 1.001) return [high];
  return Array.from({ length: LEVELS }, (_, i) => (i === LEVELS - 1 ? high : low * (high / low) ** ((i + 1) / LEVELS)));
}

/** The class of a value, from 1; 0 for the value 0. A single class counts as the highest. */
export function levelOf(value, ends) {
  if (!(value > 0)) return 0;
  const i = ends.findIndex((end) => value <= end * (1 + 1e-9));
  return LEVELS - ends.length + (i < 0 ? ends.length : i + 1);
}

/** A quantity as text. */
export function quantityText(colouring, value) {
  if (colouring === "bytes") return formatBytes(value);
  if (colouring === "density") return `${formatBytes(value)}/unit`;
  return `${Number(value.toPrecision(3))}`;
}
