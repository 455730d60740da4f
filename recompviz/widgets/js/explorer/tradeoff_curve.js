// The trade-off curve: least extra time for each budget, with plans, baselines and earlier choices as points.

import { svg, listeners } from "../shared/elements.js";
import { formatBytes } from "../shared/units.js";
import { reachableRows, rowFor, leastTotal } from "../data/plan_table.js";
import { budgetTicks, staircase, overheadTicks } from "./budget_axis.js";
import { arrowAt, boundPlace, drawPoints, freeHeight, givenMarks, placeWithin, textBox } from "./points.js";
import { chartHeights } from "./chart_heights.js";
import { costUnit } from "./header.js";

const TICK_ROOM = 50; // pixels from one tick to the next
const KEEP_ALL_WIDTH = 64; // pixels, of the name with its distance to the point
const BOUND_NAME = "lower bound";
const BOUND_SAMPLE = 14; // pixels, of a piece of its line before its name, where the name has no room beside the line
const LARGER_WIDTH = 48; // pixels at the end of the axis, for the next larger device
const LEAST_SHARE = 0.03; // of the base; less is not magnified
export const PAD = { left: 40, right: 16, top: 21, bottom: 33 };

/**
 * The curve in an SVG of its own.
 * @param fixed the tables of the objectives
 * @param domain of budgetDomain
 * @param base of baseOf in base_time.js
 * @param id unique in the page
 * @param devices of markedDevices in fit.js
 */
export function makeTradeoffCurve(parent, graph, fixed, domain, base, id, devices = []) {
  const HEIGHT = chartHeights(globalThis.innerHeight).curve;
  const chart = svg("svg", { class: "rv-chart", height: HEIGHT, role: "group" }, parent);
  let width = 0;
  let x = (bytes) => bytes;
  let y = (overhead) => overhead;
  let dot = null;
  let beyond = null; // the arrow in its place if the plan lies outside of the picture
  let line = null;
  let cross = null;
  let points = null;
  let ofPoints = listeners();
  let boundName = null; // the name of the bound beside its line: { text, edges }, if there may be room
  let boundKey = null; // the name of the bound above the chart, with a piece of its line, or null
  let taken = []; // boxes of texts that it must not cover
  let heightAt = () => 0; // the y of the curve at an x
  let names = []; // of devices: { text, words, x, y, anchor }
  let bound = null; // of each row of the first table

  /**
   * Draw the curve of a table.
   * @param all every table there is
   * @param percent whether the axis is in per cent of keep-all
   * @param searching whether a search may find plans of less memory
   */
  function draw(table, all, nextWidth, percent, searching) {
    width = nextWidth;
    const free = table.base >= 0 ? all[table.base] : null;
    const unit = base.time || 1;
    boundName = boundKey = null;
    chart.replaceChildren();
    chart.setAttribute("width", width);
    const right = width - PAD.right;
    const bottom = HEIGHT - PAD.bottom;
    const rows = reachableRows(table);
    const own = Math.max(...(table.objective === "given" ? fixed[0] : table).overheads.filter((_, row) => table.objective === "given" || rows.includes(row)), unit * LEAST_SHARE);
    const given = all.find((other) => other?.objective === "given");
    // the axis covers the baselines, too, unless the curve would become small
    const most = Math.max(own, Math.min(1.6 * own, Math.max(0, ...(given?.overheads ?? []))));
    x = (bytes) => PAD.left + ((bytes - domain.low) / (domain.high - domain.low)) * (right - PAD.left);
    y = (overhead) => bottom - (overhead / (most * 1.12)) * (bottom - PAD.top);
    const defs = svg("defs", {}, chart);
    const hatch = svg("pattern", { id: `${id}-infeasible`, width: 7, height: 7, patternUnits: "userSpaceOnUse", patternTransform: "rotate(-45)" }, defs);
    svg("line", { x1: 0, y1: 0, x2: 0, y2: 7, class: "rv-infeasible-line" }, hatch);
    const clip = svg("clipPath", { id: `${id}-plot` }, defs);
    svg("rect", { x: PAD.left, y: PAD.top, width: Math.max(0, right - PAD.left), height: bottom - PAD.top + 2 }, clip);
    const edge = x(leastTotal(table));
    svg("rect", { x: PAD.left, y: PAD.top, width: Math.max(0, edge - PAD.left), height: bottom - PAD.top, fill: `url(#${id}-infeasible)` }, chart);
    svg("line", { x1: edge, x2: edge, y1: PAD.top, y2: bottom, class: "rv-infeasible-edge" }, chart);
    const texts = svg("g", {}); // appended later, above the line of the budget
    const word = svg("text", { x: (PAD.left + edge) / 2, y: (PAD.top + bottom) / 2 + 4, class: "rv-tick rv-halo", "text-anchor": "middle" }, texts);
    // the plans of a search are not proven to be the leanest
    const found = table.objective === "live" ? "no plan" : "infeasible";
    if (edge - PAD.left > (searching ? 66 : 52)) word.textContent = searching ? "no plan yet" : found;
    for (const fraction of overheadTicks(most / unit)) {
      svg("line", { x1: PAD.left, x2: right, y1: y(fraction * unit), y2: y(fraction * unit), class: "rv-grid" }, chart);
      svg("text", { x: PAD.left - 5, y: y(fraction * unit) + 3.5, class: "rv-tick", "text-anchor": "end" }, chart).textContent = `${Math.round(fraction * 100)}%`;
    }
    const axis = budgetTicks(domain, percent, Math.max(3, (right - PAD.left) / TICK_ROOM));
    const larger = devices.find(({ bytes }) => x(bytes) > right);
    for (const [bytes, text] of axis.ticks) {
      svg("line", { x1: x(bytes), x2: x(bytes), y1: bottom, y2: bottom + 3, class: "rv-axis" }, chart);
      if (larger && x(bytes) + 3.5 * text.length > width - LARGER_WIDTH - 4) continue;
      svg("text", { x: x(bytes), y: bottom + 14, class: "rv-tick rv-halo", "text-anchor": "middle" }, texts).textContent = text;
    }
    svg("text", { x: right, y: bottom + 27, class: "rv-tick rv-halo", "text-anchor": "end" }, texts).textContent = axis.title;
    svg("line", { x1: PAD.left, x2: right, y1: bottom, y2: bottom, class: "rv-axis" }, chart);
    if (larger) drawLarger(larger, bottom);
    let dots = "";
    for (let row = 0; row < table.rows; row++) if (table.overheads[row] <= most * 1.1) dots += `M${x(table.totalPeaks[row]).toFixed(1)} ${y(table.overheads[row]).toFixed(1)}h0`;
    svg("path", { d: dots, class: "rv-plans" }, chart);
    // given plans may take more time than the axis has room for; without a clip they would cover the typed budget
    const curves = svg("g", { "clip-path": `url(#${id}-plot)` }, chart);
    if (free) svg("path", { d: staircase(free, reachableRows(free), x, y, right), class: "rv-stair rv-stair-free" }, curves);
    const bounded = free ?? table; // what holds without pins holds with pins
    if (bound && bounded === fixed[0] && bound.length === bounded.rows) {
      const reached = reachableRows(bounded);
      const below = reached.map((row) => `${x(bounded.totalPeaks[row]).toFixed(1)} ${y(bound[row]).toFixed(1)}`);
      const group = svg("g", { class: "rv-bound" }, curves);
      svg("title", {}, group).textContent = "no strategy recomputes less";
      svg("path", { d: `M${below.join("L")}` }, group);
      const title = `extra ${costUnit(graph.timeUnit).time ? "time" : "units"}, % of ${base.name}`;
      const [, keyEnd] = textBox(BOUND_NAME, { x: BOUND_SAMPLE + 8, y: 10, anchor: "start" });
      if (keyEnd + 8 < textBox(title, { x: right, y: 10, anchor: "end" })[0]) {
        boundKey = svg("g", {}, texts);
        svg("path", { d: `M4 6.5h${BOUND_SAMPLE}`, class: "rv-bound-sample" }, svg("g", { class: "rv-bound" }, boundKey));
        svg("text", { x: BOUND_SAMPLE + 8, y: 10, class: "rv-tick rv-halo" }, boundKey).textContent = BOUND_NAME;
      }
      if (y(0) - y(bound[reached.at(-1)]) > 12) {
        boundName = { text: svg("text", { y: bottom - 5, class: "rv-tick rv-halo" }, texts), edges: { left: edge + 6, right, y: bottom - 5 } };
        boundName.text.textContent = BOUND_NAME;
      }
    }
    const path = staircase(table, rows, x, y, right);
    svg("path", { d: `${path}L${edge} ${bottom}L${right} ${bottom}Z`, class: "rv-stair-fill" }, curves);
    svg("path", { d: path, class: "rv-stair" }, curves);
    svg("circle", { cx: x(domain.most), cy: y(0), r: 4, class: "rv-keepall" }, chart);
    // above the curve, which may be flat there
    const near = domain.most - ((KEEP_ALL_WIDTH / (right - PAD.left)) * (domain.high - domain.low));
    const over = Math.max(0, ...rows.filter((row) => table.totalPeaks[row] > near).map((row) => table.overheads[row]));
    const keepAll = { x: x(domain.most) - 4, y: Math.min(y(0) - 7, Math.max(PAD.top + 12, y(over) - 6)) };
    svg("text", { ...keepAll, class: "rv-tick rv-halo", "text-anchor": "end" }, texts).textContent = "keep all";
    taken = [textBox("keep all", { ...keepAll, anchor: "end" })];
    const bytesAt = (px) => domain.low + ((px - PAD.left) / (right - PAD.left)) * (domain.high - domain.low);
    heightAt = (px) => y(table.overheads[Math.max(0, rowFor(table, bytesAt(px)))]);
    svg("text", { x: right, y: 10, class: "rv-tick", "text-anchor": "end" }, chart).textContent = `extra ${costUnit(graph.timeUnit).time ? "time" : "units"}, % of ${base.name}`;
    line = svg("line", { y1: PAD.top, y2: HEIGHT, class: "rv-budget-line" }, chart);
    names = [];
    drawDevices(right, bottom); // above the line, which would strike through their names
    drawCapacity(right, bottom);
    cross = svg("path", { class: "rv-now-cross" }, chart);
    chart.append(texts); // no line strikes through a text
    points = svg("g", {}, chart);
    dot = svg("circle", { r: 6, class: "rv-now" }, chart);
    beyond = svg("path", { class: "rv-now rv-now-beyond" }, chart);
    chart.setAttribute("aria-label", `Trade-off curve, ${rows.length} distinct plans, from ${formatBytes(domain.most)} at no extra time to ${formatBytes(leastTotal(table))} total bytes`);
  }

  /** The memory of common devices: dotted lines. */
  function drawDevices(right, bottom) {
    for (const { bytes, label } of devices.filter((device) => x(device.bytes) >= PAD.left && x(device.bytes) <= right)) {
      const px = x(bytes);
      const group = svg("g", { class: "rv-ghost", "data-device": bytes }, chart);
      svg("line", { x1: px, x2: px, y1: PAD.top, y2: bottom }, group);
      const leftwards = px > (PAD.left + right) / 2;
      write(group, label, px + (leftwards ? -4 : 4), bottom - 24, leftwards ? "end" : "start");
    }
  }

  /** The first device beyond the axis, as the last number of the axis. */
  function drawLarger({ bytes, label }, bottom) {
    const group = svg("g", { class: "rv-ghost", "data-device": bytes }, chart);
    svg("title", {}, group).textContent = `a device of ${label} lies beyond the axis`;
    svg("text", { x: width - 2, y: bottom + 14, class: "rv-tick rv-halo", "text-anchor": "end" }, group).textContent = `${label} →`;
  }

  /** The memory of the device: a line, or a text with an arrow where it lies beyond the axis. */
  function drawCapacity(right, bottom) {
    if (graph.capacity === null) return;
    const words = graph.capacityText ?? `${graph.device} has ${formatBytes(graph.capacity)}`;
    const px = x(graph.capacity);
    const beyond = px > right;
    const leftwards = beyond || px > (PAD.left + right) / 2;
    const group = svg("g", { class: "rv-capacity", role: "img", "aria-label": words }, chart);
    if (!beyond && px >= PAD.left) svg("line", { x1: px, x2: px, y1: PAD.top, y2: bottom }, group);
    write(group, beyond ? `${words} →` : words, beyond ? right : Math.max(PAD.left, px) + (leftwards ? -5 : 5), PAD.top + 17, leftwards ? "end" : "start");
  }

  /** Write the name of a device; names of points will leave its place free. */
  function write(group, words, px, py, anchor) {
    const text = svg("text", { x: px, y: py, class: "rv-tick rv-halo", "text-anchor": anchor }, group);
    text.textContent = words;
    names.push({ text, words, x: px, y: py, anchor });
  }

  /** Move the names of devices off the points and the curve, and return their boxes. */
  function moveNames(marks) {
    const bottom = HEIGHT - PAD.bottom;
    const anywhere = Array.from({ length: Math.floor((bottom - PAD.top - 18) / 8) }, (_, i) => bottom - 8 - 8 * i);
    return names.map(({ text, words, x: px, y: py, anchor }) => {
      const height = freeHeight(words, { x: px, anchor }, [py, py + 16, py - 16, py + 32, ...anywhere], marks, heightAt);
      text.setAttribute("y", height);
      return textBox(words, { x: px, y: height, anchor });
    });
  }

  /** Mark the chosen plan and the budget. */
  function mark(table, row, budget) {
    const [px, py, turn] = placeWithin(x(table.totalPeaks[row]), y(table.overheads[row]), { left: PAD.left, right: width - PAD.right, top: PAD.top });
    dot.setAttribute("cx", px);
    dot.setAttribute("cy", py);
    dot.setAttribute("visibility", turn === null ? "visible" : "hidden");
    beyond.setAttribute("visibility", turn === null ? "hidden" : "visible");
    beyond.removeAttribute("transform");
    for (const [name, value] of Object.entries(arrowAt(px, py, turn ?? 0))) beyond.setAttribute(name, value);
    // its lines would lead to wrong numbers from an edge
    cross.setAttribute("d", turn === null ? `M${PAD.left} ${py}H${px}V${HEIGHT - PAD.bottom}` : "");
    const at = x(Math.max(domain.low, Math.min(budget, domain.high))); // at a smaller size, the user's budget may lie beyond the axis
    let named = false;
    if (boundName) {
      const place = boundPlace(BOUND_NAME, boundName.edges, at, taken, heightAt);
      boundName.text.setAttribute("x", place ?? boundName.edges.left);
      boundName.text.setAttribute("visibility", place === null ? "hidden" : "visible");
      named = place !== null;
    }
    boundKey?.setAttribute("visibility", named ? "hidden" : "visible");
    line.setAttribute("x1", at);
    line.setAttribute("x2", at);
  }

  return {
    chart,
    draw,
    mark,
    /** The bounds of the rows of the first table, for the next drawing. */
    setBound: (next) => (bound = next),
    /** The devices that are marked, for the next drawing. */
    setDevices: (next) => (devices = next),
    /** Draw baselines, loaded plans and earlier choices; `choose(table, row)` is called for a click. */
    markPoints(all, state, choose) {
      ofPoints.release();
      ofPoints = listeners();
      const scales = { x, y, left: PAD.left, right: width - PAD.right, base, top: PAD.top };
      drawPoints(points, all, state, { ...scales, standing: moveNames(givenMarks(all, scales)) }, choose, ofPoints.listen);
    },
    /** The budget at a position of the pointer. */
    budgetAt(event) {
      const box = chart.getBoundingClientRect();
      return domain.low + ((event.clientX - box.left - PAD.left) / (width - PAD.right - PAD.left)) * (domain.high - domain.low);
    },
    destroy: () => ofPoints.release(),
  };
}
