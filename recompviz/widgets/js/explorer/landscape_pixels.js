// The pixels of the memory landscape. Each pixel shows one bar; `picks` says which one, so that pointing costs nothing.

import { CATEGORY } from "../data/categories.js";
import { columnRanges, stack } from "../data/bars.js";

const THICK = 4; // pixels; a thinner bar has no edge
const HATCH = 7; // pixels between two lines of the hatching

/** Red, green and blue of "#rrggbb" or "rgb(r, g, b)". */
export function channels(colour) {
  if (colour.startsWith("#")) {
    const digits = colour.length === 4 ? [...colour.slice(1)].map((digit) => digit + digit).join("") : colour.slice(1, 7);
    return [0, 2, 4].map((at) => parseInt(digits.slice(at, at + 2), 16));
  }
  return (colour.match(/[\d.]+/g) ?? [0, 0, 0]).slice(0, 3).map(Number);
}

/** A mixture of two colours: `share` of the second. */
export function mix(one, other, share) {
  return one.map((value, i) => Math.round(value + (other[i] - value) * share));
}

/** The colour at a place of a ramp, from 0 to 1. */
export function rampAt(ramp, place) {
  const at = place * (ramp.length - 1);
  const low = Math.min(ramp.length - 2, Math.floor(at));
  return mix(ramp[low], ramp[low + 1], at - low);
}

/** The background of a swatch of a layer and category, as CSS: the colours of `colourTable`, which follow the theme. */
export function swatchOf(layer, category, strata) {
  const colour = (name) => `var(--rv-land-${name})`;
  let fill = colour("flight");
  if (layer === 0) fill = colour(category === 0 ? "parameters" : category === CATEGORY.optimizer ? "optimizer" : "static");
  else if (category === CATEGORY.workspace) fill = colour("workspace");
  else if (layer === 1) fill = colour("gradients");
  else if (layer - 2 < strata) {
    const at = (strata > 1 ? (layer - 2) / (strata - 1) : 0.3) * 4;
    const low = Math.min(3, Math.floor(at));
    fill = `color-mix(in srgb, ${colour(`ramp-${low + 1}`)} ${((at - low) * 100).toFixed(1)}%, ${colour(`ramp-${low}`)})`;
  }
  if (category === CATEGORY.transient) fill = `color-mix(in srgb, ${fill} 50%, var(--rv-surface))`;
  if (category !== CATEGORY.recomputed) return fill;
  return `repeating-linear-gradient(135deg, ${colour("hatch")} 0 2px, ${fill} 2px 5px)`;
}

/**
 * The background of a swatch of a category that has the colours of the strata: the colour of the middle one, full, pale or
 * hatched. The legend names the colours of all strata elsewhere.
 * @param category kept, transient or recomputed values; @param strata the number of strata
 */
export function middleSwatch(category, strata) {
  return swatchOf(2 + Math.floor(Math.max(0, strata - 1) / 2), category, Math.max(1, strata));
}

const packed = ([red, green, blue]) => ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;

/**
 * The colours of a bar: fill, line and edge, each packed for a little-endian canvas.
 * @param theme { base, gradient, flight, workspace, ramp, surface, text, hatch }, each as channels; `base` maps a category to them
 * @param strata the number of strata; @param filter the only category in full colour, or null
 */
export function colourTable(theme, strata, filter) {
  const made = new Map();
  return (layer, category) => {
    const key = layer * 16 + category;
    if (made.has(key)) return made.get(key);
    const stratum = layer - 2;
    let fill = theme.flight;
    if (layer === 0) fill = theme.base[category] ?? theme.base[0];
    else if (category === CATEGORY.workspace) fill = theme.workspace;
    else if (layer === 1) fill = theme.gradient;
    else if (stratum < strata) fill = rampAt(theme.ramp, strata > 1 ? stratum / (strata - 1) : 0.3);
    if (category === CATEGORY.transient) fill = mix(fill, theme.surface, 0.5);
    let line = category === CATEGORY.recomputed ? theme.hatch : fill;
    if (filter !== null && filter !== category) [fill, line] = [mix(fill, theme.surface, 0.82), mix(line, theme.surface, 0.82)];
    const edge = mix(fill, layer < 2 ? theme.surface : theme.edge, 0.28);
    made.set(key, { fill: packed(fill), line: packed(line), edge: packed(edge) });
    return made.get(key);
  };
}

/**
 * Paint the bars.
 * @param steps the step that each column shows, rising; the columns share the width
 * @param picture { width, height, pixels, picks }: pixels as Uint32Array, picks as Int32Array (bar + 1; 0 for none)
 * @param top the bytes at the upper edge
 * @param colourOf(bar) → { fill, line, edge }
 * @returns the bytes of each column
 */
export function paintBars(bars, steps, picture, top, colourOf) {
  const { width, height, pixels, picks } = picture;
  const heights = new Float64Array(steps.length);
  const rows = new Int32Array(steps.length).fill(height); // the uppermost row of pixels painted so far, in each column
  const scale = height / top;
  const edges = Uint32Array.from({ length: steps.length + 1 }, (_, c) => Math.round((c * width) / steps.length));
  const columnsOf = columnRanges(bars, steps);
  const ends = [0, 0];
  pixels.fill(0);
  picks.fill(0);
  // this loop takes most of the time of a repaint: thousands of bars in hundreds of columns, most of them thinner than a pixel
  for (let k = 0; k < bars.bytes.length; k++) {
    const size = bars.bytes[k];
    let colour = null;
    columnsOf(k, ends);
    for (let c = ends[0]; c < ends[1]; c++) {
      const over = (heights[c] += size);
      const upper = height - ((over * scale + 0.5) | 0);
      const bottom = rows[c];
      if (upper >= bottom) continue;
      rows[c] = upper;
      colour ??= colourOf(k);
      fillPiece(picture, edges[c], edges[c + 1], Math.max(0, upper), bottom, k + 1, colour, c === ends[0]);
    }
  }
  return heights;
}

/** Fill a piece of a bar: the rows from `upper` to `bottom`, with the edges of a thick bar. */
function fillPiece({ width, pixels, picks }, from, to, upper, bottom, pick, colour, begins) {
  const { fill: plain, line, edge } = colour;
  const thick = bottom - upper >= THICK;
  for (let y = upper; y < bottom; y++) {
    const at = y * width;
    const border = thick && y === upper;
    for (let x = from; x < to; x++) {
      pixels[at + x] = border || (thick && begins && x === from) ? edge : line !== plain && (x + y) % HATCH < 2 ? line : plain;
      picks[at + x] = pick;
    }
  }
}

/** Some bars, at least `least` pixels high, as rectangles [x, y, width, height]; neighbours of equal height are joined. */
export function rectanglesOf(bars, wanted, steps, picture, top, least) {
  const { width, height } = picture;
  const scale = height / top;
  const found = [];
  if (!wanted.length) return [];
  const which = new Set(wanted);
  const edges = (c) => (c * width) / steps.length;
  stack(
    bars,
    steps,
    new Float64Array(steps.length),
    (k, c, under, over) => {
      if (!which.has(k)) return;
      const tall = Math.max(least, (over - under) * scale);
      const y = Math.min(height - tall, height - over * scale);
      const before = found[found.length - 1];
      if (before && before[4] === k && before[1] === y && Math.abs(before[0] + before[2] - edges(c)) < 1e-6) before[2] = edges(c + 1) - before[0];
      else found.push([edges(c), y, edges(c + 1) - edges(c), tall, k]);
    },
    Math.max(...wanted) + 1,
  );
  return found.map((rectangle) => rectangle.slice(0, 4));
}
