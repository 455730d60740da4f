// Style and accessible name of a box, from the plan's state of the nodes that the box shows and from the colouring.

import { formatBytes, formatPercent, subscript } from "../shared/units.js";
import { boxState } from "./scene.js";
import { quantityOf, levelOf, HUES, LEVELS } from "./colouring.js";

const BAND_TINTS = 2;

/** The class of a node's rectangle. */
export function stateClass(kept) {
  return kept ? "rv-keep" : "rv-recompute";
}

/** The class of a node's piece of its segment's band; neighbours in the sequence never share a tint. */
export function bandClass(tint) {
  return `rv-band-${tint}`;
}

/** What a screen reader says of node v. */
export function nodeTitle(graph, v, kept, segment) {
  const place = `value ${(v + 1).toLocaleString("en")} of ${graph.count.toLocaleString("en")}`;
  return `${graph.nodes[v].key}, ${kept ? "kept" : "recomputed"}, segment ${segment}, ${formatBytes(graph.memory[v])}, ${place}`;
}

/** What a screen reader says of a closed box. */
export function boxTitle(path, times, state) {
  return `${path}${times > 1 ? `, ${times} equal blocks` : ""}, ${state.of} values, ${state.count} kept, ${formatBytes(state.keptBytes)} of ${formatBytes(state.bytes)}`;
}

/**
 * A box's style: the class of its rectangle, the tint of its band, the length of its bar, what its second line says.
 * @param item a node's number, or one past the nodes for a closed box
 * @param nodes those that it shows
 * @param plan { kept, segments } of every node
 * @param colouring, ends what its colour tells, and for a quantity the upper ends of its classes
 */
export function styleOf(item, nodes, graph, { kept, segments }, colouring, ends) {
  const single = item < graph.count;
  const state = single ? null : boxState(nodes, graph, kept, segments);
  const style = single ? nodeStyle(item, kept, segments) : moduleStyle(state);
  if (colouring === "segment") {
    const segment = single ? segments[item] : state.first;
    if (single || state.first === state.last) {
      style.hue = (segment - 1) % HUES;
      style.className += ` rv-hue-${style.hue}`;
    }
    if (!single) style.fact = state.first === state.last ? `V${subscript(state.first)}` : `V${subscript(state.first)} … V${subscript(state.last)}`;
  } else if (colouring !== "state") {
    const value = quantityOf(colouring, state ?? boxState(nodes, graph, kept, segments));
    style.level = levelOf(value, ends);
    style.className += ` rv-level-${style.level}`;
    style.bar = style.level / LEVELS;
  }
  return style;
}

/** Whether two styles paint alike. */
export function sameStyle(a, b) {
  return Boolean(a) && a.className === b.className && a.bar === b.bar && a.fact === b.fact && a.tint === b.tint;
}

function nodeStyle(v, kept, segments) {
  return { kept: kept[v], className: stateClass(kept[v]), tint: segments[v] % BAND_TINTS, bar: undefined, fact: "" };
}

function moduleStyle(state) {
  const all = state.count === state.of;
  return {
    kept: all ? 1 : 0,
    className: all ? "rv-box-keep" : state.count ? "rv-box-mixed" : "rv-box-recompute",
    tint: -1,
    bar: state.share,
    fact: `${formatPercent(state.share)} of ${formatBytes(state.bytes)} kept`,
  };
}
