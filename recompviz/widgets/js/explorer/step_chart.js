// Memory over a recorded step: one column for each pass of a region, a narrow one for the eager code after it.

import { svg, html, listeners, setText } from "../shared/elements.js";
import { formatBytes, byteTicks } from "../shared/units.js";
import { bytesOf, momentName, momentsOf, peakOf } from "../data/step.js";

const HEIGHT = 196;
const INSET = { left: 58, right: 12, top: 18, bottom: 34 };
// least pixels between two numbers of regions
const LABEL_WIDTH = 22;
// width of the column of eager code, in columns of passes
const NARROW = 0.4;
export const LAYERS = [
  ["resident", "in use before the step"],
  ["saved", "kept by regions"],
  ["outside", "held by eager code"],
  ["own", "taken by the pass"],
];

/** The left edge of each column and the right edge of the last one, in pixels. */
export function columnEdges(moments, left, right) {
  const widths = moments.map((moment) => (moment.eager ? NARROW : 1));
  const unit = (right - left) / widths.reduce((sum, width) => sum + width, 0);
  const edges = [left];
  for (const width of widths) edges.push(edges[edges.length - 1] + width * unit);
  return edges;
}

/** The column at a horizontal position; −1 outside. */
export function columnAt(edges, x) {
  if (x < edges[0] || x >= edges[edges.length - 1]) return -1;
  return edges.findIndex((edge) => edge > x) - 1;
}

/**
 * The chart.
 * @param actions { hover(region), select(region) }: −1 for none
 */
export function makeStepChart(parent, step, actions, id) {
  const { listen, release } = listeners();
  const root = html("section", "rv-panel rv-step-memory", parent);
  const head = html("div", "rv-panel-head", root);
  html("span", "rv-panel-title", head, "Memory over the step");
  const readout = html("span", "rv-muted", head);
  const chart = svg("svg", { class: "rv-chart", height: HEIGHT, role: "img" }, root);
  const legend = html("div", "rv-step-legend", root);
  for (const [name, text] of LAYERS) {
    const item = html("span", "rv-step-key", legend);
    html("i", `rv-step-swatch rv-step-${name}`, item);
    item.append(text);
  }
  const ghost = html("span", "rv-step-key", legend);
  html("i", "rv-step-dashes", ghost);
  ghost.append("without recomputation");
  const most = Math.max(...[0, step.peaks.length - 1].map((point) => step.resident + step.peaks[point]));
  const bottom = HEIGHT - INSET.bottom;
  const y = (bytes) => bottom - (bytes / (most * 1.06)) * (bottom - INSET.top);
  let width = 0;
  let edges = [];
  let moments = [];
  let state = { point: 0, budget: 0, selected: -1, hover: -1 };
  let pointed = -1; // the moment under the pointer, −1 for none
  let parts = null;

  function draw() {
    chart.replaceChildren();
    chart.setAttribute("width", width);
    const right = width - INSET.right;
    moments = momentsOf(step, state.point);
    edges = columnEdges(moments, INSET.left, right);
    const count = step.regions.length;
    for (const bytes of byteTicks(0, most * 1.04, 4)) {
      svg("line", { x1: INSET.left, x2: right, y1: y(bytes), y2: y(bytes), class: "rv-grid" }, chart);
      svg("text", { x: INSET.left - 6, y: y(bytes) + 4, class: "rv-tick", "text-anchor": "end" }, chart).textContent = formatBytes(bytes);
    }
    const mark = svg("g", {}, chart);
    const layers = LAYERS.map(([name]) => svg("path", { class: `rv-step-layer rv-step-${name}` }, chart));
    svg("path", { class: "rv-ghost", d: outlinePath(momentsOf(step, 0)) }, chart);
    svg("line", { x1: INSET.left, x2: right, y1: bottom, y2: bottom, class: "rv-axis" }, chart);
    // numbers of the regions under their columns, as many as there is room for
    const columnWidth = (edges[2] - edges[1]) || 1;
    const every = Math.max(1, Math.ceil(LABEL_WIDTH / (columnWidth * (1 + NARROW))));
    let last = -Infinity;
    moments.forEach((moment, i) => {
      const x = (edges[i] + edges[i + 1]) / 2;
      if (moment.eager || moment.region % every || x - last < LABEL_WIDTH) return;
      last = x;
      svg("text", { x, y: bottom + 13, class: "rv-tick", "text-anchor": "middle" }, chart).textContent = moment.region + 1;
    });
    const middle = edges[2 * count + 1];
    svg("line", { x1: middle, x2: middle, y1: INSET.top, y2: bottom + 30, class: "rv-grid" }, chart);
    for (const [text, from, to] of [["forward passes →", INSET.left, middle], ["backward passes →", middle, right]]) {
      svg("text", { x: (from + to) / 2, y: bottom + 28, class: "rv-tick", "text-anchor": "middle" }, chart).textContent = text;
    }
    const line = svg("line", { x1: INSET.left, x2: right, class: "rv-budget-line" }, chart);
    const peak = svg("g", {}, chart);
    svg("path", { class: "rv-peak-mark" }, peak);
    svg("text", { class: "rv-peak-text rv-halo" }, peak);
    parts = { mark, layers, line, peak };
    paint();
  }

  /** The outline of all bytes. */
  function outlinePath(of) {
    return of.map((moment, i) => `${i ? "L" : "M"}${edges[i].toFixed(1)} ${y(step.resident + bytesOf(moment)).toFixed(1)}H${edges[i + 1].toFixed(1)}`).join("");
  }

  function paint() {
    if (!parts) return;
    moments = momentsOf(step, state.point);
    const paths = LAYERS.map(() => "");
    moments.forEach((moment, i) => {
      let under = 0;
      [step.resident, moment.saved, moment.outside, moment.own].forEach((bytes, layer) => {
        if (bytes > 0) paths[layer] += `M${edges[i].toFixed(1)} ${y(under).toFixed(1)}H${edges[i + 1].toFixed(1)}V${y(under + bytes).toFixed(1)}H${edges[i].toFixed(1)}Z`;
        under += bytes;
      });
    });
    parts.layers.forEach((layer, i) => layer.setAttribute("d", paths[i]));
    parts.mark.replaceChildren();
    const shown = state.hover >= 0 ? state.hover : state.selected;
    moments.forEach((moment, i) => {
      if (shown < 0 || moment.region !== shown) return;
      svg("rect", { x: edges[i], width: edges[i + 1] - edges[i], y: INSET.top - 4, height: bottom - INSET.top + 4, class: "rv-step-mark" }, parts.mark);
    });
    const at = Math.min(y(state.budget), bottom);
    parts.line.setAttribute("y1", at);
    parts.line.setAttribute("y2", at);
    parts.line.style.display = at < INSET.top ? "none" : "";
    const best = peakOf(moments);
    const px = (edges[best] + edges[best + 1]) / 2;
    const top = y(step.resident + bytesOf(moments[best]));
    const [triangle, text] = parts.peak.children;
    triangle.setAttribute("d", `M${px} ${top - 1}l-4 -6h8Z`);
    const left = px > width / 2;
    text.setAttribute("x", px + (left ? -8 : 8));
    text.setAttribute("y", Math.max(11, top - 3));
    text.setAttribute("text-anchor", left ? "end" : "start");
    setText(text, `peak ${formatBytes(step.resident + bytesOf(moments[best]))}`);
    chart.setAttribute("aria-label", `Memory over the step: peak ${formatBytes(step.resident + bytesOf(moments[best]))} in the ${momentName(step, moments[best])}`);
    read();
  }

  /** Say what is held at the moment under the pointer, or else at the peak; after each change of the plans, too. */
  function read() {
    if (pointed < 0) return setText(readout, `peak in the ${momentName(step, moments[peakOf(moments)])}`);
    const moment = moments[pointed];
    const words = [[moment.saved, "kept"], [moment.outside, "eager"], [moment.own, "the pass"]].filter(([bytes]) => bytes > 0).map(([bytes, what]) => `${what} ${formatBytes(bytes)}`);
    return setText(readout, `${momentName(step, moment)}: ${formatBytes(step.resident + bytesOf(moment))}${words.length ? ` (${words.join(", ")})` : ""}`);
  }

  function columnOf(event) {
    return columnAt(edges, event.clientX - chart.getBoundingClientRect().left);
  }
  listen(chart, "pointermove", (event) => {
    pointed = columnOf(event);
    actions.hover(pointed < 0 ? -1 : moments[pointed].region);
    read();
  });
  listen(chart, "pointerleave", () => {
    pointed = -1;
    actions.hover(-1);
    read();
  });
  listen(chart, "click", (event) => {
    const i = columnOf(event);
    if (i >= 0) actions.select(moments[i].region);
  });
  root.dataset.chart = id;

  return {
    update(next) {
      state = next;
      paint();
    },
    resize() {
      width = root.clientWidth;
      if (width) draw();
    },
    destroy: release,
  };
}
