// The budget: a native slider whose track is the trade-off curve. Both share one axis, total bytes.

import { html, svg, listeners, setText } from "./elements.js";
import { formatBytes, formatPercent, byteTicks } from "./units.js";
import { reachableRows, leastTotal, rowFor } from "./plan_table.js";
import { keepAllTotal } from "./header.js";

const CURVE_HEIGHT = 146;
const PAD = { left: 40, right: 16, top: 12, bottom: 20 };
// a table's objective → its name, and what it means
const OBJECTIVES = {
  live: ["real bytes", "Least recomputation found whose simulated bytes fit the budget; any set of values may be kept"],
  time: ["least time", "The formula's time-centric optima: least overhead under the budget"],
  memory: ["least memory", "The formula's memory-centric optima: largest overhead, lowest true peak"],
};
// half of the thumb: a native track is inset by it at both ends
const THUMB = 9;

/** The axis' ends: some of the infeasible part, everything feasible, a little room. */
export function budgetDomain(tables) {
  const least = Math.min(...tables.map(leastTotal));
  const most = Math.max(...tables.map(keepAllTotal));
  const span = Math.max(most - least, most * 0.02, 1);
  return { low: Math.max(0, least - 0.28 * span), high: most + 0.06 * span, least, most };
}

/** The staircase of least overheads as an SVG path, from the largest budget down. */
export function staircase(table, rows, x, y, right) {
  let path = "";
  rows.forEach((row, i) => {
    const from = i === 0 ? right : x(table.totalPeaks[rows[i - 1]]);
    path += `${i === 0 ? "M" : "L"}${from.toFixed(1)} ${y(table.overheads[row]).toFixed(1)}L${x(table.totalPeaks[row]).toFixed(1)} ${y(table.overheads[row]).toFixed(1)}`;
  });
  return path;
}

/** The row one step of the slider away: −1 to a smaller budget, +1 to a larger one. */
export function neighbourRow(table, rows, row, direction) {
  const total = table.totalPeaks[row];
  const at = rows.findIndex((r) => table.totalPeaks[r] <= total);
  const next = Math.min(rows.length - 1, Math.max(0, (at < 0 ? rows.length - 1 : at) - direction));
  return rows[next];
}

/**
 * Slider and curve.
 * @param actions { budget(bytes), row(row), objective(table) }
 */
export function makeBudgetView(parent, graph, tables, actions, id) {
  const { listen, release } = listeners();
  const forward = graph.time.reduce((sum, t) => sum + t, 0) || 1;
  const domain = budgetDomain(tables);
  const reach = tables.map(reachableRows);
  const root = html("section", "rv-panel rv-budget", parent);
  const head = html("div", "rv-panel-head", root);
  const label = html("label", "rv-panel-title", head, "Budget");
  label.htmlFor = `${id}-slider`;
  const value = html("output", "rv-budget-value", head);
  const share = html("span", "rv-muted", head);
  const chart = svg("svg", { class: "rv-chart", height: CURVE_HEIGHT, role: "img" }, root);
  const slider = html("input", "rv-slider", root);
  Object.assign(slider, { type: "range", id: `${id}-slider`, min: domain.low, max: domain.high, step: (domain.high - domain.low) / 2000 });
  slider.setAttribute("aria-label", "Budget in total bytes");
  const foot = html("div", "rv-budget-foot", root);
  const leastText = html("span", "rv-least", foot, "");
  const switches = html("div", "rv-switch", foot);
  switches.setAttribute("role", "radiogroup");
  switches.setAttribute("aria-label", "Objective");
  const radios = tables.map((table, i) => {
    const [name, meaning] = OBJECTIVES[table.objective];
    const button = html("button", "rv-button", switches, name);
    button.setAttribute("role", "radio");
    button.title = meaning;
    listen(button, "click", () => actions.objective(i));
    return button;
  });
  switches.hidden = tables.length < 2;

  html("span", "rv-muted", foot, `keep-all ${formatBytes(domain.most)}`);

  let width = 0;
  let x = (bytes) => bytes;
  let y = (overhead) => overhead;
  let dot = null;
  let line = null;
  let cross = null;
  let drawn = -1;
  let state = { table: 0, row: 0, budget: 0 };

  function draw() {
    const table = tables[state.table];
    drawn = state.table;
    chart.replaceChildren();
    chart.setAttribute("width", width);
    const right = width - PAD.right;
    const bottom = CURVE_HEIGHT - PAD.bottom;
    const rows = reach[state.table];
    const most = Math.max(...rows.map((r) => table.overheads[r]), forward * 0.05);
    x = (bytes) => PAD.left + ((bytes - domain.low) / (domain.high - domain.low)) * (right - PAD.left);
    y = (overhead) => bottom - (overhead / (most * 1.12)) * (bottom - PAD.top);
    const defs = svg("defs", {}, chart);
    const hatch = svg("pattern", { id: `${id}-infeasible`, width: 7, height: 7, patternUnits: "userSpaceOnUse", patternTransform: "rotate(-45)" }, defs);
    svg("line", { x1: 0, y1: 0, x2: 0, y2: 7, class: "rv-infeasible-line" }, hatch);
    const edge = x(leastTotal(table));
    svg("rect", { x: PAD.left, y: PAD.top, width: Math.max(0, edge - PAD.left), height: bottom - PAD.top, fill: `url(#${id}-infeasible)` }, chart);
    svg("line", { x1: edge, x2: edge, y1: PAD.top, y2: bottom, class: "rv-infeasible-edge" }, chart);
    const word = svg("text", { x: (PAD.left + edge) / 2, y: PAD.top + 13, class: "rv-tick rv-halo", "text-anchor": "middle" }, chart);
    if (edge - PAD.left > 52) word.textContent = "infeasible";
    for (const fraction of yTicks(most / forward)) {
      svg("line", { x1: PAD.left, x2: right, y1: y(fraction * forward), y2: y(fraction * forward), class: "rv-grid" }, chart);
      svg("text", { x: PAD.left - 5, y: y(fraction * forward) + 3.5, class: "rv-tick", "text-anchor": "end" }, chart).textContent = `${Math.round(fraction * 100)}%`;
    }
    for (const bytes of byteTicks(domain.low, domain.high, Math.max(2, width / 110))) {
      svg("line", { x1: x(bytes), x2: x(bytes), y1: bottom, y2: bottom + 3, class: "rv-axis" }, chart);
      svg("text", { x: x(bytes), y: bottom + 14, class: "rv-tick", "text-anchor": "middle" }, chart).textContent = formatBytes(bytes);
    }
    svg("line", { x1: PAD.left, x2: right, y1: bottom, y2: bottom, class: "rv-axis" }, chart);
    let dots = "";
    for (let row = 0; row < table.rows; row++) if (table.overheads[row] <= most * 1.1) dots += `M${x(table.totalPeaks[row]).toFixed(1)} ${y(table.overheads[row]).toFixed(1)}h0`;
    svg("path", { d: dots, class: "rv-plans" }, chart);
    const path = staircase(table, rows, x, y, right);
    svg("path", { d: `${path}L${edge} ${bottom}L${right} ${bottom}Z`, class: "rv-stair-fill" }, chart);
    svg("path", { d: path, class: "rv-stair" }, chart);
    svg("circle", { cx: x(domain.most), cy: y(0), r: 4, class: "rv-keepall" }, chart);
    svg("text", { x: x(domain.most) - 7, y: y(0) - 7, class: "rv-tick rv-halo", "text-anchor": "end" }, chart).textContent = "keep all";
    svg("text", { x: right, y: PAD.top + 2, class: "rv-tick rv-halo", "text-anchor": "end" }, chart).textContent = "extra time, % of the forward";
    line = svg("line", { y1: PAD.top, y2: CURVE_HEIGHT, class: "rv-budget-line" }, chart);
    cross = svg("path", { class: "rv-now-cross" }, chart);
    dot = svg("circle", { r: 6, class: "rv-now" }, chart);
    slider.style.marginLeft = `${PAD.left - THUMB}px`;
    slider.style.width = `${right - PAD.left + 2 * THUMB}px`;
    const share = (leastTotal(table) - domain.low) / (domain.high - domain.low);
    slider.style.setProperty("--rv-least", `${(100 * (THUMB + share * (right - PAD.left))) / (right - PAD.left + 2 * THUMB)}%`);
    setText(leastText, `least feasible ${formatBytes(leastTotal(table))}`);
    chart.setAttribute("aria-label", `Trade-off curve, ${rows.length} distinct plans, from ${formatBytes(domain.most)} at no extra time to ${formatBytes(leastTotal(table))} total bytes`);
    radios.forEach((radio, i) => radio.setAttribute("aria-checked", String(i === state.table)));
  }

  function update(next, settled) {
    state = next;
    if (!width) return;
    if (drawn !== state.table) draw();
    const table = tables[state.table];
    const px = x(table.totalPeaks[state.row]);
    const py = y(table.overheads[state.row]);
    dot.setAttribute("cx", px);
    dot.setAttribute("cy", py);
    cross.setAttribute("d", `M${PAD.left} ${py}H${px}V${CURVE_HEIGHT - PAD.bottom}`);
    line.setAttribute("x1", x(state.budget));
    line.setAttribute("x2", x(state.budget));
    if (settled || document.activeElement !== slider) slider.value = state.budget;
    const percent = state.budget / domain.most;
    setText(value, formatBytes(state.budget));
    setText(share, `total bytes · ${formatPercent(percent)} of keep-all`);
    slider.setAttribute("aria-valuetext", `${formatBytes(state.budget)} total bytes, ${formatPercent(percent)} of keep-all`);
  }

  listen(slider, "input", () => {
    const table = tables[state.table];
    const least = leastTotal(table);
    const budget = Number(slider.value);
    root.classList.toggle("rv-refused", budget < least);
    if (budget < least) slider.value = least;
    actions.budget(Math.max(budget, least), rowFor(table, Math.max(budget, least)));
  });
  listen(slider, "change", () => {
    root.classList.remove("rv-refused");
    actions.row(state.row); // come to rest on the plan
  });
  listen(slider, "keydown", (event) => {
    const rows = reach[state.table];
    const table = tables[state.table];
    const go = {
      ArrowLeft: () => neighbourRow(table, rows, state.row, -1),
      ArrowDown: () => neighbourRow(table, rows, state.row, -1),
      ArrowRight: () => neighbourRow(table, rows, state.row, 1),
      ArrowUp: () => neighbourRow(table, rows, state.row, 1),
      Home: () => rows[rows.length - 1],
      End: () => rows[0],
    }[event.key];
    event.stopPropagation(); // JupyterLab has commands on bare keys
    if (!go) return;
    event.preventDefault();
    actions.row(go());
  });
  listen(chart, "pointerdown", (event) => {
    const box = chart.getBoundingClientRect();
    const bytes = domain.low + ((event.clientX - box.left - PAD.left) / (width - PAD.right - PAD.left)) * (domain.high - domain.low);
    const budget = Math.min(domain.high, Math.max(leastTotal(tables[state.table]), bytes));
    actions.row(rowFor(tables[state.table], budget));
    slider.focus({ preventScroll: true });
  });

  return {
    update,
    resize() {
      width = root.clientWidth;
      if (!width) return;
      draw();
      update(state, true);
    },
    destroy: release,
  };
}

function yTicks(most) {
  const step = [0.05, 0.1, 0.2, 0.25, 0.5, 1, 2, 5].find((s) => most / s <= 4.5) ?? most / 4;
  const ticks = [];
  for (let t = 0; t <= most * 1.1; t += step) ticks.push(t);
  return ticks;
}
