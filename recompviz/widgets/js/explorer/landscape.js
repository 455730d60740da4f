// The memory landscape: the bars of a timeline on a canvas. It knows which bar is at each pixel.

import { barsOf } from "../data/bars.js";
import { channels, colourTable, paintBars, rectanglesOf } from "./landscape_pixels.js";

const RAMP = 5;
const LEAST_MARK = 2; // pixels; the least height at which a marked bar is shown
// outlines of bars as [colour, reach], the reach in pixels from the edge of the bar, the outermost first: the selected bar has a thick
// line at its edge, the bar under the pointer a thin ring with a gap
const SELECTED_EDGE = [["surface", 3], ["text", 2]];
const HOVERED_EDGE = [["text", 3.5], ["surface", 2.5]];
export const LANDSCAPE_COLOURS = ["land-parameters", "land-static", "land-optimizer", "land-gradients", "land-flight", "land-workspace", "surface", "text", "land-hatch", "land-edge"];

/** The colours of the landscape from the style of its canvas, as channels. A pen reads any colour, also "white". */
function readTheme(canvas, pen) {
  const style = getComputedStyle(canvas);
  const colour = (name) => {
    pen.fillStyle = style.getPropertyValue(`--rv-${name}`).trim();
    return channels(pen.fillStyle);
  };
  const [parameters, fixed, optimizer, gradient, flight, workspace, surface, text, hatch, edge] = LANDSCAPE_COLOURS.map(colour);
  const ramp = Array.from({ length: RAMP }, (_, i) => colour(`land-ramp-${i}`));
  return { base: [parameters, fixed, fixed, fixed, optimizer], gradient, flight, workspace, surface, text, hatch, edge, ramp };
}

/** The landscape on a canvas. @param strata of strataOf */
export function makeLandscape(canvas, strata) {
  const pen = canvas.getContext("2d");
  let theme = null;
  let bars = null;
  let picture = { width: 0, height: 0, pixels: null, picks: null };
  let image = null;
  let ratio = 1;
  let drawn = { steps: null, top: 1 };

  function sized(width, height) {
    ratio = Math.min(2, window.devicePixelRatio || 1);
    const wide = Math.max(1, Math.round(width * ratio));
    const tall = Math.max(1, Math.round(height * ratio));
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    if (picture.width === wide && picture.height === tall) return;
    canvas.width = wide;
    canvas.height = tall;
    image = pen.createImageData(wide, tall);
    picture = { width: wide, height: tall, pixels: new Uint32Array(image.data.buffer), picks: new Int32Array(wide * tall) };
  }

  /** Draw the outlines of the bars for which `wanted(bar)`. */
  function outline(wanted, edges) {
    const chosen = [];
    for (let k = 0; k < bars.bytes.length; k++) if (wanted(k)) chosen.push(k);
    // a thin bar may have no pixel of its own
    const pieces = rectanglesOf(bars, chosen, drawn.steps, picture, drawn.top, LEAST_MARK * ratio);
    for (const [colour, edge] of edges) {
      const wide = Math.round(edge * ratio);
      pen.fillStyle = `rgb(${theme[colour]})`;
      for (const [x, y, w, h] of pieces) pen.fillRect(x - wide, y - wide, w + 2 * wide, h + 2 * wide);
    }
    // the outline is around the bar; inside it the colour and the hatching stay
    for (const [x, y, w, h] of pieces) pen.putImageData(image, 0, 0, Math.round(x), Math.round(y), Math.round(x + w) - Math.round(x), Math.round(y + h) - Math.round(y));
  }

  return {
    /** Show another reply; `draw` paints it. */
    setReply(reply) {
      bars = barsOf(reply, strata);
    },
    bars: () => bars,
    /**
     * Paint the bars.
     * @param size { width, height } in CSS pixels; @param steps the step of each column; @param top bytes at the upper edge
     * @param filter the only category in full colour, or null
     */
    draw(size, steps, top, filter) {
      sized(size.width, size.height);
      if (!bars || !steps.length) return;
      theme ??= readTheme(canvas, pen);
      const colours = colourTable(theme, strata.names.length, filter);
      paintBars(bars, steps, picture, top, (k) => colours(bars.layers[k], bars.categories[k]));
      drawn = { steps, top };
    },
    /** Show what was painted, with outlines around some bars. @param selected(bar), hovered(bar) → whether the bar has this outline */
    show(selected, hovered) {
      if (!image || !bars || !drawn.steps) return;
      pen.putImageData(image, 0, 0);
      outline(hovered, HOVERED_EDGE);
      outline(selected, SELECTED_EDGE);
    },
    /** The bar at a point in CSS pixels; −1 for none. */
    at(px, py) {
      const x = Math.floor(px * ratio);
      const y = Math.floor(py * ratio);
      if (x < 0 || y < 0 || x >= picture.width || y >= picture.height) return -1;
      return picture.picks[y * picture.width + x] - 1;
    },
    /** Read the colours again after the theme of the page changed. */
    recolour() {
      theme = null;
    },
  };
}
