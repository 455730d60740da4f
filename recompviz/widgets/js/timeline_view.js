// Memory over the step: bands by category, the schedule as a strip below on the same axis, the peak, and
// what a run measured laid over. While dragging, the outline from the plan table stands in for the bands.

import { html, svg, listeners, setText } from "./elements.js";
import { formatBytes, byteTicks } from "./units.js";
import { outlineOf } from "./plan_table.js";
import { keepAllTotal } from "./header.js";

const HEIGHT = 166;
const STRIP = 12;
const EDGE = { left: 58, right: 14, top: 14, bottom: 30 };
export const PHASES = ["forward", "recompute", "backward", "accumulate", "optimizer"];

/** For each pixel column the step with the most bytes in it, so that no peak is lost in drawing. */
export function columnSteps(totals, columns) {
  const n = totals.length;
  const count = Math.min(n, columns);
  const steps = new Uint32Array(count);
  for (let c = 0; c < count; c++) {
    let best = Math.floor((c * n) / count);
    for (let s = best; s < Math.floor(((c + 1) * n) / count); s++) if (totals[s] > totals[best]) best = s;
    steps[c] = best;
  }
  return steps;
}

/** Total bytes of each step: the bands added up. */
export function totalsOf(reply) {
  const totals = new Float64Array(reply.steps);
  for (let c = 0; c < reply.categories.length; c++) {
    for (let s = 0; s < reply.steps; s++) totals[s] += reply.bands[c * reply.steps + s];
  }
  return totals;
}

/** A step line through values, one value a stretch, as an SVG path. */
export function stepPath(values, x, y) {
  let path = "";
  for (let i = 0; i < values.length; i++) {
    const height = y(values[i]).toFixed(1);
    path += `${i ? "L" : "M"}${x(i / values.length).toFixed(1)} ${height}L${x((i + 1) / values.length).toFixed(1)} ${height}`;
  }
  return path;
}

/** Runs of equal phases as [phase, from, to). */
export function phaseRuns(phases) {
  const runs = [];
  for (let s = 0; s < phases.length; s++) {
    const last = runs[runs.length - 1];
    if (last && last[0] === phases[s]) last[2] = s + 1;
    else runs.push([phases[s], s, s + 1]);
  }
  return runs;
}

/** The step at a position of the chart; −1 outside. */
export function hitTest(px, width, steps) {
  const at = (px - EDGE.left) / (width - EDGE.left - EDGE.right);
  return at < 0 || at >= 1 || !steps ? -1 : Math.floor(at * steps);
}

/**
 * The timeline.
 * @param actions { step(step or −1), pinNode(node) }
 * @param labels () → list of step labels
 */
export function makeTimelineView(parent, tables, actions, labels, id) {
  const { listen, release } = listeners();
  const root = html("section", "rv-panel rv-timeline", parent);
  const head = html("div", "rv-panel-head", root);
  html("span", "rv-panel-title", head, "Memory over the step");
  html("span", "rv-muted", head, "total bytes");
  html("span", "rv-gap", head);
  const line = html("div", "rv-status", root);
  const note = html("span", "rv-readout", line);
  const chart = svg("svg", { class: "rv-chart", height: HEIGHT, role: "img" }, root);
  const legend = html("div", "rv-legend", root);
  const grid = svg("g", {}, chart);
  const bands = svg("g", { class: "rv-stack" }, chart);
  const ghost = svg("path", { class: "rv-ghost" }, chart);
  const outline = svg("path", { class: "rv-outline" }, chart);
  const casing = svg("path", { class: "rv-measured-casing" }, chart);
  const measuredLine = svg("path", { class: "rv-measured" }, chart);
  const limit = svg("line", { class: "rv-budget-line" }, chart);
  const limitText = svg("text", { class: "rv-tick rv-halo" }, chart);
  const strip = svg("g", { class: "rv-strip" }, chart);
  const ticks = svg("path", { class: "rv-node-ticks" }, chart);
  const peak = svg("g", { class: "rv-peak" }, chart);
  const crosshair = svg("line", { class: "rv-crosshair", visibility: "hidden" }, chart);

  let width = 0;
  let reply = null;
  let totals = new Float64Array(0);
  let state = { table: 0, row: 0, budget: 0 };
  let run = null;
  let top = 1;
  let step = -1;

  const base = HEIGHT - EDGE.bottom;
  const x = (fraction) => EDGE.left + fraction * (width - EDGE.left - EDGE.right);
  const y = (bytes) => base - (bytes / top) * (base - EDGE.top);

  function draw() {
    top = 1.08 * Math.max(...tables.map(keepAllTotal), run?.measuredPeak ?? 0, 1);
    chart.setAttribute("width", width);
    grid.replaceChildren();
    for (const bytes of byteTicks(0, top, 4)) {
      svg("line", { x1: EDGE.left, x2: width - EDGE.right, y1: y(bytes), y2: y(bytes), class: bytes ? "rv-grid" : "rv-axis" }, grid);
      svg("text", { x: EDGE.left - 5, y: y(bytes) + 3.5, class: "rv-tick", "text-anchor": "end" }, grid).textContent = formatBytes(bytes);
    }
    ghost.setAttribute("d", stepPath(outlineOf(tables[0], 0), x, y));
    drawOutline();
    drawBands();
    drawRun();
  }

  function drawOutline() {
    outline.setAttribute("d", stepPath(outlineOf(tables[state.table], state.row), x, y));
    limit.setAttribute("x1", EDGE.left);
    limit.setAttribute("x2", width - EDGE.right);
    limit.setAttribute("y1", y(state.budget));
    limit.setAttribute("y2", y(state.budget));
    limitText.setAttribute("x", EDGE.left + 5);
    limitText.setAttribute("y", y(state.budget) - 4);
    setText(limitText, `budget ${formatBytes(state.budget)}`);
  }

  function drawBands() {
    if (!reply || !width) return;
    const steps = reply.steps;
    const columns = columnSteps(totals, Math.max(60, Math.round(width)));
    const low = new Float64Array(columns.length);
    while (bands.childNodes.length > reply.categories.length) bands.lastChild.remove();
    reply.categories.forEach((category, c) => {
      const path = bands.childNodes[c] ?? svg("path", {}, bands);
      let up = "";
      let down = "";
      for (let i = 0; i < columns.length; i++) {
        const from = x(i / columns.length).toFixed(1);
        const to = x((i + 1) / columns.length).toFixed(1);
        const under = y(low[i]).toFixed(1);
        low[i] += reply.bands[c * steps + columns[i]];
        const over = y(low[i]).toFixed(1);
        up += `${i ? "L" : "M"}${from} ${over}L${to} ${over}`;
        down = `L${to} ${under}L${from} ${under}${down}`;
      }
      path.setAttribute("d", columns.length ? `${up}${down}Z` : "");
      path.setAttribute("class", `rv-category-${category.number}`);
    });
    strip.replaceChildren();
    const stripTop = base + 7;
    const byPhase = new Map();
    for (const [phase, from, to] of phaseRuns(reply.phases)) {
      byPhase.set(phase, `${byPhase.get(phase) ?? ""}M${x(from / steps).toFixed(1)} ${stripTop}H${x(to / steps).toFixed(1)}V${stripTop + STRIP}H${x(from / steps).toFixed(1)}Z`);
    }
    for (const [phase, d] of [...byPhase].sort((a, b) => a[0] - b[0])) svg("path", { d, class: `rv-phase-${phase}` }, strip);
    drawPeak();
    drawLegend();
  }

  function drawPeak() {
    peak.replaceChildren();
    if (reply.peakStep < 0) return;
    const px = x((reply.peakStep + 0.5) / reply.steps);
    const py = y(reply.peak);
    svg("path", { d: `M${px} ${py - 1}l-4.5 -7h9Z`, class: "rv-peak-mark" }, peak);
    const rightHalf = px > (width + EDGE.left) / 2;
    const text = svg("text", { x: px + (rightHalf ? -8 : 8), y: Math.max(EDGE.top - 3, py - 3), class: "rv-peak-text rv-halo", "text-anchor": rightHalf ? "end" : "start" }, peak);
    text.textContent = `peak ${formatBytes(reply.peak)}`;
  }

  function drawLegend() {
    const phases = [...new Set(reply.phases)].sort();
    const names = [
      ...reply.categories.map((category) => [`rv-key rv-category-${category.number}`, category.label]),
      ...phases.map((phase) => [`rv-key rv-key-strip rv-phase-${phase}`, PHASES[phase]]),
      ["rv-key rv-key-ghost", "keep all"],
      ...(run ? [["rv-key rv-key-measured", "measured"]] : []),
    ];
    const signature = names.map((pair) => pair[1]).join();
    if (legend.dataset.signature === signature) return;
    legend.dataset.signature = signature;
    legend.replaceChildren();
    for (const [className, text] of names) {
      const item = html("span", "rv-legend-item", legend);
      const key = svg("svg", { width: 11, height: 11, class: className }, item);
      svg("rect", { width: 11, height: 11, rx: 2 }, key);
      item.append(text);
    }
  }

  function drawRun() {
    const path = run && width ? stepPath(columnValues(run.measured, width), x, y) : "";
    casing.setAttribute("d", path);
    measuredLine.setAttribute("d", path);
    if (reply) drawLegend();
  }

  function readout() {
    if (step < 0 || !reply) {
      crosshair.setAttribute("visibility", "hidden");
      line.classList.remove("rv-reading");
      return;
    }
    const px = x((step + 0.5) / reply.steps);
    for (const [name, at] of Object.entries({ x1: px, x2: px, y1: EDGE.top, y2: base + 7 + STRIP, visibility: "visible" })) crosshair.setAttribute(name, at);
    const name = labels()[reply.stepLabels[step]] ?? "";
    line.classList.add("rv-reading");
    setText(note, `step ${step + 1}/${reply.steps} · ${PHASES[reply.phases[step]]} · ${name} · ${formatBytes(totals[step])} total bytes${mostOf(step)}`);
  }

  /** The largest bands at a step. */
  function mostOf(at) {
    const shares = reply.categories.map((category, c) => [reply.bands[c * reply.steps + at], category.label]);
    shares.sort((a, b) => b[0] - a[0]);
    return shares.slice(0, 2).map(([bytes, label]) => ` · ${label} ${formatBytes(bytes)}`).join("");
  }

  const stepAt = (event) => hitTest(event.clientX - chart.getBoundingClientRect().left, width, reply?.steps ?? 0);
  listen(chart, "pointermove", (event) => actions.step(stepAt(event)));
  listen(chart, "pointerleave", () => actions.step(-1));
  listen(chart, "click", (event) => {
    const at = stepAt(event);
    if (at >= 0 && reply.stepNodes[at] >= 0) actions.pinNode(reply.stepNodes[at]);
  });
  chart.setAttribute("aria-label", "Memory over the step");

  return {
    head,
    line,
    /** Local and at once: the row's outline; the bands of the row before are faded until the kernel confirms. */
    update(next, confirmed) {
      state = next;
      root.classList.toggle("rv-waiting", !confirmed);
      if (width) drawOutline();
    },
    setReply(next) {
      reply = next;
      totals = totalsOf(reply);
      chart.setAttribute("aria-label", `Memory over ${reply.steps} steps, peak ${formatBytes(reply.peak)} total bytes at step ${reply.peakStep + 1}`);
      drawBands();
      readout();
    },
    setRun(next) {
      run = next;
      if (width) draw();
    },
    setStep(next) {
      step = next;
      readout();
    },
    nodeOfStep: (at) => (at >= 0 && reply ? reply.stepNodes[at] : -1),
    /** Mark on the strip where a node runs. */
    markNode(v) {
      let path = "";
      if (v >= 0 && reply) {
        for (let s = 0; s < reply.steps; s++) {
          if (reply.stepNodes[s] === v) path += `M${x((s + 0.5) / reply.steps).toFixed(1)} ${base + 7 + STRIP + 1}l-4 6h8Z`;
        }
      }
      ticks.setAttribute("d", path);
    },
    resize() {
      width = root.clientWidth;
      if (width) draw();
    },
    destroy: release,
  };
}

/** At most `columns` values, each the most of its stretch. */
function columnValues(values, columns) {
  if (values.length <= columns) return values;
  return Float64Array.from(columnSteps(values, Math.round(columns)), (s) => values[s]);
}
