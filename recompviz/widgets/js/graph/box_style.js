// Style and accessible name of a box, from the plan's state of the nodes that the box shows and from the colouring.

import { formatBytes, formatPercent, subscript } from "../shared/units.js";
import { STATE, STATE_NAMES } from "../data/value_states.js";
import { boxState } from "./scene.js";
import { quantityOf, quantityText, levelOf, barOf, HUES } from "./colouring.js";

const BAND_TINTS = 2;

// the class of a node's rectangle for each state
const STATE_CLASSES = ["rv-recompute", "rv-keep", "rv-unneeded"];

/** The class of the part of a band behind a node. Consecutive segments have different tints. */
export function bandClass(tint) {
  return `rv-band-${tint}`;
}

/** The accessible name of node v. Its segment is said only in the paper's view. */
export function nodeTitle(graph, v, state, segment, theory) {
  const place = `value ${(v + 1).toLocaleString("en")} of ${graph.count.toLocaleString("en")}`;
  return `${graph.nodes[v].key}, ${STATE_NAMES[state]}${theory ? `, segment ${segment}` : ""}, ${formatBytes(graph.memory[v])}, ${place}`;
}

/**
 * The accessible name of a closed box.
 * @param equal whether the blocks that it folds have equal bytes
 * @param each how many blocks repeat together
 */
export function boxTitle(path, times, equal, state, each = 1) {
  const blocks = each > 1 ? `groups of ${each} blocks` : "blocks";
  return `${path}${times > 1 ? `, ${times} ${equal ? "equal" : "similar"} ${blocks}` : ""}, ${state.of} values, ${state.recomputed} recomputed, ${formatBytes(state.keptBytes)}${state.keptBytes > state.held ? "" : ` of ${formatBytes(state.held)}`} kept for the backward pass`;
}

/**
 * The style of a box: class of the rectangle, tint of the band, length of the bar, text of the second line.
 * @param item a node's number, or one past the nodes for a closed box
 * @param nodes the nodes that the box shows
 * @param plan { states, segments } of every node
 * @param colouring, ends the colouring, and for a quantity the upper ends of its classes
 */
export function styleOf(item, nodes, graph, { states, segments }, colouring, ends) {
  const single = item < graph.count;
  const state = single ? null : boxState(nodes, graph, states, segments);
  const style = single ? nodeStyle(states[item], segments[item]) : moduleStyle(state);
  if (colouring === "segment") {
    const segment = single ? segments[item] : state.first;
    if (single || state.first === state.last) {
      style.hue = (segment - 1) % HUES;
      style.className += ` rv-hue-${style.hue}`;
    }
    if (!single) style.fact = state.first === state.last ? `V${subscript(state.first)}` : `V${subscript(state.first)} … V${subscript(state.last)}`;
    if (!single) style.facts = [style.fact];
  } else if (colouring !== "state") {
    const value = quantityOf(colouring, state ?? boxState(nodes, graph, states, segments));
    style.level = levelOf(value, ends);
    style.className += ` rv-level-${style.level}`;
    style.bar = barOf(value, ends);
    if (!single) {
      style.facts = quantityFacts(colouring, value, state.held, graph.timeUnit);
      [style.fact] = style.facts;
    }
  }
  return style;
}

/** Whether two styles are painted in the same way. */
export function sameStyle(a, b) {
  return Boolean(a) && a.className === b.className && a.bar === b.bar && a.fact === b.fact && a.tint === b.tint;
}

function nodeStyle(state, segment) {
  return { kept: state === STATE.kept ? 1 : 0, empty: state === STATE.unneeded, className: STATE_CLASSES[state], tint: segment % BAND_TINTS, bar: undefined, fact: "" };
}

const isEmpty = ({ held, keptBytes }) => !held && !keptBytes;

/** The second line of a closed box, the longest text first: a small box shows the first one that fits. */
function factsOf({ held, keptBytes, share }) {
  if (isEmpty({ held, keptBytes })) return ["holds no memory", "no memory"];
  if (keptBytes > held) return [`${formatBytes(keptBytes)} kept`];
  const [part, bytes] = [formatPercent(share), formatBytes(held)];
  return [`${part} of ${bytes} kept`, `${part} of ${bytes}`, `${part} kept`, part];
}

/**
 * The second line of a closed box for a colouring by a quantity, the longest text first. The bytes of all its values are more
 * than those held for the backward pass, which the colouring by state shows: both are said.
 */
function quantityFacts(colouring, value, held, timeUnit) {
  const text = quantityText(colouring, value, timeUnit);
  if (colouring !== "bytes") return [text];
  const [number, unit] = formatBytes(held).split(" ");
  return [`${text}, ${text.endsWith(` ${unit}`) ? number : `${number} ${unit}`} held`, text];
}

/** The first of some texts that is not wider than `room`; the last one if all are. `measure(text)` is the width. */
export function fittingText(texts, room, measure) {
  return texts.find((text) => measure(text) <= room) ?? texts.at(-1);
}

function moduleStyle(state) {
  const all = state.recomputed === 0;
  return {
    kept: all ? 1 : 0,
    className: isEmpty(state) ? "rv-box-empty" : all ? "rv-box-keep" : state.count ? "rv-box-mixed" : "rv-box-recompute",
    tint: -1,
    empty: isEmpty(state),
    bar: Math.min(1, state.share),
    facts: factsOf(state),
    fact: factsOf(state)[0],
  };
}
