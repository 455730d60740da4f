// The budget: a native slider whose track is the trade-off curve. Both share one axis, total bytes.

import { html, svg, listeners, setText } from "../shared/elements.js";
import { formatBytes, formatPercent, byteTicks, parseBudget } from "../shared/units.js";
import { reachableRows, leastTotal, rowFor } from "../data/plan_table.js";
import { keepAllTotal } from "./header.js";
import { drawPoints } from "./points.js";
import { makeSwitches } from "./switches.js";

const CURVE_HEIGHT = 174;
const PAD = { left: 40, right: 16, top: 21, bottom: 20 };
// half of the thumb: a native track is inset by it at both ends
const THUMB = 9;

/** The axis' ends: some of the infeasible part, everything feasible, a little room. */
export function budgetDomain(tables, capacity = null) {
  const least = Math.min(...tables.map(leastTotal));
  const most = Math.max(...tables.map(keepAllTotal));
  const span = Math.max(most - least, most * 0.02, 1);
  // a capacity a little beyond is brought into the picture, one far away is told of at its edge
  const far = capacity !== null && capacity > most && capacity < most + 0.5 * span ? capacity : most;
  const near = capacity !== null && capacity < least ? Math.max(capacity - 0.04 * span, least - 0.6 * span) : least;
  return { low: Math.max(0, Math.min(least - 0.28 * span, near)), high: far + 0.06 * span, least, most };
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
 * @param fixed the tables of the objectives; `all()` gives those that came later too
 * @param actions { budget(bytes), row(row), choose(table, row), objective(table), solver(family), binding() }
 */
export function makeBudgetView(parent, graph, fixed, all, families, actions, id) {
  const { listen, release } = listeners();
  const forward = graph.time.reduce((sum, t) => sum + t, 0) || 1;
  const domain = budgetDomain(fixed, graph.capacity);
  const root = html("section", "rv-panel rv-budget", parent);
  const head = html("div", "rv-panel-head", root);
  const label = html("label", "rv-panel-title", head, "Budget");
  label.htmlFor = `${id}-slider`;
  const value = html("input", "rv-budget-value", head);
  Object.assign(value, { type: "text", spellcheck: false, autocomplete: "off" });
  value.setAttribute("aria-label", "Budget, typed: bytes such as 500 MiB, or per cent of keep-all");
  value.title = "type bytes (500 MiB) or per cent of keep-all (60%)";
  const share = html("span", "rv-muted", head);
  html("span", "rv-gap", head);
  const unit = html("button", "rv-button", head, "%");
  unit.setAttribute("aria-label", "Show budgets in per cent of keep-all");
  unit.title = "Show budgets in per cent of keep-all";
  const chart = svg("svg", { class: "rv-chart", height: CURVE_HEIGHT, role: "img" }, root);
  const slider = html("input", "rv-slider", root);
  Object.assign(slider, { type: "range", id: `${id}-slider`, min: domain.low, max: domain.high, step: (domain.high - domain.low) / 2000 });
  slider.setAttribute("aria-label", "Budget in total bytes");
  const foot = html("div", "rv-budget-foot", root);
  let refusal = ""; // why the budget typed last was not taken
  const leastText = html("span", "rv-least", foot, "");
  leastText.setAttribute("role", "status");
  const switches = makeSwitches(foot, fixed, families, actions, id);
  const binds = html("button", "rv-link rv-binds", root);
  binds.title = "Go to the leanest plan and see what is alive at its peak";
  listen(binds, "click", actions.binding);

  let width = 0;
  let x = (bytes) => bytes;
  let y = (overhead) => overhead;
  let dot = null;
  let line = null;
  let cross = null;
  let drawn = null;
  let percent = false;
  let points = null;
  let state = { table: 0, row: 0, budget: 0, earlier: [] };
  const now = () => all()[state.table];
  const amount = (bytes) => (percent ? formatPercent(bytes / domain.most) : formatBytes(bytes));

  function draw() {
    const table = now();
    const base = table.base >= 0 ? all()[table.base] : null;
    drawn = table;
    chart.replaceChildren();
    chart.setAttribute("width", width);
    const right = width - PAD.right;
    const bottom = CURVE_HEIGHT - PAD.bottom;
    const rows = reachableRows(table);
    const own = Math.max(...(table.objective === "given" ? fixed[0] : table).overheads.filter((_, row) => table.objective === "given" || rows.includes(row)), forward * 0.05);
    const given = all().find((other) => other?.objective === "given");
    // baselines are seen in full where that does not make the curve itself small
    const most = Math.max(own, Math.min(1.6 * own, Math.max(0, ...(given?.overheads ?? []))));
    x = (bytes) => PAD.left + ((bytes - domain.low) / (domain.high - domain.low)) * (right - PAD.left);
    y = (overhead) => bottom - (overhead / (most * 1.12)) * (bottom - PAD.top);
    const defs = svg("defs", {}, chart);
    const hatch = svg("pattern", { id: `${id}-infeasible`, width: 7, height: 7, patternUnits: "userSpaceOnUse", patternTransform: "rotate(-45)" }, defs);
    svg("line", { x1: 0, y1: 0, x2: 0, y2: 7, class: "rv-infeasible-line" }, hatch);
    const edge = x(leastTotal(table));
    svg("rect", { x: PAD.left, y: PAD.top, width: Math.max(0, edge - PAD.left), height: bottom - PAD.top, fill: `url(#${id}-infeasible)` }, chart);
    svg("line", { x1: edge, x2: edge, y1: PAD.top, y2: bottom, class: "rv-infeasible-edge" }, chart);
    const word = svg("text", { x: (PAD.left + edge) / 2, y: (PAD.top + bottom) / 2 + 4, class: "rv-tick rv-halo", "text-anchor": "middle" }, chart);
    if (edge - PAD.left > 52) word.textContent = "infeasible";
    for (const fraction of yTicks(most / forward)) {
      svg("line", { x1: PAD.left, x2: right, y1: y(fraction * forward), y2: y(fraction * forward), class: "rv-grid" }, chart);
      svg("text", { x: PAD.left - 5, y: y(fraction * forward) + 3.5, class: "rv-tick", "text-anchor": "end" }, chart).textContent = `${Math.round(fraction * 100)}%`;
    }
    const marks = percent ? percentTicks(domain, Math.max(2, width / 80)) : byteTicks(domain.low, domain.high, Math.max(2, width / 110));
    const amounts = svg("g", {}); // over the line of the budget
    for (const bytes of marks) {
      svg("line", { x1: x(bytes), x2: x(bytes), y1: bottom, y2: bottom + 3, class: "rv-axis" }, chart);
      svg("text", { x: x(bytes), y: bottom + 14, class: "rv-tick rv-halo", "text-anchor": "middle" }, amounts).textContent = amount(bytes);
    }
    svg("line", { x1: PAD.left, x2: right, y1: bottom, y2: bottom, class: "rv-axis" }, chart);
    let dots = "";
    for (let row = 0; row < table.rows; row++) if (table.overheads[row] <= most * 1.1) dots += `M${x(table.totalPeaks[row]).toFixed(1)} ${y(table.overheads[row]).toFixed(1)}h0`;
    svg("path", { d: dots, class: "rv-plans" }, chart);
    if (base) svg("path", { d: staircase(base, reachableRows(base), x, y, right), class: "rv-stair rv-stair-free" }, chart);
    const path = staircase(table, rows, x, y, right);
    svg("path", { d: `${path}L${edge} ${bottom}L${right} ${bottom}Z`, class: "rv-stair-fill" }, chart);
    svg("path", { d: path, class: "rv-stair" }, chart);
    svg("circle", { cx: x(domain.most), cy: y(0), r: 4, class: "rv-keepall" }, chart);
    svg("text", { x: x(domain.most) - 7, y: y(0) - 7, class: "rv-tick rv-halo", "text-anchor": "end" }, chart).textContent = "keep all";
    svg("text", { x: right, y: 10, class: "rv-tick", "text-anchor": "end" }, chart).textContent = "extra time, % of the forward";
    drawCapacity(right, bottom);
    line = svg("line", { y1: PAD.top, y2: CURVE_HEIGHT, class: "rv-budget-line" }, chart);
    chart.append(amounts);
    cross = svg("path", { class: "rv-now-cross" }, chart);
    points = svg("g", {}, chart);
    dot = svg("circle", { r: 6, class: "rv-now" }, chart);
    slider.style.marginLeft = `${PAD.left - THUMB}px`;
    slider.style.width = `${right - PAD.left + 2 * THUMB}px`;
    const share = (leastTotal(table) - domain.low) / (domain.high - domain.low);
    slider.style.setProperty("--rv-least", `${(100 * (THUMB + share * (right - PAD.left))) / (right - PAD.left + 2 * THUMB)}%`);
    refuse(refusal);
    setText(binds, `What binds there: ${table.binding}`);
    chart.setAttribute("aria-label", `Trade-off curve, ${rows.length} distinct plans, from ${formatBytes(domain.most)} at no extra time to ${formatBytes(leastTotal(table))} total bytes`);
  }

  /** The device's memory: a line, or an arrow at the edge beyond which it lies. */
  function drawCapacity(right, bottom) {
    if (graph.capacity === null) return;
    const words = `${graph.device} has ${formatBytes(graph.capacity)}`;
    const px = x(graph.capacity);
    const beyond = px > right;
    const leftwards = beyond || px > (PAD.left + right) / 2;
    const group = svg("g", { class: "rv-capacity", role: "img", "aria-label": words }, chart);
    if (!beyond && px >= PAD.left) svg("line", { x1: px, x2: px, y1: PAD.top, y2: bottom }, group);
    const text = svg("text", { x: beyond ? right : Math.max(PAD.left, px) + (leftwards ? -5 : 5), y: PAD.top + 17, class: "rv-tick rv-halo", "text-anchor": leftwards ? "end" : "start" }, group);
    text.textContent = beyond ? `${words} →` : words;
  }

  function update(next, settled) {
    state = next;
    if (!width) return;
    if (drawn !== now()) {
      refusal = ""; // it was of another table
      draw();
    }
    const table = now();
    switches.update(all(), state.table);
    if (settled) drawPoints(points, all(), state, { x, y, left: PAD.left, right: width - PAD.right, forward, top: PAD.top }, actions.choose);
    const px = x(table.totalPeaks[state.row]);
    const py = y(table.overheads[state.row]);
    dot.setAttribute("cx", px);
    dot.setAttribute("cy", py);
    cross.setAttribute("d", `M${PAD.left} ${py}H${px}V${CURVE_HEIGHT - PAD.bottom}`);
    line.setAttribute("x1", x(state.budget));
    line.setAttribute("x2", x(state.budget));
    if (settled || !isFocused(slider)) slider.value = state.budget;
    const part = state.budget / domain.most;
    if (!isFocused(value)) value.value = amount(state.budget);
    setText(share, percent ? `of keep-all · ${formatBytes(state.budget)} total bytes` : `total bytes · ${formatPercent(part)} of keep-all`);
    slider.setAttribute("aria-valuetext", `${formatBytes(state.budget)} total bytes, ${formatPercent(part)} of keep-all`);
  }

  const isFocused = (element) => element.getRootNode().activeElement === element;

  /** Say why a budget is not taken as it was typed; nothing, if it is. */
  function refuse(why) {
    refusal = why;
    root.classList.toggle("rv-refused", why !== "");
    const table = now();
    setText(leastText, why || `least feasible ${formatBytes(leastTotal(table))} · keep-all ${formatBytes(domain.most)}`);
  }

  /** Choose a budget in bytes, or refuse it and say what the least is. */
  function choose(bytes) {
    const table = now();
    const least = leastTotal(table);
    if (bytes < least) refuse(`${formatBytes(bytes)} is below the least feasible budget, ${formatBytes(least)}`);
    else if (bytes > domain.high) refuse(`${formatBytes(bytes)} is more than any plan takes; keep-all takes ${formatBytes(domain.most)}`);
    else refuse("");
    const budget = Math.min(domain.high, Math.max(least, bytes));
    actions.row(rowFor(table, budget));
  }
  listen(value, "focus", () => value.select());
  listen(value, "keydown", (event) => {
    event.stopPropagation(); // JupyterLab has commands on bare keys
    if (event.key === "Escape") value.value = amount(state.budget);
    if (event.key !== "Enter") return;
    const bytes = parseBudget(value.value, domain.most);
    value.setAttribute("aria-invalid", String(bytes === null));
    if (bytes === null) return refuse(`“${value.value}” is no size: write 500 MiB, or 60% of keep-all`);
    slider.focus({ preventScroll: true });
    choose(bytes);
  });
  listen(value, "blur", () => {
    value.setAttribute("aria-invalid", "false");
    value.value = amount(state.budget);
  });
  listen(unit, "click", () => {
    percent = !percent;
    unit.setAttribute("aria-pressed", String(percent));
    draw();
    update(state, true);
  });

  listen(slider, "input", () => {
    const table = now();
    const least = leastTotal(table);
    const budget = Number(slider.value);
    refuse("");
    root.classList.toggle("rv-refused", budget < least);
    if (budget < least) slider.value = least;
    actions.budget(Math.max(budget, least), rowFor(table, Math.max(budget, least)));
  });
  listen(slider, "change", () => {
    root.classList.remove("rv-refused");
    actions.row(state.row); // come to rest on the plan
  });
  listen(slider, "keydown", (event) => {
    const table = now();
    const rows = reachableRows(table);
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
    choose(bytes);
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
    destroy: () => {
      switches.destroy();
      release();
    },
  };
}

/** Round shares of keep-all within the axis, as bytes. */
function percentTicks(domain, count) {
  const step = [1, 2, 5, 10, 20, 25, 50].find((s) => (100 * (domain.high - domain.low)) / domain.most / s <= count) ?? 100;
  const ticks = [];
  for (let p = Math.ceil((100 * domain.low) / domain.most / step) * step; p <= (100 * domain.high) / domain.most; p += step) ticks.push((p / 100) * domain.most);
  return ticks;
}

function yTicks(most) {
  const step = [0.05, 0.1, 0.2, 0.25, 0.5, 1, 2, 5].find((s) => most / s <= 4.5) ?? most / 4;
  const ticks = [];
  for (let t = 0; t <= most * 1.1; t += step) ticks.push(t);
  return ticks;
}
