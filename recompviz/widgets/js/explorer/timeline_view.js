// Memory over the step: bands by category, the peak, the measured line of a run, and below them the phases on the same
// axis. During a drag the outline from the plan table replaces the bands. A step is hovered, or chosen by click,
// scrubber or player.

import { html, svg, listeners, setText } from "../shared/elements.js";
import { formatBytes, byteTicks } from "../shared/units.js";
import { outlineOf } from "../data/plan_table.js";
import { keepAllTotal } from "./header.js";
import { makePlayer } from "./player.js";
import { makeNodeMarks, makePeakMark } from "./timeline_marks.js";
import { makeTimelineLegend, PHASES } from "./timeline_legend.js";
import { columnSteps, columnValues, totalsOf, stepPath, phaseRuns, bandAt } from "./timeline_shapes.js";

const HEIGHT = 172;
const STRIP = 12;
const EDGE = { left: 58, right: 14, top: 14, bottom: 36 };
const BASE = HEIGHT - EDGE.bottom;
const STRIP_TOP = BASE + 7;

/** The step at a position of the chart; −1 outside. */
export function hitTest(px, width, steps) {
  const at = (px - EDGE.left) / (width - EDGE.left - EDGE.right);
  return at < 0 || at >= 1 || !steps ? -1 : Math.floor(at * steps);
}

/**
 * The timeline.
 * @param tables the tables of the objectives; `all()` gives every table
 * @param actions { hoverStep(step or −1), step(step or −1), pick(step, category), category(number), peak() }
 * @param labels() the labels of the steps
 */
export function makeTimelineView(parent, tables, all, actions, labels, id) {
  const { listen, release } = listeners();
  const root = html("section", "rv-panel rv-timeline", parent);
  const head = html("div", "rv-panel-head", root);
  html("span", "rv-panel-title", head, "Memory over the step");
  html("span", "rv-muted", head, "total bytes");
  html("span", "rv-gap", head);
  const runHead = html("div", "rv-run-head", head);
  const line = html("div", "rv-status", root);
  const note = html("span", "rv-readout", line);
  const playerHead = html("div", "rv-player-line", line);
  const chart = svg("svg", { class: "rv-chart", height: HEIGHT, role: "group" }, root);
  const player = makePlayer(playerHead, root, { step: actions.step }, id);
  const legend = makeTimelineLegend(root, actions.category);
  const grid = svg("g", {}, chart);
  const bands = svg("g", { class: "rv-stack" }, chart);
  const rival = svg("path", { class: "rv-rival" }, chart);
  const ghost = svg("path", { class: "rv-ghost" }, chart);
  const outline = svg("path", { class: "rv-outline" }, chart);
  const casing = svg("path", { class: "rv-measured-casing" }, chart);
  const measuredLine = svg("path", { class: "rv-measured" }, chart);
  const limit = svg("line", { class: "rv-budget-line" }, chart);
  const limitText = svg("text", { class: "rv-tick rv-halo" }, chart);
  const strip = svg("g", { class: "rv-strip" }, chart);
  const nodeMarks = makeNodeMarks(chart, STRIP_TOP, STRIP);
  const playhead = svg("g", { class: "rv-playhead", visibility: "hidden" }, chart);
  const playline = svg("line", {}, playhead);
  const crosshair = svg("line", { class: "rv-crosshair", visibility: "hidden" }, chart);
  const peakMark = makePeakMark(chart, actions.peak);

  let width = 0;
  let reply = null;
  let totals = new Float64Array(0);
  let state = { table: 0, row: 0, budget: 0 };
  let run = null;
  let top = 1;
  let step = -1; // under the pointer
  let chosen = -1;
  let marked = -1;
  let against = null;
  let filter = null;

  const x = (fraction) => EDGE.left + fraction * (width - EDGE.left - EDGE.right);
  const y = (bytes) => BASE - (bytes / top) * (BASE - EDGE.top);

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
    outline.setAttribute("d", stepPath(outlineOf(all()[state.table], state.row), x, y));
    const other = against && all()[against.table];
    rival.setAttribute("d", other && against.row < other.rows ? stepPath(outlineOf(other, against.row), x, y) : "");
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
      path.setAttribute("class", `rv-category-${category.number}${filter !== null && filter !== category.number ? " rv-dim" : ""}`);
    });
    strip.replaceChildren();
    const byPhase = new Map();
    for (const [phase, from, to] of phaseRuns(reply.phases)) {
      byPhase.set(phase, `${byPhase.get(phase) ?? ""}M${x(from / steps).toFixed(1)} ${STRIP_TOP}H${x(to / steps).toFixed(1)}V${STRIP_TOP + STRIP}H${x(from / steps).toFixed(1)}Z`);
    }
    for (const [phase, d] of [...byPhase].sort((a, b) => a[0] - b[0])) svg("path", { d, class: `rv-phase-${phase}` }, strip);
    peakMark.draw(reply, x((reply.peakStep + 0.5) / reply.steps), y(reply.peak), EDGE.top - 3, (width + EDGE.left) / 2);
    drawLegend();
    markSteps();
    drawHead();
  }

  function markSteps() {
    if (reply && width) nodeMarks.draw(reply, marked, x);
  }

  function drawHead() {
    playhead.setAttribute("visibility", chosen >= 0 && reply ? "visible" : "hidden");
    if (chosen < 0 || !reply || !width) return;
    const px = x((Math.min(chosen, reply.steps - 1) + 0.5) / reply.steps);
    for (const [name, at] of Object.entries({ x1: px, x2: px, y1: EDGE.top - 6, y2: STRIP_TOP + STRIP })) playline.setAttribute(name, at);
  }

  function drawLegend() {
    legend.update(reply, filter, { measured: run !== null, compared: against !== null });
  }

  function drawRun() {
    const path = run && width ? stepPath(columnValues(run.measured, width), x, y) : "";
    casing.setAttribute("d", path);
    measuredLine.setAttribute("d", path);
    if (reply) drawLegend();
  }

  function readout() {
    const at = step >= 0 ? step : chosen;
    crosshair.setAttribute("visibility", "hidden");
    if (at < 0 || !reply || at >= reply.steps) {
      line.classList.remove("rv-reading");
      return;
    }
    const px = x((at + 0.5) / reply.steps);
    if (step >= 0) for (const [name, at] of Object.entries({ x1: px, x2: px, y1: EDGE.top, y2: STRIP_TOP + STRIP, visibility: "visible" })) crosshair.setAttribute(name, at);
    const name = labels()[reply.stepLabels[at]] ?? "";
    line.classList.add("rv-reading");
    setText(note, `step ${at + 1}/${reply.steps} · ${PHASES[reply.phases[at]]} · ${name} · ${formatBytes(totals[at])} total bytes${mostOf(at)}`);
  }

  /** The largest bands at a step. */
  function mostOf(at) {
    const shares = reply.categories.map((category, c) => [reply.bands[c * reply.steps + at], category.label]);
    shares.sort((a, b) => b[0] - a[0]);
    return shares.slice(0, 2).map(([bytes, label]) => ` · ${label} ${formatBytes(bytes)}`).join("");
  }

  const stepAt = (event) => hitTest(event.clientX - chart.getBoundingClientRect().left, width, reply?.steps ?? 0);
  listen(chart, "pointermove", (event) => actions.hoverStep(stepAt(event)));
  listen(chart, "pointerleave", () => actions.hoverStep(-1));
  listen(chart, "click", (event) => {
    const at = stepAt(event);
    if (at < 0) return;
    const bytes = ((BASE - (event.clientY - chart.getBoundingClientRect().top)) / (BASE - EDGE.top)) * top;
    player.pause();
    actions.pick(at, bytes < 0 ? null : bandAt(reply, at, bytes));
  });
  chart.setAttribute("aria-label", "Memory over the step");

  return {
    runHead,
    line,
    /** Draw the outline of the row; the bands of the previous row are faded until the kernel confirms the choice. */
    update(next, confirmed) {
      state = next;
      root.classList.toggle("rv-waiting", !confirmed);
      if (width) drawOutline();
    },
    setReply(next) {
      reply = next;
      totals = totalsOf(reply);
      chart.setAttribute("aria-label", `Memory over ${reply.steps} steps, peak ${formatBytes(reply.peak)} total bytes at step ${reply.peakStep + 1}`);
      player.setSteps(reply.steps, (at) => `${PHASES[reply.phases[at]]} ${labels()[reply.stepLabels[at]] ?? ""}, ${formatBytes(totals[at])} total bytes`);
      drawBands();
      readout();
    },
    setRun(next) {
      run = next;
      if (width) draw();
    },
    hoverStep(next) {
      step = next;
      readout();
    },
    /** The chosen step; −1 for the whole step. */
    setStep(next) {
      chosen = next;
      player.setStep(next);
      drawHead();
      readout();
    },
    /** Show only one category in full colour; null for all. */
    setFilter(next) {
      filter = next;
      if (width) drawBands();
    },
    /** Draw the outline of another plan { table, row }; null for none. */
    setAgainst(next) {
      against = next;
      if (!width) return;
      drawOutline();
      if (reply) drawLegend();
    },
    phase: (at) => PHASES[reply.phases[at]],
    nodeOfStep: (at) => (at >= 0 && reply ? (reply.stepNodes[at] ?? -1) : -1),
    /** Mark the steps of a node and the lifetimes of its blocks. */
    markNode(v) {
      marked = v;
      markSteps();
    },
    resize() {
      width = root.clientWidth;
      player.place(EDGE.left, width - EDGE.left - EDGE.right);
      if (width) draw();
    },
    destroy: () => {
      player.destroy();
      legend.destroy();
      peakMark.destroy();
      release();
    },
  };
}
