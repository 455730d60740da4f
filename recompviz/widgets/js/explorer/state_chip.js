// The state of a value as a word on a coloured ground.

import { html } from "../shared/elements.js";
import { STATE_NAMES } from "../data/value_states.js";

const CHIP_CLASSES = ["rv-chip-recompute", "rv-chip-keep", "rv-chip-unneeded"];

/** Append the chip of a state of value_states.js. */
export function stateChip(parent, state) {
  return html("span", `rv-chip ${CHIP_CLASSES[state]}`, parent, STATE_NAMES[state]);
}
