// The names of the layers, written on the memory landscape where they fit.

import { stack } from "../data/bars.js";
import { svg } from "../shared/elements.js";
import { swatchOf } from "./landscape_pixels.js";
import { CATEGORY } from "../data/categories.js";

const LETTER = 6.4; // pixels
const TALL = 13; // pixels
const EVERY = 6; // pixels between two places that are tried

/**
 * Where the name of each layer fits: in the widest window in which the layer is thick enough.
 * @param steps the steps of evenly spaced columns; @param widths(layer) → columns that its name takes; @param least bytes
 * @returns [{ layer, column, middle }]: the middle column and the middle in bytes
 */
export function placesOf(bars, steps, widths, least) {
  const columns = steps.length;
  const layers = bars.layers.length ? bars.layers[bars.layers.length - 1] + 1 : 0;
  const under = new Float64Array(layers * columns).fill(Infinity);
  const over = new Float64Array(layers * columns);
  stack(bars, steps, new Float64Array(columns), (k, c, low, high) => {
    const at = bars.layers[k] * columns + c;
    under[at] = Math.min(under[at], low);
    over[at] = Math.max(over[at], high);
  });
  const found = [];
  for (let layer = 0; layer < layers; layer++) {
    const width = widths(layer);
    let best = null;
    for (let c = 0; width && c + width <= columns; c++) {
      let low = 0;
      let high = Infinity;
      for (let i = layer * columns + c; i < layer * columns + c + width; i++) {
        low = Math.max(low, under[i]);
        high = Math.min(high, over[i]);
      }
      if (high - low >= least && (!best || high - low > best.room * 1.02)) best = { layer, column: c + width / 2, middle: (low + high) / 2, room: high - low };
    }
    if (best) found.push(best);
  }
  return found;
}

/** The labels in a group of the chart. @param strata of strataOf */
export function makeLandscapeLabels(group, strata) {
  const names = ["parameters", "parameter gradients", ...strata.names];
  const texts = names.map((_, layer) => {
    const text = svg("text", { class: `rv-stratum rv-stratum-${layer < 2 ? "base" : "part"}`, "text-anchor": "middle" }, group);
    text.style.stroke = swatchOf(layer, layer ? CATEGORY.kept : CATEGORY.parameter, strata.names.length);
    return text;
  });
  /** @param steps the steps of the columns; @param size { width, height } in pixels; @param x0, y the origin and the height of bytes */
  return (bars, steps, size, top, x0, y) => {
    const count = Math.max(1, Math.floor(size.width / EVERY));
    const tried = Uint32Array.from({ length: Math.min(count, steps.length) }, (_, i) => steps[Math.floor(((i + 0.5) / Math.min(count, steps.length)) * steps.length)]);
    const wide = size.width / tried.length;
    const places = placesOf(bars, tried, (layer) => (names[layer] ? Math.ceil((names[layer].length * LETTER + 8) / wide) : 0), (TALL / size.height) * top);
    for (const text of texts) text.setAttribute("visibility", "hidden");
    for (const { layer, column, middle } of places) {
      const text = texts[layer];
      if (!text) continue;
      if (text.textContent !== names[layer]) text.textContent = names[layer];
      text.setAttribute("x", (x0 + column * wide).toFixed(1));
      text.setAttribute("y", (y(middle) + 4).toFixed(1));
      text.setAttribute("visibility", "visible");
    }
  };
}
