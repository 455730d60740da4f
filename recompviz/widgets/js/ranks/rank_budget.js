// One budget for every rank: typed, or by a slider under the curve of added time over the budget.

import { html, listeners, setText, svg } from "../shared/elements.js";
import { formatBytes, formatPercent, parseBudget } from "../shared/units.js";
import { curveOf, leastOf, mostOf } from "./board.js";

const HEIGHT = 46;
// half the width of the thumb, by which a native track is inset at both ends
const THUMB = 9;
const STEPS = 2000;

/**
 * The row of the budget.
 * @param actions { budget(bytes, settled) }
 */
export function makeRankBudget(parent, board, actions, id) {
  const { listen, release } = listeners();
  const least = leastOf(board);
  const most = mostOf(board);
  const low = Math.max(0, Math.min(least - 0.2 * (most - least), 0.96 * least));
  const high = most + 0.06 * (most - low);
  const curve = curveOf(board);
  const root = html("section", "rv-rank-budget", parent);
  const words = html("div", "rv-rank-budget-words", root);
  const label = html("label", "rv-panel-title", words, "Budget for each rank");
  label.htmlFor = `${id}-slider`;
  const value = html("input", "rv-budget-value", words);
  Object.assign(value, { type: "text", spellcheck: false, autocomplete: "off" });
  value.setAttribute("aria-label", "Budget for each rank, typed: bytes such as 500 MiB, or per cent of the largest peak without recomputation");
  value.title = "type bytes (500 MiB) or per cent of the largest peak without recomputation (60%)";
  const note = html("div", "rv-budget-note", words);
  note.setAttribute("role", "status");
  note.hidden = true;
  const facts = html("div", "rv-rank-facts rv-muted", words);
  const leastLink = html("button", "rv-link", facts, `least for all ${formatBytes(least)}`);
  const mostLink = html("button", "rv-link", facts, `no recomputation ${formatBytes(most)}`);
  const side = html("div", "rv-rank-slide", root);
  const chart = svg("svg", { class: "rv-chart", height: HEIGHT, "aria-hidden": "true" }, side);
  const slider = html("input", "rv-slider", side);
  Object.assign(slider, { type: "range", id: `${id}-slider`, min: low, max: high, step: (high - low) / STEPS });
  slider.setAttribute("aria-label", "Budget for each rank in total bytes");
  let width = 0;
  let budget = most;
  let mark = null;

  const x = (bytes) => THUMB + ((bytes - low) / (high - low)) * (width - 2 * THUMB);
  const largest = Math.max(...curve.map(([, extra]) => extra), 0);
  const y = (extra) => HEIGHT - 4 - (largest ? (extra / largest) * (HEIGHT - 22) : 0);

  function draw() {
    chart.replaceChildren();
    chart.setAttribute("width", width);
    const edge = x(least);
    svg("rect", { x: THUMB, y: 0, width: Math.max(0, edge - THUMB), height: HEIGHT - 4, class: "rv-rank-infeasible" }, chart);
    const short = "some ranks are short";
    if (edge - THUMB > 120) svg("text", { x: edge - 6, y: HEIGHT - 10, class: "rv-tick rv-halo", "text-anchor": "end" }, chart).textContent = short;
    const path = curve.map(([bytes, extra], i) => {
      const from = i ? x(curve[i - 1][0]) : x(high);
      return `${i ? "L" : "M"}${from.toFixed(1)} ${y(extra).toFixed(1)}H${x(bytes).toFixed(1)}`;
    }).join("");
    svg("path", { d: `${path}V${HEIGHT - 4}H${x(high)}Z`, class: "rv-stair-fill" }, chart);
    svg("path", { d: path, class: "rv-stair" }, chart);
    svg("line", { x1: THUMB, x2: width - THUMB, y1: HEIGHT - 4, y2: HEIGHT - 4, class: "rv-axis" }, chart);
    if (largest) svg("text", { x: edge + 8, y: 12, class: "rv-tick rv-halo" }, chart).textContent = `at most +${formatPercent(largest)} step time`;
    mark = svg("line", { y1: 0, y2: HEIGHT - 4, class: "rv-budget-line" });
    chart.querySelector(".rv-axis").before(mark);
    for (const text of chart.querySelectorAll("text")) chart.append(text); // above the line
    show();
  }
  function show() {
    mark?.setAttribute("x1", x(budget));
    mark?.setAttribute("x2", x(budget));
  }
  const isFocused = (element) => element.getRootNode().activeElement === element;
  function refuse(why) {
    setText(note, why);
    note.hidden = why === "";
    value.setAttribute("aria-invalid", String(why !== ""));
    root.classList.toggle("rv-refused", why !== "");
  }
  function take(bytes, settled) {
    refuse("");
    budget = bytes; // the end of a drag may come before the next frame
    actions.budget(bytes, settled);
  }
  listen(value, "focus", () => value.select());
  listen(value, "keydown", (event) => {
    event.stopPropagation(); // JupyterLab has commands on bare keys
    if (event.key === "Escape") value.value = formatBytes(budget);
    if (event.key !== "Enter") return;
    const bytes = parseBudget(value.value, most);
    if (bytes === null || !(bytes > 0)) return refuse(`“${value.value}” is not a size; write 500 MiB or 60%`);
    slider.focus({ preventScroll: true });
    take(Math.floor(bytes), true);
  });
  listen(value, "blur", () => {
    value.value = formatBytes(budget);
    value.setAttribute("aria-invalid", "false");
  });
  listen(leastLink, "click", () => take(least, true));
  listen(mostLink, "click", () => take(most, true));
  listen(slider, "input", () => take(Math.round(Number(slider.value)), false));
  for (const end of ["change", "keyup"]) listen(slider, end, () => actions.budget(budget, true));
  // arrow keys go from plan to plan
  listen(slider, "keydown", (event) => {
    event.stopPropagation();
    const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const stops = curve.map(([bytes]) => bytes).sort((a, b) => a - b);
    const next = step > 0 ? stops.find((bytes) => bytes > budget) : stops.findLast((bytes) => bytes < budget);
    if (next !== undefined) take(next, true);
  });
  listen(chart, "pointerdown", (event) => {
    const at = low + ((event.clientX - chart.getBoundingClientRect().left - THUMB) / (width - 2 * THUMB)) * (high - low);
    slider.focus({ preventScroll: true });
    take(Math.round(Math.min(high, Math.max(low, at))), true);
  });

  return {
    update(next) {
      budget = next;
      slider.value = budget;
      if (!isFocused(value)) value.value = formatBytes(budget);
      slider.setAttribute("aria-valuetext", `${formatBytes(budget)} for each rank`);
      show();
    },
    resize() {
      width = side.clientWidth;
      if (width) draw();
    },
    destroy: release,
  };
}
